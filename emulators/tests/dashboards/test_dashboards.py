"""The embedded dashboard server as its clients see it, with a warehouse that needs no Snowflake."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from retailflow_emulators.dashboards import queries, throttle, vault
from retailflow_emulators.dashboards.app import build_app
from retailflow_emulators.dashboards.charts import NOTHING, draw, format_value
from retailflow_emulators.dashboards.settings import Settings
from retailflow_emulators.dashboards.store import Store
from retailflow_emulators.dashboards.warehouse import Column, Result, Value, WarehouseError, private_key_der

ADMIN = {"email": "Admin@retailflow.example", "password": "secret1"}
KEY = "0123456789abcdef"
SECRET = "data:application/octet-stream;base64,c2VjcmV0LWtleQ=="
DETAILS = {"account": "a", "user": "METABASE", "db": "ANALYTICS", "private-key-value": SECRET}


class FakeWarehouse:
    """Answers from memory; ``down`` refuses everything."""

    def __init__(self) -> None:
        self.down = ""
        self.checked: list[dict[str, Any]] = []
        self.queries: list[tuple[str, dict[str, Value]]] = []
        self.result = Result(
            [Column("COUNTRY", "type/Text"), Column("NET_REVENUE", "type/Decimal")],
            [["<script>alert(1)</script>", 1234.5], ["India", -10.0]],
        )

    def check(self, details: dict[str, Any]) -> None:
        self._answer()
        self.checked.append(details)

    def tables(self, details: dict[str, Any]) -> list[dict[str, str]]:
        self._answer()
        return [{"schema": "MARTS", "name": "NET_REVENUE_BY_COUNTRY"}]

    def query(
        self, details: dict[str, Any], sql: str, limit: int, values: Mapping[str, Value] | None = None
    ) -> Result:
        self._answer()
        self.queries.append((sql, dict(values or {})))
        if sql == "select broken":
            raise WarehouseError("002003 (42S02): no such table")
        return self.result

    def _answer(self) -> None:
        if self.down:
            raise WarehouseError(self.down)


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests are many, and a good password hash is slow."""
    monkeypatch.setitem(vault._SCRYPT, "n", 2)


@pytest.fixture
def warehouse() -> FakeWarehouse:
    return FakeWarehouse()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"MB_DATA_DIR": str(tmp_path), "MB_ENCRYPTION_SECRET_KEY": KEY})


@pytest.fixture
def fresh(settings: Settings, warehouse: FakeWarehouse) -> Iterator[TestClient]:
    store = Store(settings.database_url)
    yield TestClient(build_app(settings, store, warehouse), follow_redirects=False)
    store.close()


@pytest.fixture
def client(fresh: TestClient) -> TestClient:
    """Set up, and logged in as programs are."""
    answer = set_up(fresh)
    assert answer.status_code == 200
    fresh.cookies.clear()
    fresh.headers["X-Metabase-Session"] = answer.json()["id"]
    return fresh


def set_up(client: TestClient, **changes: Any) -> Any:
    token = client.get("/api/session/properties").json()["setup-token"]
    body = {"token": token, "user": ADMIN, "prefs": {"site_name": "Shop"}, **changes}
    return client.post("/api/setup", json=body)


def add_database(client: TestClient) -> dict[str, Any]:
    answer = client.post(
        "/api/database", json={"name": "Snowflake", "engine": "snowflake", "details": DETAILS}
    )
    assert answer.status_code == 200, answer.text
    added: dict[str, Any] = answer.json()
    return added


def card_body(database: int, sql: str = "select 1", **changes: Any) -> dict[str, Any]:
    return {
        "name": "Net revenue",
        "display": "row",
        "visualization_settings": {"graph.dimensions": ["COUNTRY"], "graph.metrics": ["NET_REVENUE"]},
        "dataset_query": {
            "lib/type": "mbql/query",
            "database": database,
            "stages": [{"lib/type": "mbql.stage/native", "native": sql}],
        },
        **changes,
    }


