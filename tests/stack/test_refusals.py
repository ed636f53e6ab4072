"""Bad input is refused before anything changes, and what the site writes down leads to its hosts."""

from __future__ import annotations

import json
import re
import socket
import subprocess

import boto3
import pytest

from .conftest import AWS, ENV, NAME, PORTS, ROOT, SECRETS, STATE, Playbook


def test_a_taken_port_is_named_before_anything_changes(playbook: Playbook) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = json.dumps({"local_cloud_ports": PORTS | {"registry": port}})
        found = playbook("playbooks/cloud.yml", "-e", ports)
    assert found.returncode != 0
    assert "Nothing was changed" in found.stdout
    assert f"port {port} on 127.0.0.1, meant for registry, is taken" in found.stdout
    assert "changed=0" in found.stdout


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ({"local_cloud_min_disk_gb": 10**6}, "GiB free"),
        ({"local_cloud_min_memory_gb": 10**6}, "GiB of memory are available"),
    ],
)
def test_too_small_a_machine_is_refused(playbook: Playbook, variable: dict[str, int], message: str) -> None:
    # A running site has what it needs already, so the check takes another owner's view.
    extra = {**variable, "local_cloud_labels": {"retailflow.site": "somebody-else"}}
    found = playbook("playbooks/cloud.yml", "-e", json.dumps(extra))
    assert found.returncode != 0
    assert "Nothing was changed" in found.stdout and message in found.stdout
    assert "changed=0" in found.stdout


def test_a_misspelt_variable_is_refused_before_anything_changes(playbook: Playbook) -> None:
    found = playbook("site.yml", "-e", "postgres_prot=5433")
    assert found.returncode != 0
    assert "postgres_prot (did you mean postgres_port" in found.stdout
    assert "changed=0" in found.stdout


def test_env_and_ssh_config_lead_to_the_hosts() -> None:
    env = dict(line.split("=", 1) for line in ENV.read_text().splitlines() if not line.startswith("#"))
    assert env["RETAILFLOW_TARGET"] == "local"
    assert ENV.stat().st_mode & 0o777 == 0o600
    for role in ("postgres", "airbyte", "dagster-dbt", "metabase"):
        command = ["ssh", "-F", str(STATE / "ssh_config"), f"ec2-{role}", "hostname -I && docker ps -q"]
        found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
        assert env[f"{role.replace('-', '_').upper()}_PRIVATE_IP"] in found.split()
        assert len(found.splitlines()) > 1, "people see the containers without sudo"


def test_the_function_can_be_read_without_its_secret() -> None:
    found = subprocess.run(
        ["make", "--no-print-directory", "print-lambda"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert "retailflow_generator/handler.py" in found
    password = (SECRETS / "db_generator").read_text().strip()
    assert password not in found
    kept = re.search(r"DB_PASSWORD_PARAMETER +(\S+)", found)
    assert kept, found
    configured = boto3.client("lambda", **AWS).get_function_configuration(FunctionName=f"{NAME}-generator")
    assert password not in json.dumps(configured, default=str)
    owner = boto3.client("ssm", **AWS).get_parameters_by_path(
        Path=kept[1].rpartition("/")[0], WithDecryption=True
    )
    assert [one["Value"] for one in owner["Parameters"]] == [password]


#: What a program in the emulated AWS API could try with the way to the engine that it has.
TAKE_THE_MACHINE = """
import os, docker
client = docker.from_env()
print("socket", os.path.exists("/var/run/docker.sock"))
image = os.environ["MOTO_DOCKER_LAMBDA_IMAGE"]
tries = {
    "privileged": lambda: client.containers.run(image, "x", privileged=True),
    "files": lambda: client.containers.run(image, "x", volumes={"/": {"bind": "/opt", "mode": "rw"}}),
    "processes": lambda: client.containers.run(image, "x", pid_mode="host"),
    "others": lambda: client.containers.list(),
    "image": lambda: client.images.pull("busybox"),
}
for name, attempt in tries.items():
    try:
        print(name, attempt())
    except docker.errors.APIError as error:
        print(name, error.response.status_code)
"""


def test_the_emulated_api_is_no_way_to_root_on_this_machine() -> None:
    command = ["docker", "exec", "-i", f"{NAME}-aws", "python", "-"]
    found = subprocess.run(
        command, input=TAKE_THE_MACHINE, check=True, capture_output=True, text=True, timeout=60
    )
    told = dict(line.split(" ", 1) for line in found.stdout.splitlines())
    assert told == {"socket": "False"} | dict.fromkeys(
        ("privileged", "files", "processes", "others", "image"), "403"
    )
