"""Variables of a query and the filters that set them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from retailflow_emulators.dashboards import queries
from retailflow_emulators.dashboards.warehouse import WarehouseError

from .conftest import FakeWarehouse, filtered

STAGE = {
    "native": "select 1 where a like '%x' [[and c = {{country}}]] [[and s = {{ state }} and c = {{country}}]]",
    "template-tags": {"country": {"type": "text"}, "state": {"type": "text"}},
}


@pytest.mark.parametrize(
    ("given", "sql", "values"),
    [
        ({}, "select 1 where a like '%x'", {}),
        ({"state": "Goa"}, "select 1 where a like '%x'", {}),
        ({"country": ""}, "select 1 where a like '%x'", {}),
        ({"country": ["India"]}, "select 1 where a like '%%x' and c = %(country)s", {"country": "India"}),
        (
            {"country": "' or 1=1 --", "state": 7},
            "select 1 where a like '%%x' and c = %(country)s and s = %(state)s and c = %(country)s",
            {"country": "' or 1=1 --", "state": "7"},
        ),
    ],
)
def test_a_value_is_bound_and_never_becomes_sql(
    given: dict[str, Any], sql: str, values: dict[str, Any]
) -> None:
    bound, used = queries.bind(STAGE, given)
    assert (bound.split(), used) == (sql.split(), values)


@pytest.mark.parametrize(
    ("tag", "given", "message"),
    [
        ({"type": "text"}, {}, 'missing required parameters: #{"n"}'),
        ({"type": "text", "required": True, "display-name": "Net"}, {}, "pick a value for 'Net'"),
        ({"type": "number"}, {"n": "nan"}, "n must be a number"),
        ({"type": "number"}, {"n": {}}, "n must be a number"),
        ({"type": "number"}, {"n": "many"}, "n must be a number"),
        ({"type": "text"}, {"n": ["a", "b"]}, "n takes one value"),
    ],
)
def test_a_value_that_does_not_fit_is_named(tag: dict[str, Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(WarehouseError, match=message):
        queries.bind({"native": "select {{n}}", "template-tags": {"n": tag}}, given)


def test_a_default_counts_and_sql_without_variables_stays_as_it_is() -> None:
    stage = {
        "native": "select {{n}}",
        "template-tags": {"n": {"type": "number", "default": "2"}},
    }
    assert queries.bind(stage, {}) == ("select %(n)s", {"n": 2.0})
    assert queries.bind({"native": "select '%', 5 % 2"}, {}) == ("select '%', 5 % 2", {})


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select '[[1,2],[3,4]]' [[where c = {{c}}]]", "clauses must contain at least one"),
        ("select a[[1]]", "clauses must contain at least one"),
        ("select 1 [[and [[c = {{c}}]] ]]", "clauses must contain at least one"),
        ("select 1 [[and c = {{c}}", "no matching"),
        ("select {{c", "no matching"),
        ("select {{ }}", "cannot be empty"),
    ],
)
def test_brackets_are_read_as_metabase_reads_them_also_within_a_string(sql: str, message: str) -> None:
    stage = {"native": sql, "template-tags": {"c": {"type": "text"}}}
    with pytest.raises(WarehouseError, match=message):
        queries.bind(stage, {"c": "x"})


@pytest.mark.parametrize(
    ("sql", "bound"),
    [
        ("select 1 -- [[ {{x}}\n", "select 1 -- [[ {{x}}\n"),
        ("select /* [[1]] */ '{', 1]]", "select /* [[1]] */ '{', 1]]"),
        ("select '[ [1,2],[3,4] ]' [[, {{ c }} ]][[ {{gone}}]]", "select '[ [1,2],[3,4] ]' , %(c)s "),
        ("select 1 [[ -- {{c}}\n]]", "select 1  -- %(c)s\n"),
    ],
)
def test_comments_and_single_brackets_are_left_alone(sql: str, bound: str) -> None:
    stage = {"native": sql, "template-tags": {"c": {"type": "text"}}}
    assert queries.bind(stage, {"c": "x"})[0] == bound


@given(st.lists(st.sampled_from(["[[", "]]", "{{c}}", "{{", "}}", "--", "/*", "*/", "\n", "%", "'", "x"])))
def test_any_sql_is_bound_or_refused_and_keeps_what_is_no_clause(parts: list[str]) -> None:
    sql = "".join(parts)
    try:
        bound, used = queries.bind({"native": sql, "template-tags": {"c": {"type": "text"}}}, {"c": "v"})
    except WarehouseError:
        return
    plain = bound % {"c": "{{c}}"} if used else bound
    assert plain.replace("[[", "").replace("]]", "") == sql.replace("[[", "").replace("]]", "")


def test_a_filter_reaches_the_cards_that_it_is_mapped_onto(
    client: TestClient, warehouse: FakeWarehouse
) -> None:
    made = filtered(client)
    place = made["dashcards"][0]
    path = f"/api/dashboard/{made['id']}/dashcard/{place['id']}/card/{place['card_id']}/query"
    client.post(path, json={"parameters": [{"id": "f1", "value": ["India"]}]})
    client.post(path, json={"parameters": [{"id": "other", "value": "India"}]})
    target = ["variable", ["template-tag", "country"]]
    sent = [{"type": "category", "value": "Peru", "target": target}]
    client.post(f"/api/card/{place['card_id']}/query", json={"parameters": sent})
    where = "select 1 where c = %(country)s"
    assert warehouse.queries == [
        (where, {"country": "India"}),
        ("select 1 ", {}),
        (where, {"country": "Peru"}),
    ]
    assert client.post(path.replace("/dashcard/", "/dashcard/9"), json={}).status_code == 404
    values = client.get(f"/api/dashboard/{made['id']}/params/f1/values").json()["values"]
    assert values == [["<script>alert(1)</script>"], ["India"]]
    assert client.get(f"/api/dashboard/{made['id']}/params/f2/values").status_code == 404


@pytest.mark.parametrize("value", ["2026-01-31", "2026-01-31T02:00:00.000000"])
def test_a_date_is_bound_as_a_day(value: str) -> None:
    tags = {"day": {"name": "day", "display-name": "Day", "type": "date"}}
    stage = {"native": "select 1 where d = {{day}}", "template-tags": tags}
    assert queries.bind(stage, {"day": value}) == ("select 1 where d = %(day)s", {"day": "2026-01-31"})
    with pytest.raises(WarehouseError, match="day must be a date"):
        queries.bind(stage, {"day": "yesterday"})
