"""ARRAY, OBJECT, VARIANT and the timestamps: each is described as what it is, wherever a column comes from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import snowflake.connector

from retailflow_emulators.snowflake.testing import EmulatedSnowflake

CODES = {5: "VARIANT", 6: "TIMESTAMP_LTZ", 7: "TIMESTAMP_TZ", 8: "TIMESTAMP_NTZ", 9: "OBJECT", 10: "ARRAY"}
EACH = ["ARRAY", "OBJECT", "VARIANT", "TIMESTAMP_LTZ", "TIMESTAMP_TZ", "TIMESTAMP_NTZ"]
Session = snowflake.connector.SnowflakeConnection


@pytest.fixture(scope="module")
def session(warehouse: EmulatedSnowflake) -> Iterator[Session]:
    warehouse.query("create or replace database KINDS")
    with warehouse.connect(database="KINDS", schema="PUBLIC") as opened:
        run(
            opened,
            "create table T (A array, O object, V variant, L timestamp_ltz, Z timestamp_tz, N timestamp_ntz)",
        )
        run(
            opened,
            "insert into T select [1], {'a': 1}, parse_json('1'), current_timestamp(), current_timestamp(), sysdate()",
        )
        yield opened


def run(session: Session, sql: str) -> list[str]:
    """Run statements; the types of the last result's columns, as the connector names them."""
    cursor = session.cursor()
    for one in sql.split(";"):
        cursor.execute(one)
    return [CODES.get(column.type_code, str(column.type_code)) for column in cursor.description]


def described(session: Session, table: str) -> list[str]:
    """What DESCRIBE, SHOW COLUMNS, the information schema and a query say of a table's columns, which must agree."""
    cursor = session.cursor()
    cursor.execute(f"describe table {table}")
    found = [str(row[1]).removesuffix("(9)") for row in cursor.fetchall()]  # type: ignore[index]
    shown = cursor.execute(f"show columns in table {table}").fetchall()  # type: ignore[union-attr]
    assert [str(row[3]).split('"')[3] for row in shown] == found  # type: ignore[index]
    listed = cursor.execute(
        f"select DATA_TYPE from INFORMATION_SCHEMA.COLUMNS where TABLE_NAME = '{table}' order by ORDINAL_POSITION"
    ).fetchall()  # type: ignore[union-attr]
    assert [row[0] for row in listed] == found  # type: ignore[index]
    assert run(session, f"select * from {table} limit 0") == found
    return found


