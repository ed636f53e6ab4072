"""The emulated Snowflake through Snowflake's own connector, as a process on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet
import pytest
import snowflake.connector
from starlette.responses import JSONResponse

from retailflow_emulators.ports import free_port
from retailflow_emulators.snowflake import statements
from retailflow_emulators.snowflake.databases import RESULTS_KEPT, RecentResults
from retailflow_emulators.snowflake.server import REST_SECONDS
from retailflow_emulators.snowflake.settings import Settings
from retailflow_emulators.snowflake.statements import ANSWERS_KEPT, Statements
from retailflow_emulators.snowflake.testing import (
    ACCOUNT,
    ADMINISTRATOR,
    PASSWORD,
    EmulatedSnowflake,
    certificate,
    trust,
)

PATIENCE = 0.1  # seconds
SLOW = "select count(*) from table(generator(rowcount => 150000000)) where mod(seq4(), 7) = 3"  # about 1 s
ENDLESS = SLOW.replace("150", "150000000")


class Server(EmulatedSnowflake):
    """A server that is impatient, with sessions as functions."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, patience_seconds=PATIENCE, lock_seconds=0.3)

    @contextlib.contextmanager
    def session(self, **login: Any) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
        """A logged-in session as a function from SQL to rows."""
        with self.connect(**{"network_timeout": 60, **login}) as connection:

            def run(sql: str, *params: Any, timeout: int | None = None) -> list[tuple[Any, ...]]:
                cursor = connection.cursor()
                cursor.execute(sql, params or None, timeout=timeout)
                return [tuple(row) for row in cursor.fetchall()]

            yield run


class Client:
    """A session that sends single requests."""

    def __init__(self, server: Server) -> None:
        self._http = httpx.Client(base_url=server.url, timeout=60, verify=trust())
        data = {"ACCOUNT_NAME": ACCOUNT, "LOGIN_NAME": ADMINISTRATOR, "PASSWORD": PASSWORD}
        login = self._http.post("/session/v1/login-request", json={"data": data})
        self._http.headers["Authorization"] = f'Snowflake Token="{login.json()["data"]["token"]}"'

    def send(self, sql: str, request_id: str) -> dict[str, Any]:
        answer = self._http.post(f"/queries/v1/query-request?requestId={request_id}", json={"sqlText": sql})
        found: dict[str, Any] = answer.json()
        return found

    def result(self, request_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get(f"/queries/{request_id}/result").json()
        return found

    def close(self) -> None:
        self._http.post("/session?delete=true")


def wait_until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("snowflake"))
    server.start()
    yield server
    assert server.stop(signal.SIGINT) == 0


def fill(server: Server) -> None:
    with server.session() as run:
        run("create database if not exists RAW")
        run("create database if not exists ANALYTICS")
        run("create schema if not exists RAW.RETAIL")
        run("create schema if not exists ANALYTICS.MARTS")
        run(
            "create or replace table RAW.RETAIL.SALES (ID number(38,0), CITY varchar(40), PRICE number(10,2))"
        )
        run("insert into RAW.RETAIL.SALES values (1, 'Łódź', 10.50), (2, 'Kyoto', 7.25)")
        run(
            "create or replace view ANALYTICS.MARTS.REVENUE as select sum(PRICE) as TOTAL from RAW.RETAIL.SALES"
        )
        run("create or replace table RAW.RETAIL.COPY_OF as select * from RAW.RETAIL.SALES")
        run("alter table RAW.RETAIL.COPY_OF add column SEEN boolean")


# A signal that comes before uvicorn's own handlers.
SIGNALLED = """
import signal, sys, uvicorn
from retailflow_emulators.snowflake import server

class Signalled(uvicorn.Server):
    def run(self):
        signal.raise_signal(signal.SIGTERM)
        super().run()

uvicorn.Server = Signalled
sys.exit(server.main())
"""


