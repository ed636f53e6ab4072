"""The module metabase_content: what it refuses, what it plans, and that it makes a server match its files once."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uvicorn
import yaml
from ansible.module_utils.testing import patch_module_args

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "emulators" / "src"))

from retailflow_emulators.dashboards import vault
from retailflow_emulators.dashboards.app import build_app
from retailflow_emulators.dashboards.settings import Settings
from retailflow_emulators.dashboards.store import Store
from retailflow_emulators.dashboards.warehouse import Column, Result, WarehouseError

ROLE = ROOT / "roles" / "metabase"
spec = importlib.util.spec_from_file_location("metabase_content", ROLE / "library" / "metabase_content.py")
assert spec and spec.loader
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

CARD = {"name": "Sales", "entity_id": "a" * 21, "collection": "shop", "display": "table", "sql": "select 1\n"}
PLACE = {"card": "sales", "row": 0, "col": 0, "size_x": 12, "size_y": 6}
CONTENT = {
    "a.yml": {"collections": {"shop": {"name": "Shop"}}, "cards": {"sales": CARD}},
    "b.yml": {"dashboards": {"board": {"name": "Board", "collection": "shop", "cards": [PLACE]}}},
}


class FakeWarehouse:
    """One row for every query; ``down`` refuses; ``keys`` are the private keys it was shown."""

    def __init__(self) -> None:
        self.down = ""
        self.keys: list[str] = []

    def check(self, details: dict[str, Any]) -> None:
        if self.down:
            raise WarehouseError(self.down)
        self.keys.append(details["private-key-value"])

    def tables(self, details: dict[str, Any]) -> list[dict[str, str]]:
        return []

    def query(self, details: dict[str, Any], sql: str, limit: int) -> Result:
        if self.down or "broken" in sql:
            raise WarehouseError(self.down or "no such table")
        return Result([Column("N", "type/Integer")], [[1]])


class Server:
    """The embedded server on a real socket, and every request that changed it."""

    def __init__(self, folder: Path) -> None:
        self.warehouse = FakeWarehouse()
        self.writes: list[str] = []
        settings = Settings.from_env({"MB_DATA_DIR": str(folder)})
        self.store = Store(settings.database_url)
        app = build_app(settings, self.store, self.warehouse)

        async def counted(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["method"] != "GET" and scope["path"] != "/api/session":
                self.writes.append(f"{scope['method']} {scope['path']}")
            await app(scope, receive, send)

        self._server = uvicorn.Server(uvicorn.Config(counted, host="127.0.0.1", port=0, log_level="error"))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.store.close()


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setitem(vault._SCRYPT, "n", 2)
    server = Server(tmp_path)
    yield server
    server.close()


@pytest.fixture
def run(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module as Ansible does; options may be overridden."""

    def run(check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "url": server.url,
            "admin": {"email": "a@b.example", "password": "secret1", "first_name": "A", "last_name": "B"},
            "database": {
                "name": "Snowflake",
                "details": {"account": "x", "user": "M", "db": "D"},
                "private_key": "KEY1",
            },
            "content": CONTENT,
            "state_file": str(tmp_path / "applied.json"),
            "_ansible_check_mode": check,
            **options,
        }
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return run


def changed(path: list[Any], value: Any) -> dict[str, Any]:
    """CONTENT with one value replaced, or removed where it is None."""
    content: dict[str, Any] = deepcopy(CONTENT)
    at: Any = content
    for step in path[:-1]:
        at = at[step]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["a.yml"], ["x"], "a.yml: must be a map"),
        (["a.yml", "charts"], {}, "a.yml: charts"),
        (["a.yml", "cards", "sales", "sql"], None, "a.yml: cards.sales.sql: is missing"),
        (["a.yml", "cards", "sales", "sqll"], "x", "a.yml: cards.sales.sqll: unknown"),
        (["a.yml", "cards", "sales", "entity_id"], "short", "a.yml: cards.sales.entity_id: must be 21"),
        (
            ["a.yml", "cards", "sales", "collection"],
            "nope",
            "a.yml: cards.sales.collection: there is no collection",
        ),
        (
            ["a.yml", "cards", "again"],
            {**CARD, "entity_id": "b" * 21},
            "cards.again.name: a.yml: cards.sales has the same",
        ),
        (
            ["a.yml", "cards", "again"],
            {**CARD, "name": "x"},
            "cards.again.entity_id: a.yml: cards.sales has the same",
        ),
        (["b.yml", "cards"], {"sales": CARD}, "b.yml: cards.sales: declared already in a.yml"),
        (
            ["b.yml", "dashboards", "board", "cards", 0, "card"],
            "gone",
            "board.cards[0].card: there is no card 'gone'",
        ),
        (["b.yml", "dashboards", "board", "cards", 0, "col"], 13, "board.cards[0]: col + size_x"),
        (
            ["b.yml", "dashboards", "board", "cards", 0, "row"],
            True,
            "board.cards[0].row: must be a whole number",
        ),
    ],
)
def test_wrong_content_names_file_and_key_and_writes_nothing(
    run: Run, server: Server, path: list[Any], value: Any, message: str
) -> None:
    answer = run(content=changed(path, value))
    assert answer["failed"]
    assert message in answer["msg"]
    assert server.writes == []