def add_card(client: TestClient, database: int, **changes: Any) -> dict[str, Any]:
    answer = client.post("/api/card", json=card_body(database, **changes))
    assert answer.status_code == 200, answer.text
    added: dict[str, Any] = answer.json()
    return added


def add_dashboard(client: TestClient, *card_ids: int) -> dict[str, Any]:
    identity = client.post("/api/dashboard", json={"name": "Sales"}).json()["id"]
    places = [
        {"id": -number, "card_id": card, "row": 0, "col": 8 * (number - 1), "size_x": 8, "size_y": 4}
        for number, card in enumerate(card_ids, start=1)
    ]
    answer = client.put(f"/api/dashboard/{identity}", json={"dashcards": places})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_set_up_is_open_once_and_the_token_is_gone_after_it(fresh: TestClient) -> None:
    before = fresh.get("/api/session/properties").json()
    assert before["has-user-setup"] is False
    assert set_up(fresh, token="guess").status_code == 400
    assert set_up(fresh).status_code == 200
    after = fresh.get("/api/session/properties").json()
    assert (after["has-user-setup"], after["setup-token"], after["site-name"]) == (True, None, "Shop")
    assert set_up(fresh, token=before["setup-token"]).status_code == 403


@pytest.mark.parametrize(
    ("user", "field"),
    [
        ({**ADMIN, "password": "short"}, "user.password"),
        ({**ADMIN, "password": "no-digits"}, "user.password"),
        ({**ADMIN, "email": "nobody"}, "user.email"),
        ({"email": "a@b.example"}, "user.password"),
    ],
)
def test_a_weak_first_user_is_refused_by_field(fresh: TestClient, user: dict[str, str], field: str) -> None:
    answer = set_up(fresh, user=user)
    assert answer.status_code == 400
    assert field in answer.json()["errors"]
    assert fresh.get("/api/session/properties").json()["has-user-setup"] is False


@pytest.mark.parametrize(
    "path", ["/api/user/current", "/api/database", "/api/card", "/api/collection", "/api/dashboard/1"]
)
def test_nothing_is_told_without_a_session(client: TestClient, path: str) -> None:
    del client.headers["X-Metabase-Session"]
    assert client.get(path).status_code == 401
    client.headers["X-Metabase-Session"] = "guess"
    assert client.get(path).status_code == 401


def test_log_in_and_out(client: TestClient) -> None:
    wrong = client.post("/api/session", json={"username": ADMIN["email"], "password": "secret2"})
    assert (wrong.status_code, wrong.json()["errors"]) == (401, {"password": "did not match stored password"})
    stranger = client.post("/api/session", json={"username": "x@y.example", "password": "secret1"})
    assert stranger.status_code == 401
    session = client.post(
        "/api/session", json={"username": "admin@RetailFlow.example", "password": "secret1"}
    ).json()
    client.headers["X-Metabase-Session"] = session["id"]
    user = client.get("/api/user/current").json()
    assert user["email"] == "admin@retailflow.example"
    assert "password" not in user
    assert client.delete("/api/session").status_code == 204
    assert client.get("/api/user/current").status_code == 401


def test_a_session_ends_with_its_time(settings: Settings) -> None:
    now = [1_000.0]
    store = Store(settings.database_url, clock=lambda: now[0])
    store.add("user", {"email": "a@b.example"})
    store.add_session("hash", 1, seconds=60)
    now[0] += 59
    assert store.session_user("hash")
    now[0] += 1
    assert store.session_user("hash") is None
    store.close()


def test_a_secret_is_masked_and_survives_an_update_with_its_mask(
    client: TestClient, warehouse: FakeWarehouse
) -> None:
    added = add_database(client)
    assert added["details"]["private-key-value"] == vault.MASK
    changed = {**added["details"], "role": "REPORTER"}
    assert client.put(f"/api/database/{added['id']}", json={"details": changed}).status_code == 200
    assert warehouse.checked[-1] == {**DETAILS, "role": "REPORTER"}


