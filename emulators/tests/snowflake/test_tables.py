"""Temporary tables and comments, as clients and dbt make them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import snowflake.connector

from retailflow_emulators.snowflake.testing import EmulatedSnowflake
from retailflow_emulators.snowflake.text import bare

Error = snowflake.connector.errors.Error


def test_a_temporary_table_belongs_to_its_session_and_hides_a_permanent_one(
    warehouse: EmulatedSnowflake,
) -> None:
    warehouse.query("create or replace table DB.PUBLIC.T (A number, B varchar(3))")
    warehouse.query("insert into DB.PUBLIC.T values (1, 'old')")
    with warehouse.connect(database="DB", schema="PUBLIC") as one, warehouse.connect(database="DB") as other:

        def run(sql: str) -> list[object]:
            cursor = one.cursor()
            cursor.execute(sql)
            return list(cursor.fetchall())

        assert run("create or replace temporary table T as select 2 as A, 'new' as B") == [
            ("Table T successfully created.",)
        ]
        assert run("select T.A, t.b from DB.PUBLIC.T") == [(2, "new")]
        assert other.cursor().execute("select A from DB.PUBLIC.T").fetchall() == [(1,)]
        run('create scoped temporary table u (A number(10, 2) not null, "b c" varchar(3))')
        run("insert into U values (1.5, 'abc')")
        with pytest.raises(Error, match="is too long"):
            run("insert into U values (2, 'abcd')")
        with pytest.raises(Error, match="NULL result"):
            run("insert into U values (null, 'abc')")
        assert [row[:2] for row in run("describe table DB.PUBLIC.U")] == [  # type: ignore[index]
            ("A", "NUMBER(10,2)"),
            ("b c", "VARCHAR(3)"),
        ]
        run("update U set A = A + 1 where U.A > 1")
        run("begin")
        run(
            "merge into T as D using U on D.A = U.A when matched then update set B = 'm' "
            'when not matched then insert (A, B) values (A, "b c")'
        )
        run("insert into T select A / 5, 'tx' from U")
        run("commit")
        assert run("select * from T order by B") == [(3, "abc"), (2, "new"), (1, "tx")]
        assert run("with T as (select 5 as A) select A from T") == [(5,)]
        assert run("select U.A, T.A from U join DB.PUBLIC.T as T on T.A > U.A") == [(Decimal("2.50"), 3)]
        run("alter table U add column N number")
        run("truncate table U")
        assert run("select count(*) from U") == [(0,)]
        run("create or replace temporary table T as select max(A) as A from T")
        assert run("select A from T") == [(3,)]
        assert run("drop table T") == [("T successfully dropped.",)]
        assert run("select A from T") == [(1,)]
        with pytest.raises(Error):
            run("create temporary table BROKEN as select 1 / 0 as A")
        with pytest.raises(Error, match="does not exist"):
            run("select * from BROKEN")
    with warehouse.connect(database="DB") as later, pytest.raises(Error, match="does not exist"):
        later.cursor().execute("select * from U")


def test_a_temporary_view_belongs_to_its_session_and_hides_a_permanent_one(
    warehouse: EmulatedSnowflake,
) -> None:
    warehouse.query("create or replace table DB.PUBLIC.READ as select 1 as A")
    warehouse.query("create or replace view DB.PUBLIC.SEEN as select 'permanent' as A")
    with warehouse.connect(database="DB", schema="PUBLIC") as one, warehouse.connect(database="DB") as other:

        def run(sql: str) -> list[object]:
            cursor = one.cursor()
            cursor.execute(sql)
            return list(cursor.fetchall())

        assert run("create temporary view SEEN as select A + 1 as A from READ") == [
            ("View SEEN successfully created.",)
        ]
        with pytest.raises(Error, match=r"Object 'DB\.PUBLIC\.SEEN' already exists"):
            run("create temporary view SEEN as select 5 as A")
        assert other.cursor().execute("select A from DB.PUBLIC.SEEN").fetchall() == [("permanent",)]
        run("create temporary table TEMP_READ as select 10 as A")
        run("create temporary view ON_BOTH as select s.A + t.A as A from SEEN s, TEMP_READ t")
        run("create schema if not exists ELSEWHERE")  # names in a view mean what they meant when it was made
        assert run("select SEEN.A, ON_BOTH.A from DB.PUBLIC.SEEN, DB.PUBLIC.ON_BOTH") == [(2, 12)]
        run("use schema PUBLIC")
        assert run("describe view ON_BOTH")[0][:2] == ("A", "NUMBER(12,0)")  # type: ignore[index]
        run("begin")
        run("insert into READ select sum(A) + 1 from ON_BOTH")
        run("commit")
        assert run("select A from SEEN order by A") == [(2,), (14,)]
        # As dbt's incremental models do in their second run.
        run("create or replace temporary view SEEN as select 1 as A, 'x' as B from READ limit 1")
        run(
            "merge into READ using SEEN on READ.A = SEEN.A when matched then update set A = 7"
            " when not matched then insert (A) values (SEEN.A)"
        )
        assert run("select A from READ order by A") == [(7,), (13,)]
        assert [row[1] for row in run("show views in schema DB.PUBLIC")] == ["SEEN"]  # type: ignore[index]
        run("create or replace temporary table SEEN as select 3 as A")
        assert run("drop table SEEN") == [("SEEN successfully dropped.",)]
        assert run("select A from SEEN") == [("permanent",)]
        with pytest.raises(Error, match="not emulated: a temporary view that reads what it replaces"):
            run("create or replace temporary view ON_BOTH as select * from ON_BOTH")
        assert run("drop view if exists ON_BOTH") == [("ON_BOTH successfully dropped.",)]
        run("create temporary view LEFT_BEHIND as select 1 as A")
    with warehouse.connect(database="DB") as later, pytest.raises(Error, match="does not exist"):
        later.cursor().execute("select * from LEFT_BEHIND")


def test_a_temporary_table_is_loaded_from_a_stage(warehouse: EmulatedSnowflake, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1,a\n2,b\n")
    with warehouse.connect(database="DB", schema="PUBLIC") as session:
        cursor = session.cursor()
        for _ in range(2):
            cursor.execute("create or replace temporary table LOADED (A number, B varchar)")
            cursor.execute("create or replace temporary stage LOADING")
            cursor.execute(f"put 'file://{tmp_path}/rows.csv' @LOADING")
            cursor.execute("copy into LOADED from @LOADING file_format = (type = csv)")
            assert cursor.execute("select * from LOADED order by A").fetchall() == [(1, "a"), (2, "b")]


def test_columns_are_commented_together(warehouse: EmulatedSnowflake) -> None:
    run = warehouse.query
    run('create or replace table DB.PUBLIC.SAID (A number, "b c" number, C number)')
    run("create or replace view DB.PUBLIC.SAID_TOO as select A from DB.PUBLIC.SAID")
    run(
        'alter table DB.PUBLIC.SAID alter\n A comment $$it\'s "A"$$, column "b c" comment \'b\'\'s\'; /* {"app": "dbt"} */'
    )
    run("comment on column DB.PUBLIC.SAID.C is 'third'")
    run("alter view DB.PUBLIC.SAID_TOO modify column a comment 'seen'")
    said = {row[0]: row[9] for row in run("describe table DB.PUBLIC.SAID")}
    assert said == {"A": 'it\'s "A"', "b c": "b's", "C": "third"}
    assert [row[9] for row in run("describe view DB.PUBLIC.SAID_TOO")] == ["seen"]
    with pytest.raises(Error, match="invalid identifier 'D'"):
        run("alter table DB.PUBLIC.SAID alter A comment 'other', D comment 'nothing'")


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("select '/* x */', '--'", "select '/* x */', '--'"),
        (" /* a */ -- b\n // c\n use role R ; /* dbt */ ;\n", "use role R"),
        ("put file:///tmp/x @s", "put file:///tmp/x @s"),
        ("", ""),
        ("/* alone", "/* alone"),
        ("a" + " ;" * 100_000, "a"),
        ("select '*/' /* */", "select '*/'"),
    ],
)
def test_a_statement_is_known_behind_comments(written: str, found: str) -> None:
    assert bare(written) == found


def test_what_is_refused_is_refused_behind_a_comment_too(warehouse: EmulatedSnowflake) -> None:
    with pytest.raises(Error, match="not emulated: EXPLAIN"):
        warehouse.query("/* why */ explain select 1")
    warehouse.query("-- a role\nuse role SYSADMIN; /* dbt */")
    assert warehouse.query("select current_role()") == [("SYSADMIN",)]


def test_an_offset_that_a_column_would_lose_is_refused(warehouse: EmulatedSnowflake) -> None:
    warehouse.query("create or replace database ZONES")
    warehouse.query("create table MOMENTS (AT timestamp_tz, SAID varchar)")
    warehouse.query("insert into MOMENTS values ('2026-01-05 10:20:30+00:00', '2026-01-05 10:20:30')")
    for written in ("'2026-01-05 10:20:30 +02:00'", "'2026-01-05T10:20:30.5-0800'::timestamp_tz"):
        with pytest.raises(Error, match="not emulated: a TIMESTAMP_TZ with another offset"):
            warehouse.query(f"insert into MOMENTS (AT) select {written}")
    warehouse.query("create table TEXTS as select '2026-01-05 10:20:30 +02:00' as SAID")
    with pytest.raises(Error, match="not emulated: a TIMESTAMP_TZ with another offset"):
        warehouse.query("insert into MOMENTS (AT) select SAID::timestamp_tz from TEXTS")
    assert warehouse.query("select to_varchar(max(AT)), count(*) from MOMENTS") == [
        ("2026-01-05 10:20:30.000 +0000", 1)
    ]


def test_show_and_the_information_schema_say_when_and_how_objects_were_made(
    warehouse: EmulatedSnowflake,
) -> None:
    before = datetime.now(UTC)
    warehouse.query("create or replace database SHOWN")
    warehouse.query("create table T as select column1 as A from values (1), (2), (3)")
    warehouse.query("delete from T where A = 3")
    written = "create or replace view V as select to_varchar(A) || 'x' as X -- as it was written\nfrom T"
    warehouse.query(written)
    for statement, rows in (("show tables", [2]), ("show objects", [2, None])):
        with warehouse.connect(database="SHOWN") as session:
            found = session.cursor(snowflake.connector.DictCursor).execute(statement).fetchall()  # type: ignore[union-attr]
        assert [one["rows"] for one in found] == rows
        assert all(before <= one["created_on"] <= datetime.now(UTC) for one in found)
    assert [row[7] for row in warehouse.query("show views")] == [written]
    ((text, created),) = warehouse.query(
        "select VIEW_DEFINITION, CREATED from SHOWN.INFORMATION_SCHEMA.VIEWS"
    )
    assert text == written and created >= before


def test_keys_are_kept_and_not_enforced(warehouse: EmulatedSnowflake) -> None:
    """https://docs.snowflake.com/en/sql-reference/constraints-overview"""
    run = warehouse.query
    before = datetime.now(UTC)
    run("create or replace database KEYED")
    run("create table T (A number primary key, B number unique, C number)")
    run(
        "create table U (A number, B number, constraint K primary key (B, A), foreign key (A) references T (A))"
    )
    run("create table V (A number)")
    run("insert into V values (1), (1)")
    run("alter table V add constraint K primary key (A)")
    run("insert into T values (1, 1, 1), (1, 1, 2)")
    run("insert into U values (5, 1), (5, 1)")
    run("merge into T using V on T.A = V.A + 1 when not matched then insert (A, B) values (V.A, 1)")
    assert run("select count(*) from T") == [(4,)]
    for table in ("T", "V"):
        with pytest.raises(Error, match="NULL result in a non-nullable column"):
            run(f"insert into {table} (A) values (null)")
    keys = run("show primary keys")
    assert [row[3:6] for row in keys] == [("T", "A", 1), ("U", "B", 1), ("U", "A", 2), ("V", "A", 1)]
    assert all(before <= row[0] for row in keys)
    assert [row[3:5] for row in run("show unique keys in table T")] == [("T", "B")]
    assert [row[:1] + row[3:4] + row[5:7] for row in run("describe table T")] == [
        ("A", "N", "Y", "N"),
        ("B", "Y", "N", "Y"),
        ("C", "Y", "N", "N"),
    ]


