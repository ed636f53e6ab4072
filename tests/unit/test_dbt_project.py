"""The dbt project: documented and keyed throughout, stock SQL on Snowflake, the right cents after a build."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

sys.path.insert(0, str(Path(__file__).parent))  # pytest imports by file, and leaves neighbours unseen
import dbt_support
from dbt_support import dbt, manifest

RAW_SALES = """
create table RAW.RETAIL.SALES (
    _AIRBYTE_RAW_ID varchar, _AIRBYTE_EXTRACTED_AT timestamp_tz, _AIRBYTE_META variant,
    _AIRBYTE_GENERATION_ID number(38, 0), ORDER_ID number(38, 0), CUST_NAME varchar, PRODUCT varchar,
    PRODUCT_CATEGORY varchar, QUANTITY number(38, 0), PRICE float, DISCOUNT float, SHIPPING_COST float,
    CUSTOMER_ID number(38, 0), PRODUCT_ID number(38, 0), PURCHASED_AT date, ORDER_DATE_AT date, CITY varchar,
    STATE varchar, COUNTRY varchar, CREATED_AT timestamp_tz, UPDATED_AT timestamp_tz,
    _AB_CDC_LSN number(38, 0), _AB_CDC_UPDATED_AT varchar, _AB_CDC_DELETED_AT varchar
)
"""
LOAD = """
insert into RAW.RETAIL.SALES
select
    'r' || i, '{at}'::timestamp_tz, null, 0, i, 'n', 'p', 'c', mod(i, 9), mod(i * 37, 9973) / 100.0::float,
    mod(mod(i * 37, 9973), 100) / 100.0::float, 1.0::float, mod(i, 5), mod(i, 3), '2026-01-01', '2026-01-02',
    'city ' || mod(i, 20), 'state ' || mod(i, 4), 'country ' || mod(i, 2), '{at}'::timestamp_tz,
    '{at}'::timestamp_tz, i, '2026-01-01T00:00:00.000000Z', null