def test_the_roles_own_content_is_valid() -> None:
    files = sorted((ROLE / "files" / "content").glob("*.yml"))
    content = module.load({file.name: yaml.safe_load(file.read_text()) for file in files})
    assert {"net_revenue_by_country", "net_revenue_by_state", "net_revenue_by_city"} <= set(content["cards"])
    assert content["dashboards"]["net_revenue"]["cards"]


def test_the_first_run_makes_everything_and_the_second_writes_nothing(run: Run, server: Server) -> None:
    planned = run(check=True)
    assert (planned["changed"], server.writes) == (True, [])
    first = run()
    assert first["changed"]
    assert [action for action in first["actions"] if not action.startswith("sync")] == planned["actions"]
    assert first["dashboards"] == {"board": {"id": 1, "path": "/dashboard/1"}}
    server.writes.clear()
    second = run()
    assert (second["changed"], second["actions"], server.writes) == (False, [], [])


def test_no_session_and_no_secret_is_left(run: Run, server: Server, tmp_path: Path) -> None:
    answer = run()
    text = json.dumps(answer)
    assert "secret1" not in text
    assert "KEY1" not in text
    assert "KEY1" not in (tmp_path / "applied.json").read_text()
    assert (tmp_path / "applied.json").stat().st_mode & 0o777 == 0o600
    with sa.create_engine(f"sqlite:///{tmp_path}/dashboards.sqlite").connect() as connection:
        assert connection.scalar(sa.text("select count(*) from embedded_sessions")) == 0


@pytest.mark.parametrize(
    ("path", "value", "action"),
    [
        (["a.yml", "cards", "sales", "sql"], "select 2", "update card Sales"),
        (["a.yml", "cards", "sales", "columns"], {"N": {"decimals": 0}}, "update card Sales"),
        (["a.yml", "cards", "sales", "name"], "Turnover", "update card Turnover"),
        (["a.yml", "collections", "shop", "description"], "All", "update collection Shop"),
        (["b.yml", "dashboards", "board", "description"], "All", "update dashboard Board"),
        (["b.yml", "dashboards", "board", "cards", 0, "size_x"], 6, "place the cards of dashboard Board"),
        (
            ["b.yml", "dashboards", "board", "cards"],
            [PLACE, {**PLACE, "row": 6}],
            "place the cards of dashboard Board",
        ),
    ],
)
def test_a_change_is_planned_shown_and_written_alone(
    run: Run, server: Server, path: list[Any], value: Any, action: str
) -> None:
    run()
    server.writes.clear()
    content = changed(path, value)
    planned = run(check=True, content=content)
    assert (planned["actions"], server.writes) == ([action], [])
    assert planned["diff"][0]["before"] != planned["diff"][0]["after"]
    assert run(content=content)["actions"] == [action]
    assert len(server.writes) == 1
    assert run(content=content)["changed"] is False