def test_the_information_schema_lists_views_among_the_tables(warehouse: EmulatedSnowflake) -> None:
    """https://docs.snowflake.com/en/sql-reference/info-schema/tables"""
    warehouse.query("create or replace database LISTED")
    warehouse.query("create table T (A number)")
    warehouse.query("create view V as select * from T")
    found = warehouse.query(
        "select TABLE_NAME, TABLE_TYPE, ROW_COUNT from LISTED.INFORMATION_SCHEMA.TABLES "
        "where TABLE_SCHEMA = 'PUBLIC' order by 1"
    )
    assert found == [("T", "BASE TABLE", 0), ("V", "VIEW", None)]


def test_the_information_schema_has_the_text_of_a_view_as_it_was_written(
    warehouse: EmulatedSnowflake,
) -> None:
    """https://docs.snowflake.com/en/sql-reference/info-schema/views"""
    warehouse.query("create or replace database WRITTEN")
    text = """create view "a ""b"" \\ 'é" as
    select 'it''s \t {}' as "ü", '\\"' as B -- a comment"""
    warehouse.query(text)
    found = warehouse.query("select TABLE_NAME, VIEW_DEFINITION from WRITTEN.INFORMATION_SCHEMA.VIEWS")
    assert found == [('a "b" \\ \'é', text)]


