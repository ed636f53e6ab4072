"""What clients read and describe: earlier results, positions of columns, stages and their formats, several statements."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import snowflake.connector

from retailflow_emulators.snowflake.testing import EmulatedSnowflake
from retailflow_emulators.snowflake.text import statements

Error = snowflake.connector.errors.Error


@pytest.fixture(autouse=True)
def in_the_schema(warehouse: EmulatedSnowflake) -> None:
    warehouse.query("use schema DB.PUBLIC")


def test_an_earlier_result_is_a_table(warehouse: EmulatedSnowflake) -> None:
    run = warehouse.query
    result = "table(result_scan(last_query_id()))"
    run("select column1 as A, column2 as B from values (1, 1.50), (2, 2.25), (3, null)")
    assert run(f"select sum(B), count(*) from (select * from {result} as t where t.A < 3)") == [
        (Decimal("3.75"), 2)
    ]
    run("begin")
    run("select 7 as SEVEN")
    assert run(f"select SEVEN / 2 from {result} where SEVEN > 1") == [(Decimal("3.500000"),)]
    run("rollback")
    with pytest.raises(Error, match="Statement nothing not found"):
        run("select * from table(result_scan('nothing'))")
    run("select 1 as A, 'x' as B, 2.50::number(10, 2) as C, current_date() as D, null as E")
    assert [row[:2] for row in run("describe result last_query_id()")] == [
        ("A", "NUMBER(38,0)"),
        ("B", "VARCHAR(16777216)"),
        ("C", "NUMBER(10,2)"),
        ("D", "DATE"),
        ("E", "VARCHAR(16777216)"),
    ]


def test_columns_are_known_by_their_position_and_by_any_word(warehouse: EmulatedSnowflake) -> None:
    run = warehouse.query
    assert run("select $2 || 'x', $1 + 1 as B from values (1, 'a'), (2, 'b') order by B") == [
        ("ax", 2),
        ("bx", 3),
    ]
    run("create or replace sequence COUNTED")
    run("create or replace table WORDS (ID int default COUNTED.nextval, at date, analyze int, lateral_ int)")
    run("insert into WORDS (at, analyze) values ('2026-01-02', 3)")
    assert run("select ID, at::varchar, WORDS.at is null, analyze from WORDS order by at") == [
        (1, "2026-01-02", False, 3)
    ]
    assert run("select row_number() over (order by seq8()) from table(generator(rowcount => 2))") == [
        (1,),
        (2,),
    ]
    assert [row[0] for row in run('desc sequence /* why */ "COUNTED"')] == ["COUNTED"]
    with pytest.raises(Error, match="Sequence '.*NONE' does not exist"):
        run("desc sequence NONE")
    run('create or replace table identifier(\'"DB"."PUBLIC"."ODD"\') (A int primary key)')
    assert run("select count(*) from ODD") == [(0,)]
    assert run("show imported keys in table ODD") == []


def test_a_stage_knows_its_format_and_the_columns_of_its_files(
    warehouse: EmulatedSnowflake, tmp_path: Path
) -> None:
    run = warehouse.query
    (tmp_path / "pipes.csv").write_text("1|a\n")
    run("create or replace stage PIPES file_format = (type = csv field_delimiter = '|')")
    run(f"put 'file://{tmp_path}/pipes.csv' @PIPES")
    run("create or replace table PIPED (A int, B varchar)")
    run("copy into PIPED from @PIPES")
    assert run("select * from PIPED") == [(1, "a")]
    rows = pa.table({"A": [1], "b": ["x"], "C": [Decimal("1.50")], "D": [1.5], "E": [True]})
    pyarrow.parquet.write_table(rows, tmp_path / "rows.parquet")
    run("create or replace stage COLUMNS_OF file_format = (type = parquet)")
    run(f"put 'file://{tmp_path}/rows.parquet' @COLUMNS_OF")
    found = run(
        "select COLUMN_NAME, TYPE, ORDER_ID from table(infer_schema(location => '@COLUMNS_OF', file_format => 'any')) order by 3"
    )
    assert found == [
        ("A", "NUMBER(38, 0)", 0),
        ("b", "TEXT", 1),
        ("C", "NUMBER(3, 2)", 2),
        ("D", "REAL", 3),
        ("E", "BOOLEAN", 4),
    ]
    with pytest.raises(Error, match="not emulated: INFER_SCHEMA of other files"):
        run("select * from table(infer_schema(location => '@PIPES', file_format => 'any'))")
    run("create or replace table PICKED (A int, B varchar)")
    run("copy into PICKED from (select get($1, 'A')::int, get($1, 'b')::varchar from @COLUMNS_OF)")
    assert run("select * from PICKED") == [(1, "x")]
    run("create or replace file format GONE type = csv")
    run("drop file format GONE")
    with pytest.raises(Error, match="does not exist"):
        run("drop file format GONE")
    run("drop file format if exists GONE")
    for refused in (
        "copy into '@PIPES/out' from (select 1) header = true",
        "select $1 from @PIPES/pipes.csv",
        "copy into PIPED from @PIPES on_error = continue",
    ):
        with pytest.raises(Error, match="not emulated"):
            run(refused)


def test_a_merge_may_read_from_a_query_without_a_name(warehouse: EmulatedSnowflake) -> None:
    warehouse.query("create or replace table MERGED as select 1 as A")
    merge = (
        'merge into MERGED using (select 5 as "r") on A = "r" when not matched then insert (A) values ("r")'
    )
    assert warehouse.query(merge) == [(1,)]


def test_autocommit_can_be_switched_off(warehouse: EmulatedSnowflake) -> None:
    run = warehouse.query
    run("create or replace table TRIED (A int)")
    run("alter session set autocommit = false")
    run("insert into TRIED values (1 + 1)")
    run("rollback")
    run("insert into TRIED values (3)")
    run("commit")
    run("create or replace table TRIED_TOO (A int)")
    run("alter session set autocommit = true")
    assert run("select A from TRIED") == [(3,)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("select ';' ; select $$a;b$$;", ["select ';' ", " select $$a;b$$"]),
        ("select 1;", ["select 1;"]),
        ("select 1 -- a; b", ["select 1 -- a; b"]),
        ("select 1; /* ; */ ;", ["select 1; /* ; */ ;"]),
    ],
)
def test_a_text_may_hold_several_statements(text: str, parts: list[str]) -> None:
    assert statements(text) == parts
