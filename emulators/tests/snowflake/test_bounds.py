"""A value longer than its column may hold is refused whatever statement writes it, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import snowflake.connector

from retailflow_emulators.snowflake.testing import EmulatedSnowflake

Error = snowflake.connector.errors.Error
TEXT, BINARY, VARIANT = 16_777_216, 8_388_608, 134_217_728
MAKES = f"repeat('x', {TEXT + 1})"
WRITES = {
    "insert": f"insert into T select 2, {MAKES}",
    "values": f"insert into T values (2, {MAKES})",
    "insert overwrite": f"insert overwrite into T select 2, {MAKES}",
    "update": f"update T set X = {MAKES} where ID = 1",
    "merge, inserted": f"merge into T using (select 2 as ID, {MAKES} as X) as S on T.ID = S.ID "
    "when not matched then insert (ID, X) values (S.ID, S.X)",
    "merge, updated": f"merge into T using (select 1 as ID, {MAKES} as X) as S on T.ID = S.ID "
    "when matched then update set X = S.X",
    "made again": f"create or replace table T as select 2 as ID, {MAKES} as X",
    "copied": "copy into T from @LONG_ONES file_format = (type = csv)",
}
MADE = {
    "defined": "create or replace table T (ID int, X varchar)",
    "from a query": "create or replace table T as select 0 as ID, 'x' as X where false",
    "added": "create or replace table T (ID int); alter table T add column X varchar",
}


@pytest.fixture(scope="module")
def long_ones(warehouse: EmulatedSnowflake, tmp_path_factory: pytest.TempPathFactory) -> EmulatedSnowflake:
    """The server, with a stage of one file that holds one value that is too long."""
    warehouse.query("create or replace schema DB.BOUNDS")
    warehouse.query("create stage LONG_ONES")
    file: Path = tmp_path_factory.mktemp("bounds") / "long.csv"
    file.write_text(f"2,{'x' * (TEXT + 1)}\n")
    warehouse.query(f"put file://{file} @LONG_ONES")
    return warehouse


@pytest.mark.parametrize("how", MADE)
def test_a_value_of_more_than_16_mb_is_refused(long_ones: EmulatedSnowflake, how: str) -> None:
    query = long_ones.query
    for statement in MADE[how].split("; "):
        query(statement)
    query("insert into T values (1, 'kept')")
    for name, statement in WRITES.items():
        with pytest.raises(Error, match=rf"Max LOB size \({TEXT}\) exceeded, .* is {TEXT + 1}") as caught:
            query(statement)
        assert (caught.value.errno, caught.value.sqlstate) == (100082, "22000"), name
        assert query("select ID, X from T") == [(1, "kept")], name
    query(f"insert into T values (3, repeat('é', {TEXT}))")
    query("insert into T values (4, 'beside it')")
    assert query("select count(*), max(length(X)) from T") == [(3, TEXT)]


def test_a_long_document_is_copied(long_ones: EmulatedSnowflake, tmp_path: Path) -> None:
    file = tmp_path / "document.json"
    file.write_text(json.dumps({"text": "x" * (TEXT + 1)}))
    query = long_ones.query
    query("create or replace table T (V variant)")
    query(f"put file://{file} @LONG_ONES/documents")
    query("copy into T from @LONG_ONES/documents file_format = (type = json)")
    assert query("select length(V:text) from T") == [(TEXT + 1,)]


def test_a_refused_value_leaves_the_transaction_open(long_ones: EmulatedSnowflake) -> None:
    query = long_ones.query
    query("create or replace table T (ID int, X varchar)")
    query("begin")
    query("insert into T values (1, 'kept')")
    with pytest.raises(Error, match="Max LOB size"):
        query(WRITES["insert"])
    query("insert into T values (2, 'too')")
    query("commit")
    assert query("select X from T order by ID") == [("kept",), ("too",)]


def test_each_type_has_its_own_bound(long_ones: EmulatedSnowflake) -> None:
    query = long_ones.query
    query(
        f"create or replace table T (B binary, C binary(3), D binary({2 * BINARY}), L varchar({2 * TEXT}), V variant)"
    )
    long_binary = f"to_binary(repeat('00', {BINARY + 1}), 'hex')"
    for column, value, bound in (
        ("B", long_binary, BINARY),
        ("C", "to_binary('00112233', 'hex')", 3),
        ("V", f"to_variant(repeat('x', {VARIANT}))", VARIANT),
    ):
        with pytest.raises(Error, match=rf"Max LOB size \({bound}\)"):
            query(f"insert into T ({column}) select {value}")
    query(
        f"insert into T select null, to_binary('001122', 'hex'), {long_binary}, {MAKES}, to_variant({MAKES})"
    )
    assert query("select length(L), length(D) from T") == [(TEXT + 1, BINARY + 1)]