def test_the_information_schema_says_when_objects_were_changed(warehouse: EmulatedSnowflake) -> None:
    """https://docs.snowflake.com/en/sql-reference/info-schema/tables"""

    def moments(view: str, where: str, *columns: str) -> list[datetime]:
        ((*found,),) = warehouse.query(
            f"select {', '.join(columns)} from CHANGED.INFORMATION_SCHEMA.{view} where {where}"
        )
        return found

    before = datetime.now(UTC)
    warehouse.query("create or replace database CHANGED")
    warehouse.query("create table T (A number)")
    warehouse.query("create view V as select * from T")
    names = ("CREATED", "LAST_ALTERED", "LAST_DDL")
    created, altered, defined = moments("TABLES", "TABLE_NAME = 'T'", *names)
    assert before <= created == altered == defined
    warehouse.query("select * from T")
    assert moments("TABLES", "TABLE_NAME = 'T'", *names) == [created, altered, defined]
    for statement in ("insert into T values (1)", "update T set A = 2", "delete from T"):
        warehouse.query(statement)
        again = moments("TABLES", "TABLE_NAME = 'T'", *names)
        assert again[0] == created and again[1] > altered and again[2] == defined
        altered = again[1]
    warehouse.query("alter table T add column B number")
    created, altered, defined = moments("TABLES", "TABLE_NAME = 'T'", *names)
    assert created < altered == defined
    places = {
        "VIEWS": "TABLE_NAME = 'V'",
        "SCHEMATA": "SCHEMA_NAME = 'PUBLIC'",
        "DATABASES": "DATABASE_NAME = 'CHANGED'",
    }
    for view, where in places.items():
        assert min(moments(view, where, "CREATED", "LAST_ALTERED")) >= before
