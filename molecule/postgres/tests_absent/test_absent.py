"""Nothing is left after the removal with postgres_remove_data."""

from __future__ import annotations

from typing import Any


def test_nothing_is_left(host: Any) -> None:
    assert host.check_output("docker ps --all --quiet") == ""
    assert host.check_output("docker volume ls --quiet") == ""
    assert host.check_output("docker images --quiet") == ""
    assert not host.file("/var/lib/retailflow/postgres").exists
    assert "retailflow_admin" not in host.run("cat /root/.pgpass").stdout
    assert host.run("psql -w -h localhost -U retailflow_admin -c 'select 1'").rc != 0
