"""The warehouse, read by checks: one connection, every wait bounded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import snowflake.connector
from cryptography.hazmat.primitives import serialization

from .reconcile import Totals

#: Snowflake takes at most 16,384 expressions in a list.
IN_LIST = 10_000

# Airbyte keeps a deleted row in RAW and marks it. Money is a FLOAT there: the casts keep its sums exact.
RAW_TOTALS = """
select
    count(*),
    coalesce(sum(quantity * cast(price as number(10, 2))), 0),
    coalesce(sum(quantity * cast(discount as number(10, 2))), 0)
from {table}
where _ab_cdc_deleted_at is null and order_id <= {max_order_id} {only}
"""
FACT_TOTALS = """
select
    count(*),
    coalesce(sum(total_revenue), 0),
    coalesce(sum(total_discount), 0),
    coalesce(sum(net_revenue), 0)
from {table}
where order_id <= {max_order_id} {only}
"""
MART_TOTALS = """
select
    {orders},
    coalesce(sum(total_revenue), 0),
    coalesce(sum(total_discount), 0),
    coalesce(sum(net_revenue), 0)
from {table}
"""

# The build makes the table (dbt/dbt_project.yml), so that the dashboards find it before the first run has ended.
RECORD = """
insert into {table} (run_id, job, status, began_at, ended_at, problem)
select run_id, job, status, began_at::timestamp_ntz, ended_at::timestamp_ntz, problem
from (values {rows}) as ended(run_id, job, status, began_at, ended_at, problem)
where run_id not in (select run_id from {table})
"""
RECORDED_DAYS = 30


@dataclass(frozen=True)
class RunRecord:
    """How a run ended; times in UTC, `problem` empty where it succeeded."""

    run_id: str
    job: str
    status: str
    began_at: datetime
    ended_at: datetime
    problem: str


class Warehouse(dg.ConfigurableResource[Any]):
    """Connection parameters. `host` is derived from `account` where empty; give the key as a path or as
    text.
    """

    account: str
    host: str = ""
    port: int = 443
    #: For a server whose authority answers no questions about revocation.
    disable_ocsp_checks: bool = False
    user: str
    role: str
    warehouse: str
    database: str
    raw_schema: str
    marts_schema: str = "MARTS"
    private_key_path: str = ""
    private_key: str = ""
    network_timeout: int = 120

    def raw(self, stream: str) -> str:
        """Full name of the table that Airbyte writes for a stream."""
        return f"{self.raw_schema}.{stream.upper()}"

    def mart(self, name: str) -> str:
        """Full name of a mart."""
        return f"{self.database}.{self.marts_schema}.{name}"

    def _key(self) -> bytes:
        if self.private_key:
            pem = self.private_key.encode()
        elif self.private_key_path:
            pem = Path(self.private_key_path).read_bytes()
        else:
            raise dg.Failure(
                "No Snowflake key: set SNOWFLAKE_PRIVATE_KEY_PATH or SNOWFLAKE_PRIVATE_KEY.",
                allow_retries=False,
            )
        return serialization.load_pem_private_key(pem, password=None).private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @contextmanager
    def connect(self) -> Iterator["Session"]:
        """A session that gives up after `network_timeout` seconds of errors."""
        link = snowflake.connector.connect(
            account=self.account,
            host=self.host or f"{self.account}.snowflakecomputing.com",
            port=self.port,
            disable_ocsp_checks=self.disable_ocsp_checks,
            user=self.user,
            role=self.role,
            warehouse=self.warehouse,
            database=self.database,
            private_key=self._key(),
            login_timeout=30,
            network_timeout=self.network_timeout,
            socket_timeout=self.network_timeout,
            application="retailflow",
            session_parameters={"QUERY_TAG": "retailflow-reconcile", "TIMEZONE": "UTC"},
        )
        try:
            yield Session(self, link.cursor())
        finally:
            link.close()


class Session:
    """The questions that the reconciliation asks."""

    def __init__(self, names: Warehouse, cursor: Any) -> None:
        self.names = names
        self.cursor = cursor

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        self.cursor.execute(statement, timeout=self.names.network_timeout)
        rows: list[tuple[Any, ...]] = self.cursor.fetchall()
        return rows

    def raw_rows(self, streams: Sequence[str]) -> dict[str, int]:
        """Number of rows that are not deleted, by stream."""
        counts = ", ".join(
            f"(select count(*) from {self.names.raw(stream)} where _ab_cdc_deleted_at is null)"
            for stream in streams
        )
        (row,) = self._rows(f"select {counts}")
        return {stream: int(rows) for stream, rows in zip(streams, row, strict=True)}

    def max_order_id(self) -> int:
        """RAW's highest order id; zero when empty."""
        ((max_order_id,),) = self._rows(
            f"select coalesce(max(order_id), 0) from {self.names.raw('sales')} where _ab_cdc_deleted_at is null"
        )
        return int(max_order_id)

    def raw(self, max_order_id: int, without: Sequence[int]) -> Totals:
        """RAW up to an order id, less the given orders."""
        return self._without(RAW_TOTALS, self.names.raw("sales"), max_order_id, without)

    def facts(self, max_order_id: int, without: Sequence[int]) -> Totals:
        """fct_sales up to an order id, less the given orders."""
        return self._without(FACT_TOTALS, self.names.mart("fct_sales"), max_order_id, without)

    def mart(self, name: str) -> Totals:
        """All of a mart; fct_sales counts rows, the others add up their orders."""
        orders = "count(*)" if name == "fct_sales" else "coalesce(sum(orders), 0)"
        (row,) = self._rows(MART_TOTALS.format(orders=orders, table=self.names.mart(name)))
        return Totals.of(*row)

    def record_runs(self, runs: Sequence[RunRecord]) -> None:
        """Writes runs that are not on record yet, and removes those that ended RECORDED_DAYS ago."""
        table = self.names.mart("pipeline_runs")
        rows = ", ".join(["(%s, %s, %s, %s, %s, %s)"] * len(runs))
        values = [
            value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value
            for run in runs
            for value in astuple(run)
        ]
        patience = self.names.network_timeout
        self.cursor.execute(RECORD.format(table=table, rows=rows), values, timeout=patience)
        old = f"delete from {table} where ended_at < dateadd('day', -{RECORDED_DAYS}, %s::timestamp_ntz)"
        self.cursor.execute(old, [values[4]], timeout=patience)

    def _without(self, template: str, table: str, max_order_id: int, without: Sequence[int]) -> Totals:
        """All rows up to the order id, minus those of the given orders, IN_LIST of them at a time."""

        def total(only: str) -> Totals:
            (row,) = self._rows(template.format(table=table, max_order_id=max_order_id, only=only))
            return Totals.of(*row)

        result = total("")
        for start in range(0, len(without), IN_LIST):
            ids = ", ".join(str(int(order_id)) for order_id in without[start : start + IN_LIST])
            result -= total(f"and order_id in ({ids})")
        return result
