"""Services by ECS of the running site: their containers on the hosts, and their tasks."""

from __future__ import annotations

from typing import Any

import boto3
import testinfra

from .conftest import ADMINISTRATOR, NAME, Playbook, why

CLUSTER = NAME
#: The services that ECS runs, by the host that each is on.
SERVICES = {
    "postgres": ["postgres"],
    "dagster-dbt": ["dagster-dbt", "dagster-webserver", "dagster-daemon", "dagster-docs"],
    "metabase": ["metabase"],
}
LABEL = "com.amazonaws.ecs.container-name"
ECS: Any = boto3.client("ecs", **ADMINISTRATOR)


def host(role: str) -> Any:
    """A host, as its engine sees it."""
    return testinfra.get_host(f"docker://{NAME}-{role}")


def containers() -> dict[str, str]:
    """The containers of ECS that run, id by service."""
    found = {}
    for role, names in SERVICES.items():
        for name in names:
            ids = (
                host(role)
                .check_output("docker ps --quiet --no-trunc --filter label=%s=%s", LABEL, name)
                .split()
            )
            assert len(ids) <= 1, f"{name} runs {len(ids)} times"
            found |= dict.fromkeys([name], ids[0]) if ids else {}
    return found


def of_docker() -> set[str]:
    """The services whose container Docker runs under their own name."""
    return {
        name
        for role, names in SERVICES.items()
        for name in host(role).check_output("docker ps --format '{{.Names}}'").split()
        if name in names
    }


def everything() -> set[str]:
    return {name for names in SERVICES.values() for name in names}


def service(name: str) -> dict[str, Any]:
    """A service, as ECS tells of it."""
    (found,) = ECS.describe_services(cluster=CLUSTER, services=[name])["services"]
    return dict(found)


def task(name: str) -> str:
    """The ARN of the task of a service."""
    (arn,) = ECS.list_tasks(cluster=CLUSTER, serviceName=name)["taskArns"]
    return str(arn)


def volumes() -> dict[str, str]:
    """The named volumes of the hosts' services, with the moments at which they were made; that of an agent goes with it."""
    names = "docker volume ls --quiet | grep -vxE 'ecs-agent|[0-9a-f]{64}'"
    command = f"{names} | xargs -r docker volume inspect --format '{{{{.Name}}}} {{{{.CreatedAt}}}}'"
    return {
        f"{role} {line.split()[0]}": line
        for role in SERVICES
        for line in host(role).check_output(command).splitlines()
    }


def connected() -> int:
    """How many agents are connected."""
    arns = ECS.list_container_instances(cluster=CLUSTER)["containerInstanceArns"]
    if not arns:
        return 0
    found = ECS.describe_container_instances(cluster=CLUSTER, containerInstances=arns)
    return sum(one["agentConnected"] for one in found["containerInstances"])


def converge(playbook: Playbook, *arguments: str) -> str:
    """Bring the site to what the inventory and the arguments say, as `make up` does; returns what was printed."""
    done = playbook("site.yml", *arguments, timeout=1800)
    assert done.returncode == 0, why(done)
    return done.stdout
