"""VARCHAR(n) holds n characters, whatever statement gave the column its type."""

from __future__ import annotations

import pytest
import snowflake.connector

from retailflow_emulators.snowflake.testing import EmulatedSnowflake

Error = snowflake.connector.errors.Error
TOO_LONG = "String 'abcd' is too long and would be truncated"
MADE = {
    "defined": "create table T (X varchar(3))",
    "defined by a query": "create table T (X varchar(3)) as select 'a'",
    "cast in a query": "create table T as select 'a'::varchar(3) as X",
    "cast in a temporary table": "create temporary table T as select cast('a' as varchar(3)) as X",
    "read from a table": "create table T as select X from SOURCE",
    "all of a table": "create table T as select * from SOURCE",
    "like": "create table T like SOURCE",
    "cloned": "create table T clone SOURCE",
    "added": "create table T (N int); alter table T add column X varchar(3)",
    "added with another": "create table T (N int); alter table T add X varchar(3), Y varchar(2)",
    "changed": "create table T (X varchar(9)); alter table T alter column X set data type varchar(3)",
    "changed from any": "create table T (X varchar); alter table T alter X type varchar(3)",
    "renamed": "create table T (Y varchar(3)); alter table T rename column Y to X",
    "beside a dropped one": "create table T (X varchar(3), Y varchar(2)); alter table T drop column Y",
    "exchanged": "create table T (X varchar); create table U (X varchar(3)); alter table T swap with U",
}


@pytest.mark.parametrize("how", MADE)
def test_a_text_that_is_too_long_is_refused(warehouse: EmulatedSnowflake, how: str) -> None:
    query = warehouse.query
    query("create or replace schema DB.LENGTHS")
    query("create table SOURCE (X varchar(3))")
    for statement in MADE[how].split("; "):
        query(statement)
    query("insert into T (X) values ('abc'), (null)")
    for refused in (
        "insert into T (X) values ('abcd')",
        "update T set X = 'abcd' where X = 'abc'",
        "merge into T using (select 'abcd' as X) as S on T.X = S.X when not matched then insert (X) values (S.X)",
    ):
        with pytest.raises(Error, match=TOO_LONG) as caught:
            query(refused)
        assert (caught.value.errno, caught.value.sqlstate) == (100078, "22000")
    assert query("select count(*) from T where length(X) > 3") == [(0,)]
    query("drop table T")


def test_a_longer_type_lets_longer_texts_in_and_keeps_the_rest(warehouse: EmulatedSnowflake) -> None:
    query = warehouse.query
    query("create or replace schema DB.LENGTHS")
    query(
        "create table T (ID int primary key, X varchar(3) not null default 'x', Y varchar(2)) comment = 'what it is'"
    )
    query("insert into T (ID, Y) values (1, 'y')")
    query("alter table T alter column X set data type varchar(5)")
    query("insert into T (ID, X) values (2, 'abcde')")
    assert query("select ID, X, Y from T order by 1") == [(1, "x", "y"), (2, "abcde", None)]
    with pytest.raises(Error, match="'abc' is too long"):
        query("insert into T (ID, Y) values (3, 'abc')")
    with pytest.raises(Error, match="'abcde' is too long"):
        query("alter table T alter column X set data type varchar(4)")
    query("insert into T (ID, X) values (4, 'fghij')")
    with pytest.raises(Error, match="non-nullable"):
        query("insert into T (ID, X) values (5, null)")
    sizes = "select character_maximum_length from information_schema.columns where table_name = 'T' and column_name = 'X'"
    assert query(sizes) == [(5,)]
    assert query("select comment from information_schema.tables where table_name = 'T'") == [("what it is",)]
    query("alter table T alter column X set data type varchar")
    query("insert into T (ID, X) values (6, 'more than five')")


def test_a_length_follows_its_table_to_another_name(warehouse: EmulatedSnowflake) -> None:
    warehouse.query("create or replace table DB.PUBLIC.ONE (A varchar(7)) comment = 'one'")
    warehouse.query("create or replace table DB.PUBLIC.OTHER (A varchar(9))")
    warehouse.query("alter table DB.PUBLIC.ONE swap with DB.PUBLIC.OTHER")

    def length(table: str) -> object:
        return warehouse.query(f"describe table DB.PUBLIC.{table}")[0][1]

    assert (length("ONE"), length("OTHER")) == ("VARCHAR(9)", "VARCHAR(7)")
    warehouse.query("drop table DB.PUBLIC.ONE")
    warehouse.query("alter table DB.PUBLIC.OTHER rename to DB.PUBLIC.ONE")
    assert length("ONE") == "VARCHAR(7)"
    (comment,) = warehouse.query("select COMMENT from DB.information_schema.tables where TABLE_NAME = 'ONE'")
    assert comment == ("one",)


def test_a_cast_cuts_nothing_off(warehouse: EmulatedSnowflake) -> None:
    """https://docs.snowflake.com/en/sql-reference/functions/try_cast"""
    with pytest.raises(Error, match=TOO_LONG):
        warehouse.query("select 'abcd'::varchar(3)")
    with pytest.raises(Error, match="'ab' is too long"):
        warehouse.query("select cast('ab' as char)")
    assert warehouse.query("select try_cast('abcd' as varchar(3)), try_cast('abc' as varchar(3))") == [
        (None, "abc")
    ]
    with pytest.raises(Error, match=TOO_LONG):
        warehouse.query("create table DB.PUBLIC.NOT_MADE (X varchar(3)) as select 'abcd'")
    with pytest.raises(Error, match="does not exist"):
        warehouse.query("select * from DB.PUBLIC.NOT_MADE")
