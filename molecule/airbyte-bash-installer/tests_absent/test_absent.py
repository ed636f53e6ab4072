"""After the removal."""

from __future__ import annotations

from typing import Any


def test_no_part_of_it_is_left(host: Any) -> None:
    assert "airbyte" not in host.check_output("docker ps -a --format '{{.Names}}'").split()
    assert "airbyte-data" not in host.check_output("docker volume ls -q").split()
    assert not host.file("/opt/airbyte").exists
    assert not host.file("/var/lib/retailflow/airbyte").exists
