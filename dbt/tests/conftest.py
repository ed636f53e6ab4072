"""An emulated Snowflake for the tests of a module, with empty RAW tables; dbt is sent to it where a test says `connected`.

The dbt project is parsed before any test imports the definitions, which read what the parse wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import dbt_support
from raw_support import RAW
from retailflow_emulators.snowflake.testing import (
    ACCOUNT,
    EmulatedSnowflake,
    authority,
    emulated_snowflake,
    private_key,
)

KEY = private_key()
# What roles/snowflake grants to the role of dbt.
GRANTS = (
    "usage on database RAW",
    "usage on schema RAW.RETAIL",
    "select on all tables in schema RAW.RETAIL",
    "select on future tables in schema RAW.RETAIL",
    "usage on database ANALYTICS",
    "create schema on database ANALYTICS",
)

dbt_support.manifest()


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedSnowflake]:
    with emulated_snowflake(tmp_path_factory.mktemp("snowflake")) as made:
        for statement in (
            "create database RAW",
            "create schema RAW.RETAIL",
            "create database ANALYTICS",
            *RAW,
        ):
            made.query(statement)
        made.add_user("DBT", "TRANSFORMER", *GRANTS, key=KEY, warehouse="TRANSFORMING")
        yield made


@pytest.fixture
def connected(
    warehouse: EmulatedSnowflake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> EmulatedSnowflake:
    (tmp_path / "key.p8").write_text(KEY)
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT", ACCOUNT)
    monkeypatch.setenv("SNOWFLAKE_HOST", "127.0.0.1")
    monkeypatch.setenv("SNOWFLAKE_PORT", str(warehouse.port))
    monkeypatch.setenv("SNOWFLAKE_AUTHORITY", authority().read_text())
    monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY_PATH", str(tmp_path / "key.p8"))
    return warehouse
