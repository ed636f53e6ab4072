"""An emulated Snowflake of its own for each module that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from snowflake_shop import Shop

from retailflow_emulators.snowflake.testing import EmulatedSnowflake, emulated_snowflake

# Some forty servers start here. That one starts by itself is seen in every other room.
EmulatedSnowflake.forked = True


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedSnowflake]:
    """A server whose current database is DB, in the session of ``query``."""
    with emulated_snowflake(tmp_path_factory.mktemp("snowflake")) as server:
        server.query("create database DB")
        yield server


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A server with three users and what they made."""
    with emulated_snowflake(tmp_path_factory.mktemp("snowflake")) as server:
        yield Shop(server)
