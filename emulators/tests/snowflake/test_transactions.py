"""Explicit transactions, https://docs.snowflake.com/en/sql-reference/transactions"""

from __future__ import annotations

from collections.abc import Iterator

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
