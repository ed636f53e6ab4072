"""Nothing is left after the removal."""

from __future__ import annotations

from typing import Any


def test_nothing_is_left(host: Any) -> None:
    for kind in ("ps --all", "volume ls", "images"):
        assert host.check_output(f"docker {kind} --quiet") == "", kind
    networks = host.check_output("docker network ls --format '{{.Name}}'").split()
    assert sorted(networks) == ["bridge", "host", "none"]
    assert not host.file("/etc/docker/daemon.json").exists
    assert not host.file("/etc/systemd/system/docker.service.d").exists
    assert not host.file("/etc/ecs").exists
    assert not host.file("/usr/local/bin/docker").exists
    assert not host.package("amazon-ecs-init").is_installed
    assert host.run("systemctl is-active ecs.service").stdout.strip() != "active"
    assert host.check_output("find /etc -name '*retailflow*'") == ""
