"""Every path of the API answers in Metabase's shape, and what is not here is refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from retailflow_emulators.dashboards.answers import API_VERSION
from retailflow_emulators.dashboards.charts import draw
from retailflow_emulators.dashboards.warehouse import Column, Result

from . import metabase_answers
from .conftest import add_card, add_dashboard, add_database, card_body, filtered, reader

ROOT = Path(__file__).parents[3]


def test_the_version_is_the_one_that_the_inventory_pins(client: TestClient) -> None:
    pinned = yaml.safe_load((ROOT / "inventory/group_vars/all/versions.yml").read_text())["versions"][
        "metabase"
    ]
    assert pinned == API_VERSION
    assert client.get("/api/session/properties").json()["version"]["tag"] == pinned


def test_every_path_answers_in_metabases_shape(client: TestClient) -> None:
    seen: set[str] = set()
    request = client.request

    def watched(method: str, url: str, **options: Any) -> Any:
        answer = request(method, url, **options)
        assert answer.is_success, (method, url, answer.status_code, answer.text)
        seen.add(metabase_answers.endpoint(method, answer.url.path))
        return answer

    client.request = watched  # type: ignore[method-assign]
    board = filtered(client)
    place = board["dashcards"][0]
    card, database = place["card"], place["card"]["database_id"]
    while client.get(f"/api/database/{database}").json()["initial_sync_status"] != "complete":
        pass
    shop = client.post("/api/collection", json={"name": "Shop"}).json()
    client.put(f"/api/collection/{shop['id']}", json={"description": "All"})
    client.put(f"/api/card/{card['id']}", json={"collection_id": shop["id"]})
    client.put(f"/api/dashboard/{board['id']}", json=client.get(f"/api/dashboard/{board['id']}").json())
    client.put(f"/api/database/{database}", json={"name": "Other"})
    reader(client)
    for graph in ("/api/permissions/graph", "/api/collection/graph"):
        client.put(graph, json=client.get(graph).json())
    for path in (
        "health",
        "session/properties",
        "user",
        "user/1",
        "user/current",
        "api-key",
        "permissions/group",
        "collection",
        "collection/root",
        "collection/tree",
        f"collection/{shop['entity_id']}",
        "collection/root/items",
        f"collection/{shop['id']}/items?models=card&models=dashboard&limit=1&offset=1",
        "card",
        "card?f=mine",
        f"card/{card['entity_id']}",
        "dashboard",
        f"dashboard/{board['entity_id']}",
        f"dashboard/{board['id']}/params/f1/values",
        f"dashboard/{board['id']}/params/f1/search/ind",
        "database?include=tables",
        f"database/{database}/metadata",
        f"database/{database}/schemas",
        f"database/{database}/schema/MARTS",
        "table",
        "table/1",
        "table/1/query_metadata",
        "field/1",
    ):
        client.get(f"/api/{path}")
    client.put("/api/table/1", json={"description": "By country", "visibility_type": None})
    client.put("/api/table/1/fields/order", json=[2, 1])
    client.put("/api/field/1", json={"semantic_type": "type/Country", "fk_target_field_id": None})
    client.post(f"/api/database/{database}/sync_schema")
    client.post(f"/api/card/{card['id']}/query")
    client.post(f"/api/card/{card['id']}/query/json", data={"parameters": "[]", "format_rows": "false"})
    client.post(f"/api/dashboard/{board['id']}/dashcard/{place['id']}/card/{card['id']}/query", json={})
    client.post("/api/dataset", json=card_body(database)["dataset_query"])
    client.post("/api/session", json={"username": "admin@retailflow.example", "password": "secret1"})
    client.delete("/api/api-key/1")
    own = client.put("/api/user/1/password", json={"password": "secret2"}).json()
    client.headers["X-Metabase-Session"] = own["session_id"]
    client.delete("/api/session")
    assert seen | {"POST /api/setup"} == set(metabase_answers.ANSWERS)


def test_template_tags_are_a_list_however_they_were_sent(client: TestClient) -> None:
    database = add_database(client)["id"]
    tag = {"name": "country", "display-name": "Country", "type": "text", "id": "t1"}
    other = {**tag, "name": "a", "id": "t2"}
    for tags in ({"country": tag, "a": other}, [tag, other]):
        body = card_body(database, "select 1 [[where c = {{country}} and a = {{a}}]]")
        body["dataset_query"]["stages"][0]["template-tags"] = tags
        made = client.post("/api/card", json=body).json()
        read = client.get(f"/api/card/{made['id']}").json()["dataset_query"]
        assert [one["name"] for one in read["stages"][0]["template-tags"]] == ["country", "a"]
        assert client.put(f"/api/card/{made['id']}", json={"dataset_query": read}).status_code == 200
    legacy = {
        "type": "native",
        "database": database,
        "native": {"query": "select {{a}}", "template-tags": {"a": other}},
    }
    made = client.post("/api/card", json={**card_body(database), "dataset_query": legacy}).json()
    assert made["dataset_query"]["stages"][0]["template-tags"][0]["name"] == "a"
    for wrong in ([tag, tag], [1], {"other": tag}, [{**tag, "type": "nonsense"}], "x"):
        body["dataset_query"]["stages"][0]["template-tags"] = wrong
        assert client.post("/api/card", json=body).status_code == 400, wrong


@pytest.mark.parametrize(
    ("method", "path", "body", "named"),
    [
        ("GET", "/api/search?q=x", None, "GET /api/search"),
        ("GET", "/api/native-query-snippet", None, "not emulated"),
        ("DELETE", "/api/card/1", None, "DELETE /api/card/1"),
        ("POST", "/api/card/1/copy", None, "not emulated"),
        ("POST", "/api/card/1/query/xlsx", None, "xlsx"),
        ("GET", "/api/card/1?legacy-mbql=true", None, "legacy MBQL"),
        ("GET", "/api/card?f=bookmarked", None, "f=bookmarked"),
        ("GET", "/api/collection/trash", None, "trash"),
        ("POST", "/api/collection", {"name": "x", "namespace": "snippets"}, "namespace"),
        ("PUT", "/api/card/1", {"cache_ttl": 5}, "cache_ttl"),
        ("PUT", "/api/card/1", {"type": "model"}, "model"),
        ("PUT", "/api/dashboard/1", {"enable_embedding": True}, "enable_embedding"),
        ("POST", "/api/dataset", {"database": 1, "type": "query", "query": {"source-table": 1}}, "not SQL"),
    ],
)
def test_what_is_not_here_is_501_with_a_sentence_and_changes_nothing(
    client: TestClient, method: str, path: str, body: Any, named: str
) -> None:
    add_dashboard(client, add_card(client, add_database(client)["id"])["id"])
    before = [client.get(f"/api/{kind}/1").json() for kind in ("card", "dashboard")]
    answer = client.request(method, path, json=body)
    assert answer.status_code == 501
    assert named in answer.text
    assert answer.text.startswith("not emulated: ")
    assert answer.text.endswith("Nothing was changed.")
    assert [client.get(f"/api/{kind}/1").json() for kind in ("card", "dashboard")] == before


@pytest.mark.parametrize(
    "path",
    [f"{kind}/{ref}" for kind in ("card", "dashboard", "collection", "table", "field", "database", "user")
     for ref in ("0", "99", "99999999999999999999", "9" * 400)]
    + ["nothing", "nothing/1", "card/short", "dashboard/" + "x" * 21, "card/%E0%B9%91"],
)  # fmt: skip
def test_what_does_not_exist_is_404(client: TestClient, path: str) -> None:
    assert client.get(f"/api/{path}").status_code in (404, 501 if "%" in path else 404)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"name": "\\ud800"}',
        b'{"name": "a\\u0000b"}',
        b'{"name": "x", "description": NaN}',
        b"[" * 100_000,
        b'{"name": ' + b"9" * 5_000 + b"}",
        b"\xff\xfe",
    ],
)
def test_text_that_no_database_keeps_is_refused(client: TestClient, raw: bytes) -> None:
    assert client.post("/api/collection", content=raw).status_code == 400


@pytest.mark.parametrize("length", [4_001, 100_000])
def test_long_sql_is_kept_as_it_is(client: TestClient, length: int) -> None:
    sql = "select 1 -- " + "x" * (length - 13) + "\n"
    card = add_card(client, add_database(client)["id"], sql=sql)
    assert client.get(f"/api/card/{card['id']}").json()["dataset_query"]["stages"][0]["native"] == sql


def test_texts_are_kept_as_they_were_given(client: TestClient) -> None:
    database = add_database(client)["id"]
    card = add_card(client, database, name=" Sales ", description="Line\n")
    assert (card["name"], card["description"]) == (" Sales ", "Line\n")
    assert add_card(client, database, name="n" * 254)["name"] == "n" * 254
    assert client.post("/api/collection", json={"name": "c" * 1_000}).status_code == 200
    made = client.post("/api/dashboard", json={"name": "\tBoard"}).json()
    assert (
        client.put(f"/api/dashboard/{made['id']}", json={"description": " x\n"}).json()["description"]
        == " x\n"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
OPTION = st.sampled_from(
    ["decimals", "number_style", "currency", "column_title", "show_mini_bar", "prefix", "scale"]
)
COLUMN_SETTINGS = st.dictionaries(
    st.sampled_from(['["name","DAY"]', '["name","Größe €"]', "x"]), st.dictionaries(OPTION, JSON) | JSON
)
GRAPH = st.lists(st.sampled_from(["DAY", "Größe €", "GONE"]) | JSON) | JSON
SETTINGS = st.fixed_dictionaries(
    {},
    optional={"graph.dimensions": GRAPH, "graph.metrics": GRAPH, "column_settings": COLUMN_SETTINGS | JSON},
)


NUMBER = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
ROW = st.tuples(st.text() | st.none(), NUMBER | st.none() | st.booleans())


@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["table", "row", "bar", "line", "area", "scalar", "pie", "object"]),
    SETTINGS,
    st.lists(ROW, max_size=4),
)
def test_any_settings_are_drawn(display: str, settings: dict[str, Any], rows: list[tuple[Any, Any]]) -> None:
    columns = [Column("DAY", "type/Text"), Column("Größe €", "type/Decimal")]
    card = {"display": display, "visualization_settings": settings}
    drawing = draw(card, Result(columns, [list(row) for row in rows]))
    assert len(drawing.rows) == (min(len(rows), 1) if drawing.kind == "scalar" else len(rows))


@pytest.mark.parametrize(
    "odd_settings",
    [
        {"column_settings": {'["name","NET_REVENUE"]': {"decimals": "two", "number_style": "currency"}}},
        {"column_settings": {'["name","NET_REVENUE"]': {"number_style": [], "currency": {}}}},
        {"graph.metrics": 7, "graph.dimensions": {"a": 1}},
        {"column_settings": []},
        {"graph.dimensions": [[]], "graph.metrics": [None]},
    ],
)
@pytest.mark.parametrize("display", ["row", "line", "table", "scalar", 'odd"'])
def test_an_odd_setting_leaves_the_dashboard_whole(
    client: TestClient, odd_settings: Any, display: str
) -> None:
    database = add_database(client)["id"]
    odd = add_card(client, database, display=display, visualization_settings=odd_settings)["id"]
    made = add_dashboard(client, add_card(client, database)["id"], odd)
    page = client.get(f"/dashboard/{made['id']}")
    assert (page.status_code, page.text.count("<section")) == (200, 2)
    assert "1,234.5" in page.text
