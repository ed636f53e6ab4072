"""The module metabase_content: what it refuses, what it plans, and that it makes a server match its files once."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uvicorn
import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.metabase.bodies import card_body, differences, grid_body
from ansible.module_utils.metabase.client import Api
from ansible.module_utils.metabase.errors import MetabaseError
from ansible.module_utils.metabase.rules import load
from ansible.module_utils.testing import patch_module_args

import metabase_content as module
from metabase_yaml import metabase_yaml
from retailflow_emulators.dashboards import vault
from retailflow_emulators.dashboards.app import build_app
from retailflow_emulators.dashboards.settings import Settings
from retailflow_emulators.dashboards.store import Store
from retailflow_emulators.dashboards.warehouse import Column, Result, Value, WarehouseError

from . import metabase_contract as contract

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles" / "metabase"
CARD = {"name": "Sales", "entity_id": "a" * 21, "collection": "shop", "display": "table", "sql": "select 1\n"}
PLACE = {"card": "sales", "row": 0, "col": 0, "size_x": 12, "size_y": 6}
CONTENT = {
    "a.yml": {"collections": {"shop": {"name": "Shop"}}, "cards": {"sales": CARD}},
    "b.yml": {"dashboards": {"board": {"name": "Board", "collection": "shop", "cards": [PLACE]}}},
}


class FakeWarehouse:
    """One row for every query; ``down`` refuses; ``keys`` are the private keys it was shown; ``role`` is another one."""

    def __init__(self) -> None:
        self.down = ""
        self.keys: list[str] = []
        self.role = ""

    def check(self, details: dict[str, Any]) -> None:
        if self.down:
            raise WarehouseError(self.down)
        self.keys.append(details["private-key-value"])

    def tables(self, details: dict[str, Any]) -> list[dict[str, str]]:
        return []

    def query(
        self, details: dict[str, Any], sql: str, limit: int, values: Mapping[str, Value] | None = None
    ) -> Result:
        if self.down or "broken" in sql:
            raise WarehouseError(self.down or "no such table")
        if "current_role" in sql:
            return Result([Column("R", "type/Text")], [[self.role or details.get("role")]])
        return Result([Column("N", "type/Integer")], [[1]])


class Server:
    """The embedded server on a real socket, every request that changed it, and what broke Metabase's contract."""

    def __init__(self, folder: Path) -> None:
        self.warehouse = FakeWarehouse()
        self.writes: list[str] = []
        self.broken: list[str] = []
        self.seen: set[str] = set()
        self.judged = False  # while the module runs
        self.lost = 0  # the number of the write whose answer never arrives
        settings = Settings.from_env({"MB_DATA_DIR": str(folder)})
        self.store = Store(settings.database_url)
        app = build_app(settings, self.store, self.warehouse)

        async def counted(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            method, path = scope["method"], scope["path"]
            if method != "GET" and path != "/api/session":
                self.writes.append(f"{method} {path}")
            body = b""
            while (message := await receive())["type"] == "http.request":
                body += message["body"]
                if not message.get("more_body"):
                    break
            if self.judged:
                query = scope["query_string"].decode()
                self.broken += contract.violations(method, path, query, json.loads(body) if body else None)
                self.seen.add(contract.endpoint(method, path))

            async def again() -> Any:
                return {"type": "http.request", "body": body}

            if method == "GET" or path == "/api/session" or len(self.writes) != self.lost:
                return await app(scope, again, send)

            async def swallow(message: Any) -> None:
                pass

            await app(scope, again, swallow)
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": b"the answer is lost"})

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
    assert server.broken == []


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
        server.judged = True
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        server.judged = False
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
    content = load({file.name: yaml.safe_load(file.read_text()) for file in files})
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


def admin(password: str, former: str | None = None) -> dict[str, Any]:
    who = {"email": "a@b.example", "password": password, "first_name": "A", "last_name": "B"}
    return who | ({"former_password": former} if former else {})


def test_a_new_password_of_the_administrator_is_set_with_the_former_one_once(
    run: Run, server: Server, tmp_path: Path
) -> None:
    run()
    log_in(server)  # a session of somebody who knows the old one
    server.writes.clear()
    new = admin("secret2", "secret1")
    planned = run(check=True, admin=new)
    assert planned["actions"] == ["change the password of a@b.example"]
    assert [one for one in server.writes if "password" in one] == []
    done = run(admin=new)
    assert done["actions"] == planned["actions"] and not done.get("failed")
    assert "secret1" not in json.dumps(done) and "secret2" not in json.dumps(done)
    with pytest.raises(MetabaseError, match="did not match stored password"):
        log_in(server)
    with sa.create_engine(f"sqlite:///{tmp_path}/dashboards.sqlite").connect() as connection:
        assert connection.scalar(sa.text("select count(*) from embedded_sessions")) == 0
    server.writes.clear()
    again = run(admin=new)
    assert (again["changed"], server.writes) == (False, []), "the former one is not needed any more"
    assert run(admin=admin("secret2"))["changed"] is False


def test_where_neither_password_is_the_administrators_nothing_changes(run: Run, server: Server) -> None:
    run()
    server.writes.clear()
    refused = run(admin=admin("secret3", "secret4"))
    assert refused["failed"] and "Put the secret back" in refused["msg"]
    assert server.writes == []
    assert run()["changed"] is False


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
    api = log_in(server)
    query = card_body({**CARD, "sql": "select 7"}, 1, None)["dataset_query"]
    mine = {"name": "Mine", "display": "table", "visualization_settings": {}, "dataset_query": query}
    own = api("POST", "/api/card", mine)["id"]
    api("PUT", "/api/card/1", {"archived": True, "name": "Renamed"})
    api("PUT", "/api/dashboard/1", {"dashcards": []})
    assert run()["actions"] == ["update card Sales", "place the cards of dashboard Board"]
    assert api("GET", "/api/card/1")["archived"] is False
    assert api("GET", f"/api/card/{own}")["name"] == "Mine"
    assert [place["card_id"] for place in api("GET", "/api/dashboard/1")["dashcards"]] == [1]


def log_in(server: Server) -> Any:
    """A person with the administrator's password."""
    api = Api(server.url, 10)
    api.session = api("POST", "/api/session", {"username": "a@b.example", "password": "secret1"})["id"]
    return api


def test_what_a_person_puts_into_the_bin_or_elsewhere_comes_back_as_it_was(run: Run, server: Server) -> None:
    run()
    api = log_in(server)
    other = api("POST", "/api/collection", {"name": "Other"})["id"]
    api("PUT", "/api/dashboard/1", {"archived": True, "collection_id": other})
    api("PUT", "/api/collection/1", {"archived": True, "name": "Renamed"})
    shown = run(check=True)
    assert shown["actions"] == ["update collection Shop", "update dashboard Board"]
    assert "archived: true" in shown["diff"][0]["before"]
    assert run()["actions"] == shown["actions"]
    assert api("GET", "/api/dashboard/1")["collection_id"] == 1
    assert len(api("GET", "/api/dashboard")) == 1
    assert run()["changed"] is False


def test_what_no_file_names_any_more_is_archived_and_what_a_person_made_stays(
    run: Run, server: Server
) -> None:
    content: dict[str, Any] = deepcopy(CONTENT)
    content["b.yml"]["collections"] = {"old": {"name": "Old"}, "kept": {"name": "Kept"}}
    for key, entity in (("gone", "g" * 21), ("left", "l" * 21)):
        collection = "old" if key == "gone" else "kept"
        card = {**CARD, "name": key, "entity_id": entity, "collection": collection}
        content["b.yml"].setdefault("cards", {})[key] = card
    content["b.yml"]["dashboards"]["second"] = {"name": "Second", "collection": "shop", "cards": []}
    run(content=content)
    api = log_in(server)
    kept = next(one["id"] for one in api("GET", "/api/collection") if one["name"] == "Kept")
    query = card_body({**CARD, "sql": "select 7"}, 1, None)["dataset_query"]
    mine = {"name": "Mine", "display": "table", "visualization_settings": {}, "dataset_query": query}
    api("POST", "/api/card", {**mine, "collection_id": kept})
    api("POST", "/api/dashboard", {"name": "Second", "collection_id": 1})
    actions = ["archive dashboard Second", "archive card gone", "archive card left", "archive collection Old"]
    assert run(check=True)["actions"] == actions
    assert run()["actions"] == actions
    assert run()["changed"] is False
    assert sorted(one["name"] for one in api("GET", "/api/card")) == ["Mine", "Sales"]
    assert sorted(one["name"] for one in api("GET", "/api/dashboard")) == ["Board", "Second"]
    assert [one["name"] for one in api("GET", "/api/collection")] == ["Our analytics", "Shop", "Kept"]
    assert run(content=content)["actions"][0] == "create collection Old"


def test_a_dashboard_that_is_renamed_stays_the_same_one(run: Run, server: Server, tmp_path: Path) -> None:
    run()
    renamed = changed(["b.yml", "dashboards", "board", "name"], "Overview")
    assert run(content=renamed)["actions"] == ["update dashboard Overview"]
    (tmp_path / "applied.json").unlink()
    again = run(content=renamed)["actions"]
    assert again == ["update database Snowflake", "sync database Snowflake"]
    assert [one["name"] for one in log_in(server)("GET", "/api/dashboard")] == ["Overview"]


def with_filters() -> dict[str, Any]:
    """CONTENT with two tabs and a filter on one of two cards."""
    content: dict[str, Any] = deepcopy(CONTENT)
    content["a.yml"]["cards"]["by_country"] = {
        **CARD,
        "name": "By country",
        "entity_id": "b" * 21,
        "sql": "select 1 [[where country = {{country}}]]",
    }
    content["b.yml"]["dashboards"]["board"].update(
        tabs=["One", "Two"],
        filters={"country": {"name": "Country", "card": "sales", "column": "N"}},
        cards=[{**PLACE, "tab": "One"}, {**PLACE, "card": "by_country", "tab": "Two"}],
    )
    return content


def test_filters_and_tabs_are_made_once_and_put_back(run: Run, server: Server) -> None:
    content = with_filters()
    planned = run(check=True, content=content)
    first = run(content=content)
    assert [action for action in first["actions"] if not action.startswith("sync")] == planned["actions"]
    assert run(content=content)["changed"] is False
    api = log_in(server)
    board = api("GET", "/api/dashboard/1")
    assert [tab["name"] for tab in board["tabs"]] == ["One", "Two"]
    assert board["parameters"][0]["values_source_config"]["card_id"] == 1
    path = "/api/dashboard/1/dashcard/{id}/card/{card_id}/query".format(**board["dashcards"][1])
    sent = {"parameters": [{"id": board["parameters"][0]["id"], "value": ["India"]}]}
    assert api("POST", path, sent)["status"] == "completed"
    api("PUT", "/api/dashboard/1", {"parameters": [{**board["parameters"][0], "default": "Peru"}]})
    query = board["dashcards"][1]["card"]["dataset_query"]
    query["stages"][0]["template-tags"][0]["required"] = True
    api("PUT", "/api/card/2", {"dataset_query": query})
    shown = run(check=True, content=content)
    assert shown["actions"] == ["update card By country", "place the cards of dashboard Board"]
    assert '"Peru"' in shown["diff"][1]["before"]
    assert '"Peru"' not in shown["diff"][1]["after"]
    assert run(content=content)["actions"] == shown["actions"]
    assert run(content=content)["changed"] is False
    assert run()["actions"] == ["place the cards of dashboard Board", "archive card By country"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["filters", "city"], {"name": "City"}, "board.filters.city: no card of this dashboard has"),
        (["filters", "country", "card"], "gone", "board.filters.country.card: there is no card 'gone'"),
        (["filters", "country", "column"], None, "board.filters.country: card and column go together"),
        (["filters", "country", "nme"], "x", "board.filters.country.nme: unknown"),
        (["cards", 0, "tab"], "Three", "board.cards[0].tab: must be one of One, Two"),
        (["tabs"], [], "board.cards[0].tab: there are no tabs"),
        (["tabs"], ["One", "One"], "board.tabs: must be names"),
    ],
)
def test_wrong_filters_and_tabs_are_named(
    run: Run, server: Server, path: list[Any], value: Any, message: str
) -> None:
    content = with_filters()
    at: Any = content["b.yml"]["dashboards"]["board"]
    for step in path[:-1]:
        at = at[step]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    answer = run(content=content)
    assert f"b.yml: dashboards.{message}" in answer["msg"]
    assert server.writes == []


