"""What the host has, as RegisterContainerInstance takes it.

The attributes are those of Amazon's agent (`agent/app/agent_capability.go`) that are true here: the API places a task only
where its definition's `requiresAttributes` are. What only the API knows (instance type, zone, image) it adds itself.
"""

from __future__ import annotations

import json
from typing import Any

from .engine import Engine
from .introspection import VERSION
from .settings import Settings

#: ssh, Docker's API and the agent's own (`ECS_RESERVED_PORTS` of Amazon's agent).
RESERVED_PORTS = ["22", "2375", "2376", "51678", "51679"]
#: The oldest version of Docker's API that Amazon's agent names.
OLDEST_API = 17
MIB = 2**20
OLD, NEW = "com.amazonaws.ecs.capability.", "ecs.capability."
PROCESSORS = {"x86_64": "x86_64", "aarch64": "arm64"}
SUPPORTED = (
    f"{NEW}container-health-check",
    f"{NEW}docker-plugin.local",
    f"{NEW}secrets.ssm.environment-variables",
)


def attributes(settings: Settings, info: dict[str, Any], api_version: str) -> list[dict[str, str]]:
    """The attributes of the instance."""
    made: dict[str, str] = {}
    newest = int(api_version.partition(".")[2])
    made |= dict.fromkeys((f"{OLD}docker-remote-api.1.{one}" for one in range(OLDEST_API, newest + 1)), "")
    made |= dict.fromkeys((f"{OLD}logging-driver.{one}" for one in settings.logging_drivers), "")
    made |= dict.fromkeys(SUPPORTED, "")
    if settings.task_roles:
        made[f"{OLD}task-iam-role"] = ""
        if settings.task_roles_on_host_network:
            made[f"{OLD}task-iam-role-network-host"] = ""
    if settings.logs_by_execution_role and "awslogs" in settings.logging_drivers:
        made[f"{NEW}execution-role-awslogs"] = ""
    processor = str(info.get("Architecture", ""))
    made |= {"ecs.os-type": "linux", "ecs.cpu-architecture": PROCESSORS.get(processor, processor)}
    made |= settings.attributes
    return [{"name": name, "value": value} if value else {"name": name} for name, value in made.items()]


def resources(settings: Settings, info: dict[str, Any]) -> list[dict[str, Any]]:
    """CPU units, MiB of memory and the ports that no task gets."""
    memory = (settings.instance_memory or info["MemTotal"] // MIB) - settings.reserved_memory
    return [
        {"name": "CPU", "type": "INTEGER", "integerValue": info["NCPU"] * 1024},
        {"name": "MEMORY", "type": "INTEGER", "integerValue": max(memory, 0)},
        {"name": "PORTS", "type": "STRINGSET", "stringSetValue": RESERVED_PORTS},
        {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []},
    ]


def registration(settings: Settings, engine: Engine) -> dict[str, Any]:
    """The request, without the ARN of an instance that is registered again."""
    info = engine.info()
    identity = {
        "instanceId": settings.instance_id,
        "region": settings.region,
        "accountId": settings.account,
    }
    return {
        "cluster": settings.cluster,
        "instanceIdentityDocument": json.dumps(identity),
        "totalResources": resources(settings, info),
        "versionInfo": {
            "agentVersion": VERSION,
            "agentHash": "embedded",
            "dockerVersion": f"DockerVersion: {info.get('ServerVersion', '')}",
        },
        "attributes": attributes(settings, info, engine.api_version()),
        "tags": [{"key": key, "value": value} for key, value in settings.tags.items()],
    }
