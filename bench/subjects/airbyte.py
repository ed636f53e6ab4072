"""Speed of embedded Airbyte: a first sync and an incremental one of `sales`, beside the direct road.

The direct road is `COPY … TO` -> parquet -> PUT -> COPY INTO with no protocol between, into the same emulated
Snowflake in the same run. PostgreSQL, emulated Snowflake and embedded Airbyte are processes of this benchmark's
own, on free ports of the loopback, and end with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pyarrow.csv
import pyarrow.parquet

from retailflow_emulators.ports import free_port
from retailflow_emulators.snowflake.testing import ACCOUNT, emulated_snowflake

from ..measurement import Measurement
from ..others import ToolMissingError, dlt_extract, meltano_tap
from ..postgres import ADMIN, server

ROOT = Path(__file__).parents[2]
ROWS, CHANGED_ROWS = 1_000_000, 10_000
LARGER = 10  # times as many rows for memory, which must not grow with them
PEAK_MB = 700
AIRBYTE = (
    "airbyte",
    "source_postgres",
    "destination_snowflake",
)  # its processes; the emulated Snowflake is another's
TIMEOUT_S = 3600
_FILL = """
insert into public.customers (customer_id, cust_name, city, state, country)
select i, 'Customer ' || i, 'City', 'State', 'Country' from generate_series(0, 49999) i;
insert into public.products (product_id, product, product_category, price)
select i, 'Product ' || i, 'Books', 5 from generate_series(0, 996) i;
insert into public.sales (cust_name, product, product_category, quantity, price, discount, shipping_cost,
    customer_id, product_id, purchased_at, order_date_at, city, state, country, created_at, updated_at)
select 'Customer ' || i % 50000, 'Product ' || i % 997, (array['Books', 'Garden', 'Toys', 'Shoes'])[1 + i % 4],
    1 + i % 9, 5 + i % 49500 / 100.0, i % 400 / 100.0, i % 2000 / 100.0, i % 50000, i % 997,
    date '2025-01-01' + i % 365, date '2025-01-02' + i % 365, 'City ' || i % 5000, 'State ' || i % 50,
    'Country ' || i % 7, now() - i % 1000000 * interval '1 second', now() - i % 1000000 * interval '1 second'
