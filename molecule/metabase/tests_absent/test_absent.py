"""Nothing is left after the removal with metabase_remove_data, and its neighbours are untouched."""

from __future__ import annotations

from typing import Any


def test_nothing_is_left(host: Any) -> None:
    names = host.check_output("docker ps --all --format '{{.Names}}'").split()
    assert sorted(names) == ["postgres", "snowflake"]
    assert "metabase" not in host.check_output("docker volume ls --quiet")
    assert not host.file("/var/lib/retailflow/metabase").exists
    assert not host.socket("tcp://0.0.0.0:3000").is_listening
