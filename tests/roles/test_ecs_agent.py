"""What the role ecs-agent refuses before anything changes, and what the inventory tells agents, name server and hosts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import small_play
from retailflow_emulators.ecs_agent import settings

ROOT = Path(__file__).parents[2]
VARIABLES = ROOT / "inventory/group_vars"
NETWORK: dict[str, Any] = yaml.safe_load((VARIABLES / "all/network.yml").read_text())
HOSTS: dict[str, Any] = NETWORK["network_hosts"]

GOOD: dict[str, Any] = {
    "ecs_agent_cluster": "shop",
    "ecs_agent_install": True,
    "ecs_agent_image": "",
    "ecs_agent_version": "1.2.3-1",
    "ecs_agent_package_checksum": "sha256:12",
    "ecs_agent_listen_policy": "listen",
    "ecs_agent_instance_id": "i-0123456789abcdef0",
}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no cluster": ({"ecs_agent_cluster": ""}, "Set ecs_agent_cluster."),
    "two agents": ({"ecs_agent_image": "agent"}, "A host has one agent"),
    "no checksum": ({"ecs_agent_package_checksum": ""}, "amazon-ecs-init-1.2.3-1.amd64.deb (verify"),
    "no version": ({"ecs_agent_version": ""}, "Set ecs_agent_version"),
    "no instance": ({"ecs_agent_instance_id": ""}, "Set ecs_agent_instance_id, by which ECS knows the host"),
}
TAKEN: list[dict[str, Any]] = [
    {},
    {"ecs_agent_install": False, "ecs_agent_package_checksum": "", "ecs_agent_version": ""},
    {"ecs_agent_install": False, "ecs_agent_image": "agent", "ecs_agent_package_checksum": ""},
]
# Of each host of the local target, by each backend.
ASKED = [
    "container_service_backend",
    "container_service_ecs_cluster",
    "docker_engine_dns",
    "ecs_agent_env",
    "ecs_agent_health_test",
    "ecs_agent_listen_policy",
    "ecs_agent_secrets",
    "local_cloud_addresses",
]


def included(entry: str, role: str = "ecs-agent", **given: Any) -> dict[str, Any]:
    return {
        "ansible.builtin.include_role": {"name": role, "tasks_from": entry, "public": True},
        "vars": given,
    }


def refused() -> list[dict[str, Any]]:
    tasks = []
    for what, (given, words) in BAD.items():
        results = "ansible_failed_result.results | default([ansible_failed_result])"
        told = f"{{{{ {results} | map(attribute='msg', default='') | join(' ') }}}}"
        said = {"that": f"{words!r} in told", "fail_msg": f"{what}: {{{{ told }}}}"}
        tasks.append(
            {
                "block": [
                    included("preflight", **{**GOOD, **given}),
                    {"ansible.builtin.fail": {"msg": f"taken: {what}"}},
                ],
                "rescue": [{"ansible.builtin.assert": said, "vars": {"told": told}}],
            }
        )
    return tasks


def write(name: str, content: str, **given: Any) -> dict[str, Any]:
    return {
        "ansible.builtin.copy": {"dest": "{{ folder }}/" + name, "content": content, "mode": "0600"},
        "vars": given,
    }


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run for all: each start of Ansible costs seconds."""
    folder = tmp_path_factory.mktemp("told")
    facts = {
        "folder": str(folder),
        "inventory_dir": str(folder / "inventory"),
        "retailflow_images": {"emulators": "registry/emulators:1"},
        "ec2_instance_id": "i-0123456789abcdef0",
        "private_ip_address": "10.86.1.99",
        "private_dns_name": "ip-10-86-1-99.ec2.internal",
    }
    tasks = [included("preflight", **{**GOOD, **given}) for given in TAKEN] + refused()
    for host in HOSTS:
        tasks.append(write(f"{host}.config", "{{ __ecs_agent_config }}", retailflow_role=host))
        for backend in ("docker", "ecs"):
            content = "{{ dict(names | zip(names | map('extract', vars))) | to_json }}"
            given = {"retailflow_role": host, "retailflow_container_backend": backend, "names": ASKED}
            tasks.append(write(f"{host}.{backend}", content, **given))
    small_play.run(
        folder,
        tasks,
        play={
            "vars": facts,
            "vars_files": [
                str(VARIABLES / name)
                for name in ("all/main.yml", "all/network.yml", "hosts/main.yml", "local/main.yml")
            ],
        },
    )
    return folder


def test_bad_input_is_refused_by_name_and_good_input_is_taken(told: Path) -> None:
    assert (told / "postgres.config").exists(), "the run has come to its end"