@pytest.mark.parametrize(
    ("statements", "table", "found"),
    [
        ("select 1", "T", EACH),
        ("create or replace table C as select * from T", "C", EACH),
        ("create or replace table C clone T", "C", EACH),
        ("create or replace table C like T", "C", EACH),
        ("create or replace view W as select * from T", "W", EACH),
        ("create or replace view W (P, Q) as select L, A from T", "W", ["TIMESTAMP_LTZ", "ARRAY"]),
        (
            "create or replace table C as select array_agg(1) as A, object_construct('a', 1) as O, parse_json('[]') as V,"
            " split('a,b', ',') as S, current_timestamp() as L, sysdate() as N, current_timestamp()::timestamp_tz as Z",
            "C",
            ["ARRAY", "OBJECT", "VARIANT", "ARRAY", "TIMESTAMP_LTZ", "TIMESTAMP_NTZ", "TIMESTAMP_TZ"],
        ),
        ("create or replace table C (X object, Y variant) as select {}, [1]", "C", ["OBJECT", "VARIANT"]),
        ("create or replace table C (A array); create or replace table C (A variant)", "C", ["VARIANT"]),
        ("create or replace table C (A array); create table if not exists C (A variant)", "C", ["ARRAY"]),
        ("create or replace table C (A variant); create table if not exists C (A array)", "C", ["VARIANT"]),
        (
            "create or replace view X as select [1] as A; create view if not exists X as select 1::variant as A",
            "X",
            ["ARRAY"],
        ),
        ("create or replace table C (A array); drop table C; create table C (A object)", "C", ["OBJECT"]),
        (
            "create or replace table C (V variant); alter table C add column A array, L timestamp_ltz;"
            " alter table C rename column A to B; alter table C add column A variant; alter table C drop column V",
            "C",
            ["ARRAY", "TIMESTAMP_LTZ", "VARIANT"],
        ),
        (
            "create or replace table C (A array); create or replace table D (A object); alter table C swap with D",
            "C",
            ["OBJECT"],
        ),
        (
            "create or replace table C (A array); drop table if exists D; alter table C rename to D",
            "D",
            ["ARRAY"],
        ),
    ],
)
def test_a_column_is_described_as_what_it_is(
    session: Session, statements: str, table: str, found: list[str]
) -> None:
    run(session, statements)
    assert described(session, table) == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("select t.*, u.O as P from T t join T u on true", [*EACH, "OBJECT"]),
        ("select a.* exclude (V, L, Z, N), b.L from T a, T b", ["ARRAY", "OBJECT", "TIMESTAMP_LTZ"]),
        ("select * exclude (V, L, Z, N) rename (A as B) from T", ["ARRAY", "OBJECT"]),
        ("select * exclude (V, L, Z, N) replace ({} as A) from T", ["OBJECT", "OBJECT"]),
        ("with c (P, Q) as (select L, A from T) select Q, max(P) over () from c", ["ARRAY", "TIMESTAMP_LTZ"]),
        ("select x.* from (select O, L from T union all select {}, current_timestamp()) x", ["OBJECT", "TIMESTAMP_LTZ"]),
        ("select A from T union all select V from T", ["VARIANT"]),
        ("select coalesce(A, []), iff(true, O, null), nvl(L, current_timestamp()), case when true then V end from T",
         ["ARRAY", "OBJECT", "TIMESTAMP_LTZ", "VARIANT"]),
        ("select max(L), min(Z), any_value(A), max_by(O, L) from T", ["TIMESTAMP_LTZ", "TIMESTAMP_TZ", "ARRAY", "OBJECT"]),
        ("select dateadd(day, 1, L), date_trunc('hour', L), L + interval '1 day', lag(L) over (order by L) from T",
         ["TIMESTAMP_LTZ"] * 4),
        ("select O:a, A[0], get(A, 0), O:a::array, A::variant, V::object"
         " from (select {'a': 1} as O, [1] as A, parse_json('{}') as V)",
         ["VARIANT", "VARIANT", "VARIANT", "ARRAY", "VARIANT", "OBJECT"]),
        ("select (select A from T), array_agg(L) over (), object_keys(O), to_object(O) from T",
         ["ARRAY", "ARRAY", "ARRAY", "OBJECT"]),
        ("select f.value, f.this from T, lateral flatten(A) f", ["VARIANT", "VARIANT"]),
        ("select current_timestamp, localtimestamp(), getdate(), sysdate(), to_timestamp_ltz('2026-01-05'),"
         " to_timestamp_tz('2026-01-05')",
         ["TIMESTAMP_LTZ", "TIMESTAMP_LTZ", "TIMESTAMP_LTZ", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ"]),
        ("with recursive r as (select 1 as n, [1] as A union all select n + 1, A from r where n < 3) select A from r", ["ARRAY"]),
        ("select * from T; select * from table(result_scan(last_query_id()))", EACH),
        ("select * from T; select V, A from table(result_scan(last_query_id()))", ["VARIANT", "ARRAY"]),
        ("create or replace temporary table H (A array, L timestamp_ltz); select * from H", ["ARRAY", "TIMESTAMP_LTZ"]),
        ("select CREATED from INFORMATION_SCHEMA.TABLES", ["TIMESTAMP_LTZ"]),
    ],
)  # fmt: skip
def test_a_result_is_described_as_what_it_is(session: Session, query: str, found: list[str]) -> None:
    assert run(session, query) == found


def test_a_column_is_what_it_was_after_a_restart(tmp_path: Path) -> None:
    server = EmulatedSnowflake(tmp_path)
    server.start()
    try:
        server.query('create database "My db"')
        server.query("create table T (A array, L timestamp_ltz, S varchar(7))")
        server.query("create view V as select A, L from T")
        server.stop()
        server.start()
        server.query('use database "My db"')
        assert [row[1] for row in server.query("describe table T")] == [
            "ARRAY",
            "TIMESTAMP_LTZ(9)",
            "VARCHAR(7)",
        ]
        assert [row[1] for row in server.query("describe view V")] == ["ARRAY", "TIMESTAMP_LTZ(9)"]
    finally:
        server.stop()
