"""FLATTEN, as https://docs.snowflake.com/en/sql-reference/functions/flatten has it."""

from __future__ import annotations

import pytest
import snowflake.connector

from retailflow_emulators.snowflake.testing import EmulatedSnowflake

WHOLE, TREE = '{"a":1,"b":[77,88],"c":{"d":"X"}}', """parse_json('{"a":1, "b":[77,88], "c": {"d":"X"}}')"""
CASES = {
    f"input => {TREE}, recursive => true": [
        (1, "a", "a", None, "1", WHOLE),
        (1, "b", "b", None, "[77,88]", WHOLE),
        (1, None, "b[0]", 0, "77", "[77,88]"),
        (1, None, "b[1]", 1, "88", "[77,88]"),
        (1, "c", "c", None, '{"d":"X"}', WHOLE),
        (1, "d", "c.d", None, '"X"', '{"d":"X"}'),
    ],
    f"input => {TREE}, recursive => true, mode => 'object'": [
        (1, "a", "a", None, "1", WHOLE),
        (1, "b", "b", None, "[77,88]", WHOLE),
        (1, "c", "c", None, '{"d":"X"}', WHOLE),
        (1, "d", "c.d", None, '"X"', '{"d":"X"}'),
    ],
    f"input => {TREE}, path => 'b'": [
        (1, None, "b[0]", 0, "77", "[77,88]"),
        (1, None, "b[1]", 1, "88", "[77,88]"),
    ],
    f"outer => true, input => {TREE}, path => 'nothing'": [(1, None, "nothing", None, None, None)],
    "parse_json('[]')": [],
    "parse_json('[]'), outer => true": [(1, None, "", None, None, "[]")],
    f"{TREE}, mode => 'array'": [],
    """parse_json('{"x y":[null]}'), recursive => true""": [
        (1, "x y", "['x y']", None, "[null]", '{"x y":[null]}'),
        (1, None, "['x y'][0]", 0, "null", "[null]"),
    ],
    "parse_json('[1.5]')": [(1, None, "[0]", 0, "1.5", "[1.5]")],
}
IN_ORDER = [
    "select f.index from FLAT t, lateral flatten(t.J) f",
    "select f.index from FLAT t, table(flatten(input => t.J)) f",
    "with t as (select * from FLAT) select f.index from t, lateral flatten(input => t.J) f",
    "with t as (select * from FLAT), u(A) as (select J from t) select f.index from u, lateral flatten(u.A) f",
    "select f.index from FLAT t left join lateral flatten(t.J) f",
    "select f.index from FLAT t left join lateral flatten(t.J) f on true",
    "select f.index from (select parse_json('[7,5,6]') as J) t, lateral flatten(t.J) f",
    "select f.index from (select split('a,b,c', ',') as J) t, lateral flatten(t.J) f",
    "select f.index from (select parse_json(column1) as J from values ('[7,5,6]')) t, lateral flatten(t.J) f",
    "select f.index from values ('[7,5,6]') as t(J), lateral flatten(parse_json(t.J)) f",
    "select f.index from FLAT t join FLAT u on t.ID = u.ID, lateral flatten(t.J) f",
]


@pytest.mark.parametrize("arguments", CASES)
def test_all_columns_are_those_that_are_documented(warehouse: EmulatedSnowflake, arguments: str) -> None:
    found = warehouse.query(f"select SEQ, KEY, PATH, INDEX, VALUE, THIS from table(flatten({arguments}))")
    assert found == CASES[arguments]


@pytest.mark.parametrize("sql", IN_ORDER)
def test_elements_come_in_their_order(warehouse: EmulatedSnowflake, sql: str) -> None:
    warehouse.query("use schema DB.PUBLIC")
    warehouse.query(
        "create or replace table FLAT as select column1 as ID, parse_json(column2) as J from values (1, '[3,1,2]')"
    )
    assert warehouse.query(sql) == [(0,), (1,), (2,)]


@pytest.mark.parametrize(
    "read",
    [
        "EQUAL t, lateral flatten(t.J) f",
        "EQUAL, table(flatten(input => J)) f",
        "(select * from EQUAL) t left join lateral flatten(parse_json(t.J::varchar)) f on true",
        "values ('[7,8]'), ('[7,8]') as t(J), lateral flatten(parse_json(t.J)) f",
    ],
)
def test_equal_inputs_have_numbers_of_their_own(warehouse: EmulatedSnowflake, read: str) -> None:
    warehouse.query("use schema DB.PUBLIC")
    warehouse.query(
        "create or replace table EQUAL as select parse_json(column1) as J from values ('[7,8]'), ('[7,8]')"
    )
    found = warehouse.query(f"select f.SEQ, f.INDEX from {read} order by 1, 2")
    assert found == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_values_are_sorted_as_numbers_where_they_are(warehouse: EmulatedSnowflake) -> None:
    sql = "select f.VALUE from table(flatten(parse_json('[9, 10, 2]'))) f order by f.VALUE"
    assert warehouse.query(sql) == [("2",), ("9",), ("10",)]
    assert warehouse.query(f"{sql} desc") == [("10",), ("9",), ("2",)]


@pytest.mark.parametrize("condition", ["V = 'x'", "V in ('x', 'z')", "'x' = V", "V between 'x' and 'xx'"])
def test_a_column_of_variant_is_compared_with_a_text(warehouse: EmulatedSnowflake, condition: str) -> None:
    warehouse.query("use schema DB.PUBLIC")
    warehouse.query(
        "create or replace table VARIANTS as select 'x'::variant as V union all select 5::variant"
    )
    assert warehouse.query(f"select count(*) from VARIANTS where {condition}") == [(1,)]


def test_a_left_join_keeps_rows_without_elements(warehouse: EmulatedSnowflake) -> None:
    sql = "select t.ID, f.* from (select 1 as ID, parse_json('[]') as J) t left join lateral flatten(t.J) f"
    assert warehouse.query(sql) == [(1, None, None, None, None, None, None)]


@pytest.mark.parametrize(
    "arguments", ["parse_json('[1]'), true", "parse_json('[1]'), deep => true", "mode => 'both'", "'[1]'"]
)
def test_other_arguments_are_refused(warehouse: EmulatedSnowflake, arguments: str) -> None:
    with pytest.raises(snowflake.connector.errors.ProgrammingError, match="FLATTEN"):
        warehouse.query(f"select * from table(flatten({arguments}))")
