"""Nothing is lost: whatever is killed at whatever moment, the next sync makes RAW equal to PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from retailflow_emulators.airbyte.connectors import Connector
from retailflow_emulators.airbyte.credentials import Credentials
from retailflow_emulators.ports import free_port

from .conftest import (
    HERE,
    SOURCE_PATH,
    Client,
    Postgres,
    PostgresServer,
    Snowflake,
    children,
    wait_for,
)
from .shop import Shop

SEEDS = 12
VICTIMS = ("source read", "destination write", "server", "postgres")


class Airbyte:
    """Embedded Airbyte in its own process, with connectors that save often."""

    def __init__(self, folder: Path, forked: str) -> None:
        self._port = free_port()
        self._log = folder / "log"
        self._environment = {
            **os.environ,
            "PYTHONPATH": SOURCE_PATH,
            "EMBEDDED_AIRBYTE_HOST": "127.0.0.1",
            "EMBEDDED_AIRBYTE_PORT": str(self._port),
            "EMBEDDED_AIRBYTE_DATA_DIR": str(folder / "data"),
            "EMBEDDED_AIRBYTE_RETRY_DELAY": "1",
            "FORKED": forked,
            "EMBEDDED_AIRBYTE_TOKEN_LIFETIME": "86400",
        }
        self.start()
        self.client = Client(f"http://127.0.0.1:{self._port}", Credentials.read(folder / "data"))

    def start(self) -> None:
        command = [sys.executable, str(HERE / "stepwise.py")]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
        url = f"http://127.0.0.1:{self._port}/api/public/v1/health"
        wait_for(lambda: httpx.get(url).is_success)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def connector(self, command: str) -> int | None:
        """The process that runs this command of a connector, if there is one."""
        found = children(self._process.pid).items()
        return next((pid for pid, line in found if f"stepwise-{command} " in line), None)


@pytest.fixture(scope="module")
def airbyte(tmp_path_factory: pytest.TempPathFactory, forked: Sequence[Connector]) -> Iterator[Airbyte]:
    server = Airbyte(tmp_path_factory.mktemp("airbyte"), forked[0].command[-2])
    yield server
    server.client.http.close()
    server.kill()


@pytest.fixture(scope="module", params=[False, True], ids=["hard", "soft"])
def shop(
    airbyte: Airbyte, postgres_server: PostgresServer, warehouse: Snowflake, request: pytest.FixtureRequest
) -> Shop:
    name = f"killed_{'soft' if request.param else 'hard'}"
    postgres_server.execute(f"create database {name}")
    own = Postgres(postgres_server.port)
    own.database = name
    shop = Shop(airbyte.client, own, warehouse, name.upper(), soft=request.param)
    shop.insert(1, 3000)
    return shop


def change(shop: Shop, chance: random.Random) -> None:
    (newest,) = shop.postgres.execute("select max(order_id) from sales")[0]
    shop.insert(newest + 1, newest + chance.randrange(1, 800))
    share, kept = chance.randrange(3, 40), chance.randrange(3)
    shop.postgres.execute(
        f"update sales set price = price + 1, ok = not ok where order_id % {share} = {kept}"
    )
    shop.postgres.execute(
        f"delete from sales where order_id % {chance.randrange(7, 60)} = {chance.randrange(7)}"
    )


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_kill_anything_any_time(
    airbyte: Airbyte, postgres_server: PostgresServer, shop: Shop, seed: int
) -> None:
    chance = random.Random(f"{seed} {shop.soft}")
    change(shop, chance)
    job = airbyte.client.start(shop.connection, chance.choice(["sync", "sync", "refresh"]))
    victim = VICTIMS[seed % len(VICTIMS)]
    if victim in ("source read", "destination write"):
        pid = wait_for(lambda: airbyte.connector(victim) or airbyte.client.over(job))
        time.sleep(chance.uniform(0, 2))
        if isinstance(pid, int):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    else:
        time.sleep(chance.uniform(0, 2))
        server: Any = airbyte if victim == "server" else postgres_server
        server.kill()
        server.start()
    change(shop, chance)
    airbyte.client.ended(job)
    shop.sync()
    shop.assert_equal()
    tables = shop.warehouse.query(
        f"select table_name from RAW.information_schema.tables where table_schema = '{shop.schema}'"
    )
    assert tables == [("SALES",)], "nothing is left behind"
