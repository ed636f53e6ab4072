"""CREATE OR REPLACE replaces, or fails and leaves what was there."""

from __future__ import annotations

from datetime import date

import pytest
import snowflake.connector

from retailflow_emulators.snowflake.testing import EmulatedSnowflake

Error = snowflake.connector.errors.Error
FAILING = {
    "create or replace table OLD (A number, B varchar(3)) as select 2, 'too long'": 100078,
    "create or replace table OLD (A number, B varchar(3)) as select * from (select 2, 'too long')": 100078,
    "create or replace table OLD as select 'too long'::varchar(3) as B": 100078,
    "create or replace table OLD (A number not null) as select null": 100072,
    "create or replace table OLD (A number(3, 0)) as select 99999": 100039,
    "create or replace table OLD as select 1 / 0 as A": 100051,
    "create or replace table OLD (A number) as select 1, 2": 2026,
    "create or replace table OLD (A number) as select * from (select 1, 2)": 2026,
    "create or replace table OLD (A number, B number, C number) as select * from (select 1, 2)": 2026,
    "create or replace table OLD (A number, A number)": 2025,
    "create or replace table OLD like NOTHING": 2003,
    "create or replace table OLD clone NOTHING": 2003,
    "create or replace table OLD as select NOTHING from OLD": 904,
    "create or replace temporary table OLD (A varchar(1)) as select 'too long'": 100078,
    "create or replace view OLD as select 1 as A": 1998,
    "create or replace table OLD_VIEW as select 1 as A": 1998,
    "create or replace view OLD_VIEW as select NOTHING from OLD": 904,
    "create or replace view OLD_VIEW (A, B) as select 1": 2026,
}


@pytest.mark.parametrize("sql", FAILING)
def test_what_fails_leaves_what_was_there(warehouse: EmulatedSnowflake, sql: str) -> None:
    query = warehouse.query
    query("use schema DB.PUBLIC")
    query("create or replace table OLD as select 1 as A, 'old' as B")
    query("create or replace view OLD_VIEW as select A from OLD")
    with pytest.raises(Error) as caught:
        query(sql)
    assert caught.value.errno == FAILING[sql]
    assert query("select * from OLD") == [(1, "old")]
    assert query("select * from OLD_VIEW") == [(1,)]


def test_a_table_that_is_there_is_neither_changed_nor_dropped_by_if_not_exists(
    warehouse: EmulatedSnowflake,
) -> None:
    query = warehouse.query
    query("use schema DB.PUBLIC")
    query("create or replace table OLD as select 1 as A, 'old' as B")
    query("create table if not exists OLD (B varchar(1)) as select 'x'")
    query("create table if not exists OLD as select 'x'::varchar(2) as B")
    query("insert into OLD values (2, 'longer')")
    assert query("select * from OLD order by A") == [(1, "old"), (2, "longer")]


def test_a_column_list_gives_types_defaults_and_not_null_to_a_query(warehouse: EmulatedSnowflake) -> None:
    query = warehouse.query
    query("use schema DB.PUBLIC")
    query(
        'create or replace table MADE (A number not null default 5, B varchar(3), "c d" date) as '
        "with X as (select 1, 'old') select *, '2026-01-01' from X union all select 7, 'x', null"
    )
    assert query("select * from MADE order by 1") == [(1, "old", date(2026, 1, 1)), (7, "x", None)]
    query("insert into MADE (B) values ('y')")
    assert query("select A from MADE where B = 'y'") == [(5,)]
    with pytest.raises(Error, match="non-nullable"):
        query("insert into MADE (A) values (null)")
    assert [row[1] for row in query("describe table MADE")] == ["NUMBER(38,0)", "VARCHAR(3)", "DATE"]
    query("create or replace table MADE (A, B) as select 1, 2")
    assert query("select A, B from MADE") == [(1, 2)]


@pytest.mark.parametrize("in_transaction", [False, True])
def test_an_insert_overwrite_that_fails_overwrites_nothing(
    warehouse: EmulatedSnowflake, in_transaction: bool
) -> None:
    with warehouse.connect(database="DB", schema="PUBLIC") as session:
        cursor = session.cursor()
        cursor.execute("create or replace table OLD as select 1 as A")
        for statement in ("begin", "insert into OLD values (2)") if in_transaction else ():
            cursor.execute(statement)
        before = cursor.execute("select * from OLD order by A").fetchall()
        with pytest.raises(Error, match="Division by zero"):
            cursor.execute("insert overwrite into OLD select 1 / 0")
        assert cursor.execute("select * from OLD order by A").fetchall() == before
        cursor.execute("insert overwrite into OLD select 7")
        if in_transaction:
            assert warehouse.query("select * from DB.PUBLIC.OLD") == [(1,)]
            cursor.execute("commit")
    assert warehouse.query("select * from DB.PUBLIC.OLD") == [(7,)]


def test_a_merge_that_snowflake_does_not_know_changes_nothing(warehouse: EmulatedSnowflake) -> None:
    query = warehouse.query
    query("use schema DB.PUBLIC")
    query("create or replace table OLD as select 1 as A")
    with pytest.raises(Error) as caught:
        query(
            "merge into OLD using (select 2 as A) as S on OLD.A = S.A when not matched by source then delete "
            "when not matched then insert (A) values (S.A)"
        )
    assert caught.value.errno == 1003
    assert query("select * from OLD") == [(1,)]