def test_a_signal_during_the_start_stops_it(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    settings = {
        "EMULATED_SNOWFLAKE_HOST": "127.0.0.1",
        "EMULATED_SNOWFLAKE_PORT": str(free_port()),
        "EMULATED_SNOWFLAKE_DATA": str(tmp_path),
        "EMULATED_SNOWFLAKE_CERTIFICATE_FILE": str(certificate()),
        "EMULATED_SNOWFLAKE_ACCOUNT": ACCOUNT,
        "EMULATED_SNOWFLAKE_ADMIN_USER": ADMINISTRATOR,
        "EMULATED_SNOWFLAKE_ADMIN_PASSWORD_FILE": str(password),
    }
    command = [sys.executable, "-c", SIGNALLED]
    assert subprocess.run(command, env=os.environ | settings, check=False, timeout=120).returncode == 0


def test_rows_survive_stops_and_kills(server: Server) -> None:
    """Kill without a checkpoint, stop cleanly, then kill with a log on top of a checkpoint."""
    fill(server)
    assert (server.data / "RAW.db.wal").exists()
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    server.start()
    with server.session() as run:
        assert run("select * from RAW.RETAIL.SALES order by ID")[0][:2] == (1, "Łódź")
        assert run("select TOTAL from ANALYTICS.MARTS.REVENUE") == [(17.75,)]
        assert run("select count(*) from RAW.RETAIL.COPY_OF where SEEN is null") == [(2,)]

    assert Client(server).send(ENDLESS, "left-behind")["code"] == "333333"
    assert server.stop(signal.SIGTERM) == 0
    assert not list(server.data.glob("*.wal")), "a clean stop folds the logs into the databases"
    server.start()
    with server.session() as run:
        run("update RAW.RETAIL.SALES set PRICE = 100 where ID = 1")
        run("insert into RAW.RETAIL.SALES values (3, 'Quito', 1)")
        run("delete from RAW.RETAIL.SALES where ID = 2")
        run("begin")
        run("insert into RAW.RETAIL.SALES values (9, 'Uncommitted', 1)")
        server.stop(signal.SIGKILL)
        server.start()
    with server.session() as run:
        assert run("select ID, PRICE from RAW.RETAIL.SALES order by ID") == [(1, 100), (3, 1)]


def test_logs_are_folded_away_at_rest(server: Server) -> None:
    """And no open transaction is lost to it: what it needs of the log stays."""
    fill(server)
    log = server.data / "RAW.db.wal"
    with server.session() as run, server.session() as other:
        run("begin")
        run("insert into RAW.RETAIL.SALES values (4, 'Lima', 1)")
        other("create or replace table RAW.RETAIL.OTHER as select 1 as ID")
        time.sleep(REST_SECONDS + 1)
        assert log.exists()
        run("commit")
        assert run("select count(*) from RAW.RETAIL.SALES") == [(3,)]
        wait_until(lambda: not log.exists(), "the log is still there")
        assert run("select count(*) from RAW.RETAIL.SALES") == [(3,)]


def test_key_pair_login(server: Server) -> None:
    fill(server)
    key = server.add_user(
        "DBT",
        "TRANSFORMER",
        "usage on database ANALYTICS",
        "usage on schema ANALYTICS.MARTS",
        "select on view ANALYTICS.MARTS.REVENUE",
        warehouse="TRANSFORMING",
    )
    place = {"role": "TRANSFORMER", "warehouse": "TRANSFORMING", "database": "ANALYTICS", "schema": "MARTS"}
    with server.session(**server.login_of("DBT", key), **place) as run:
        assert run("select TOTAL from REVENUE") == [(17.75,)]


def test_a_login_makes_no_database(server: Server) -> None:
    with server.session(database="MISTYPED") as run:
        assert "MISTYPED" not in {row[1] for row in run("show databases")}
        assert not (server.data / "MISTYPED.db").exists()


def test_the_role_is_the_one_that_the_session_asked_for(server: Server) -> None:
    for role in ("REPORTER", "LOADER"):
        server.query(f"create role if not exists {role}")
        server.query(f"grant role {role} to user {ADMINISTRATOR}")
    with server.session(role="REPORTER") as one, server.session() as other:
        assert one("select current_role()") == [("REPORTER",)]
        assert other("select current_role()") == [("ACCOUNTADMIN",)]
        one("use role LOADER")
        assert one("select current_role() as R") == [("LOADER",)]
        assert other("select current_role()") == [("ACCOUNTADMIN",)]


def test_no_time_is_null(server: Server) -> None:
    fill(server)
    values = (
        "values ('1969-12-31 23:59:59.5'::{type}), (null::{type}), ('2026-11-24 08:00:00.000001'::{type})"
    )
    with server.session(database="RAW", schema="RETAIL") as run:
        for name in ("timestamp_ntz", "timestamp_tz"):
            found = [
                value and value.replace(tzinfo=None)
                for (value,) in run(f"select * from ({values.format(type=name)})")
            ]
            assert found == [
                datetime(1969, 12, 31, 23, 59, 59, 500000),
                None,
                datetime(2026, 11, 24, 8, 0, 0, 1),
            ]
        assert run("select null::timestamp_tz, 1") == [(None, 1)]


def test_a_copy_may_pick_columns_with_the_names_of_keywords(server: Server, tmp_path: Path) -> None:
    fill(server)
    table = pa.table({"AT": ["2026-11-24"], "ORDER": [7], "ELSE": ["é"]})
    pyarrow.parquet.write_table(table, tmp_path / "picked.parquet")
    with server.session(database="RAW", schema="RETAIL") as run:
        run('create or replace table RAW.RETAIL.PICKED ("ID" varchar, "ORDER" number, "AT" date)')
        run("create or replace stage RAW.RETAIL.PICKING")
        run(f"put 'file://{tmp_path}/picked.parquet' @RAW.RETAIL.PICKING auto_compress = false")
        run(
            'copy into RAW.RETAIL.PICKED ("ID", "ORDER", "AT") from (select uuid_string(), $1:"ORDER"::number(38,0), '
            '$1:"AT"::date from @RAW.RETAIL.PICKING/picked.parquet) file_format = (type = parquet)'
        )
        assert run('select length(ID), "ORDER", "AT"::varchar from RAW.RETAIL.PICKED') == [
            (36, 7, "2026-11-24")
        ]


def test_a_statement_that_cannot_run_fails_at_once_and_says_why(server: Server) -> None:
    fill(server)
    with server.session() as run:
        run("create or replace table RAW.RETAIL.STRICT (ID number not null)")
        started = time.monotonic()
        with pytest.raises(
            snowflake.connector.errors.IntegrityError, match="NULL result in a non-nullable column"
        ):
            run("insert into RAW.RETAIL.STRICT values (null)")
        assert time.monotonic() - started < 50, "clients retry what is no error of a statement for a minute"
        assert run("select count(*) from RAW.RETAIL.STRICT") == [(0,)]


def test_a_statement_that_takes_long_is_waited_for(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    fill(server)
    with server.session() as run:
        run("create or replace table RAW.RETAIL.STRICT (ID number not null)")
        caplog.set_level(logging.DEBUG, "snowflake.connector.network")
        ((rows,),) = run(SLOW)
        assert caplog.text.count("ping pong done") > 1
        caplog.clear()
        with pytest.raises(
            snowflake.connector.errors.IntegrityError, match="NULL result in a non-nullable column"
        ):
            run("insert into RAW.RETAIL.STRICT " + SLOW.replace("count(*)", f"nullif(count(*), {rows})"))
        assert caplog.text.count("ping pong done") > 1


def test_a_request_that_is_sent_again_runs_nothing_twice(server: Server) -> None:
    fill(server)
    client = Client(server)
    client.send("create or replace table RAW.RETAIL.ONCE (ID number)", "create")
    insert = "insert into RAW.RETAIL.ONCE " + SLOW
    first = client.send(insert, "again")
    assert first["data"] == {"getResultUrl": "/queries/again/result"}
    assert client.send(insert, "again") == first
    wait_until(lambda: client.result("again") != first, "the statement does not end")
    ended = client.result("again")
    assert ended["data"]["rowset"] == [["1"]]
    assert client.send(insert, "again") == ended
    with server.session() as run:
        assert run("select count(*) from RAW.RETAIL.ONCE") == [(1,)]

    other = Client(server)
    assert other.result("again")["message"] == "Statement again not found"
    assert other.send("select 1", "again") != ended


def test_a_statement_that_its_client_gave_up_is_stopped(server: Server) -> None:
    with server.session() as run:
        with pytest.raises(
            snowflake.connector.errors.ProgrammingError, match="cancelled by the client due to a timeout"
        ):
            run(ENDLESS, timeout=1)
        assert run("select 1") == [(1,)]


def test_a_session_takes_its_statements_with_it(server: Server) -> None:
    fill(server)
    client = Client(server)
    assert client.send("create table RAW.RETAIL.HELD as " + ENDLESS, "held")["code"] == "333333"
    with server.session() as run:

        def free() -> bool:
            try:
                return bool(run("create table RAW.RETAIL.HELD (ID number)"))
            except snowflake.connector.errors.ProgrammingError as error:
                assert "write-write conflict" in str(error)
                return False

        assert not free()
        client.close()
        assert client.result("held")["code"] == "390104"
        wait_until(free, "the statement still runs")


def test_a_dropped_database_is_gone_for_good(server: Server) -> None:
    with server.session() as run:
        run("create database if not exists SCRATCH")
        assert (server.data / "SCRATCH.db").exists()
        run("drop database if exists SCRATCH")
        run("drop database if exists SCRATCH")
        assert not list(server.data.glob("SCRATCH.*"))
        with pytest.raises(snowflake.connector.errors.ProgrammingError, match="does not exist"):
            run("drop database SCRATCH")
        run("create database SCRATCH")
        run('drop database "SCRATCH"')


def test_health_says_what_it_is(server: Server) -> None:
    assert "emulated" in httpx.get(f"{server.url}/health", verify=trust()).text


def test_only_recent_results_are_kept() -> None:
    results = RecentResults()
    for number in range(RESULTS_KEPT + 5):
        results[str(number)] = number
    assert list(results) == [str(number) for number in range(5, RESULTS_KEPT + 5)]


class Idle:
    """A connection on which nothing runs."""

    def interrupt(self) -> None: ...


def test_only_so_many_answers_are_kept_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(text: str) -> JSONResponse:
        return JSONResponse(text)

    async def kept(number: int, text: str) -> list[int]:
        known = Statements(patience=20)
        for one in range(number):
            await known.run("session", str(one), Idle(), answer(text))
        assert await known.wait("session", str(number - 1))
        await asyncio.sleep(0.05)
        return [one for one in range(number) if await known.wait("session", str(one))]

    assert asyncio.run(kept(ANSWERS_KEPT + 5, "")) == list(range(5, ANSWERS_KEPT + 5))
    monkeypatch.setattr(statements, "KEPT_BYTES", 1000)
    assert asyncio.run(kept(5, "x" * 300)) == [2, 3, 4]
    assert asyncio.run(kept(2, "x" * 1000)) == [1]
    monkeypatch.setattr(statements, "KEPT_SECONDS", 0.01)
    assert asyncio.run(kept(3, "")) == []


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"EMULATED_SNOWFLAKE_PORT": "eighty"}, "PORT must be a port number"),
        ({"EMULATED_SNOWFLAKE_PORT": "0"}, "PORT must be a port number"),
        ({"EMULATED_SNOWFLAKE_PATIENCE_SECONDS": "0"}, "PATIENCE_SECONDS must be seconds above 0"),
        ({"EMULATED_SNOWFLAKE_PATIENCE_SECONDS": "long"}, "PATIENCE_SECONDS must be seconds above 0"),
        ({"EMULATED_SNOWFLAKE_DATA": "/nowhere"}, "/nowhere is not a folder"),
        ({}, "EMULATED_SNOWFLAKE_ACCOUNT must be set"),
        ({"EMULATED_SNOWFLAKE_ACCOUNT": "a b"}, "EMULATED_SNOWFLAKE_ACCOUNT must be set to a plain name"),
        ({"EMULATED_SNOWFLAKE_ACCOUNT": "SHOP"}, "EMULATED_SNOWFLAKE_ADMIN_USER must be set"),
        (
            {"EMULATED_SNOWFLAKE_ACCOUNT": "SHOP", "EMULATED_SNOWFLAKE_ADMIN_USER": "A"},
            "EMULATED_SNOWFLAKE_ADMIN_PASSWORD_FILE must name a file",
        ),
        (
            {
                "EMULATED_SNOWFLAKE_ACCOUNT": "SHOP",
                "EMULATED_SNOWFLAKE_ADMIN_USER": "A",
                "EMULATED_SNOWFLAKE_ADMIN_PASSWORD_FILE": "/dev/null",
            },
            "the first line of /dev/null is empty",
        ),
        (
            {
                "EMULATED_SNOWFLAKE_ACCOUNT": "SHOP",
                "EMULATED_SNOWFLAKE_ADMIN_USER": "A",
                "EMULATED_SNOWFLAKE_ADMIN_PASSWORD_FILE": "/nowhere",
            },
            "cannot read /nowhere",
        ),
        (
            {
                "EMULATED_SNOWFLAKE_ACCOUNT": "SHOP",
                "EMULATED_SNOWFLAKE_ADMIN_USER": "A",
                "EMULATED_SNOWFLAKE_ADMIN_PASSWORD_FILE": __file__,
                "EMULATED_SNOWFLAKE_CERTIFICATE_FILE": "/nowhere",
            },
            "EMULATED_SNOWFLAKE_CERTIFICATE_FILE must name a file",
        ),
    ],
)
def test_bad_configuration_is_named(env: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        Settings.from_env({"EMULATED_SNOWFLAKE_DATA": str(tmp_path)} | env)