def test_a_date_stays_a_date_from_the_filter_to_the_query(run: Run, server: Server) -> None:
    content = with_filters()
    card = content["a.yml"]["cards"]["by_country"]
    card.update(sql="select 1 [[where day >= {{since}}]]", variables={"since": "date"})
    content["b.yml"]["dashboards"]["board"]["filters"] = {"since": {"name": "Since"}}
    run(content=content)
    assert run(content=content)["changed"] is False
    board = log_in(server)("GET", "/api/dashboard/1")
    (parameter,) = board["parameters"]
    assert parameter["type"] == "date/single"
    (tag,) = board["dashcards"][1]["card"]["dataset_query"]["stages"][0]["template-tags"]
    assert (tag["name"], tag["type"]) == ("since", "date")


@pytest.mark.parametrize(
    ("variables", "other", "message"),
    [
        ({"gone": "date"}, None, "a.yml: cards.by_country.variables.gone: the SQL has no variable {{gone}}"),
        ({"country": "day"}, None, "a.yml: cards.by_country.variables.country: must be one of text, date"),
        ({"country": "date"}, {}, "board.filters.country: the cards take {{country}} as date and as text"),
    ],
)
def test_a_variable_is_of_one_known_kind(
    run: Run, server: Server, variables: dict[str, str], other: dict[str, str] | None, message: str
) -> None:
    content = with_filters()
    card = content["a.yml"]["cards"]["by_country"]
    if other is not None:
        content["a.yml"]["cards"]["other"] = {**card, "name": "Other", "entity_id": "o" * 21}
        content["b.yml"]["dashboards"]["board"]["cards"].append({**PLACE, "card": "other", "tab": "One"})
    card["variables"] = variables
    assert message in run(content=content)["msg"]
    assert server.writes == []


