"""After the removal."""

from __future__ import annotations

from typing import Any


def test_no_part_of_it_is_left(host: Any) -> None:
    assert not [
        name for name in host.check_output("docker ps -a --format '{{.Names}}'").split() if "dagster" in name
    ]
    assert "dagster-data" not in host.check_output("docker volume ls -q").split()
    assert "dagster-dbt" not in host.check_output("docker images --format '{{.Repository}}'")
    assert not host.file("/etc/retailflow/dagster").exists
