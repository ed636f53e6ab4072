"""Names that need quotes, and the names of columns that a statement does not name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import snowflake.connector
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from retailflow_emulators.snowflake import stages
from retailflow_emulators.snowflake.quoting import identifier, literal
from retailflow_emulators.snowflake.testing import EmulatedSnowflake

# What both PostgreSQL and Snowflake take in a quoted name.
NAMES = st.text(st.sampled_from("aZ9_ -.%'\"/\\@~$é雪"), min_size=1, max_size=12).filter(str.strip)


def text(value: str) -> str:
    """A text as a statement of Snowflake's holds it: a backslash begins an escape there."""
    return literal(value.replace("\\", "\\\\"))


@given(NAMES, NAMES, NAMES)
@example("9", "back\\slash", "\\")
@example("RAW", "my-schema", "order-items")
@example("my db", "it's", "50%")
@example('q"uote', "do.t", "a/b")
@example("Größe", "@~", "%t")
@example("@", "IF", "INTO")
@example("TABLE", "@", "@")
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_quoted_name_works_from_the_stage_to_the_information_schema(
    warehouse: EmulatedSnowflake,
    tmp_path_factory: pytest.TempPathFactory,
    database: str,
    schema: str,
    table: str,
) -> None:
    folder = tmp_path_factory.mktemp("files")
    pyarrow.parquet.write_table(pa.table({"ID": [1, 2], "a b": ["x", "y"]}), folder / "rows.parquet")
    run = warehouse.query
    run(f"create database if not exists {identifier(database)}")
    try:
        place = f"{identifier(database)}.{identifier(schema)}"
        run(f"create schema if not exists {place}")
        name, stage = f"{place}.{identifier(table)}", f"{place}.{identifier('stage of ' + table)}"
        run(f'create or replace table {name} (ID number(38, 0), "a b" varchar(3))')
        run(f"create or replace stage {stage}")
        run(f"put 'file://{folder}/rows.parquet' @{stage} auto_compress = false")
        assert len(run(f"list @{stage}")) == 1
        picked = f'(select $1:"ID"::number(38, 0), $1:"a b"::varchar from @{stage}/rows.parquet)'
        run(f'copy into {name} (ID, "a b") from {picked} file_format = (type = parquet)')
        how = "match_by_column_name = case_insensitive force = true purge = true"
        run(f"copy into {name} from @{stage} file_format = (type = parquet) {how}")
        assert run(f"list @{stage}") == []
        run(
            f"merge into {name} as D using (select 2 as ID, 'z' as B union all select 3, 'n') as S on D.ID = S.ID "
            'when matched then update set D."a b" = S.B when not matched then insert (ID, "a b") values (S.ID, S.B)'
        )
        assert run(f'select ID, "a b", count(*) from {name} group by all order by ID') == [
            (1, "x", 2),
            (2, "z", 2),
            (3, "n", 1),
        ]
        assert [row[0] for row in run(f"describe table {name}")] == ["ID", "a b"]
        assert table in {row[1] for row in run(f"show tables in schema {place}")}
        assert schema in {row[1] for row in run(f"show schemas in database {identifier(database)}")}
        found = f"{identifier(database)}.information_schema.columns where table_name = {text(table)}"
        assert run(f"select column_name from {found} and table_schema = {text(schema)} order by 1") == [
            ("ID",),
            ("a b",),
        ]
        run(f"use schema {place}")
        assert run("select current_database(), current_schema()") == [(database, schema)]
        assert run(f"select count(*) from {identifier(table)}") == [(5,)]
        run(f"drop stage {stage}")
        run(f"drop table {name}")
    finally:
        run(f"drop database {identifier(database)}")


@given(NAMES)
def test_an_encoded_name_is_decoded(name: str) -> None:
    assert stages.decode(stages.encode(name)) == name


def test_databases_with_odd_names_are_there_after_a_restart(tmp_path: Path) -> None:
    server = EmulatedSnowflake(tmp_path)
    server.start()
    for name in ("a/b", "it's", "50%25"):
        server.query(f"create database {identifier(name)}")
        server.query("create table T as select 1 as ID")
    server.stop()
    server.start()
    for name in ("a/b", "it's", "50%25"):
        assert server.query(f"select ID from {identifier(name)}.PUBLIC.T") == [(1,)]
    server.stop()


@pytest.mark.parametrize("name", ["st x", "%T", "~x", "a.b", "it's"])
def test_a_stage_of_any_name_is_shown_as_it_is_and_is_no_other(
    warehouse: EmulatedSnowflake, tmp_path: Path, name: str
) -> None:
    run = warehouse.query
    run("create or replace schema DB.STAGES")
    run("create table T (A varchar)")
    stage = identifier(name)
    assert run(f"create stage {stage}") == [(f"Stage area {name} successfully created.",)]
    assert run(f"create stage if not exists {stage}") == [(f"{name} already exists, statement succeeded.",)]
    assert [row[1] for row in run("show stages")] == [name]
    (tmp_path / "a.csv").write_text("1\n")
    run(f"put file://{tmp_path}/a.csv @{stage} auto_compress = false")
    assert run(f"list @{stage}")[0][0] == f"{name.lower()}/a.csv"
    assert run("list @%T") == [] == run("list @~")
    run(f"copy into T from @{stage}")
    assert run(f"drop stage {stage}") == [(f"{name} successfully dropped.",)]
    with pytest.raises(snowflake.connector.errors.ProgrammingError, match="does not exist"):
        run(f"list @{stage}")


@pytest.mark.parametrize(
    ("selected", "names"),
    [
        ("count(*)", ["COUNT(*)"]),
        ("1+1, 1 + 1", ["1+1", "1 + 1"]),
        ("'x', upper('a') as b, (select 1)", ["'X'", "B", "(SELECT 1)"]),
        ("column1, max(column1)  over ()", ["COLUMN1", "MAX(COLUMN1)  OVER ()"]),
        ("distinct column1 * 2", ["COLUMN1 * 2"]),
    ],
)
def test_a_column_without_a_name_is_called_like_its_expression(
    warehouse: EmulatedSnowflake, selected: str, names: list[str]
) -> None:
    with warehouse.connect() as session:
        cursor = session.cursor()
        cursor.execute(f"with t as (select 1 as n) select {selected} from values (1)")
        assert [column.name for column in cursor.description] == names


def test_the_name_of_an_unnamed_column_can_be_used(warehouse: EmulatedSnowflake) -> None:
    assert warehouse.query('select "COUNT(*)" from (select count(*) from values (1), (2))') == [(2,)]