def test_secrets_and_passwords_are_not_readable_in_the_state(client: TestClient, settings: Settings) -> None:
    add_database(client)
    state = b"".join(
        path.read_bytes() for path in Path(settings.database_url.database or "").parent.iterdir()
    )
    assert b"METABASE" in state
    for secret in (SECRET, ADMIN["password"], client.headers["X-Metabase-Session"]):
        assert secret.encode() not in state


def test_another_key_stops_the_server_with_its_state_unharmed(client: TestClient, settings: Settings) -> None:
    add_database(client)
    store = Store(settings.database_url)
    other = Settings(database_url=settings.database_url, encryption_key="another-key-another-key")
    with pytest.raises(vault.WrongKeyError, match="MB_ENCRYPTION_SECRET_KEY"):
        build_app(other, store, FakeWarehouse())
    assert build_app(settings, store, FakeWarehouse())
    store.close()


def test_a_database_that_does_not_connect_is_not_kept(client: TestClient, warehouse: FakeWarehouse) -> None:
    warehouse.down = "Snowflake at nowhere cannot be used"
    answer = client.post("/api/database", json={"name": "x", "engine": "snowflake", "details": DETAILS})
    assert answer.status_code == 400
    assert answer.json()["errors"] == {"host": warehouse.down}
    assert client.get("/api/database").json() == {"data": [], "total": 0}


def test_a_sync_tells_when_it_is_done_or_that_it_failed(client: TestClient, warehouse: FakeWarehouse) -> None:
    def status() -> str:
        deadline = time.monotonic() + 10
        while (
            found := client.get(f"/api/database/{identity}").json()["initial_sync_status"]
        ) == "incomplete":
            assert time.monotonic() < deadline
        return str(found)

    identity = add_database(client)["id"]
    assert status() == "complete"
    tables = client.get(f"/api/database/{identity}?include=tables").json()["tables"]
    assert tables == [{"schema": "MARTS", "name": "NET_REVENUE_BY_COUNTRY"}]
    warehouse.down = "gone"
    client.post(f"/api/database/{identity}/sync_schema")
    assert status() == "aborted"


def test_a_card_runs_and_says_why_it_does_not(client: TestClient, warehouse: FakeWarehouse) -> None:
    database = add_database(client)["id"]
    card = add_card(client, database)
    answer = client.post(f"/api/card/{card['id']}/query")
    assert answer.status_code == 202
    assert answer.json()["status"] == "completed"
    assert answer.json()["data"]["rows"] == warehouse.result.rows
    assert answer.json()["data"]["cols"][1] == {
        "name": "NET_REVENUE",
        "display_name": "NET_REVENUE",
        "base_type": "type/Decimal",
    }
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
        ("/api/card", {**card_body(1), "dataset_query": {"type": "query"}}, "dataset_query.lib/type"),
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


def test_pages_ask_to_log_in_and_come_back(client: TestClient) -> None:
    del client.headers["X-Metabase-Session"]
    asked = client.get("/dashboard/1")
    assert (asked.status_code, asked.headers["location"]) == (303, "/login?redirect=/dashboard/1")
    form = client.get(asked.headers["location"]).text
    assert "not Metabase" in form
    assert 'value="/dashboard/1"' in form
    wrong = client.post(
        "/login", data={"username": ADMIN["email"], "password": "x", "redirect": "/dashboard/1"}
    )
    assert wrong.status_code == 401
    right = client.post(
        "/login", data={"username": ADMIN["email"], "password": "secret1", "redirect": "/dashboard/1"}
    )
    assert (right.status_code, right.headers["location"]) == (303, "/dashboard/1")
    assert "HttpOnly" in right.headers["set-cookie"]
    assert client.get("/").status_code == 200
    assert client.post("/logout").status_code == 303
    assert client.get("/").status_code == 303