def test_a_card_must_run_without_a_value(run: Run, server: Server) -> None:
    wrong = changed(["a.yml", "cards", "sales", "sql"], "select {{ n }}")
    assert "a.yml: cards.sales.sql: put the condition with {{ n }} into [[ ]]" in run(content=wrong)["msg"]
    assert server.writes == []


def test_a_group_alone_reads_our_content_and_its_rights_are_put_back(run: Run, server: Server) -> None:
    planned = run(check=True, group="Readers")
    first = run(group="Readers")
    assert [action for action in first["actions"] if not action.startswith("sync")] == planned["actions"]
    assert {"create group Readers", "limit database Snowflake to group Readers"} <= set(first["actions"])
    assert run(group="Readers")["changed"] is False
    api = log_in(server)
    group = next(one["id"] for one in api("GET", "/api/permissions/group") if one["name"] == "Readers")
    key = api("POST", "/api/api-key", {"name": "robot", "group_id": group})["unmasked_key"]
    everybody = api("POST", "/api/api-key", {"name": "outsider", "group_id": 1})["unmasked_key"]

    def names(secret: str) -> list[str]:
        request = urllib.request.Request(server.url + "/api/card", headers={"X-API-Key": secret})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return [card["name"] for card in json.load(answer)]

    assert (names(key), names(everybody)) == (["Sales"], [])
    graph = api("GET", "/api/collection/graph")
    graph["groups"]["1"]["1"] = "write"
    api("PUT", "/api/collection/graph", graph)
    shown = run(check=True, group="Readers")
    assert shown["actions"] == ["limit collections to group Readers"]
    assert "write" in shown["diff"][0]["before"]
    assert run(group="Readers")["actions"] == shown["actions"]
    assert names(everybody) == []


