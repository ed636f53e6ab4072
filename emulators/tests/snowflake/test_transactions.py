"""Explicit transactions, https://docs.snowflake.com/en/sql-reference/transactions"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import snowflake.connector

from retailflow_emulators.snowflake.testing import EmulatedSnowflake

FAILING = (
    "select 1 / 0",
    "insert into T values ('x')",
    "insert into T select column1 / 0 from values (1), (2)",
    "update T set ID = 'no number'",
    "select * from NOWHERE",
    "this is no sql",
    "merge into T using (select 1 as ID union all select 1) as S on T.ID = S.ID when matched then update set NOTE = 'twice'",
    "insert into T values (9, 'too long')",
)


@pytest.fixture
def session(warehouse: EmulatedSnowflake) -> Iterator[snowflake.connector.SnowflakeConnection]:
    warehouse.query("create or replace table DB.PUBLIC.T (ID int, NOTE varchar(5))")
    with warehouse.connect(database="DB", schema="PUBLIC") as session:
        yield session


def rows(warehouse: EmulatedSnowflake) -> list[int]:
    return [number for (number,) in warehouse.query("select ID from DB.PUBLIC.T order by 1")]


@pytest.mark.parametrize("failing", FAILING)
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_statement_that_fails_is_undone_alone(
    warehouse: EmulatedSnowflake, session: snowflake.connector.SnowflakeConnection, failing: str, end: str
) -> None:
    run = session.cursor().execute
    run("begin")
    run("insert into T values (1, 'one'), (2, 'two')")
    run("delete from T where ID = 2")
    for _ in range(2):
        with pytest.raises(snowflake.connector.errors.Error):
            run(failing)
        assert run("select ID, NOTE from T").fetchall() == [(1, "one")]  # type: ignore[union-attr]
    run("insert into T select %s, %s", (3, "three"))
    with pytest.raises(snowflake.connector.errors.Error):
        run(failing)
    assert rows(warehouse) == [], "nobody else sees what is not committed"
    run(end)
    assert rows(warehouse) == ([1, 3] if end == "commit" else [])


def test_definitions_commit_what_came_before(
    warehouse: EmulatedSnowflake, session: snowflake.connector.SnowflakeConnection
) -> None:
    run = session.cursor().execute
    run("begin")
    run("insert into T values (1, 'one')")
    run("create or replace table OTHER (ID int)")
    run("rollback")
    assert rows(warehouse) == [1]


def test_without_autocommit_a_statement_that_fails_is_undone_alone(
    warehouse: EmulatedSnowflake, session: snowflake.connector.SnowflakeConnection
) -> None:
    session.autocommit(False)
    run = session.cursor().execute
    run("insert into T values (1, 'one')")
    with pytest.raises(snowflake.connector.errors.Error):
        run("select 1 / 0")
    run("insert into T values (2, 'two')")
    session.commit()
    assert rows(warehouse) == [1, 2]


@pytest.fixture
def two_files(session: snowflake.connector.SnowflakeConnection, tmp_path: Path) -> Callable[[str], None]:
    """A stage with two files for T, the second one as it is given; T has the column TEXT as well."""
    run = session.cursor().execute
    run("create or replace temporary stage FILES file_format = (type = csv)")
    (tmp_path / "a.csv").write_text("1,one\n2,two\n")
    run(f"put 'file://{tmp_path}/a.csv' @FILES")

    def second(text: str) -> None:
        (tmp_path / "b.csv").write_text(text)
        run(f"put 'file://{tmp_path}/b.csv' @FILES overwrite = true")

    return second


BAD_FILES = {"no number": "x,three\n", "too long": "3,three four\n", "too few columns": "3\n"}


@pytest.mark.parametrize("bad", BAD_FILES)
@pytest.mark.parametrize("within", ["autocommit", "begin"])
def test_a_copy_loads_all_files_or_none(
    warehouse: EmulatedSnowflake,
    session: snowflake.connector.SnowflakeConnection,
    two_files: Callable[[str], None],
    bad: str,
    within: str,
) -> None:
    run = session.cursor().execute
    two_files(BAD_FILES[bad])
    if within == "begin":
        run("begin")
    run("insert into T values (9, 'nine')")
    for _ in range(2):
        with pytest.raises(snowflake.connector.errors.Error):
            run("copy into T from @FILES purge = true")
        assert run("select ID from T").fetchall() == [(9,)]  # type: ignore[union-attr]
    assert len(run("list @FILES").fetchall()) == 2, "what was not loaded is not removed"  # type: ignore[union-attr]
    two_files("3,three\n")
    run("copy into T from @FILES force = false purge = false")
    with pytest.raises(snowflake.connector.errors.Error):
        run("select 1 / 0")
    again = run("copy into T from @FILES force = false").fetchall()  # type: ignore[union-attr]
    assert {row[1] for row in again} == {"LOAD_SKIPPED"}, "the history of loads is as whole as the rows"
    run("copy into T from @FILES force = true purge = true")
    assert run("list @FILES").fetchall() == []  # type: ignore[union-attr]
    run("commit")
    assert rows(warehouse) == [1, 1, 2, 2, 3, 3, 9]


def test_a_copy_that_is_rolled_back_was_never_made(
    warehouse: EmulatedSnowflake,
    session: snowflake.connector.SnowflakeConnection,
    two_files: Callable[[str], None],
) -> None:
    run = session.cursor().execute
    two_files("3,three\n")
    run("begin")
    run("copy into T from @FILES")
    run("rollback")
    assert rows(warehouse) == []
    run("copy into T from @FILES")
    assert rows(warehouse) == [1, 2, 3]


def test_a_session_that_ends_rolls_back(warehouse: EmulatedSnowflake) -> None:
    warehouse.query("create or replace table DB.PUBLIC.T as select 1 as ID")
    for _ in range(3):
        with warehouse.connect(database="DB", schema="PUBLIC") as session:
            session.cursor().execute("begin").execute("update T set ID = 2")  # type: ignore[union-attr]
    assert rows(warehouse) == [1]
    began = time.monotonic()
    warehouse.query("update DB.PUBLIC.T set ID = 4")
    assert rows(warehouse) == [4]
    assert time.monotonic() - began < 20, "it waited for a session that has ended"
