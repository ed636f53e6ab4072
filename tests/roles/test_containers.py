"""Every service is bounded, and the bounds of a host's services fit its instance type, for Docker and for ECS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.module_utils.container_service import task_definition

ROOT = Path(__file__).parents[2]
VARIABLES = ROOT / "inventory/group_vars"
NETWORK: dict[str, Any] = yaml.safe_load((VARIABLES / "all/network.yml").read_text())
HOSTS: dict[str, Any] = NETWORK["network_hosts"]
BOUNDS = ("container_service_memory", "container_service_pids")
# Run beside the host's services for a while, one at a time.
BESIDE = {"postgres": ("postgres_upgrade_memory", "retailflow_drill_memory")}
# abctl's Kubernetes is no container of ours; it wants two processors and 8 GB (https://docs.airbyte.com/using-airbyte/abctl).
ABCTL = 8192
# What Linux tells its programs, and so the agent ECS, of an instance type's memory: its kernel keeps some of it. A t3.medium
# has 3.8 of its 4 GiB left.
TOLD = 0.945
# They stand for a cloud, and share the machine with whoever uses it.
UNBOUNDED = {"roles/local-cloud/tasks/service.yml": {"container_service_memory"}}


def inventory(host: str) -> dict[str, Any]:
    """The variables of a host's group, as they are written."""
    found: dict[str, Any] = yaml.safe_load((VARIABLES / host / "main.yml").read_text())
    return found


def limits(host: str, ending: str, launcher: str = "default") -> list[Any]:
    """Every limit of the group whose name has that ending, one for each service."""
    found: list[Any] = []
    for name, value in inventory(host).items():
        if name.endswith(ending) and name not in BESIDE.get(host, ()) and "run_memory" not in name:
            found += list(value.values()) if isinstance(value, dict) else [value]
    given = {"retailflow_run_launcher": launcher}
    return [jinja2.Template(one).render(given) if isinstance(one, str) else one for one in found]


def tasks(content: Any) -> Iterator[dict[str, Any]]:
    """Every task, those in blocks and plays too."""
    for task in content or []:
        yield task
        for part in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks"):
            yield from tasks(task.get(part))


def services() -> dict[str, dict[str, Any]]:
    """Each place that starts a service, with the variables it gives."""
    found = {}
    for path in [*ROOT.glob("roles/*/tasks/**/*.yml"), *ROOT.glob("playbooks/**/*.yml")]:
        content = yaml.safe_load(path.read_text())
        for task in tasks(content if isinstance(content, list) else []):
            included = task.get("ansible.builtin.include_role") or {}
            if included.get("name") == "container-service" and "tasks_from" not in included:
                found[str(path.relative_to(ROOT))] = task["vars"]
    return found


SERVICES = services()


def test_all_places_that_start_a_service_are_looked_at() -> None:
    roles = {Path(path).parts[1] for path in SERVICES if path.startswith("roles/")}
    assert roles == {"airbyte-bash-installer", "dagster-dbt-container", "local-cloud", "metabase", "postgres"}
    assert "playbooks/drill.yml" in SERVICES


@pytest.mark.parametrize("place", SERVICES)
def test_a_service_is_given_limits_of_memory_and_processes(place: str) -> None:
    assert set(BOUNDS) - UNBOUNDED.get(place, set()) <= SERVICES[place].keys()


@pytest.mark.parametrize("place", SERVICES)
def test_what_a_service_starts_with_is_not_root_or_is_said(place: str) -> None:
    """A capability or a writable root comes from a variable that the inventory sets, never from a task."""
    for name in ("container_service_capabilities", "container_service_read_only"):
        value = SERVICES[place].get(name, "{{ from the role }}")
        assert isinstance(value, str) and value.startswith("{{"), f"{place} decides {name} by itself"


@pytest.mark.parametrize("host", HOSTS)
def test_the_services_of_a_host_have_limits_in_the_inventory(host: str) -> None:
    memory, pids = limits(host, "_memory"), limits(host, "_pids")
    assert memory and len(memory) == len(pids), "each service has one of both"
    assert all(task_definition.megabytes(one) >= 64 for one in memory)
    assert all(isinstance(one, int) and 32 <= one <= 1024 for one in pids)


@pytest.mark.parametrize("launcher", ["default", "ecs"])
@pytest.mark.parametrize("target", ["local", "aws"])
@pytest.mark.parametrize("host", HOSTS)
def test_the_limits_of_a_hosts_services_fit_its_instance_type(host: str, target: str, launcher: str) -> None:
    """By ECS a limit is what it reserves: a service that does not fit is never placed."""
    beside = [inventory(host)[name] for name in BESIDE.get(host, ())]
    wanted = sum(map(task_definition.megabytes, limits(host, "_memory", launcher)))
    if (host, target) == ("airbyte", "aws"):
        wanted = ABCTL
    wanted += max(map(task_definition.megabytes, beside), default=0)
    wanted += HOSTS[host].get("runs_memory", 0) if launcher == "ecs" else 0
    there = int(NETWORK["network_instance_memory"][HOSTS[host]["instance_type"]] * TOLD)
    left = there - NETWORK["network_reserved_memory"]
    assert wanted <= left, f"{host}: {wanted} MiB of {left}"


def test_hosts_that_take_runs_keep_memory_for_whole_ones_and_pull_their_image() -> None:
    run = yaml.safe_load((VARIABLES / "all/main.yml").read_text())["retailflow_run_memory"]
    takers = {name: host for name, host in HOSTS.items() if host.get("runs")}
    assert "dagster_dbt" in takers and len(takers) > 1
    for name, host in takers.items():
        assert host["runs_memory"] >= run and host["runs_memory"] % run == 0, name
        assert host["own_image"] == "dagster-dbt", name
    assert sum(host["runs_memory"] for host in takers.values()) // run >= 10


def test_postgres_fits_its_limit_with_all_its_connections() -> None:
    """shared_buffers, /dev/shm, 10 MiB and a sort (work_mem) for each connection, three workers of autovacuum."""
    role = yaml.safe_load((ROOT / "roles/postgres/defaults/main.yml").read_text())
    connections = int(role["postgres_settings"]["max_connections"])
    assert "postgres_settings" not in inventory("postgres"), "reckon with those"
    wanted = 128 + task_definition.megabytes(role["postgres_shm_size"]) + connections * (10 + 4) + 3 * 64
    assert wanted <= task_definition.megabytes(inventory("postgres")["postgres_memory"])
    # 8 workers of parallel queries, 10 senders of the log, some 10 processes of the server's own
    assert connections + 28 < inventory("postgres")["postgres_pids"]


def test_every_instance_type_has_its_memory() -> None:
    assert {host["instance_type"] for host in HOSTS.values()} == NETWORK["network_instance_memory"].keys()
