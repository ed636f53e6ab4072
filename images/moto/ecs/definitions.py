"""What a task definition may hold. What is not emulated is refused by its name, never accepted in silence."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from moto.ecs.models import TaskDefinition

from . import words

NETWORK_MODES = ("bridge", "host")
_DEFINITION = frozenset(
    [
        "family",
        "taskRoleArn",
        "executionRoleArn",
        "networkMode",
        "containerDefinitions",
        "volumes",
        "placementConstraints",
        "requiresCompatibilities",
        "cpu",
        "memory",
        "tags",
    ]
)
_CONTAINER = frozenset(
    [
        "name",
        "image",
        "cpu",
        "memory",
        "memoryReservation",
        "portMappings",
        "essential",
        "entryPoint",
        "command",
        "environment",
        "mountPoints",
        "linuxParameters",
        "secrets",
        "stopTimeout",
        "user",
        "readonlyRootFilesystem",
        "dnsServers",
        "extraHosts",
        "dockerSecurityOptions",
        "dockerLabels",
        "ulimits",
        "logConfiguration",
        "healthCheck",
    ]
)
_KERNEL = frozenset(["capabilities", "initProcessEnabled", "sharedMemorySize", "tmpfs"])
_LOG_OPTIONS = frozenset(["awslogs-group", "awslogs-region", "awslogs-stream-prefix"])
# HealthCheck, API reference: the lowest and highest value of each.
_HEALTH = {"interval": (5, 300), "timeout": (2, 60), "retries": (1, 10), "startPeriod": (0, 300)}
#: Left out of the digest: what differs between two registrations of the same definition.
_OF_A_REGISTRATION = frozenset(
    [
        "taskDefinitionArn",
        "revision",
        "status",
        "registeredAt",
        "registeredBy",
        "deregisteredAt",
        "requiresAttributes",
        "compatibilities",
        "tags",
    ]
)
_FAMILY = re.compile(r"[A-Za-z0-9_-]{1,255}")


def check(parameters: dict[str, Any]) -> None:
    """Raise ClientException for a definition that ECS refuses or that is not emulated."""
    words.refuse_others(parameters, _DEFINITION, " of a task definition")
    if not _FAMILY.fullmatch(str(parameters.get("family") or "")):
        raise words.client(
            "Family contains invalid characters. Only letters, numbers, hyphens and underscores are allowed."
        )
    if others := set(parameters.get("requiresCompatibilities") or []) - {"EC2"}:
        raise words.not_emulated(f"requiresCompatibilities {', '.join(sorted(others))}")
    mode = parameters.get("networkMode") or "bridge"
    if mode not in NETWORK_MODES:
        raise words.not_emulated(f"networkMode {mode}")
    volumes = {str(one.get("name")) for one in parameters.get("volumes") or []}
    for volume in parameters.get("volumes") or []:
        _check_volume(volume)
    for constraint in parameters.get("placementConstraints") or []:
        if constraint.get("type") != "memberOf":
            raise words.client("Invalid placement constraint type. A task definition takes memberOf.")
    containers = parameters.get("containerDefinitions") or []
    if not containers:
        raise words.client("Task definition must have at least one container definition.")
    names = [str(one.get("name")) for one in containers]
    if len(set(names)) != len(names):
        raise words.client("Container names in a task definition must be unique.")
    if not any(one.get("essential", True) for one in containers):
        raise words.client("No essential containers in the task definition.")
    for one in containers:
        _check_container(one, mode, volumes, bool(parameters.get("executionRoleArn")))


def _check_volume(volume: dict[str, Any]) -> None:
    words.refuse_others(volume, frozenset(["name", "host", "dockerVolumeConfiguration"]), " of a volume")
    docker = volume.get("dockerVolumeConfiguration")
    if docker and volume.get("host"):
        raise words.client("Only one of host and dockerVolumeConfiguration may be given for a volume.")
    if docker:
        words.refuse_others(docker, frozenset(["scope", "autoprovision", "driver"]), " of a Docker volume")
        if docker.get("scope") != "shared" or not docker.get("autoprovision"):
            raise words.not_emulated("a Docker volume that is not shared and autoprovisioned")
        if docker.get("driver", "local") != "local":
            raise words.not_emulated(f"volume driver {docker['driver']}")
    elif not (volume.get("host") or {}).get("sourcePath"):
        raise words.not_emulated("a volume that lives only as long as its task")


def _check_container(one: dict[str, Any], mode: str, volumes: set[str], has_role: bool) -> None:
    name = one.get("name")
    words.refuse_others(one, _CONTAINER, f" of the container {name}")
    words.refuse_others(
        one.get("linuxParameters") or {}, _KERNEL, f" in linuxParameters of the container {name}"
    )
    memory, reserved = one.get("memory"), one.get("memoryReservation")
    if memory is not None and memory < 6:
        raise words.client(f"Invalid setting for container '{name}'. 'memory' must be at least 6.")
    if memory and reserved and reserved > memory:
        raise words.client(
            f"Invalid setting for container '{name}'. 'memoryReservation' must not be greater than 'memory'."
        )
    for port in one.get("portMappings") or []:
        words.refuse_others(port, frozenset(["containerPort", "hostPort", "protocol"]), " of a port mapping")
        if mode == "host" and port.get("hostPort", port.get("containerPort")) != port.get("containerPort"):
            raise words.client(
                "When networkMode=host, the host ports and container ports in port mappings must match."
            )
    for mount in one.get("mountPoints") or []:
        if mount.get("sourceVolume") not in volumes:
            raise words.client(f"Unknown volume '{mount.get('sourceVolume')}'.")
    if one.get("secrets") and not has_role:
        raise words.client(
            "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'."
        )
    for secret in one.get("secrets") or []:
        source = str(secret.get("valueFrom"))
        if source.startswith("arn:") and ":ssm:" not in source:
            raise words.not_emulated(f"the secret {source}, only SSM parameters are")
    _check_health(one.get("healthCheck") or {}, name)
    _check_log(one.get("logConfiguration") or {})


def _check_health(check: dict[str, Any], name: Any) -> None:
    if not check:
        return
    command = check.get("command") or []
    if not command or command[0] not in ("CMD", "CMD-SHELL", "NONE"):
        raise words.client(f"Health check command of container '{name}' must start with CMD or CMD-SHELL.")
    for key, (low, high) in _HEALTH.items():
        value = check.get(key)
        if value is not None and not low <= value <= high:
            raise words.client(f"Health check {key} of container '{name}' must be between {low} and {high}.")


def _check_log(log: dict[str, Any]) -> None:
    if not log:
        return
    driver, options = log.get("logDriver"), log.get("options") or {}
    if driver == "json-file" and not options:
        return
    if driver != "awslogs":
        raise words.not_emulated(f"log driver {driver}")
    words.refuse_others(log, frozenset(["logDriver", "options"]), " of a log configuration")
    words.refuse_others(options, _LOG_OPTIONS, " of the log driver awslogs")
    for option in ("awslogs-group", "awslogs-region"):
        if not options.get(option):
            raise words.client(f"Log driver awslogs requires options: {option}")


def wire(definition: TaskDefinition) -> dict[str, Any]:
    """A registered definition with the names of the API."""
    found = {
        "taskDefinitionArn": definition.arn,
        "family": definition.family,
        "revision": definition.revision,
        "status": definition.status,
        "networkMode": definition.network_mode,
        "containerDefinitions": definition.container_definitions,
        "volumes": definition.volumes,
        "placementConstraints": definition.placement_constraints,
        "requiresCompatibilities": definition.requires_compatibilities,
        "taskRoleArn": getattr(definition, "task_role_arn", None),
        "executionRoleArn": getattr(definition, "execution_role_arn", None),
        "cpu": definition.cpu,
        "memory": definition.memory,
    }
    return {key: value for key, value in found.items() if value is not None}


def digest(registered: dict[str, Any]) -> str:
    """The hash by which a running task is known again when the API has forgotten it."""
    kept = {key: value for key, value in registered.items() if key not in _OF_A_REGISTRATION}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