@pytest.mark.parametrize(
    "target", ["https://elsewhere.example", "//elsewhere.example", "/\\elsewhere.example"]
)
def test_log_in_never_leads_elsewhere(client: TestClient, target: str) -> None:
    answer = client.post(
        "/login", data={"username": ADMIN["email"], "password": "secret1", "redirect": target}
    )
    assert answer.headers["location"] == "/"


def test_a_dashboard_draws_its_cards_escaped_and_formatted(client: TestClient) -> None:
    database = add_database(client)["id"]
    money = {'["name","NET_REVENUE"]': {"number_style": "currency", "currency": "USD"}}
    card = card_body(database)["visualization_settings"] | {"column_settings": money}
    made = add_dashboard(client, add_card(client, database, visualization_settings=card)["id"])
    page = client.get(f"/dashboard/{made['id']}")
    assert "$1,234.50" in page.text
    assert "-$10.00" in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_a_dashboard_shows_what_is_wrong_beside_what_works(
    client: TestClient, warehouse: FakeWarehouse
) -> None:
    database = add_database(client)["id"]
    good, bad = add_card(client, database)["id"], add_card(client, database, sql="select broken")["id"]
    made = add_dashboard(client, good, bad)
    page = client.get(f"/dashboard/{made['id']}").text
    assert "1,234.50" in page
    assert "no such table" in page
    warehouse.result = Result(warehouse.result.columns, [])
    assert "No rows yet." in client.get(f"/dashboard/{made['id']}").text
    assert client.get("/dashboard/99").status_code == 404


@pytest.mark.parametrize(
    ("value", "options", "text"),
    [
        (1234567.891, {"number_style": "currency", "currency": "EUR"}, "€1,234,567.89"),
        (-0.001, {"number_style": "currency", "currency": "USD"}, "$0.00"),
        (3679.0, {"decimals": 0}, "3,679"),
        (0.256, {"number_style": "percent", "decimals": 1}, "25.6%"),
        (12.5, {"number_style": "currency", "currency": "CHF"}, "CHF 12.50"),
        (None, {}, "–"),
        ("Pune", {}, "Pune"),
    ],
)
def test_numbers_are_written_for_people(value: Any, options: dict[str, Any], text: str) -> None:
    assert format_value(value, Column("X", "type/Decimal"), options) == text


def test_a_line_is_plotted_without_style_or_script_and_told_as_a_table() -> None:
    days = Result(
        [Column("DAY", "type/Text"), Column("NET", "type/Decimal")],
        [["<b>1</b>", 10.5], ["2", None], ["3", 30.0]],
    )
    settings = {"graph.dimensions": ["DAY"], "graph.metrics": ["NET"]}
    drawing = draw({"display": "line", "visualization_settings": settings}, days)
    assert (drawing.kind, [row[1].text for row in drawing.rows]) == ("line", ["10.50", NOTHING, "30.00"])
    assert drawing.plot
    assert drawing.plot.startswith("<svg")
    assert "<title>Net by day</title>" in drawing.plot
    for unwanted in ("<style", "<script", "<b>"):
        assert unwanted not in drawing.plot
    fallback = draw({"display": "line", "visualization_settings": {}}, days)
    assert (fallback.kind, fallback.plot) == ("table", None)


