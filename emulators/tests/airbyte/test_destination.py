"""What the destination asks Snowflake, without a Snowflake."""

from __future__ import annotations

from typing import Any

import pytest

from retailflow_emulators.airbyte.destination_snowflake.table import META_COLUMNS
from retailflow_emulators.airbyte.destination_snowflake.warehouse import Warehouse
from retailflow_emulators.airbyte.protocol import Stream

CONFIG = {
    "host": "127.0.0.1",
    "username": "AIRBYTE",
    "role": "LOADER",
    "warehouse": "LOADING",
    "database": "RAW",
    "schema": "SHOP",
    "credentials": {"auth_type": "Password", "password": "any"},
}


def stream(name: str) -> Stream:
    schema = {"properties": {"id": {"type": "integer"}}}
    entry = {
        "stream": {"name": name, "json_schema": schema},
        "sync_mode": "incremental",
        "destination_sync_mode": "append_dedup",
        "primary_key": [["id"]],
    }
    return Stream.from_catalog_entry(entry)


def test_what_a_schema_holds_is_asked_once_for_all_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog of many tables would ask for each of them, and Snowflake takes its time for the information schema."""
    asked: list[str] = []
    kept = {**dict.fromkeys(META_COLUMNS, "TEXT"), "ID": "NUMBER"}

    def query(_: Warehouse, statement: str, *parameters: str) -> list[tuple[Any, ...]]:
        asked.append(statement)
        if ".schemata " in statement:
            return [(1,)]
        return [("KEPT", *column) for column in kept.items()] if ".columns " in statement else []

    monkeypatch.setattr(Warehouse, "query", query)
    warehouse = Warehouse(CONFIG)
    for name in ("kept", *(f"made_{number}" for number in range(50))):
        warehouse.prepare(stream(name))
    assert len([one for one in asked if "information_schema" in one]) == 2
    made = [one for one in asked if one.startswith("create table")]
    assert len(made) == 50 and not any("KEPT" in one for one in made)