from (select row_number() over (order by seq4()) + {after} as i from table(generator(rowcount => {rows})))
"""
MARTS = (
    "fct_sales",
    "daily_revenue_by_category",
    "net_revenue_by_city",
    "net_revenue_by_state",
    "net_revenue_by_country",
)


def cents(money: float) -> Decimal:
    """Money as people mean it: 0.1 + 0.2 is 0.30."""
    return Decimal(str(round(money, 2)))


def models() -> dict[str, Any]:
    return {node.name: node for node in manifest().nodes.values() if node.resource_type == "model"}


def test_every_model_and_column_is_described() -> None:
    assert set(models()) == {"stg_sales", "stg_sales_deleted", *MARTS}
    for name, model in models().items():
        assert model.description, name
        assert not [column for column in model.columns.values() if not column.description], name


def test_every_model_has_a_key_test() -> None:
    for name, model in models().items():
        tests = [
            manifest().nodes[child].test_metadata.name
            for child in manifest().child_map[model.unique_id]
            if child.startswith("test.") and getattr(manifest().nodes[child], "test_metadata", None)
        ]
        assert {"unique", "unique_combination"} & set(tests), name
        assert "not_null" in tests, name


def test_only_staging_reads_raw() -> None:
    readers = {name for name, model in models().items() if model.sources}
    assert readers == {"stg_sales", "stg_sales_deleted"}


MACROS = """
{%- set it = api.Relation.create(database='d', schema='s', identifier='t', type='table') -%}
{{ get_merge_sql(it, it, 'id', [api.Column('ID', 'NUMBER'), api.Column('NET', 'NUMBER')]) }};
{{ snowflake__create_table_temporary_sql(it, 'select 1') }}
{{ snowflake__create_view_as_with_temp_flag(it, 'select 1', True) }}
"""
STOCK = (
    MACROS.replace("get_merge_sql", "dbt.snowflake__get_merge_sql")
    .replace("])", "], none)")
    .replace(" snowflake__create", " dbt.snowflake__create")
)


def compiled(monkeypatch: pytest.MonkeyPatch, protocol: str) -> list[str]:
    """What the project's macros and dbt-snowflake's own render to, without asking any warehouse."""
    monkeypatch.setenv("SNOWFLAKE_PROTOCOL", protocol)
    both = f"{MACROS}<and>{STOCK}"
    result = dbt("--no-populate-cache", "compile", "--no-introspect", "--inline", both)
    code = result.results[0].node.compiled_code.replace("-- back compat for old kwarg name", "")
    return [" ".join(half.split()) for half in code.split("<and>")]


def test_no_override_fires_on_snowflake(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, stock = compiled(monkeypatch, "https")
    assert ours == stock
    assert "begin;" in ours and "temporary table" in ours and "temporary view" in ours


def test_overrides_fire_on_the_emulated_snowflake(monkeypatch: pytest.MonkeyPatch) -> None:
    emulated, stock = compiled(monkeypatch, "http")
    assert emulated != stock
    assert "begin;" not in emulated and "temporary" not in emulated
    assert 'values (DBT_INTERNAL_SOURCE."ID", DBT_INTERNAL_SOURCE."NET")' in emulated


class Warehouse:
    """An emulated Snowflake of this test's own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._session = snowflake.connector.connect(
            account="unit",
            user="U",
            password="any",
            host="127.0.0.1",
            port=port,
            protocol="http",
            network_timeout=20,
        )

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        cursor = self._session.cursor().execute(statement)
        assert cursor is not None
        return [tuple(row) for row in cursor.fetchall()]

    def mart(self, name: str) -> list[tuple[Any, ...]]:
        return sorted(self.query(f"select * from ANALYTICS.MARTS.{name}"), key=str)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    folder = tmp_path_factory.mktemp("snowflake")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(dbt_support.ROOT / "emulators" / "src"),
        "EMULATED_SNOWFLAKE_HOST": "127.0.0.1",
        "EMULATED_SNOWFLAKE_PORT": str(port),
        "EMULATED_SNOWFLAKE_DATA": str(folder),
    }
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "retailflow_emulators.snowflake"], env=environment, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert server.poll() is None, (folder / "log").read_text()
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1),
            ):
                break
            time.sleep(0.1)
        made = Warehouse(port)
        for statement in (
            "create database RAW",
            "create schema RAW.RETAIL",
            "create database ANALYTICS",
            RAW_SALES,
        ):
            made.query(statement)
        yield made
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def connected(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Warehouse:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key.p8").write_bytes(key)
    monkeypatch.setenv("SNOWFLAKE_HOST", "127.0.0.1")
    monkeypatch.setenv("SNOWFLAKE_PORT", str(warehouse.port))
    monkeypatch.setenv("SNOWFLAKE_PROTOCOL", "http")
    monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY_PATH", str(tmp_path / "key.p8"))
    return warehouse


@pytest.mark.timeout(300)
def test_build_after_build_equals_a_full_refresh(connected: Warehouse) -> None:
    """An empty warehouse with unit tests, a first load, then new rows, late changes of old ones and deletions."""
    dbt("build")
    assert connected.mart("net_revenue_by_country") == []

    connected.query(LOAD.format(at="2026-01-01 00:00:00+00", after=0, rows=500))
    dbt("run")
    connected.query(LOAD.format(at="2026-01-02 00:00:00+00", after=500, rows=20))
    connected.query(
        "update RAW.RETAIL.SALES set quantity = quantity + 1, city = 'Moved', price = price + 0.1,"
        " _airbyte_extracted_at = '2026-01-02 00:00:00+00'::timestamp_tz where mod(order_id, 100) = 7"
    )
    connected.query(
        "update RAW.RETAIL.SALES set _ab_cdc_deleted_at = '2026-01-02T00:00:00.000000Z',"
        " _airbyte_extracted_at = '2026-01-02 00:00:00+00'::timestamp_tz where mod(order_id, 100) = 9"
    )
    dbt("build", "--exclude-resource-type", "unit_test")

    source = connected.query(
        "select quantity, price, discount, country from RAW.RETAIL.SALES where _ab_cdc_deleted_at is null"
    )
    assert len(source) == 520 - 6
    for country in ("country 0", "country 1"):
        ours = [(q, cents(p), cents(d)) for q, p, d, c in source if c == country]
        ((_, orders, revenue, discount, net),) = (
            row for row in connected.mart("net_revenue_by_country") if row[0] == country
        )
        assert (orders, revenue) == (len(ours), sum(q * p for q, p, _ in ours))
        assert (discount, net) == (sum(q * d for q, _, d in ours), sum(q * (p - d) for q, p, d in ours))

    incremental = {name: connected.mart(name) for name in MARTS}
    dbt("run", "--full-refresh")
    assert {name: connected.mart(name) for name in MARTS} == incremental

    for name, model in models().items():
        schema, table = model.schema, model.alias.upper()
        columns = connected.query(
            "select column_name from ANALYTICS.information_schema.columns"
            f" where table_schema = '{schema}' and table_name = '{table}'"
        )
        assert {column.lower() for (column,) in columns} == set(model.columns), name