def test_bars_are_shares_of_the_largest_and_a_missing_column_falls_back_to_a_table() -> None:
    result = Result(
        [Column("C", "type/Text"), Column("V", "type/Float")], [["a", 200.0], ["b", -50.0], ["c", None]]
    )
    settings = {"graph.dimensions": ["C"], "graph.metrics": ["V"]}
    bars = draw({"display": "row", "visualization_settings": settings}, result)
    assert [(row[1].bar, row[1].negative) for row in bars.rows] == [
        (100.0, False),
        (25.0, True),
        (0.0, False),
    ]
    settings = {"graph.dimensions": ["C"], "graph.metrics": ["GONE"]}
    assert draw({"display": "row", "visualization_settings": settings}, result).kind == "table"


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"MB_JETTY_PORT": "many"}, "MB_JETTY_PORT"),
        ({"MB_ENCRYPTION_SECRET_KEY": "short"}, "MB_ENCRYPTION_SECRET_KEY"),
        ({"MB_DATA_DIR": "/nowhere"}, "MB_DATA_DIR"),
        ({"MB_DB_TYPE": "postgres", "MB_DB_HOST": "h"}, "MB_DB_PASS"),
    ],
)
def test_wrong_configuration_is_named(env: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Settings.from_env(env)


def test_the_application_database_is_metabases() -> None:
    names = ("MB_DB_TYPE", "MB_DB_HOST", "MB_DB_PORT", "MB_DB_DBNAME", "MB_DB_USER", "MB_DB_PASS")
    env = dict(zip(names, ("postgres", "db", "5433", "metabase", "metabase", "p@ss/word"), strict=True))
    url = Settings.from_env(env).database_url
    assert sa.make_url(url.render_as_string(hide_password=False)) == url
    assert (url.host, url.port, url.database, url.password) == ("db", 5433, "metabase", "p@ss/word")


def test_a_key_that_cannot_be_read_is_named() -> None:
    with pytest.raises(WarehouseError, match="PKCS#8") as error:
        private_key_der(SECRET)
    assert error.value.field == "private-key-value"


def test_every_page_says_what_it_is(client: TestClient) -> None:
    made = filtered(client)
    shared = client.post(f"/api/dashboard/{made['id']}/public_link").json()["uuid"]
    pages = (
        "/",
        "/login",
        f"/dashboard/{made['id']}",
        f"/public/dashboard/{shared}",
        "/dashboard/99",
        "/nowhere",
    )
    for page in pages:
        assert "mbedded dashboard server, not Metabase" in client.get(page).text, page


# Variables and filters

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


def filtered(client: TestClient, **update: Any) -> dict[str, Any]:
    """A dashboard whose one card takes a country from its filter."""
    database = add_database(client)["id"]
    body = card_body(database, "select 1 [[where c = {{country}}]]")
    body["dataset_query"]["stages"][0]["template-tags"] = {
        "country": {"id": "t1", "name": "country", "display-name": "Country", "type": "text"}
    }
    card = client.post("/api/card", json=body).json()["id"]
    made = add_dashboard(client, card)
    parameter = {
        "id": "f1",
        "name": "Country",
        "slug": "country",
        "type": "string/=",
        "values_source_type": "card",
        "values_source_config": {"card_id": card, "value_field": ["field", "COUNTRY", None]},
    }
    place = {
        **{key: made["dashcards"][0][key] for key in ("id", "card_id", "row", "col", "size_x", "size_y")},
        "parameter_mappings": [
            {"parameter_id": "f1", "card_id": card, "target": ["variable", ["template-tag", "country"]]}
        ],
    }
    body = {"parameters": [parameter], "dashcards": [place], "tabs": [], **update}
    answer = client.put(f"/api/dashboard/{made['id']}", json=body)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


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


def test_the_page_filters_and_remembers_what_was_chosen(client: TestClient, warehouse: FakeWarehouse) -> None:
    made = filtered(client)
    page = client.get(f"/dashboard/{made['id']}?country=India").text
    assert '<option value="India" selected>India</option>' in page
    assert "<script" not in page
    assert ("select 1 where c = %(country)s", {"country": "India"}) in warehouse.queries
    odd = client.get(f"/dashboard/{made['id']}", params={"country": '"><script>'}).text
    assert "<script" not in odd
    warehouse.down = "gone"
    assert '<input name="country" value="India">' in client.get(f"/dashboard/{made['id']}?country=India").text


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


# Groups, keys and links


def reader(client: TestClient) -> tuple[int, dict[str, str]]:
    """A new group, and the headers of an API key in it."""
    group = client.post("/api/permissions/group", json={"name": "Readers"}).json()["id"]
    made = client.post("/api/api-key", json={"name": "robot", "group_id": group}).json()
    return group, {"X-API-Key": made["unmasked_key"], "X-Metabase-Session": ""}


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
    assert after["groups"]["1"][database] == {"view-data": "unrestricted", "create-queries": "no"}
    assert client.put("/api/permissions/graph", json=change).status_code == 409
    for wrong in ({"2": {}}, {"9": {}}, {"1": {"99": {}}}, {"1": {database: {"surprise": "no"}}}):
        body = {"revision": after["revision"], "groups": wrong}
        assert client.put("/api/permissions/graph", json=body).status_code == 400
    assert client.post("/api/permissions/group", json={"name": "all users"}).status_code == 400


def test_a_public_link_shows_one_dashboard_without_its_sql_until_it_is_closed(client: TestClient) -> None:
    made = filtered(client)
    link = f"/api/dashboard/{made['id']}/public_link"
    shared = client.post(link).json()["uuid"]
    assert client.post(link).json()["uuid"] == shared
    del client.headers["X-Metabase-Session"]
    found = client.get(f"/api/public/dashboard/{shared}")
    assert "select 1" not in found.text
    place = found.json()["dashcards"][0]
    path = f"/api/public/dashboard/{shared}/dashcard/{place['id']}/card/{place['card_id']}"
    answer = client.get(path, params={"parameters": '[{"id": "f1", "value": "India"}]'}).json()
    assert (answer["status"], "json_query" in answer) == ("completed", False)
    assert client.get(path, params={"parameters": "{"}).status_code == 400
    page = client.get(f"/public/dashboard/{shared}")
    assert (page.status_code, "not Metabase" in page.text, "/logout" in page.text) == (200, True, False)
    assert client.get(f"/api/dashboard/{made['id']}").status_code == 401
    wrong = "00000000-0000-0000-0000-000000000000"
    assert client.get(f"/public/dashboard/{wrong}").status_code == 404
    login = client.post("/api/session", json={"username": ADMIN["email"], "password": ADMIN["password"]})
    session = {"X-Metabase-Session": login.json()["id"]}
    assert client.delete(link, headers=session).status_code == 204
    assert client.delete(link, headers=session).status_code == 404
    assert client.get(f"/public/dashboard/{shared}").status_code == 404


# Guessing


def test_guessing_is_slowed_down_even_for_the_right_password(client: TestClient) -> None:
    body = {"username": ADMIN["email"], "password": "wrong1"}
    for _ in range(throttle.ATTEMPTS_OF_A_NAME):
        assert "password" in client.post("/api/session", json=body).json()["errors"]
    right = client.post("/api/session", json={**body, "password": ADMIN["password"]})
    assert right.status_code == 401
    assert "You must wait 15 seconds" in right.json()["errors"]["username"]
    assert "You must wait" in client.post("/login", data=body).text
    other = client.post("/api/session", json={**body, "username": "b@c.example"})
    assert "password" in other.json()["errors"]


def test_the_wait_doubles_ends_and_is_forgotten() -> None:
    now = [0.0]
    guesses = throttle.Throttle(2, clock=lambda: now[0])
    waits = []
    for _ in range(5):
        guesses.failed("a")
        waits.append(guesses.wait("a"))
    assert waits == [0.0, 15.0, 30.0, 60.0, 120.0]
    now[0] = 121.0
    assert guesses.wait("a") == 0.0
    for _ in range(20):
        guesses.failed("a")
    assert guesses.wait("a") == throttle.LONGEST_WAIT_S
    guesses.succeeded("a")
    assert guesses.wait("a") == 0.0
    guesses.failed("b")
    now[0] += throttle.REMEMBERED_S
    guesses.failed("b")
    assert guesses.wait("b") == 0.0
