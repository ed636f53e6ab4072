"""The embedded dashboard server for tests, with a warehouse that needs no Snowflake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from retailflow_emulators.dashboards import vault
from retailflow_emulators.dashboards.app import build_app
from retailflow_emulators.dashboards.settings import Settings
from retailflow_emulators.dashboards.store import Store
from retailflow_emulators.dashboards.warehouse import Column, Result, Value, WarehouseError

from . import metabase_answers

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

    def tables(self, details: dict[str, Any]) -> list[dict[str, Any]]:
        self._answer()
        columns = [{"name": "COUNTRY", "type": "TEXT"}, {"name": "NET_REVENUE", "type": "NUMBER"}]
        return [{"schema": "MARTS", "name": "NET_REVENUE_BY_COUNTRY", "columns": columns}]

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


class JudgingClient(TestClient):
    """A client that holds every answer of the API to Metabase's shape, and no answer to be a crash."""

    def request(self, method: str, url: Any, **options: Any) -> Any:
        answer = super().request(method, url, **options)
        assert answer.status_code != 500, answer.text
        path = answer.url.path
        if path.startswith("/api/") and answer.is_success and not path.endswith("/csv"):
            value = answer.json() if answer.content else None
            assert metabase_answers.violations(method, path, value) == []
        return answer


@pytest.fixture
def fresh(settings: Settings, warehouse: FakeWarehouse) -> Iterator[TestClient]:
    store = Store(settings.database_url)
    yield JudgingClient(build_app(settings, store, warehouse), follow_redirects=False)
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


def reader(client: TestClient) -> tuple[int, dict[str, str]]:
    """A new group, and the headers of an API key in it."""
    group = client.post("/api/permissions/group", json={"name": "Readers"}).json()["id"]
    made = client.post("/api/api-key", json={"name": "robot", "group_id": group}).json()
    return group, {"X-API-Key": made["unmasked_key"], "X-Metabase-Session": ""}
