"""Collections, cards and dashboards through the API."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from .conftest import FakeWarehouse, add_card, add_dashboard, add_database, card_body, filtered


def test_a_card_runs_and_says_why_it_does_not(client: TestClient, warehouse: FakeWarehouse) -> None:
    database = add_database(client)["id"]
    card = add_card(client, database)
    answer = client.post(f"/api/card/{card['id']}/query")
    assert answer.status_code == 202
    assert answer.json()["status"] == "completed"
    assert answer.json()["data"]["rows"] == warehouse.result.rows
    assert answer.json()["data"]["cols"][1]["base_type"] == "type/Decimal"
    broken = add_card(client, database, sql="select broken")
    failed = client.post(f"/api/card/{broken['id']}/query")
    assert (failed.status_code, failed.json()["status"]) == (202, "failed")
    assert "no such table" in failed.json()["error"]


def test_a_card_keeps_its_entity_id_and_nobody_else_gets_it(client: TestClient) -> None:
    database = add_database(client)["id"]
    assert add_card(client, database, entity_id="a" * 21)["entity_id"] == "a" * 21
    assert len(add_card(client, database)["entity_id"]) == 21
    twice = client.post("/api/card", json=card_body(database, entity_id="a" * 21))
    assert twice.status_code == 400
    assert "entity_id" in twice.json()["errors"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/card", {**card_body(1), "surprise": 1}, "surprise"),
        ("/api/card", {**card_body(1), "dataset_query": {"type": "other"}}, "dataset_query.lib/type"),
        ("/api/card", {**card_body(1), "name": "n" * 255}, "name"),
        ("/api/dashboard", {"name": "n" * 255}, "name"),
        ("/api/collection", {"name": "\n"}, "name"),
        ("/api/card", {**card_body(1), "entity_id": "short"}, "entity_id"),
        ("/api/dashboard", {"name": "Sales", "entity_id": "a" * 21}, "entity_id"),
        ("/api/dashboard", {"name": " "}, "name"),
        ("/api/database", {"name": "x", "engine": "h2", "details": {}}, "engine"),
    ],
)
def test_a_wrong_body_is_refused_by_field(
    client: TestClient, path: str, body: dict[str, Any], field: str
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 400
    assert field in answer.json()["errors"]


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"null"])
def test_a_body_that_is_no_object_is_refused(client: TestClient, raw: bytes) -> None:
    assert client.post("/api/card", content=raw).status_code == 400


def test_a_body_beyond_the_limit_is_refused(client: TestClient) -> None:
    assert client.post("/api/card", content=b"x" * 1_000_001).status_code == 413


def test_what_does_not_exist_is_not_found(client: TestClient) -> None:
    database = add_database(client)["id"]
    for path in ("/api/card/9", "/api/dashboard/9", "/api/collection/9", "/api/nothing"):
        assert client.get(path).status_code == 404
    assert client.post("/api/card", json=card_body(database + 1)).status_code == 404
    assert client.post("/api/card", json=card_body(database, collection_id=9)).status_code == 404


def test_dashcards_are_a_whole_array_and_negative_ids_are_new(client: TestClient) -> None:
    database = add_database(client)["id"]
    cards = [add_card(client, database)["id"] for _ in range(3)]
    made = add_dashboard(client, cards[0], cards[1])
    first, second = made["dashcards"]
    assert first["card"]["id"] == cards[0]
    kept = {key: second[key] for key in ("id", "card_id", "row", "col", "size_x", "size_y")} | {"row": 4}
    new = {**kept, "id": -1, "card_id": cards[2], "row": 8}
    after = client.put(f"/api/dashboard/{made['id']}", json={"dashcards": [kept, new], "tabs": []}).json()[
        "dashcards"
    ]
    assert [(place["card_id"], place["row"]) for place in after] == [(cards[1], 4), (cards[2], 8)]
    assert after[0]["id"] == second["id"]
    assert after[1]["id"] not in (first["id"], second["id"])
    gone = client.put(f"/api/dashboard/{made['id']}", json={"dashcards": [{**kept, "id": first["id"]}]})
    assert gone.status_code == 400
    untouched = client.put(f"/api/dashboard/{made['id']}", json={"name": "Other"}).json()
    assert len(untouched["dashcards"]) == 2


@pytest.mark.parametrize("place", [{"col": 20}, {"card_id": 99}, {"size_x": 0}, {"row": -1}])
def test_a_dashcard_out_of_place_is_refused_and_nothing_changes(
    client: TestClient, place: dict[str, int]
) -> None:
    card = add_card(client, add_database(client)["id"])["id"]
    made = add_dashboard(client, card)
    body = {"id": -1, "card_id": card, "row": 0, "col": 0, "size_x": 8, "size_y": 4, **place}
    assert client.put(f"/api/dashboard/{made['id']}", json={"dashcards": [body]}).status_code in (400, 404)
    assert client.get(f"/api/dashboard/{made['id']}").json()["dashcards"] == made["dashcards"]


def test_collections_list_their_items(client: TestClient) -> None:
    database = add_database(client)["id"]
    collection = client.post("/api/collection", json={"name": "RetailFlow"}).json()["id"]
    card = add_card(client, database, collection_id=collection)
    client.post("/api/dashboard", json={"name": "Sales", "collection_id": collection})
    add_card(client, database)
    items = client.get(f"/api/collection/{collection}/items?models=dashboard").json()["data"]
    assert [(item["model"], item["name"]) for item in items] == [("dashboard", "Sales")]
    assert client.get(f"/api/collection/{collection}/items").json()["total"] == 2
    client.put(f"/api/card/{card['id']}", json={"archived": True})
    assert client.get(f"/api/collection/{collection}/items").json()["total"] == 1
    assert [found["id"] for found in client.get("/api/card?f=archived").json()] == [card["id"]]


def test_tabs_are_a_whole_array_and_each_shows_its_own_cards(client: TestClient) -> None:
    made = filtered(client)
    place = {key: made["dashcards"][0][key] for key in ("id", "card_id", "row", "col", "size_x", "size_y")}
    tabs = [{"id": -1, "name": "One"}, {"id": -2, "name": "Two"}]
    path = f"/api/dashboard/{made['id']}"
    loose = client.put(path, json={"dashcards": [place], "tabs": tabs})
    assert (loose.status_code, "dashcards" in loose.json()["errors"]) == (400, True)
    body = {"dashcards": [{**place, "dashboard_tab_id": -2}], "tabs": tabs}
    after = client.put(path, json=body).json()
    assert [(tab["name"], tab["position"]) for tab in after["tabs"]] == [("One", 0), ("Two", 1)]
    first, second = (tab["id"] for tab in after["tabs"])
    assert after["dashcards"][0]["dashboard_tab_id"] == second
    empty = client.get(f"/dashboard/{made['id']}").text
    assert (empty.count("<section"), 'aria-current="page">One' in empty) == (0, True)
    shown = client.get(f"/dashboard/{made['id']}?tab={second}&country=India").text
    assert shown.count("<section") == 1
    assert f"?country=India&amp;tab={first}" in shown
    gone = client.put(path, json={"tabs": [{"id": first, "name": "One"}]}).json()
    assert gone["dashcards"] == []
