"""From a task definition to the request that creates a container, as Amazon's agent makes it (`agent/api/task/task.go`).

What is not in `CONTAINER`, `LINUX` and the like is refused by name; an empty value is as if it were not there.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

from .engine import LABEL
from .settings import Settings
from .state import Task


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TASK = _words(
    "family revision networkMode volumes containerDefinitions taskRoleArn executionRoleArn cpu memory runtimePlatform "
    # what the API adds
    "taskDefinitionArn status requiresAttributes compatibilities requiresCompatibilities placementConstraints "
    "registeredAt registeredBy deregisteredAt tags"
)
CONTAINER = _words(
    "name image cpu memory memoryReservation essential command entryPoint environment secrets user workingDirectory "
    "portMappings mountPoints linuxParameters ulimits dockerLabels dockerSecurityOptions readonlyRootFilesystem "
    "extraHosts dnsServers healthCheck stopTimeout logConfiguration"
)
LINUX = _words("capabilities initProcessEnabled sharedMemorySize tmpfs")
PORT = _words("containerPort hostPort protocol name appProtocol")
AWSLOGS = _words(
    "awslogs-group awslogs-region awslogs-stream-prefix awslogs-create-group mode max-buffer-size"
)
JSON_FILE = _words("max-size max-file")
OVERRIDE = _words("name command environment cpu memory memoryReservation")
#: The task itself, so that the agent knows whose container it is without its own state.
TASK_LABEL = "retailflow.ecs.task"
MIB = 2**20
SECOND = 10**9
LEAST_SHARES = 2  # of the CPU; the kernel takes no less
PERIOD = 100_000  # microseconds in which a quota of the CPU counts
Definition = dict[str, Any]


class NotEmulatedError(Exception):
    """A part of a definition that this agent does not run; the text names it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"not emulated: {what}")


def _only(where: str, found: dict[str, Any], known: frozenset[str]) -> None:
    for name in sorted(set(found) - known):
        if found[name] not in (None, False, "", [], {}):
            raise NotEmulatedError(f"{where}{name}")


def plan(task: Task, settings: Settings) -> list[Definition]:
    """The definitions of the task's containers with its overrides; NotEmulatedError for what cannot run here."""
    definition, overrides = task.definition, task.overrides
    _only("", definition, TASK)
    mode = definition.get("networkMode") or "bridge"
    if mode not in ("bridge", "host", "default"):
        raise NotEmulatedError(f"networkMode {mode}")
    system = (definition.get("runtimePlatform") or {}).get("operatingSystemFamily") or "LINUX"
    if system != "LINUX":
        raise NotEmulatedError(f"runtimePlatform.operatingSystemFamily {system}")
    for one in definition.get("volumes") or []:
        volume(one)
    known = frozenset({"containerOverrides", "taskRoleArn", "executionRoleArn", "cpu", "memory"})
    _only("overrides.", overrides, known)
    changes = {one["name"]: one for one in overrides.get("containerOverrides") or []}
    planned = [_changed(one, changes.get(one["name"], {})) for one in definition["containerDefinitions"]]
    for one in planned:
        _check(one, settings)
    memory = amount(overrides.get("memory") or definition.get("memory"), 1024, "GB")
    cpu = amount(overrides.get("cpu") or definition.get("cpu"), 1024, "vCPU")
    if len(planned) > 1 and (memory or cpu):
        # Amazon's agent gives the whole task one control group; with one container its own is the same.
        raise NotEmulatedError(
            "cpu and memory of a task with several containers; give them to the containers"
        )
    for one in planned:
        one["memory"] = one.get("memory") or memory
        one["taskCpu"] = cpu
    return planned


def amount(value: Any, factor: int, unit: str) -> int:
    """The CPU units or MiB that a task has, from `512`, `.5 vCPU` or `1 GB`; 0 where nothing is said."""
    match = re.fullmatch(rf"([\d.]+)\s*({unit})?", str(value or 0).strip(), re.IGNORECASE)
    if not match:
        raise NotEmulatedError(f"{value!r} as an amount")
    return round(float(match[1]) * (factor if match[2] else 1))


