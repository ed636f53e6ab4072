"""From a definition to the engine's request."""

from __future__ import annotations

from typing import Any

import pytest

from retailflow_emulators.ecs_agent import containers
from retailflow_emulators.ecs_agent.engine import split
from retailflow_emulators.ecs_agent.settings import Settings
from retailflow_emulators.ecs_agent.state import Task

from .conftest import Host, container, wanted

FULL = container(
    cpu=256,
    memory=512,
    memoryReservation=256,
    command=["serve"],
    entryPoint=["/init"],
    user="10001",
    portMappings=[
        {"containerPort": 80, "hostPort": 8080},
        {"containerPort": 53, "protocol": "udp"},
    ],
    linuxParameters={
        "capabilities": {"add": ["CHOWN"], "drop": ["ALL"]},
        "initProcessEnabled": True,
        "sharedMemorySize": 64,
        "tmpfs": [{"containerPath": "/tmp", "size": 16, "mountOptions": ["noexec"]}],
    },
    ulimits=[{"name": "nofile", "softLimit": 10, "hardLimit": 20}],
    dockerLabels={"a": "b"},
    dockerSecurityOptions=["no-new-privileges"],
    readonlyRootFilesystem=True,
    extraHosts=[{"hostname": "db", "ipAddress": "10.0.0.1"}],
    dnsServers=["10.0.0.2"],
    healthCheck={"command": ["CMD-SHELL", "true"], "interval": 5, "startPeriod": 1},
    stopTimeout=120,
)


def request(host: Host, *parts: dict[str, Any], overrides: Any = None, **definition: Any) -> dict[str, Any]:
    task = Task.given(wanted(1, *parts, definition=definition, overrides=overrides or {}), 0)
    planned = containers.plan(task, host.settings)
    return containers.request(task, planned[0], {"A": "1"}, host.settings)


def test_every_setting_of_a_container_arrives(host: Host) -> None:
    made = request(host, FULL)
    assert made["HostConfig"] == {
        "NetworkMode": "bridge",
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        "RestartPolicy": {"Name": "no"},
        "Memory": 512 * 2**20,
        "MemoryReservation": 256 * 2**20,
        "CpuShares": 256,
        "PidsLimit": None,
        "Binds": [],
        "PortBindings": {"80/tcp": [{"HostPort": "8080"}], "53/udp": [{"HostPort": "0"}]},
        "ExtraHosts": ["db:10.0.0.1"],
        "Dns": ["10.0.0.2"],
        "CapAdd": ["CHOWN"],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "Init": True,
        "Tmpfs": {"/tmp": "noexec,size=16m"},
        "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}],
        "ShmSize": 64 * 2**20,
    }
    assert made["Healthcheck"] == {
        "Test": ["CMD-SHELL", "true"],
        "Interval": 5 * 10**9,
        "Timeout": 5 * 10**9,
        "Retries": 3,
        "StartPeriod": 10**9,
    }
    assert (made["Cmd"], made["Entrypoint"], made["User"], made["StopTimeout"]) == (
        ["serve"], ["/init"], "10001", 120,
    )  # fmt: skip
    assert made["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}}
    assert made["Labels"]["a"] == "b" and made["Labels"]["com.amazonaws.ecs.container-name"] == "db"


def test_what_is_not_said_has_the_agents_defaults(host: Host) -> None:
    made = request(host, container(memory=None, memoryReservation=64, healthCheck={}, stopTimeout=None))
    assert made["StopTimeout"] == 30 and "Healthcheck" not in made and "Cmd" not in made
    assert made["HostConfig"]["CpuShares"] == 2 and made["HostConfig"]["Memory"] == 0


def test_the_hosts_network_publishes_nothing(host: Host) -> None:
    made = request(host, FULL, networkMode="host")
    assert made["HostConfig"]["NetworkMode"] == "host"
    assert made["HostConfig"]["PortBindings"] == {} == made["ExposedPorts"]


def test_overrides_win_by_container(host: Host) -> None:
    changes = {"containerOverrides": [{"name": "db", "command": ["run"], "memory": 1024, "cpu": 4}]}
    made = request(host, FULL, overrides=changes)
    assert made["Cmd"] == ["run"] and made["HostConfig"]["Memory"] == 1024 * 2**20
    values = [{"name": "db", "environment": [{"name": "A", "value": "2"}]}]
    task = Task.given(
        wanted(
            1, container(environment=[{"name": "A", "value": "1"}]), overrides={"containerOverrides": values}
        ),
        0,
    )
    assert containers.plan(task, host.settings)[0]["environment"] == [{"name": "A", "value": "2"}]
    changes["containerOverrides"][0]["resourceRequirements"] = [{"type": "GPU", "value": "1"}]
    with pytest.raises(containers.NotEmulatedError, match="resourceRequirements"):
        request(host, FULL, overrides=changes)


def test_the_limits_of_a_task_are_those_of_its_one_container(host: Host) -> None:
    made = request(host, container(memory=None), cpu="512", memory="1 GB")
    assert made["HostConfig"]["Memory"] == 1024 * 2**20
    assert made["HostConfig"]["CpuQuota"] == 50_000
    made = request(host, container(memory=None), cpu="256", overrides={"cpu": "1 vCPU", "memory": "2048"})
    assert made["HostConfig"]["Memory"] == 2048 * 2**20 and made["HostConfig"]["CpuQuota"] == 100_000
    with pytest.raises(containers.NotEmulatedError, match="several containers"):
        request(host, container(), container("b"), memory="512")


def test_the_limit_of_processes_is_the_hosts(host: Host) -> None:
    host.restart(pids_limit=100)
    assert request(host)["HostConfig"]["PidsLimit"] == 100


def test_a_log_driver_that_the_host_does_not_offer_is_refused(host: Host) -> None:
    host.restart(logging_drivers=("json-file",))
    with pytest.raises(
        containers.NotEmulatedError, match="awslogs, which ECS_AVAILABLE_LOGGING_DRIVERS lacks"
    ):
        request(host, container(logConfiguration={"logDriver": "awslogs", "options": {}}))


def test_names_have_only_what_docker_takes() -> None:
    task = Task.given(wanted(1, definition={"family": "a b/c"}), 0)
    assert containers.container_name(task, "d:e").startswith("ecs-abc-7-de-")


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("postgres", ("postgres", "latest")),
        ("postgres:15", ("postgres", "15")),
        ("host:5000/a/b", ("host:5000/a/b", "latest")),
        ("host:5000/a/b:2", ("host:5000/a/b", "2")),
        ("host:5000/a@sha256:00", ("host:5000/a", "sha256:00")),
    ],
)
def test_images_are_read_as_docker_reads_them(image: str, parts: tuple[str, str]) -> None:
    assert split(image) == parts


def test_settings_hide_the_secret_key(host: Host) -> None:
    assert isinstance(host.settings, Settings) and "none" not in repr(host.settings)
