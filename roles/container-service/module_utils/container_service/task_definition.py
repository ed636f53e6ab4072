"""The container contract as an ECS task definition. Nothing here asks an API."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from .errors import WorkloadError

# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_KernelCapabilities.html
CAPABILITIES = frozenset(
    [
        "AUDIT_CONTROL",
        "AUDIT_WRITE",
        "BLOCK_SUSPEND",
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "IPC_LOCK",
        "IPC_OWNER",
        "KILL",
        "LEASE",
        "LINUX_IMMUTABLE",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "MKNOD",
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_CHROOT",
        "SYS_MODULE",
        "SYS_NICE",
        "SYS_PACCT",
        "SYS_PTRACE",
        "SYS_RAWIO",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "SYSLOG",
        "WAKE_ALARM",
    ]
)


def seconds(value: Any, low: int, high: int, default: int) -> int:
    """Return a duration such as 5s, 1m or 30 as whole seconds within what ECS takes."""
    if value in (None, ""):
        return default
    found = re.fullmatch(r"(\d+)(ms|s|m|h)?", str(value))
    if not found:
        raise WorkloadError(f"{value!r} is no duration such as 5s or 1m")
    factor = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, None: 1}[found[2]]
    return int(min(max(int(found[1]) * factor, low), high))


def megabytes(value: str) -> int:
    """Return a size such as 512m or 2g as MiB."""
    found = re.fullmatch(r"(\d+)([mg])i?b?", str(value).lower())
    if not found:
        raise WorkloadError(f"{value!r} is no size such as 512m or 2g")
    return int(found[1]) * (1024 if found[2] == "g" else 1)


def mounts(volumes: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return ECS's volumes and mount points of mounts in Docker's notation.

    A named volume is shared and made on demand under its own name, so that it is the very volume that Docker would use.
    """
    listed, points = [], []
    for mount in volumes:
        source, path, *options = mount.split(":")
        if source.startswith("/"):
            name = re.sub(r"[^A-Za-z0-9_-]+", "-", source).strip("-")
            volume: dict[str, Any] = {"name": name, "host": {"sourcePath": source}}
        else:
            name = source
            docker = {"scope": "shared", "autoprovision": True, "driver": "local"}
            volume = {"name": name, "dockerVolumeConfiguration": docker}
        if volume not in listed:
            listed.append(volume)
        points.append({"sourceVolume": name, "containerPath": path, "readOnly": options == ["ro"]})
    return listed, points


def port_mapping(published: str) -> dict[str, Any]:
    """Return ECS's mapping of a port that is published as [address:]host:container.

    ECS publishes at every address of the host: PortMapping has no field for one.
    """
    *ports, container = str(published).split(":")
    return {
        "hostPort": int(ports[-1] if ports else container),
        "containerPort": int(container),
        "protocol": "tcp",
    }


def linux_parameters(spec: dict[str, Any]) -> dict[str, Any]:
    """Return what the container may do of the kernel. There is no field for the number of processes: the agent's setting
    ECS_TASK_PIDS_LIMIT (role ecs-agent) bounds each task of the host.
    """
    kept = list(spec.get("capabilities") or [])
    if unknown := sorted(set(kept) - CAPABILITIES):
        raise WorkloadError(f"ECS has no capability {', '.join(unknown)}; it takes such as CHOWN")
    capabilities = {"drop": ["ALL"]} | ({"add": kept} if kept else {})
    made: dict[str, Any] = {
        "capabilities": capabilities,
        "initProcessEnabled": bool(spec.get("init")),
        "tmpfs": [
            {"containerPath": path, "size": megabytes(size)}
            for path, size in sorted((spec.get("tmpfs") or {}).items())
        ],
    }
    if spec.get("shm_size"):
        made["sharedMemorySize"] = megabytes(spec["shm_size"])
    return made


def container(
    name: str, spec: dict[str, Any], secrets: dict[str, str], log: dict[str, str]
) -> dict[str, Any]:
    """Return the container definition: spec has the role's variables, secrets the parameters' ARNs."""
    _, points = mounts(spec.get("volumes") or [])
    made: dict[str, Any] = {
        "name": name,
        "image": spec["image"],
        "essential": True,
        "environment": [
            {"name": key, "value": str(value)} for key, value in sorted((spec.get("env") or {}).items())
        ],
        "secrets": [{"name": key, "valueFrom": arn} for key, arn in sorted(secrets.items())],
        "portMappings": [port_mapping(port) for port in spec.get("ports") or []],
        "mountPoints": points,
        "linuxParameters": linux_parameters(spec),
        "dockerSecurityOptions": ["no-new-privileges"],
        "readonlyRootFilesystem": bool(spec.get("read_only", True)),
        "stopTimeout": min(int(spec.get("stop_timeout") or 30), 120),
        "dockerLabels": {key: str(value) for key, value in (spec.get("labels") or {}).items()},
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": log["group"],
                "awslogs-region": log["region"],
                "awslogs-stream-prefix": name,
            },
        },
    }
    if spec.get("command"):
        made["command"] = [str(word) for word in spec["command"]]
    if spec.get("user"):
        made["user"] = str(spec["user"])
    if spec.get("dns"):
        made["dnsServers"] = list(spec["dns"])
    if spec.get("hosts"):
        made["extraHosts"] = [
            {"hostname": name, "ipAddress": address} for name, address in sorted(spec["hosts"].items())
        ]
    # ECS wants one of the two: a limit where there is one, else what the container is sure to need.
    if spec.get("memory"):
        made["memory"] = megabytes(spec["memory"])
    else:
        made["memoryReservation"] = 128
    health = spec.get("health") or {}
    if health:
        test = health["test"]
        made["healthCheck"] = {
            "command": list(test) if isinstance(test, list) else ["CMD-SHELL", test],
            "interval": seconds(health.get("interval"), 5, 300, 30),
            "timeout": seconds(health.get("timeout"), 2, 60, 5),
            "retries": min(max(int(health.get("retries") or 3), 1), 10),
            "startPeriod": seconds(health.get("start_period"), 0, 300, 0),
        }
    return made


def definition(
    family: str, name: str, params: dict[str, Any], secrets: dict[str, str], region: str
) -> dict[str, Any]:
    """Return the task definition as it is registered, without tags and roles."""
    spec = params["spec"]
    volumes, _ = mounts(spec.get("volumes") or [])
    placement = params["placement"]
    return {
        "family": family,
        "networkMode": "bridge",
        "requiresCompatibilities": ["EC2"],
        "placementConstraints": [{"type": "memberOf", "expression": placement}] if placement else [],
        "volumes": volumes,
        "containerDefinitions": [
            container(name, spec, secrets, {"group": params["log_group"], "region": region})
        ],
    }


def digest(made: dict[str, Any]) -> str:
    """Return a short hash of a task definition."""
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:32]