ROLE_CARD = {**CARD, "name": "Role", "entity_id": "r" * 21, "sql": "select current_role()", "shows": "role"}


def test_the_role_that_cards_run_as_is_compared_after_the_set_up_and_until_it_is_right(
    run: Run, server: Server
) -> None:
    details = {"account": "x", "user": "M", "db": "D", "role": "REPORTER"}
    options = {
        "database": {"name": "Snowflake", "details": details, "private_key": "KEY1"},
        "content": changed(["a.yml", "cards", "role"], ROLE_CARD),
    }
    server.warehouse.role = "ACCOUNTADMIN"
    for _ in range(2):
        answer = run(**options)
        assert "a.yml: cards.role: cards run as [['ACCOUNTADMIN']], not as 'REPORTER'" in answer["msg"]
    server.warehouse.role = "reporter"
    assert run(**options)["changed"] is False
    server.writes.clear()
    assert run(**options)["changed"] is False
    assert server.writes == []
    server.warehouse.role = "PUBLIC"
    assert "cards run as [['PUBLIC']]" in run(state="queried", **options)["msg"]


def test_the_set_up_alone_leaves_the_rest_to_the_next_run(run: Run, server: Server) -> None:
    assert run(state="set_up")["actions"] == ["do the first-run set-up as a@b.example"]
    assert server.writes == ["POST /api/setup"]
    assert run(state="set_up")["changed"] is False
    assert run()["actions"][0] == "create database Snowflake"


