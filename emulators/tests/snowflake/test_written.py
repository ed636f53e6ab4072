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
        ("insert into V values (7), (true), (null)", ["BOOLEAN", "INTEGER", None]),
        ("insert into V select A from (select 7 as A union all select 8)", ["INTEGER", "INTEGER"]),
        ("insert into V select * from S", ["VARCHAR"]),
        ("insert into V select parse_json('{}') union all select to_variant('x')", ["OBJECT", "VARCHAR"]),
        ("insert into V select 7", ["INTEGER"]),
        ("insert into V select array_construct('x')", ["ARRAY"]),
        ("insert overwrite into V (A) select '7'::variant", ["VARCHAR"]),
        ("create or replace table V (A variant) as select '7'", ["VARCHAR"]),
        ("merge into V using S on false when not matched then insert (A) values (7)", ["INTEGER"]),
        ("merge into V using S on false when not matched then insert (A) values (S.T)", ["VARCHAR"]),
    ],
)  # fmt: skip
def test_values_in_a_variant_keep_their_type(run: Run, statement: str, kinds: list[object]) -> None:
    # https://docs.snowflake.com/en/sql-reference/data-types-semistructured
    run("create or replace table V (A variant)")
    run("create or replace table S as select '5'::variant as T")
    run(statement)
    assert [kind for (kind,) in run("select typeof(A) as K from V order by K")] == kinds


@pytest.fixture
def held(run: Run) -> None:
    for statement in (
        "create or replace table H (V variant, A array, O object)",
        "insert into H select 1, [1], {'a': 1}",
        "create or replace table TEXTS as select 'abc' as X, 7 as N, [1] as XS",
    ):
        run(statement)


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("insert into H (V) values ('abc')", "VARIANT but got VARCHAR(3) for column V"),
        ("insert into H (A) values ('[1]')", "ARRAY but got VARCHAR(3) for column A"),
        ("insert into H (A) select '[1, 2]' where false", "ARRAY but got VARCHAR(6) for column A"),
        ("insert into H (O) select X from TEXTS", "OBJECT but got VARCHAR(16777216) for column O"),
        ("insert into H (V, A) select * exclude (N, XS), [1] from TEXTS", "VARIANT but got VARCHAR(16777216) for column V"),
        ("insert into H (A) select X || 'x' from TEXTS union all select 'y'", "ARRAY but got VARCHAR(16777216) for column A"),
        ("insert into H (A) values (current_date())", "ARRAY but got DATE for column A"),
        ("insert into H (O) select N > 1 from TEXTS", "OBJECT but got BOOLEAN for column O"),
        ("insert into H (O) select XS from TEXTS", "OBJECT but got ARRAY for column O"),
        ("insert into H (A) with c as (select O as P from H) select P from c", "ARRAY but got OBJECT for column A"),
        ("update H set V = 'x'", "VARIANT but got VARCHAR(1) for column V"),
        ("update H set A = TEXTS.X from TEXTS", "ARRAY but got VARCHAR(16777216) for column A"),
        ("update H set O = A", "OBJECT but got ARRAY for column O"),
        (
            "merge into H using TEXTS T on true when matched then update set A = T.X",
            "ARRAY but got VARCHAR(16777216) for column A",
        ),
        (
            "merge into H using (select {'a': 1} as Y) T on false when not matched then insert (A) values (T.Y)",
            "ARRAY but got OBJECT for column A",
        ),
    ],
)  # fmt: skip
def test_a_value_of_another_type_than_its_column_is_refused(run: Run, statement: str, said: str) -> None:
    before = run("select * from H")
    with pytest.raises(snowflake.connector.errors.ProgrammingError) as error:
        run(statement)
    assert (error.value.errno, error.value.sqlstate) == (2023, "22000")
    assert f"Expression type does not match column data type, expecting {said}" in str(error.value.msg)
    assert run("select * from H") == before


@pytest.mark.usefixtures("held")
def test_a_variant_becomes_what_its_column_holds(run: Run) -> None:
    """As Snowflake's drivers write: INSERT … SELECT PARSE_JSON(?)."""
    run("insert into H select '7'::variant, parse_json('[5]'), parse_json('{\"b\": 2}')")
    run("insert into H (A) select parse_json('5') union all select parse_json('null')")
    assert run("select A, O from H where V = '7' or V is null order by A::varchar") == [
        ("[5]", '{"b":2}'),
        ("[5]", None),
        (None, None),
    ]
    with pytest.raises(
        snowflake.connector.errors.ProgrammingError, match=r"cast variant value \[5\] to OBJECT"
    ):
        run("insert into H (O) select parse_json('[5]')")


def test_parameters_and_updates_of_a_variant(warehouse: EmulatedSnowflake, run: Run) -> None:
    run("create or replace table V (A variant, B number)")
    login = warehouse.connect(database="DB", schema="WRITTEN", paramstyle="qmark")
    with login as session:
        cursor = session.cursor()
        cursor.execute("insert into V select to_variant(?), ?", ("[1]", 1))
        cursor.execute("insert into V select ?, ?", (2.5, 2))
        cursor.execute("insert into V select parse_json(?), ?", ("[1]", 3))
        for statement in ("insert into V values (?, ?)", "insert into V select ?, ?"):
            with pytest.raises(
                snowflake.connector.errors.ProgrammingError, match=r"VARIANT but got VARCHAR\(4\)"
            ):
                cursor.execute(statement, ("text", 4))
    assert run("select typeof(A) from V order by B") == [("VARCHAR",), ("DECIMAL",), ("ARRAY",)]
    run("update V set A = 'x'::variant where B = 3")
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
