"""Groups, their permissions and API keys."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from retailflow_emulators.dashboards.settings import Settings

from .conftest import add_card, add_database, card_body, reader


def test_an_api_key_reads_what_its_group_may_and_writes_nothing(client: TestClient) -> None:
    database = add_database(client)["id"]
    collection = client.post("/api/collection", json={"name": "RetailFlow"}).json()["id"]
    card = add_card(client, database, collection_id=collection)["id"]
    hidden = add_card(client, database)["id"]
    group, key = reader(client)
    graph = client.get("/api/collection/graph").json()
    for one in ("1", str(group)):
        graph["groups"][one] = {"root": "none", str(collection): "none"}
    graph["groups"][str(group)][str(collection)] = "read"
    assert client.put("/api/collection/graph", json=graph).status_code == 200
    assert client.get("/api/user/current", headers=key).json()["is_superuser"] is False
    assert [one["id"] for one in client.get("/api/card", headers=key).json()] == [card]
    assert client.post(f"/api/card/{card}/query", headers=key).json()["status"] == "completed"
    for refused in (
        client.post(f"/api/card/{hidden}/query", headers=key),
        client.put(f"/api/card/{card}", json={"name": "Mine"}, headers=key),
        client.post("/api/card", json=card_body(database), headers=key),
        client.get("/api/api-key", headers=key),
        client.get("/api/permissions/graph", headers=key),
    ):
        assert refused.status_code == 403
    assert "details" not in client.get("/api/database", headers=key).json()["data"][0]
    listed = client.get("/api/api-key").json()
    assert listed[0]["masked_key"] == key["X-API-Key"][:7] + "********"
    assert "hash" not in listed[0]
    assert client.delete(f"/api/api-key/{listed[0]['id']}").status_code == 204
    assert client.get("/api/card", headers=key).status_code == 401


def test_an_api_key_is_not_readable_in_the_state(client: TestClient, settings: Settings) -> None:
    _, key = reader(client)
    assert client.post("/api/api-key", json={"name": "robot", "group_id": 1}).status_code == 400
    state = Path(settings.database_url.database or "")
    assert key["X-API-Key"].encode() not in b"".join(one.read_bytes() for one in state.parent.iterdir())


def test_a_graph_changes_only_what_it_names_and_only_at_its_revision(client: TestClient) -> None:
    database = str(add_database(client)["id"])
    before = client.get("/api/permissions/graph").json()
    change = {"revision": before["revision"], "groups": {"1": {database: {"create-queries": "no"}}}}
    after = client.put("/api/permissions/graph", json=change).json()
    assert after["groups"]["1"][database] == {"view-data": "unrestricted"}
    assert client.put("/api/permissions/graph", json=change).status_code == 409
    for wrong in (
        {"2": {database: {"create-queries": "no"}}},
        {"9": {}},
        {"1": {"99": {}}},
        {"1": {database: {"surprise": "no"}}},
    ):
        body = {"revision": after["revision"], "groups": wrong}
        assert client.put("/api/permissions/graph", json=body).status_code == 400
    assert client.post("/api/permissions/group", json={"name": "all users"}).status_code == 400
