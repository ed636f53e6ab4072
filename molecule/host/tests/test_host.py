"""What services and people get from docker-engine, container-service and ecs-agent."""

from __future__ import annotations

import json
from typing import Any


def inspect(host: Any, template: str) -> Any:
    return json.loads(host.check_output("docker inspect --format %s probe", "{{json " + template + "}}"))


def test_the_engine_is_configured(host: Any) -> None:
    info = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert info["LiveRestoreEnabled"] is True
    assert "registry.example.internal:5000" in info["RegistryConfig"]["IndexConfigs"]
    assert host.service("docker").is_enabled


def test_packets_of_services_fit_the_network(host: Any) -> None:
    assert host.check_output("docker exec probe cat /sys/class/net/eth0/mtu") == "1400"
    assert list(inspect(host, ".NetworkSettings.Networks")) == ["retailflow"]


def test_the_service_is_healthy_and_has_its_environment(host: Any) -> None:
    assert inspect(host, ".State.Health.Status") == "healthy"
    assert host.check_output("docker exec probe sh -c 'echo $GREETING $TOKEN'") == "hello never-printed"


def test_the_service_has_no_capability_and_gains_none(host: Any) -> None:
    status = dict(
        line.split(":\t", 1)
        for line in host.check_output("docker exec probe cat /proc/self/status").splitlines()
        if ":\t" in line
    )
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert host.check_output("docker exec probe id -u") == "65534"


def test_the_service_writes_to_its_volumes_and_its_memory_alone(host: Any) -> None:
    for path in ("/mark", "/var/tmp/mark", "/run/mark"):
        refused = host.run(f"docker exec --user root probe touch {path}")
        assert "Read-only file system" in refused.stderr, path
    assert host.run("docker exec probe touch /tmp/mark").rc == 0
    filled = host.run("docker exec probe dd if=/dev/zero of=/tmp/full bs=1M count=5 status=none")
    assert "No space left on device" in filled.stderr
    host.check_output("docker exec probe rm /tmp/full")


def test_the_service_is_bounded(host: Any) -> None:
    assert inspect(host, ".HostConfig.Memory") == 64 << 20
    forks = "for i in $(seq 30); do sleep 3 & done; wait"
    assert "fork" in host.run(f"docker exec probe bash -c '{forks}'").stderr
    assert host.run("docker exec probe true").rc == 0, "and lives"


def test_the_init_process_reaps_what_others_leave(host: Any) -> None:
    host.check_output("docker exec probe sh -c '(sleep 0.1 &) ; exit 0'")
    defunct = "sleep 0.5; grep -l 'State:.Z' /proc/[0-9]*/status"
    assert host.run(f'docker exec probe sh -c "{defunct}"').stdout == ""


def test_the_log_is_rotated(host: Any) -> None:
    assert inspect(host, ".HostConfig.LogConfig.Config") == {"max-size": "10m", "max-file": "3"}


def test_the_service_returns_when_it_dies_and_survives_a_restart_of_the_engine(host: Any) -> None:
    pid = inspect(host, ".State.Pid")
    host.check_output(f"kill -KILL {pid}")
    assert host.run("timeout 20 sh -c 'until docker exec probe true 2>/dev/null; do sleep 0.2; done'").rc == 0
    pid = inspect(host, ".State.Pid")
    host.check_output("systemctl restart docker")
    assert inspect(host, ".State.Pid") == pid


def test_services_go_on_while_the_engine_crashes_again_and_again(host: Any) -> None:
    pid = inspect(host, ".State.Pid")
    for _ in range(4):  # the package's own unit would give up after three
        host.check_output("kill -KILL $(pidof dockerd)")
        assert host.run("timeout 30 sh -c 'until docker info > /dev/null 2>&1; do sleep 0.2; done'").rc == 0
    assert inspect(host, ".State.Pid") == pid


def test_what_is_ours_is_marked(host: Any) -> None:
    assert host.check_output("docker ps --quiet --filter label=retailflow.site=retailflow") != ""
    assert host.check_output("docker network ls --quiet --filter label=retailflow.site=retailflow") != ""


def test_the_ecs_agent_would_join_its_cluster_with_its_role(host: Any) -> None:
    config = host.file("/etc/ecs/ecs.config")
    settings = dict(line.split("=", 1) for line in config.content_string.splitlines())
    assert settings["ECS_CLUSTER"] == "shop"
    assert json.loads(settings["ECS_INSTANCE_ATTRIBUTES"]) == {"role": "probe"}
    assert json.loads(settings["ECS_AVAILABLE_LOGGING_DRIVERS"]) == ["json-file", "awslogs"]
    assert settings["ECS_DISABLE_PRIVILEGED"] == "true"
    assert config.mode == 0o600


def test_a_container_of_ecs_is_found_by_the_name_of_its_service(host: Any) -> None:
    label = "com.amazonaws.ecs.container-name=shop-page"
    run = f"docker run --detach --name ecs-shop-1-shop-page-c0ffee --label {label} --stop-timeout 1"
    host.check_output(f"{run} retailflow/base:latest sleep infinity")
    try:
        assert host.check_output("docker exec shop-page cat /proc/1/comm") == "sleep"
        assert host.check_output("docker exec probe cat /proc/1/comm") != "", "and others as before"
        assert "shop-page" not in host.check_output(
            "docker ps --format '{{.Names}}' --filter name=^shop-page$"
        )
    finally:
        host.check_output("docker rm --force ecs-shop-1-shop-page-c0ffee")