def _changed(definition: Definition, change: dict[str, Any]) -> Definition:
    _only("overrides.containerOverrides.", change, OVERRIDE)
    made = definition | {
        name: change[name] for name in ("command", "cpu", "memory", "memoryReservation") if change.get(name)
    }
    values = {one["name"]: one.get("value", "") for one in definition.get("environment") or []}
    values |= {one["name"]: one.get("value", "") for one in change.get("environment") or []}
    return made | {"environment": [{"name": name, "value": value} for name, value in values.items()]}


def _check(one: Definition, settings: Settings) -> None:
    name = f"containerDefinitions[{one['name']}]."
    _only(name, one, CONTAINER)
    _only(f"{name}linuxParameters.", one.get("linuxParameters") or {}, LINUX)
    for port in one.get("portMappings") or []:
        _only(f"{name}portMappings.", port, PORT)
    for secret in one.get("secrets") or []:
        if secret["valueFrom"].startswith("arn:") and ":ssm:" not in secret["valueFrom"]:
            raise NotEmulatedError(f"{name}secrets from {secret['valueFrom'].split(':')[2]}")
    logs = one.get("logConfiguration") or {"logDriver": "json-file"}
    driver, options = logs["logDriver"], logs.get("options") or {}
    if driver not in settings.logging_drivers:
        raise NotEmulatedError(
            f"{name}logConfiguration.logDriver {driver}, which ECS_AVAILABLE_LOGGING_DRIVERS lacks"
        )
    _only(f"{name}logConfiguration.", logs, frozenset({"logDriver", "options"}))
    _only(f"{name}logConfiguration.options.", options, AWSLOGS if driver == "awslogs" else JSON_FILE)
    if options.get("mode") == "blocking":
        raise NotEmulatedError(f"{name}logConfiguration.options.mode blocking")


