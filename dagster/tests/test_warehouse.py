"""A warehouse that fails under dbt: the run ends in time and says why, the marts stay, the next run repairs.

The production step runs real dbt, on a project of two models, against the emulated Snowflake behind a door that
can be told to answer HTTP 500 or nothing at all.
"""

from __future__ import annotations

import gzip
import http.client
import importlib.util
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

import dbt_support
from retailflow_dagster.lib import dbt as dbt_lib
from retailflow_emulators.snowflake.testing import (
    ACCOUNT,
    EmulatedSnowflake,
    authority,
    certificate,
    emulated_snowflake,
    trust,
)

STAGING = "select order_id, quantity from RAW.RETAIL.SALES"
FACTS = "select order_id, quantity from {{ ref('stg_sales') }}"
PROJECT: dict[str, Any] = {
    "name": "retailflow",
    "profile": "retailflow",
    "flags": {"send_anonymous_usage_stats": False},
    "models": {
        "retailflow": {
            "stg_sales": {"+materialized": "view", "+schema": "STAGING"},
            "fct_sales": {"+materialized": "table", "+schema": "MARTS"},
        }
    },
}
TESTS = {"models": [{"name": "stg_sales", "columns": [{"name": "quantity", "data_tests": ["not_null"]}]}]}


class Door:
    """Stands before the emulated Snowflake. `answer` says what becomes of a request that holds `word`."""

    def __init__(self, behind: int) -> None:
        self.answer, self.word = "pass", ""
        self.touched, self.released = threading.Event(), threading.Event()
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                text = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
                if door.answer != "pass" and door.word in text.decode().lower():
                    door.touched.set()
                    if door.answer == "hang":
                        door.released.wait(120)
                    return self._say(500, b"{}", {})
                link = http.client.HTTPSConnection("127.0.0.1", behind, timeout=60, context=trust())
                link.request(self.command, self.path, body, dict(self.headers))
                answer = link.getresponse()
                return self._say(answer.status, answer.read(), dict(answer.headers))

            do_GET = do_POST = _serve

            def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() in ("content-type", "content-encoding"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """Clients that are killed leave broken pipes."""

        self.server = Server(("127.0.0.1", 0), Handler)
        shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        shown.load_cert_chain(certificate())
        self.server.socket = shown.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def shut(self, answer: str, word: str) -> None:
        self.touched.clear()
        self.answer, self.word = answer, word

    def open(self) -> None:
        self.answer = "pass"
        self.released.set()


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedSnowflake]:
    with emulated_snowflake(tmp_path_factory.mktemp("snowflake")) as made:
        yield made


@pytest.mark.timeout(600)
def test_a_warehouse_that_fails_ends_the_run_leaves_the_marts_and_the_next_run_repairs(
    warehouse: EmulatedSnowflake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = warehouse.query
    for statement in (
        "create database RAW",
        "create schema RAW.RETAIL",
        "create table RAW.RETAIL.SALES (ORDER_ID number(38, 0), QUANTITY number(38, 0))",
        "insert into RAW.RETAIL.SALES values (1, 10), (2, 20)",
        "create database ANALYTICS",
        "create schema ANALYTICS.MARTS",
        "create table ANALYTICS.MARTS.FCT_SALES as select * from RAW.RETAIL.SALES",
        "insert into RAW.RETAIL.SALES values (3, 30)",
    ):
        query(statement)
    grants = ("usage on database RAW", "usage on schema RAW.RETAIL", "select on table RAW.RETAIL.SALES")
    grants += ("usage on database ANALYTICS", "create schema on database ANALYTICS")
    grants += ("ownership on schema ANALYTICS.MARTS", "ownership on table ANALYTICS.MARTS.FCT_SALES")
    key = warehouse.add_user("DBT", "TRANSFORMER", *grants, warehouse="TRANSFORMING")
    mart = "select order_id from ANALYTICS.MARTS.FCT_SALES order by order_id"
    before = [(1,), (2,)]
    assert query(mart) == before

    door = Door(warehouse.port)
    project = tmp_path / "dbt"
    shutil.copytree(dbt_support.PROJECT / "macros", project / "macros")
    (project / "models").mkdir()
    for name, text in {
        "dbt_project.yml": yaml.safe_dump(PROJECT),
        "models/stg_sales.sql": STAGING,
        "models/fct_sales.sql": FACTS,
        "models/stg_sales.yml": yaml.safe_dump(TESTS),
    }.items():
        (project / name).write_text(text)
    shutil.copy(dbt_support.PROJECT / "profiles.yml", project)
    for name, value in {
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
        "DBT_TARGET_PATH": str(project / "target"),
        "SNOWFLAKE_HOST": "127.0.0.1",
        "SNOWFLAKE_PORT": str(door.server.server_port),
        "SNOWFLAKE_AUTHORITY": authority().read_text(),
        "SNOWFLAKE_ACCOUNT": ACCOUNT,
        "SNOWFLAKE_PRIVATE_KEY": key,
    }.items():
        monkeypatch.setenv(name, value)
    dbt_support.dbt("parse")

    # The production module once more, on the small project.
    monkeypatch.setattr(dbt_lib, "PROJECT_DIR", project)
    monkeypatch.setattr(dbt_lib, "TARGET_DIR", project / "target")
    monkeypatch.setattr(dbt_lib, "GRACE_SECONDS", 2.0)
    path = dbt_support.ROOT / "dagster/src/retailflow_dagster/defs/dbt/assets.py"
    spec = importlib.util.spec_from_file_location(  # noqa: TID251 - the module a second time
        "retailflow_dagster.defs.dbt.small_assets", path
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(dg, "RetryPolicy", lambda **_: None)  # Dagster's business, and half a minute each
    spec.loader.exec_module(module)

    def deadline(
        process: subprocess.Popen[bytes], _: float, what: str, again: bool
    ) -> AbstractContextManager[None]:
        """Counts from when the door was tried: how long dbt takes to start says nothing here."""
        if door.answer != "pass":
            assert door.touched.wait(120)
        return dbt_lib.deadline(process, 3 if door.answer != "pass" else 120, what, again)

    module.deadline = deadline  # type: ignore[attr-defined]

    def run() -> tuple[bool, str]:
        """Whether the run succeeded; why not; within bounds."""
        began = time.monotonic()
        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize(
                [module.dbt_models],
                resources={"dbt": dbt_lib.dbt_resource()},
                instance=instance,
                raise_on_error=False,
            )
        assert time.monotonic() - began < 150
        failures = result.get_step_failure_events()
        if not failures:
            return result.success, ""
        error = failures[0].step_failure_data
        return result.success, str(error.user_failure_data and error.user_failure_data.description)

    door.shut("500", "fct_sales")  # half-way: staging is built
    succeeded, why = run()
    assert not succeeded
    assert why.startswith(
        "dbt build had not finished after 3 s and was stopped: the warehouse hangs, or answers"
    ), why
    assert query(mart) == before

    door.shut("hang", "")
    succeeded, why = run()
    assert not succeeded
    assert why.startswith("dbt build had not finished after 3 s and was stopped"), why
    assert query(mart) == before

    door.open()
    query("insert into RAW.RETAIL.SALES values (4, null)")
    succeeded, why = run()
    assert not succeeded
    assert "not_null_stg_sales_quantity" in why and ": fail: Got 1 result" in why
    assert query(mart) == before

    query("update RAW.RETAIL.SALES set QUANTITY = 40 where ORDER_ID = 4")
    assert run() == (True, "")
    assert query(mart) == [(1,), (2,), (3,), (4,)]
    door.server.shutdown()
