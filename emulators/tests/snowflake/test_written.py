"""Values that statements and files put into columns of text, and fields of files.

https://docs.snowflake.com/en/sql-reference/parameters#timestamp-output-format,
https://docs.snowflake.com/en/user-guide/data-load-transform
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import snowflake.connector

from retailflow_emulators.snowflake.testing import EmulatedSnowflake

Run = Callable[[str], list[tuple[object, ...]]]
AT = "'2026-01-05 10:20:30.5'::timestamp_ntz"
TEXT = "2026-01-05 10:20:30.500"


@pytest.fixture
def run(warehouse: EmulatedSnowflake) -> Run:
    for statement in (
        "create or replace schema DB.WRITTEN",
        "create table T (A varchar, B varchar(40), N number)",
        "create table S (AT timestamp_ntz, F float)",
        f"insert into S select {AT}, 3",
    ):
        warehouse.query(statement)
    return warehouse.query


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (f"insert into T (A, B) select {AT}, 5.0::float", (TEXT, "5", None)),
        (f"insert into T values ({AT}, true, 1), ('x', 1.50, 2)", (TEXT, "true", 1)),
        ("insert into T (B, A) values ('10:20:30.5'::time, '2026-01-05'::date)", ("2026-01-05", "10:20:30", None)),
        ("insert into T (A, B) select * from S", (TEXT, "3", None)),
        ("insert into T (A, B) with c as (select F from S) select F, F from c union all select 7, 7", ("3", "3", None)),
        ("insert overwrite into T (A) select max(AT) from S group by F order by 1", (TEXT, None, None)),
        ("insert into T (A) select to_binary('AB')", ("AB", None, None)),
        ("insert into T (A, B) select parse_json('\"x\"'), object_construct('k', 1)", ("x", '{"k":1}', None)),
        ("insert into T (A, B) values (default, 5.0::float)", (None, "5", None)),
        (f"create or replace table T (A varchar, B varchar(9), N number) as select {AT}, 5.0::float, 1", (TEXT, "5", 1)),
        (
            "merge into T using S on T.A = 'none' when not matched then insert (A, B) values (S.AT, S.F)",
            (TEXT, "3", None),
        ),
    ],
)  # fmt: skip
def test_what_is_written_into_a_text_is_what_snowflake_prints(
    run: Run, statement: str, found: tuple[object, ...]
) -> None:
    run(statement)
    assert run("select * from T")[0] == found


@pytest.mark.parametrize(
    ("statement", "kinds"),
    [
        ("insert into V values ('{\"a\":1}'), ('7'), (7), (true), (null)", ["BOOLEAN", "INTEGER", "VARCHAR", "VARCHAR", None]),
        ("insert into V select A from (select '7' as A union all select 'no json')", ["VARCHAR", "VARCHAR"]),
        ("insert into V select * from S", ["VARCHAR"]),
        ("insert into V select parse_json('{}') union all select to_variant('x')", ["OBJECT", "VARCHAR"]),
        ("insert into V select 7", ["INTEGER"]),
        ("insert into V select array_construct('x')", ["ARRAY"]),
        ("insert overwrite into V (A) select '7'", ["VARCHAR"]),
        ("create or replace table V (A variant) as select '7'", ["VARCHAR"]),
        ("merge into V using S on false when not matched then insert (A) values ('7')", ["VARCHAR"]),
        ("merge into V using S on false when not matched then insert (A) values (S.T)", ["VARCHAR"]),
    ],
)  # fmt: skip
def test_a_text_in_a_variant_stays_one_and_other_values_keep_their_type(
    run: Run, statement: str, kinds: list[object]
) -> None:
    # https://docs.snowflake.com/en/sql-reference/data-types-semistructured
    run("create or replace table V (A variant)")
    run("create or replace table S as select '5' as T")
    run(statement)
    assert [kind for (kind,) in run("select typeof(A) as K from V order by K")] == kinds


def test_parameters_and_updates_of_a_variant(warehouse: EmulatedSnowflake, run: Run) -> None:
    run("create or replace table V (A variant, B number)")
    login = warehouse.connect(database="DB", schema="WRITTEN", paramstyle="qmark")
    with login as session:
        cursor = session.cursor()
        cursor.execute("insert into V values (?, ?)", ("[1]", 1))
        cursor.execute("insert into V select ?, ?", (2.5, 2))
        cursor.execute("insert into V select parse_json(?), ?", ("[1]", 3))
    assert run("select typeof(A) from V order by B") == [("VARCHAR",), ("DECIMAL",), ("ARRAY",)]
    run("update V set A = 'x' where B = 3")
    run("update V set A = B where B = 1")
    assert run("select typeof(A) from V order by B") == [("INTEGER",), ("DECIMAL",), ("VARCHAR",)]


def test_what_is_written_by_an_update(run: Run) -> None:
    run("insert into T values ('a', 'b', 1), ('c', 'd', 2)")
    run("update T set A = S.AT, B = S.F from S where N = 1")
    run("merge into T using S on T.N = 2 when matched then update set A = S.AT, T.B = 1.50")
    assert run("select * from T order by N") == [(TEXT, "3", 1), (TEXT, "1.50", 2)]


@pytest.mark.parametrize("selected", ["*, 3", "AT, F, 3"])
def test_a_query_of_another_width_than_the_table_is_refused(run: Run, selected: str) -> None:
    with pytest.raises(snowflake.connector.errors.ProgrammingError, match="expecting 2 but got 3"):
        run(f"insert into T (A, B) select {selected} from S")


def test_the_fields_of_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("007,1.50,2026-01-05 10:20:30.5,4,5,6,7,8,9,10,k\n")
    (tmp_path / "rows.json").write_text('{"a": 1.0, "at": "2026-01-05T10:20:30.5", "o": {"k": 1}}\n')
    moment = datetime.datetime(2026, 1, 5, 10, 20, 30, 500_000)
    pq.write_table(pa.table({"AT": [moment], "F": [5.0]}), tmp_path / "rows.parquet")  # type: ignore[no-untyped-call]
    run("create stage FILES")
    for file in ("rows.csv", "rows.json", "rows.parquet"):
        run(f"put file://{tmp_path}/{file} @FILES auto_compress = false")
    copied = {
        "from @FILES/rows.csv": ("007", "1.50", None),
        "from (select $1, f.$3::timestamp_ntz, $2 * 2 from @FILES/rows.csv f)": ("007", TEXT, Decimal(3)),
        "from (select lpad($1, 4, '0'), upper($11), $4 from @FILES/rows.csv)": ("0007", "K", Decimal(4)),
        "from (select $1:a::float, $1:at::timestamp_ntz, $1:o:k from @FILES/rows.json) file_format = (type = json)": (
            "1",
            TEXT,
            Decimal(1),
        ),
        "from (select $1:AT, $1:F, 1 from @FILES/rows.parquet) file_format = (type = parquet)": (
            TEXT,
            "5",
            1,
        ),
    }
    for source, found in copied.items():
        run("truncate table T")
        run(f"copy into T {'(A, B)' if '(' not in source else ''} {source} force = true")
        assert run("select * from T") == [found], source
    run("truncate table S")
    run(
        "copy into S from @FILES/rows.parquet file_format = (type = parquet) match_by_column_name = case_insensitive"
    )
    assert run("select * from S") == [(moment, 5.0)]