def volume(definition: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """What a volume of a task is for the engine: a folder of the host and None, or a name and how to make it."""
    name = definition["name"]
    _only(f"volumes[{name}].", definition, frozenset({"name", "host", "dockerVolumeConfiguration"}))
    if path := (definition.get("host") or {}).get("sourcePath"):
        return path, None
    options = definition.get("dockerVolumeConfiguration") or {}
    known = frozenset({"scope", "autoprovision", "driver", "driverOpts", "labels"})
    _only(f"volumes[{name}].dockerVolumeConfiguration.", options, known)
    if options.get("scope") != "shared" or options.get("driver", "local") != "local":
        raise NotEmulatedError(
            f"volumes[{name}] that is neither a folder of the host nor a shared volume of the driver local"
        )
    return name, options


def container_name(task: Task, container: str) -> str:
    """`ecs-<family>-<revision>-<container>-<hex>`, of the characters that Docker takes."""
    plain = (re.sub(r"[^\w.-]", "", text) for text in (task.family, container))
    family, name = plain
    return f"ecs-{family}-{task.definition.get('revision')}-{name}-{secrets.token_hex(10)}"


def labels(task: Task, definition: Definition, cluster: str) -> dict[str, str]:
    """The labels by which ECS's containers are known, after those of the definition."""
    return (definition.get("dockerLabels") or {}) | {
        f"{LABEL}cluster": cluster,
        f"{LABEL}container-name": definition["name"],
        f"{LABEL}task-arn": task.arn,
        f"{LABEL}task-definition-family": task.family,
        f"{LABEL}task-definition-version": str(task.definition.get("revision", "")),
        TASK_LABEL: json.dumps(
            task.described() | {"credentialsId": task.credentials_id}, separators=(",", ":")
        ),
    }


def request(
    task: Task, definition: Definition, environment: dict[str, str], settings: Settings
) -> dict[str, Any]:
    """The body of the engine's request that creates a container of a plan.

    Shape: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerCreate
    """
    linux = definition.get("linuxParameters") or {}
    mode = task.definition.get("networkMode") or "bridge"
    ports = [] if mode == "host" else definition.get("portMappings") or []
    log_options = {"max-size": "10m", "max-file": "3"}
    logs = definition.get("logConfiguration") or {}
    if logs.get("logDriver") == "json-file":
        log_options |= logs.get("options") or {}
    capabilities = linux.get("capabilities") or {}
    host: dict[str, Any] = {
        "NetworkMode": "host" if mode == "host" else "bridge",
        "LogConfig": {"Type": "json-file", "Config": log_options},
        "RestartPolicy": {"Name": "no"},
        "Memory": (definition.get("memory") or 0) * MIB,
        "MemoryReservation": (definition.get("memoryReservation") or 0) * MIB,
        "CpuShares": max(definition.get("cpu") or 0, LEAST_SHARES),
        "PidsLimit": settings.pids_limit,
        "Binds": _binds(task, definition),
        "PortBindings": _bindings(ports),
        "ExtraHosts": [f"{one['hostname']}:{one['ipAddress']}" for one in definition.get("extraHosts") or []],
        "Dns": definition.get("dnsServers") or [],
        "CapAdd": capabilities.get("add") or [],
        "CapDrop": capabilities.get("drop") or [],
        "SecurityOpt": definition.get("dockerSecurityOptions") or [],
        "ReadonlyRootfs": bool(definition.get("readonlyRootFilesystem")),
        "Init": bool(linux.get("initProcessEnabled")),
        "Tmpfs": {one["containerPath"]: _tmpfs(one) for one in linux.get("tmpfs") or []},
        "Ulimits": [
            {"Name": one["name"], "Soft": one["softLimit"], "Hard": one["hardLimit"]}
            for one in definition.get("ulimits") or []
        ],
    }
    if linux.get("sharedMemorySize"):
        host["ShmSize"] = linux["sharedMemorySize"] * MIB
    if definition.get("taskCpu"):
        host |= {"CpuPeriod": PERIOD, "CpuQuota": definition["taskCpu"] * PERIOD // 1024}
    made: dict[str, Any] = {
        "Image": definition["image"],
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": labels(task, definition, settings.cluster),
        "ExposedPorts": {port: {} for port in host["PortBindings"]},
        # Also for who stops it by hand, and for the end of the engine.
        "StopTimeout": stop_timeout(definition, settings),
        "HostConfig": host,
    }
    optional = {
        "Cmd": definition.get("command"),
        "Entrypoint": definition.get("entryPoint"),
        "User": definition.get("user"),
        "WorkingDir": definition.get("workingDirectory"),
        "Healthcheck": _health(definition.get("healthCheck")),
    }
    return made | {name: value for name, value in optional.items() if value}


def stop_timeout(definition: Definition, settings: Settings) -> int:
    """Seconds that a container has to end by itself."""
    found = definition.get("stopTimeout")
    return settings.stop_timeout if found is None else int(found)


def _binds(task: Task, definition: Definition) -> list[str]:
    volumes = {one["name"]: volume(one)[0] for one in task.definition.get("volumes") or []}
    return [
        f"{volumes[one['sourceVolume']]}:{one['containerPath']}{':ro' if one.get('readOnly') else ''}"
        for one in definition.get("mountPoints") or []
    ]


def _bindings(ports: list[dict[str, Any]]) -> dict[str, list[dict[str, str]]]:
    made: dict[str, list[dict[str, str]]] = {}
    for one in ports:
        port = f"{one['containerPort']}/{one.get('protocol') or 'tcp'}"
        made.setdefault(port, []).append({"HostPort": str(one.get("hostPort") or 0)})
    return made


def _tmpfs(one: dict[str, Any]) -> str:
    return ",".join([*(one.get("mountOptions") or []), f"size={one['size']}m"])


def _health(check: dict[str, Any] | None) -> dict[str, Any] | None:
    """ECS's defaults where the definition says nothing (API reference, HealthCheck)."""
    if not check:
        return None
    return {
        "Test": check["command"],
        "Interval": (check.get("interval") or 30) * SECOND,
        "Timeout": (check.get("timeout") or 5) * SECOND,
        "Retries": check.get("retries") or 3,
        "StartPeriod": (check.get("startPeriod") or 0) * SECOND,
    }


def network_bindings(inspected: dict[str, Any]) -> list[dict[str, Any]]:
    """The ports of a container that others reach, as DescribeTasks shows them; none on the host's network."""
    found = []
    for port, hosts in ((inspected.get("NetworkSettings") or {}).get("Ports") or {}).items():
        number, _, protocol = port.partition("/")
        for one in hosts or []:
            found.append(
                {
                    "bindIP": one["HostIp"],
                    "containerPort": int(number),
                    "hostPort": int(one["HostPort"]),
                    "protocol": protocol,
                }
            )
    return found
