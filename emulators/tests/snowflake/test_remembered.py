"""Statements whose meaning hangs on types: sent again, they mean what the types of now say, whatever was remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import duckdb
import pytest
import snowflake.connector

from retailflow_emulators.snowflake import resolution
from retailflow_emulators.snowflake.testing import EmulatedSnowflake

Run = Callable[..., list[tuple[object, ...]]]
HALF = "select A / B from T"
INTEGERS, FLOATS = [(Decimal("0.333333"),)], [(1 / 3,)]


@pytest.fixture
def run(warehouse: EmulatedSnowflake) -> Iterator[Run]:
    with warehouse.connect(database="DB", schema="PUBLIC", paramstyle="qmark") as session:
        cursor = session.cursor()

        def run(sql: str, *values: object) -> list[tuple[object, ...]]:
            return list(cursor.execute(sql, values or None).fetchall())  # type: ignore[union-attr]

        run("create or replace schema DB.AGAIN")
        run("create table T (A int, B int) as select 1, 3")
        yield run


@pytest.mark.parametrize(
    "change",
    [
        "create or replace table T (A float, B float) as select 1, 3",
        "create or replace temporary table T (A float, B float) as select 1, 3",
        "create or replace view F as select A::float as A, B::float as B from T",
        "alter table T rename to OLD",
    ],
)
@pytest.mark.parametrize("transaction", [False, True])
def test_columns_of_other_types_are_seen(run: Run, change: str, transaction: bool) -> None:
    if transaction:
        run("begin")
    assert run(HALF) == run(HALF) == INTEGERS
    run(change)
    if "rename" in change:
        with pytest.raises(snowflake.connector.errors.ProgrammingError, match="does not exist"):
            run(HALF)
        run("create table T (A float, B float) as select 1, 3")
    elif "view" in change:
        assert run(HALF.replace("T", "F")) == FLOATS
        run("create or replace view F as select * from T")
        assert run(HALF.replace("T", "F")) == INTEGERS
        return
    if transaction:
        run("begin")
    assert run(HALF) == run(HALF) == FLOATS


@pytest.mark.parametrize("transaction", [False, True])
def test_a_name_of_the_query_hides_the_table(run: Run, transaction: bool) -> None:
    if transaction:
        run("begin")
    hidden = "with T as (select 1::float as A, 3::float as B) " + HALF
    alone = "with NOWHERE as (select A, B from T) select A / B from NOWHERE"
    for _ in range(2):
        assert run(hidden) == FLOATS
        assert run(alone) == INTEGERS
        assert run(HALF) == INTEGERS
        with pytest.raises(snowflake.connector.errors.ProgrammingError, match="does not exist"):
            run("select A / B from NOBODY")


def test_the_schema_of_the_session_decides(run: Run) -> None:
    assert run(HALF) == INTEGERS
    run("create or replace schema DB.AGAIN_2")
    run("create table T (A float, B float) as select 1, 3")
    assert run(HALF) == FLOATS
    run("use schema DB.AGAIN")
    assert run(HALF) == INTEGERS


def test_parameters_decide(run: Run) -> None:
    for value, found in ((3, INTEGERS), (3.0, FLOATS), (3, INTEGERS)):
        assert run("select A / ? from T", value) == found


def test_numbers_of_any_size_decide(run: Run) -> None:
    for value in (3, 2**31, 10**12, 3, 2**62, 10**25):
        assert run("select ? * B from T", value) == run(f"select {value} * B from T")


def test_who_writes_what_it_reads_is_resolved_again(run: Run) -> None:
    for _ in range(2):
        run("create or replace table T as select A / B as A, B from T")
    assert run("select A from T") == [(Decimal("0.111111000000"),)]


def test_a_statement_that_comes_again_is_not_tried_again() -> None:
    tries: list[str] = []
    connection = duckdb.connect()
    connection.execute("create table T (A int, B int)")
    types = resolution.types_of(connection, frozenset(["T"]), None)

    def run(sql: str) -> None:
        tries.append(sql)
        connection.execute(sql)

    statement = "select _SF_ADD(A, B) from T"
    first = resolution.resolve(statement, run, run, types)
    assert len(tries) > 1
    tries.clear()
    assert resolution.resolve(statement, run, run, types) == first
    assert tries == [first]
