"""Variables of a query and the filters that set them."""

from __future__ import annotations

from typing import Any

import pytest
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
        ({"type": "text"}, {}, "needs a value of n"),
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
    assert queries.bind({"native": "select '{{n}}', a[[1]], 5 % 2"}, {}) == (
        "select '{{n}}', a[[1]], 5 % 2",
        {},
    )


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