from generate_series({first}, {last}) i
"""


class Bench:
    """The three servers with `rows` rows of sales. Enter it, then measure."""

    def __init__(self, rows: int = ROWS) -> None:
        self.rows = rows
        self._stack = contextlib.ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Bench:
        print(f"… airbyte: {self.rows:,} rows", file=sys.stderr, flush=True)
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._folder.chmod(0o711)
        try:
            self._start_postgres()
            self._start_snowflake()
            self._start_airbyte()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def first_sync(self) -> tuple[float, dict[str, int]]:
        """Seconds from asking for the job to its end, and the peak memory in bytes of every process."""
        return self._sync(self.rows)

    def incremental_sync(self, changed: int = CHANGED_ROWS) -> float:
        """Seconds of a sync of `changed` updated rows spread over the table."""
        step = max(1, self.rows // changed)
        self._execute(
            f"update public.sales set quantity = quantity + 1 where order_id % {step} = 0 and order_id <= {step * changed}"
        )
        return self._sync(min(changed, self.rows))[0]

    def direct(self) -> float:
        """Seconds of COPY TO -> parquet -> PUT -> COPY INTO of the same rows into a new table."""
        names = [
            name
            for (name,) in self._execute(
                "select column_name from information_schema.columns where table_name = 'sales' order by ordinal_position"
            )
        ]
        columns = ", ".join(f'"{name.upper()}" {_type(name)}' for name in names)
        self._query("create or replace table RAW.RETAIL.DIRECT (" + columns + ")")
        self._query("create or replace stage RAW.RETAIL.DIRECT_STAGE")
        began = time.monotonic()
        path = self._folder / "direct.parquet"
        reading, writing = os.pipe()
        select = ", ".join(f'{name} as "{name.upper()}"' for name in names)

        def copy() -> None:
            with os.fdopen(writing, "wb") as file, contextlib.closing(self._connect()) as connection:
                connection.cursor().copy_expert(
                    f"copy (select {select} from public.sales) to stdout (format csv, header)", file
                )

        thread = threading.Thread(target=copy)
        thread.start()
        strings = {n.upper(): "string" for n in names if _type(n) in ("DATE", "TIMESTAMP_TZ")}
        convert = pyarrow.csv.ConvertOptions(column_types=strings)
        with (
            os.fdopen(reading, "rb") as file,
            pyarrow.csv.open_csv(file, convert_options=convert) as batches,
            pyarrow.parquet.ParquetWriter(path, batches.schema, compression="zstd") as parquet,
        ):
            for batch in batches:
                parquet.write_batch(batch)
        thread.join()
        self._query(f"put 'file://{path}' @RAW.RETAIL.DIRECT_STAGE auto_compress = false overwrite = true")
        self._query(
            "copy into RAW.RETAIL.DIRECT from @RAW.RETAIL.DIRECT_STAGE/direct.parquet "
            "file_format = (type = parquet) match_by_column_name = case_insensitive"
        )
        seconds = time.monotonic() - began
        ((count,),) = self._query("select count(*) from RAW.RETAIL.DIRECT")
        assert count == self.rows, f"{count} rows arrived by the direct road"
        self._query("drop table RAW.RETAIL.DIRECT")
        return seconds

    @property
    def url(self) -> str:
        """Where PostgreSQL is, for other tools."""
        return f"postgresql://{ADMIN}@127.0.0.1:{self._postgres_port}/postgres"

    # Servers

    def _start(self, name: str, command: list[str], ready: Callable[[], Any], **options: Any) -> None:
        log = self._stack.enter_context((self._folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(command, stdout=log, stderr=log, **options)
        self._processes[name] = process
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(Exception):
                ready()
                return
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{name} did not start:\n{(self._folder / f'{name}.log').read_text()}")
            time.sleep(0.1)

    def _start_postgres(self) -> None:
        self._postgres_port = self._stack.enter_context(server("generator", "auditor", "airbyte"))
        self._execute("alter role airbyte replication")
        self._execute((ROOT / "lambda/schema/sales.sql").read_text(encoding="utf-8"))
        self._execute(_FILL.format(first=1, last=self.rows))
        self._execute("select pg_create_logical_replication_slot('airbyte', 'pgoutput')")
        self._execute("vacuum analyze public.sales")

    def _start_snowflake(self) -> None:
        self._snowflake = self._stack.enter_context(emulated_snowflake(self._folder))
        self._snowflake.query("create database RAW")
        self._snowflake.query("create schema RAW.RETAIL")
        grants = ("all on database RAW", "all on schema RAW.RETAIL", "all on future schemas in database RAW")
        self._key = self._snowflake.add_user("AIRBYTE", "LOADER", *grants, warehouse="LOADING")

    def _start_airbyte(self) -> None:
        port = free_port()
        environment = {
            "EMBEDDED_AIRBYTE_HOST": "127.0.0.1",
            "EMBEDDED_AIRBYTE_PORT": str(port),
            "EMBEDDED_AIRBYTE_DATA_DIR": str(self._folder / "airbyte"),
            "EMBEDDED_AIRBYTE_TOKEN_LIFETIME": "86400",
        }
        url = f"http://127.0.0.1:{port}/api/public/v1"
        self._module("airbyte", environment, f"{url}/health")
        self._api = self._stack.enter_context(httpx.Client(base_url=url, timeout=120))
        credentials = json.loads((self._folder / "airbyte/credentials.json").read_text())
        token = self._call("POST", "/applications/token", credentials)["access_token"]
        self._api.headers["Authorization"] = f"Bearer {token}"
        workspace = self._call("GET", "/workspaces")["data"][0]["workspaceId"]

        def actor(kind: str, type_: str, configuration: dict[str, Any]) -> str:
            body = {
                "name": type_,
                "workspaceId": workspace,
                "configuration": {f"{kind}Type": type_, **configuration},
            }
            return str(self._call("POST", f"/{kind}s", body)[f"{kind}Id"])

        method = {"method": "CDC", "publication": "retailflow", "replication_slot": "airbyte"}
        source = actor(
            "source",
            "postgres",
            {
                "host": "127.0.0.1",
                "port": self._postgres_port,
                "database": "postgres",
                "username": "airbyte",
                "ssl_mode": {"mode": "prefer"},
                "replication_method": method,
            },
        )
        destination = actor(
            "destination",
            "snowflake",
            {
                "host": f"127.0.0.1:{self._snowflake.port}",
                "jdbc_url_params": f"disableOCSPChecks=true&account={ACCOUNT}",
                "username": "AIRBYTE",
                "role": "LOADER",
                "warehouse": "LOADING",
                "database": "RAW",
                "schema": "RETAIL",
                "credentials": {"auth_type": "Key Pair Authentication", "private_key": self._key},
            },
        )
        stream = {"name": "sales", "namespace": "public", "syncMode": "incremental_deduped_history"}
        body = {"sourceId": source, "destinationId": destination, "configurations": {"streams": [stream]}}
        self._connection = self._call("POST", "/connections", body)["connectionId"]

    def _module(self, name: str, environment: dict[str, str], health: str) -> None:
        whole = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "emulators/src"),
            "SNOWFLAKE_DISABLE_PLATFORM_DETECTION": "true",
            **environment,
        }
        command = [sys.executable, "-m", f"retailflow_emulators.{name}"]
        self._start(name, command, lambda: httpx.get(health).raise_for_status(), env=whole)

    # What is asked of them

    def _sync(self, rows: int) -> tuple[float, dict[str, int]]:
        peaks: dict[str, int] = {}
        began = time.monotonic()
        job = self._call("POST", "/jobs", {"connectionId": self._connection, "jobType": "sync"})["jobId"]
        while (found := self._call("GET", f"/jobs/{job}"))["status"] in ("pending", "running", "incomplete"):
            for name, size in self._memory():
                peaks[name] = max(size, peaks.get(name, 0))
            if time.monotonic() - began > TIMEOUT_S:
                sys.exit(f"the sync did not end within {TIMEOUT_S} s")
            time.sleep(0.1)
        seconds = time.monotonic() - began
        if (found["status"], found["rowsSynced"]) != ("succeeded", rows):
            sys.exit(
                f"the sync of {rows} rows went wrong: {found}\n{(self._folder / 'airbyte.log').read_text()}"
            )
        return seconds, peaks

    def _memory(self) -> Iterator[tuple[str, int]]:
        """Peak resident bytes of the servers and of the connectors that run now."""
        server = self._processes["airbyte"].pid
        assert self._snowflake.process
        processes = {"airbyte": server, "snowflake": self._snowflake.process.pid}
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{server}/task").glob("*/children"):
                for child in children.read_text().split():
                    command = Path(f"/proc/{child}/cmdline").read_bytes().decode()
                    processes[command.split("airbyte.")[-1].split("\0")[0]] = int(child)
        for name, pid in processes.items():
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                peak = next(line for line in lines if line.startswith("VmHWM:"))
                yield name, int(peak.split()[1]) * 1024

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._api.request(method, path, json=body)
        if answer.is_error:
            sys.exit(f"{method} {path}: {answer.text}")
        return answer.json()

    def _connect(self) -> Any:
        return psycopg2.connect(host="127.0.0.1", port=self._postgres_port, user=ADMIN, dbname="postgres")

    def _execute(self, statement: str) -> Any:
        with contextlib.closing(self._connect()) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else None

    def _query(self, statement: str) -> list[tuple[Any, ...]]:
        place = {"database": "RAW", "schema": "RETAIL", "network_timeout": 300}
        with self._snowflake.connect(**place) as session:
            cursor = session.cursor()
            cursor.execute(statement)
            return [tuple(row) for row in cursor.fetchall()]


def measure(rows: int = ROWS) -> Iterator[Measurement]:
    """Measure a first sync of `rows` rows, the direct road, and an incremental sync of CHANGED_ROWS of them."""
    with Bench(rows) as bench:
        first, peaks = bench.first_sync()
        direct = bench.direct()
        incremental = bench.incremental_sync()
        others = {
            name: _measured(lambda measure=measure: measure(bench.url, "public", "sales", rows))  # type: ignore[misc]
            for name, measure in (("meltano_tap", meltano_tap), ("dlt_extract", dlt_extract))
        }
    yield Measurement(
        "airbyte.rows_per_s",
        rows / first,
        "rows/s",
        100_000,
        peak_mb=_largest(peaks),
        note=f"first sync of {rows:,} rows, start of the processes included",
    )
    yield Measurement(
        "airbyte.vs_copy",
        rows / first,
        "rows/s",
        0.6,
        beside=rows / direct,
        note="COPY TO, parquet, PUT, COPY INTO",
    )
    yield Measurement(
        "airbyte.incremental_s",
        incremental,
        "s",
        10,
        at_most=True,
        note=f"{CHANGED_ROWS:,} rows changed of {rows:,}",
    )
    for name, (rate, note) in others.items():
        yield Measurement(f"airbyte.vs_{name}", rows / first, "rows/s", beside=rate, note=note)
    yield _memory("airbyte.peak_mb", peaks, rows)
    with Bench(rows * LARGER) as bench:
        _, peaks = bench.first_sync()
    yield _memory("airbyte.peak_mb_10x", peaks, rows * LARGER)


def _measured(measure: Callable[[], float]) -> tuple[float | None, str]:
    """Rows a second of another tool that only reads, or why it is absent."""
    try:
        return measure(), "whole sync beside the other's reading alone"
    except ToolMissingError as error:
        return None, f"absent: {error}"


def _largest(peaks: dict[str, int]) -> float:
    """The largest process of Airbyte's, in MB."""
    return max(peaks[name] for name in AIRBYTE) / 1e6


def _memory(name: str, peaks: dict[str, int], rows: int) -> Measurement:
    each = ", ".join(f"{process} {size / 1e6:.0f} MB" for process, size in sorted(peaks.items()))
    return Measurement(name, _largest(peaks), "MB", PEAK_MB, at_most=True, note=f"{rows:,} rows: {each}")


def _type(name: str) -> str:
    """The type of a column of sales in Snowflake, as the destination makes it."""
    if name in ("price", "discount", "shipping_cost"):
        return "FLOAT"
    if name.endswith("_id") or name == "quantity":
        return "NUMBER(38,0)"
    if name in ("created_at", "updated_at"):
        return "TIMESTAMP_TZ"
    return "DATE" if name in ("purchased_at", "order_date_at") else "VARCHAR"
