"""``executemany`` with parameters that the server binds: an INSERT with all its rows is one statement.

https://docs.snowflake.com/en/developer-guide/python-connector/python-connector-example#inserting-multiple-rows
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal

import pytest
import snowflake.connector
from snowflake.connector.cursor import SnowflakeCursor

from retailflow_emulators.snowflake.testing import EmulatedSnowflake

DAY = datetime.date(2026, 1, 5)
NOON = datetime.datetime(2026, 1, 5, 12, 0, 0, 250_000)


@pytest.fixture
def cursor(warehouse: EmulatedSnowflake) -> Iterator[SnowflakeCursor]:
    warehouse.query(
        "create or replace table DB.PUBLIC.MANY (N number(12,2), A varchar(5), D date, AT timestamp_ntz, V variant)"
    )
    with warehouse.connect(database="DB", schema="PUBLIC", paramstyle="qmark") as session:
        yield session.cursor()


def found(cursor: SnowflakeCursor, what: str = "N, A, D, AT") -> list[tuple[object, ...]]:
    return list(cursor.execute(f"select {what} from MANY").fetchall())  # type: ignore[union-attr]


@pytest.mark.parametrize("rows", [1, 2, 1_000, 1_001, 2_500])
def test_all_rows_are_there_and_counted(cursor: SnowflakeCursor, rows: int) -> None:
    cursor.executemany("insert into MANY (N, A) values (?, ?)", [(n, f"a{n % 7}") for n in range(rows)])
    assert cursor.rowcount == rows
    assert cursor.fetchall() == [(rows,)]
    assert found(cursor, "count(*), count(distinct N), sum(N), max(A)") == [
        (rows, rows, Decimal(rows * (rows - 1) // 2), f"a{min(rows - 1, 6)}")
    ]


def test_values_keep_their_types_and_null(cursor: SnowflakeCursor) -> None:
    given = [(None, "b", DAY, NOON), (Decimal("1.00"), None, DAY, NOON), (Decimal("2.50"), "c'?", DAY, NOON)]
    cursor.executemany("insert into MANY (N, A, D, AT) values (?, ?, ?, ?)", given)
    assert found(cursor) == given


@pytest.mark.parametrize(
    ("statement", "rows", "condition", "written"),
    [
        ("insert into MANY (N, A) values (? + 1, upper(?))", [(1, "x"), (2, "x")], "N in (2, 3) and A = 'X'", 2),
        ("insert into MANY (A, N) select ?, ? from (select 1 union all select 2)", [("1", 3), ("1", 4)], "A = '1'", 4),
        ("insert into MANY (N, V) select ?, parse_json(?)", [(1, '{"k": 7}'), (2, '{"k": 7}')], "V:k::int = 7", 2),
        ("insert into MANY (N, A) values (:2, :1)", [("1", 3), ("1", 4)], "A = '1' and N in (3, 4)", 2),
        ("insert into MANY (N, A) with c as (select ? as K) select K, ? from c", [(1, "x"), (2, "y")], "A in ('x', 'y')", 2),
    ],
)  # fmt: skip
def test_each_row_is_computed(
    warehouse: EmulatedSnowflake,
    cursor: SnowflakeCursor,
    statement: str,
    rows: list[tuple[object, ...]],
    condition: str,
    written: int,
) -> None:
    style = "numeric" if ":1" in statement else "qmark"
    with warehouse.connect(database="DB", schema="PUBLIC", paramstyle=style) as session:
        assert session.cursor().executemany(statement, rows).rowcount == written
    assert found(cursor, f"count(*), count_if({condition})") == [(written, written)]


@pytest.mark.parametrize("wrong", [0, 1, 999, 1_500])
@pytest.mark.parametrize("row", [(1, "too long"), (10**11, "ok")])
def test_a_row_that_fails_undoes_all(cursor: SnowflakeCursor, wrong: int, row: tuple[int, str]) -> None:
    rows = [(n, "ok") for n in range(1_501)]
    rows[wrong] = row
    with pytest.raises(snowflake.connector.errors.ProgrammingError):
        cursor.executemany("insert into MANY (N, A) values (?, ?)", rows)
    assert found(cursor, "count(*)") == [(0,)]


@pytest.mark.parametrize(("end", "kept"), [("commit", [(1, "one"), (2, "two")]), ("rollback", [])])
def test_in_a_transaction_only_the_failed_statement_is_undone(
    cursor: SnowflakeCursor, end: str, kept: list[tuple[int, str]]
) -> None:
    cursor.execute("begin")
    cursor.executemany("insert into MANY (N, A) values (?, ?)", [(1, "one"), (2, "two")])
    with pytest.raises(snowflake.connector.errors.ProgrammingError):
        cursor.executemany("insert into MANY (N, A) values (?, ?)", [(3, "three"), (4, "too long")])
    cursor.execute(end)
    assert sorted(found(cursor, "N, A")) == kept


def test_without_autocommit_rows_wait_for_the_commit(
    warehouse: EmulatedSnowflake, cursor: SnowflakeCursor
) -> None:
    with warehouse.connect(database="DB", schema="PUBLIC", paramstyle="qmark", autocommit=False) as session:
        session.cursor().executemany("insert into MANY (N) values (?)", [(n,) for n in range(1_200)])
        assert found(cursor, "count(*)") == [(0,)]
        session.commit()
    assert found(cursor, "count(*)") == [(1_200,)]