@pytest.mark.parametrize("reason", ["JWT token is invalid", "Snowflake at x cannot be used: timed out"])
def test_a_warehouse_that_refuses_names_the_variables_to_look_at(
    run: Run, server: Server, reason: str
) -> None:
    server.warehouse.down = reason
    answer = run()
    assert answer["failed"]
    assert "option database (metabase_snowflake_*)" in answer["msg"]
    assert reason in answer["msg"]
    assert log_in(server)("GET", "/api/database")["total"] == 0


def test_a_server_that_waits_after_guesses_says_so(run: Run, server: Server) -> None:
    run()
    api = Api(server.url, 10)
    for _ in range(10):
        with pytest.raises(MetabaseError):
            api("POST", "/api/session", {"username": "a@b.example", "password": "guess1"})
    assert "You must wait" in run()["msg"]


def test_every_endpoint_of_the_contract_is_exercised(run: Run, server: Server) -> None:
    details = {"account": "x", "user": "M", "db": "D", "role": "REPORTER"}
    database = {"name": "Snowflake", "details": details, "private_key": "KEY1"}
    content = with_filters()
    content["a.yml"]["cards"]["role"] = ROLE_CARD
    run(content=content, group="Readers", database=database)
    for collection in content["a.yml"]["collections"].values():
        collection["description"] = "All"
    content["a.yml"]["cards"]["sales"]["sql"] = "select 2"
    run(content=content, group="Readers", database={**database, "private_key": "KEY2"})
    other = {"c.yml": {"collections": {"new": {"name": "New"}}}}
    run(content=other, group="Readers", database=database)
    run(content=other, group="Readers", database=database, admin=admin("secret2", "secret1"))
    assert server.seen == set(contract.ENDPOINTS)


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