def test_drift_is_put_back_and_what_a_person_made_is_not_touched(run: Run, server: Server) -> None:
    run()
    api = module.Api(server.url, 10)
    api.session = api("POST", "/api/session", {"username": "a@b.example", "password": "secret1"})["id"]
    query = module.card_body({**CARD, "sql": "select 7"}, 1, None)["dataset_query"]
    mine = {"name": "Mine", "display": "table", "visualization_settings": {}, "dataset_query": query}
    own = api("POST", "/api/card", mine)["id"]
    api("PUT", "/api/card/1", {"archived": True, "name": "Renamed"})
    api("PUT", "/api/dashboard/1", {"dashcards": []})
    assert run()["actions"] == ["update card Sales", "place the cards of dashboard Board"]
    assert api("GET", "/api/card/1")["archived"] is False
    assert api("GET", f"/api/card/{own}")["name"] == "Mine"
    assert [place["card_id"] for place in api("GET", "/api/dashboard/1")["dashcards"]] == [1]


def test_a_new_key_is_applied_once(run: Run, server: Server) -> None:
    run()
    details = {"account": "x", "user": "M", "db": "D"}
    other = {"name": "Snowflake", "details": details, "private_key": "KEY2"}
    assert run(database=other)["actions"][0] == "update database Snowflake"
    assert len(set(server.warehouse.keys)) == 2
    assert run(database=other)["changed"] is False
    moved = {**other, "details": {**details, "role": "REPORTER"}}
    assert run(database=moved)["actions"][0] == "update database Snowflake"
    assert server.warehouse.keys[-1] == server.warehouse.keys[-2]


def test_a_half_finished_first_run_is_completed(run: Run, server: Server) -> None:
    server.warehouse.down = "Snowflake at x cannot be used"
    failed = run()
    assert failed["failed"]
    assert server.warehouse.down in failed["msg"]
    server.warehouse.down = ""
    assert run()["actions"][0] == "create database Snowflake"
    assert run()["changed"] is False


def test_another_password_is_explained(run: Run) -> None:
    run()
    admin = {"email": "a@b.example", "password": "other1", "first_name": "A", "last_name": "B"}
    answer = run(admin=admin)
    assert answer["failed"]
    assert "not with the given password of a@b.example" in answer["msg"]


def test_a_server_that_is_away_is_planned_for_and_else_an_error(run: Run) -> None:
    assert run(url="http://127.0.0.1:1", check=True)["changed"]
    answer = run(url="http://127.0.0.1:1")
    assert "http://127.0.0.1:1 does not answer" in answer["msg"]


def test_two_collections_of_one_name_are_an_error(run: Run, server: Server) -> None:
    run()
    api = module.Api(server.url, 10)
    api.session = api("POST", "/api/session", {"username": "a@b.example", "password": "secret1"})["id"]
    api("POST", "/api/collection", {"name": "Shop"})
    assert "a.yml: collections.shop.name: the server has two" in run()["msg"]


def test_cards_are_read_back_and_a_broken_one_is_named(run: Run, server: Server) -> None:
    assert "not set up yet" in run(state="queried")["msg"]
    run()
    server.writes.clear()
    answer = run(state="queried")
    assert answer["changed"] is False
    assert answer["cards"] == {"sales": {"id": 1, "columns": ["N"], "rows": [[1]], "truncated": False}}
    assert server.writes == ["POST /api/card/1/query"]
    broken = changed(["a.yml", "cards", "sales", "sql"], "select broken")
    run(content=broken)
    assert (
        "a.yml: cards.sales: the card does not run: no such table"
        in run(state="queried", content=broken)["msg"]
    )


def test_a_card_in_the_older_dialect_is_not_a_difference() -> None:
    desired = module.card_body(CARD, 1, 2)
    legacy = {"type": "native", "database": 1, "native": {"query": "select 1"}}
    assert module.differences(desired, {**desired, "dataset_query": legacy}) == {}
    legacy["native"] = {"query": "select 2"}
    assert list(module.differences(desired, {**desired, "dataset_query": legacy})) == ["dataset_query"]


def test_dashcards_keep_their_ids_and_their_options() -> None:
    existing = [
        {"id": 7, "card_id": 1, "visualization_settings": {"card.title": "T"}},
        {"id": 8, "card_id": 1},
        {"id": 9, "card_id": 2},
    ]
    places = [{**PLACE, "card": "one"}, {**PLACE, "card": "new"}, {**PLACE, "card": "one", "row": 9}]
    body = module.dashcards_body(places, existing, {"one": 1, "new": 3})
    assert [(place["id"], place["card_id"]) for place in body] == [(7, 1), (-2, 3), (8, 1)]
    assert body[0]["visualization_settings"] == {"card.title": "T"}