@pytest.mark.parametrize("host", HOSTS)
def test_an_agent_is_told_its_cluster_its_role_and_what_is_reserved(told: Path, host: str) -> None:
    lines = (told / f"{host}.config").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines)
    assert len(settings) == len(lines)
    assert settings["ECS_CLUSTER"] == "retailflow"
    assert json.loads(settings["ECS_INSTANCE_ATTRIBUTES"])["role"] == host, "by which services are placed"
    assert int(settings["ECS_RESERVED_MEMORY"]) == NETWORK["network_reserved_memory"]
    assert settings["ECS_DISABLE_PRIVILEGED"] == "true"
    assert settings["ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE"] == "true", (
        "or a task with secrets has no log"
    )
    assert "awslogs" in json.loads(settings["ECS_AVAILABLE_LOGGING_DRIVERS"])
    assert int(settings["ECS_TASK_PIDS_LIMIT"]) > 0


def facts(told: Path, host: str, backend: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((told / f"{host}.{backend}").read_text())
    return found


@pytest.mark.parametrize("backend", ["docker", "ecs"])
def test_all_but_airbyte_are_started_by_what_the_site_chooses(told: Path, backend: str) -> None:
    chosen = {host: facts(told, host, backend)["container_service_backend"] for host in HOSTS}
    assert chosen == dict.fromkeys(HOSTS, backend) | {"airbyte": "docker"}
    clusters = {facts(told, host, backend)["container_service_ecs_cluster"] for host in HOSTS}
    assert clusters == {"retailflow"}, "with docker too: what ECS ran before is removed from it"


@pytest.mark.parametrize("host", HOSTS)
def test_a_local_agent_takes_what_it_is_given_and_its_key_is_a_secret(told: Path, host: str) -> None:
    found = facts(told, host, "docker")
    plain, secrets = found["ecs_agent_env"], found["ecs_agent_secrets"]
    assert all(isinstance(value, str) for value in plain.values()), "Docker takes nothing else"
    read = settings.load(plain | secrets, told / f"{host}.config")
    assert (read.cluster, read.instance_id) == ("retailflow", "i-0123456789abcdef0")
    assert read.role_arn.endswith(":role/localhost"), "that of the host's own name"
    assert read.endpoint == "http://aws.retailflow.internal:5000"
    assert read.instance_memory == NETWORK["network_instance_memory"][HOSTS[host]["instance_type"]]
    assert read.task_roles and read.logs_by_execution_role and "awslogs" in read.logging_drivers
    assert list(secrets) == ["AWS_SECRET_ACCESS_KEY"] and secrets["AWS_SECRET_ACCESS_KEY"] == read.secret_key
    assert read.secret_key not in json.dumps(plain)
    assert "python" not in found["ecs_agent_health_test"], "which costs a second each time"


def test_the_role_of_a_host_allows_what_its_agent_calls_and_nothing_more_of_ecs() -> None:
    source = ROOT / "emulators/src/retailflow_emulators/ecs_agent"
    called = {
        name for path in source.glob("*.py") for name in re.findall(r'call\(\s*"(\w+)"', path.read_text())
    }
    allowed = set(re.findall(r'"ecs:(\w+)"', (ROOT / "terraform/hosts.tf").read_text()))
    assert allowed == called


def test_the_policy_that_names_a_hosts_container_instance_is_the_one_that_terraform_makes(told: Path) -> None:
    """By another name it would stay when the host's role goes, which then cannot go."""
    (name,) = re.findall(
        r'name += "(\w+)" # retailflow_listen_policy', (ROOT / "terraform/hosts.tf").read_text()
    )
    for host in HOSTS:
        assert facts(told, host, "docker")["ecs_agent_listen_policy"] == name
    control = yaml.safe_load((VARIABLES / "control/main.yml").read_text())
    assert control["ecs_agent_listen_policy"] == "{{ retailflow_listen_policy }}"


def test_containers_of_local_hosts_ask_the_name_server_of_the_private_network(told: Path) -> None:
    for host in HOSTS:
        found = facts(told, host, "docker")
        assert found["docker_engine_dns"] == [found["local_cloud_addresses"]["dns"]]
    role = yaml.safe_load((ROOT / "roles/local-cloud/defaults/main.yml").read_text())
    assert found["local_cloud_addresses"] == role["local_cloud_addresses"]


def test_no_flow_reaches_an_agent_from_another_host() -> None:
    """Credentials are at port 80 and, by Amazon's agent, 51679; what it runs is told at 51678, its engine is at 2375 and 2376."""
    opened = {flow["port"] for flow in NETWORK["network_flows"]}
    assert opened.isdisjoint({80, 2375, 2376, 51678, 51679})