def test_whatever_write_a_run_stops_at_the_next_one_completes_it(
    run: Run, server: Server, tmp_path: Path
) -> None:
    options = {"content": with_filters(), "group": "Readers"}
    run(**options)
    writes = list(server.writes)
    assert len(writes) >= 11
    for number in range(1, len(writes) + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        other = Server(folder)
        try:
            options |= {"url": other.url, "state_file": str(folder / "applied.json")}
            other.lost = number
            assert run(**options)["failed"], writes[number - 1]
            other.lost = 0
            assert "failed" not in run(**options), writes[number - 1]
            assert run(**options)["changed"] is False, writes[number - 1]
            api = log_in(other)
            for kind, count in (("collection", 2), ("card", 2), ("dashboard", 1), ("permissions/group", 3)):
                assert len(api("GET", f"/api/{kind}")) == count, (writes[number - 1], kind)
            assert api("GET", "/api/database")["total"] == 1
        finally:
            other.close()


def test_another_password_is_explained(run: Run) -> None:
    run()
    admin = {"email": "a@b.example", "password": "other1", "first_name": "A", "last_name": "B"}
    answer = run(admin=admin)
    assert answer["failed"]
    assert "refuses the given password of a@b.example" in answer["msg"]
    assert "did not match stored password" in answer["msg"]


def test_a_server_that_is_away_is_planned_for_and_else_an_error(run: Run) -> None:
    assert run(url="http://127.0.0.1:1", check=True)["changed"]
    answer = run(url="http://127.0.0.1:1")
    assert "http://127.0.0.1:1 does not answer" in answer["msg"]


def test_of_two_collections_of_one_name_the_remembered_one_is_ours(
    run: Run, server: Server, tmp_path: Path
) -> None:
    run()
    log_in(server)("POST", "/api/collection", {"name": "Shop"})
    assert run()["changed"] is False
    (tmp_path / "applied.json").unlink()
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
    desired = card_body(CARD, 1, 2)
    legacy = {"type": "native", "database": 1, "native": {"query": "select 1"}}
    assert differences(desired, {**desired, "dataset_query": legacy}) == {}
    legacy["native"] = {"query": "select 2"}
    assert list(differences(desired, {**desired, "dataset_query": legacy})) == ["dataset_query"]


def test_dashcards_and_tabs_keep_their_ids_and_their_options() -> None:
    found = {
        "tabs": [{"id": 3, "name": "Old"}],
        "dashcards": [
            {"id": 7, "card_id": 1, "visualization_settings": {"card.title": "T"}},
            {"id": 8, "card_id": 1},
            {"id": 9, "card_id": 2},
        ],
    }
    places = [
        {**PLACE, "card": "one", "tab": "New"},
        {**PLACE, "card": "new", "tab": "Old"},
        {**PLACE, "card": "one", "row": 9, "tab": "Old"},
    ]
    cards = {"one": CARD, "new": CARD}
    item = {"tabs": ["New", "Old"], "cards": places}
    body = grid_body("board", item, found, cards, {"one": 1, "new": 3})
    assert body["tabs"] == [{"id": -1, "name": "New"}, {"id": 3, "name": "Old"}]
    assert [(place["id"], place["card_id"], place["dashboard_tab_id"]) for place in body["dashcards"]] == [
        (7, 1, -1),
        (-2, 3, 3),
        (8, 1, 3),
    ]
    assert body["dashcards"][0]["visualization_settings"] == {"card.title": "T"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["a.yml", "cards", "sales", "name"], "  Sales\t"),
        (["a.yml", "cards", "sales", "description"], "First line\nsecond line\n"),
        (["a.yml", "cards", "sales", "sql"], "\n select 1 \n\n"),
        (["a.yml", "cards", "sales", "sql"], "select 1 -- " + "x" * 10_000),
        (["a.yml", "cards", "sales", "name"], "n" * 254),
        (["a.yml", "collections", "shop", "name"], " Shop\u00a0"),
        (["a.yml", "collections", "shop", "description"], " All "),
        (["b.yml", "dashboards", "board", "name"], "\nBoard "),
        (["b.yml", "dashboards", "board", "description"], "| block\n"),
        (["a.yml", "cards", "sales", "columns"], {"Größe €": {"decimals": 1}, "名": {}, 'a"b\\c\n': {}}),
        (["a.yml", "cards", "sales", "settings"], {"graph.metrics": 7, "x": {}}),
    ],
)
def test_what_a_file_may_say_is_written_once(run: Run, path: list[Any], value: Any) -> None:
    content = changed(path, value)
    assert run(content=content)["changed"] is True
    assert run(content=content)["actions"] == []
    run()
    updated = run(content=content)
    assert len(updated["actions"]) <= 1
    assert run(content=content)["actions"] == []


def test_names_of_tabs_and_filters_may_have_blanks_around_them(run: Run) -> None:
    content = with_filters()
    board = content["b.yml"]["dashboards"]["board"]
    board["tabs"] = [" One", "Two\n"]
    board["cards"][1]["tab"] = "Two "
    board["filters"]["country"]["name"] = " Country "
    assert run(content=content)["changed"]
    assert run(content=content)["actions"] == []
    assert run(content=with_filters())["actions"] == []


def test_column_settings_have_the_key_that_metabase_gives_them(run: Run, server: Server) -> None:
    run(content=changed(["a.yml", "cards", "sales", "columns"], {"Größe €": {"decimals": 1}}))
    settings = log_in(server)("GET", "/api/card/1")["visualization_settings"]
    assert settings == {"column_settings": {'["name","Größe €"]': {"decimals": 1}}}
    # What the file no longer says goes too.
    assert run()["actions"] == ["update card Sales"]
    assert log_in(server)("GET", "/api/card/1")["visualization_settings"].get("column_settings", {}) == {}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["a.yml", "cards", "sales", "name"], "n" * 255, "cards.sales.name: must be text of at most 254"),
        (["b.yml", "dashboards", "board", "name"], "n" * 255, "board.name: must be text of at most 254"),
        (["a.yml", "cards", "sales", "name"], "a\0b", "cards.sales.name: must be text"),
        (["a.yml", "cards", "sales", "columns"], {"N": 7}, "cards.sales.columns.N: must be a map"),
        (["a.yml", "cards", "sales", "settings"], {"x": float("nan")}, "hold what JSON cannot"),
        (["a.yml", "cards", "sales", "sql"], "select '[[1,2],[3,4]]'", "also within a string"),
        (["a.yml", "cards", "sales", "sql"], "select 1 [[and x", "no ]] that closes it"),
        (["a.yml", "cards", "sales", "sql"], "select 1 [[and {{a b}}]]", "letters, digits and _"),
        (["a.yml", "cards", "sales", "sql"], "select 1 [[and {{#12}}]]", "letters, digits and _"),
    ],
)
def test_what_metabase_would_not_hold_or_run_is_refused_before_anything_is_written(
    run: Run, server: Server, path: list[Any], value: Any, message: str
) -> None:
    answer = run(content=changed(path, value))
    assert answer["failed"]
    assert message in answer["msg"]
    assert server.writes == []


@pytest.mark.parametrize(
    "sql", ["select '[ [1,2],[3,4] ]'", "select 1 -- [[ {{x}}", "select /* [[1]] */ 1", "select ']]'"]
)
def test_brackets_that_metabase_leaves_alone_are_taken(run: Run, sql: str) -> None:
    content = changed(["a.yml", "cards", "sales", "sql"], sql)
    assert run(content=content)["changed"]
    assert run(content=content)["actions"] == []


@pytest.mark.parametrize(("key", "name"), [("tab", "Country"), ("country", "Tab"), ("Tab", "Country")])
def test_a_filter_called_tab_is_refused(run: Run, server: Server, key: str, name: str) -> None:
    content = with_filters()
    board = content["b.yml"]["dashboards"]["board"]
    board["filters"] = {key: {**board["filters"]["country"], "name": name}}
    content["a.yml"]["cards"]["by_country"]["sql"] = f"select 1 [[where country = {{{{{key}}}}}]]"
    assert f"board.filters.{key}: Metabase keeps the name 'tab'" in run(content=content)["msg"]
    assert server.writes == []


def test_a_key_that_is_there_twice_in_one_file_is_named() -> None:
    twice = "cards:\n  a: {name: X}\n  b: {name: Y}\n  a: {name: Z}\n"
    with pytest.raises(AnsibleFilterError, match=r"content\.yml: the key 'a' is there already in line 2"):
        metabase_yaml({"content.yml": twice})
    merged = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n"
    assert metabase_yaml({"a.yml": merged, "b.yml": "- '1'\n"}) == {
        "a.yml": {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}},
        "b.yml": ["1"],
    }
    for wrong in ("a: [", "? {x: 1, x: 2}\n: 1", "a: {b: 1, 'b': 2}", "a: !!python/object:os.x {}"):
        with pytest.raises(AnsibleFilterError, match=r"(?s)w\.yml: .*Nothing was changed"):
            metabase_yaml({"w.yml": wrong})


@pytest.mark.parametrize("tags", [{"n": {"name": "n", "type": "text"}}, [{"name": "n", "type": "text"}]])
def test_template_tags_are_compared_in_either_form(tags: Any) -> None:
    desired = card_body({**CARD, "sql": "select 1 [[and {{n}}]]"}, 1, 2)
    stage = {**desired["dataset_query"]["stages"][0], "template-tags": tags}
    actual = {**desired, "dataset_query": {**desired["dataset_query"], "stages": [stage]}}
    assert differences(desired, actual) == {}
