"""Module airbyte_connections against a small Airbyte that remembers, and misbehaves when it is told to."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from ansible.module_utils.airbyte_bash_installer import api
from ansible.module_utils.airbyte_bash_installer.applied import Applied
from ansible.module_utils.airbyte_bash_installer.errors import AirbyteError, UnreachableError

import airbyte_connections as module

SOURCE = {
    "name": "shop",
    "type": "postgres",
    "configuration": {"host": "db", "port": 5432, "schemas": ["public"], "ssl_mode": {"mode": "prefer"}},
    "secrets": {"password": "hidden", "ssl_mode": {"key": "hidden too"}},
}
DESTINATION = {"name": "lake", "type": "snowflake", "configuration": {"host": "s"}, "secrets": {}}
CONNECTION = {
    "name": "shop to lake",
    "source": "shop",
    "destination": "lake",
    "streams": [{"name": "sales", "syncMode": "incremental_deduped_history", "cursorField": ["updated_at"]}],
    "options": {"schedule": {"scheduleType": "manual"}},
}


class Airbyte:
    """What the handler serves: objects by kind, the log of writes, and faults to inject."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, dict[str, Any]]] = {
            "sources": {},
            "destinations": {},
            "connections": {},
        }
        self.workspaces = [{"workspaceId": "w1", "name": "Default Workspace"}]
        self.writes: list[str] = []
        self.bodies: list[Any] = []
        self.tokens = 0
        self.valid_for = 10**6  # requests that a token serves
        self.answer_first: list[int] = []  # statuses of the next answers, before anything works
        self.jobs: list[dict[str, Any]] = []  # the newest first
        self.failure = ""  # of the newest
        self.versions = {"source": "3.7.0", "destination": "4.0.33"}
        self.requests = 0
        self.waits: list[float] = []  # seconds between two tries

    def masked(self, configuration: Any) -> Any:
        if isinstance(configuration, dict):
            return {
                k: "**********" if k in ("password", "key") else self.masked(v)
                for k, v in configuration.items()
            }
        return configuration

    def shown(self, kind: str, item: dict[str, Any]) -> dict[str, Any]:
        return (
            {**item, "configuration": self.masked(item["configuration"])} if kind != "connections" else item
        )


class Handler(BaseHTTPRequestHandler):
    airbyte: Airbyte

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self) -> None:
        me, url = self.airbyte, urlparse(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
        path = url.path.removeprefix("/api/public/v1/").split("/")
        me.requests += 1
        if me.answer_first:
            return self.answer(me.answer_first.pop(0), {"detail": "not now"})
        if path == ["applications", "token"]:
            if body["client_secret"] != "right":
                return self.answer(401, {"detail": "no"})
            me.tokens += 1
            me.served = 0
            return self.answer(200, {"access_token": f"t{me.tokens}", "token_type": "Bearer"})
        me.served += 1
        if self.headers["Authorization"] != f"Bearer t{me.tokens}" or me.served > me.valid_for:
            return self.answer(401, {"detail": "expired"})
        if path == ["workspaces"]:
            return self.answer(200, {"data": me.workspaces})
        if path == ["jobs"]:
            assert parse_qs(url.query)["limit"] == ["1"]
            return self.answer(200, {"data": me.jobs[:1]})
        if url.path == "/api/v1/jobs/get":
            failures = [{"externalMessage": me.failure}]
            return self.answer(200, {"attempts": [{"attempt": {"failureSummary": {"failures": failures}}}]})
        if found := re.fullmatch("/api/v1/actor_definition_versions/get_for_(.*)", url.path):
            assert body[f"{found[1]}Id"] in me.objects[f"{found[1]}s"]
            return self.answer(200, {"dockerImageTag": me.versions[found[1]]})
        kind, items = path[0], me.objects[path[0]]
        if self.command == "GET":
            query = parse_qs(url.query)
            offset, limit = int(query["offset"][0]), int(query["limit"][0])
            assert query["workspaceIds"] == ["w1"]
            return self.answer(
                200, {"data": [me.shown(kind, i) for i in items.values()][offset : offset + limit]}
            )
        me.writes.append(f"{self.command} {kind}")
        me.bodies.append(body)
        if self.command == "PATCH":
            stored = items[path[1]]
            if "configuration" in body:
                body = {**body, "configuration": {**stored["configuration"], **body["configuration"]}}
            stored.update(body)
            return self.answer(200, me.shown(kind, items[path[1]]))
        id_ = f"{kind[:-1]}-{len(items)}"
        extra: dict[str, Any] = {f"{kind[:-1]}Id": id_}
        if kind != "connections":
            extra[f"{kind[:-1]}Type"] = body["configuration"][f"{kind[:-1]}Type"]
        items[id_] = {**body, **extra}
        return self.answer(200, me.shown(kind, items[id_]))

    do_GET = do_POST = do_PATCH = handle_any


@pytest.fixture
def airbyte() -> Airbyte:
    return Airbyte()


@pytest.fixture
def parameters(airbyte: Airbyte, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.setattr(api.time, "sleep", airbyte.waits.append)
    handler = type("Bound", (Handler,), {"airbyte": airbyte})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield {
        "url": f"http://127.0.0.1:{server.server_port}/",
        "client_id": "me",
        "client_secret": "right",
        "workspace": "",
        "sources": [SOURCE],
        "destinations": [DESTINATION],
        "connections": [CONNECTION],
        "slot_replaced": [],
        "state_file": str(tmp_path / "applied.json"),
        "timeout": 5,
        "retries": 3,
    }
    server.shutdown()
    server.server_close()


def test_makes_everything_once(airbyte: Airbyte, parameters: dict[str, Any]) -> None:
    result = module.run(parameters, False)
    assert airbyte.writes == ["POST sources", "POST destinations", "POST connections"]
    assert result["connections"] == {"shop to lake": "connection-0"}
    stored = airbyte.objects["sources"]["source-0"]["configuration"]
    assert stored == {
        "sourceType": "postgres",
        **SOURCE["configuration"],  # type: ignore[dict-item]
        "password": "hidden",
        "ssl_mode": {"mode": "prefer", "key": "hidden too"},
    }
    again = module.run(parameters, False)
    assert (again["changed"], len(airbyte.writes)) == (False, 3)
    assert again["connections"] == result["connections"]


def test_secrets_are_nowhere_but_in_requests(parameters: dict[str, Any]) -> None:
    result = module.run(parameters, False)
    changed = module.run({**parameters, "sources": [{**SOURCE, "secrets": {"password": "other"}}]}, False)
    state = Path(parameters["state_file"])
    assert state.stat().st_mode & 0o077 == 0
    for text in (json.dumps(result), json.dumps(changed), state.read_text()):
        assert "hidden" not in text and 'other"' not in text.replace("(other)", "")


@pytest.mark.parametrize(
    ("change", "write", "body", "words"),
    [
        (
            {"sources": [{**SOURCE, "configuration": {"host": "db", "port": 5433}}]},
            "PATCH sources",
            {"configuration": {"port": 5433}},
            "change source shop: port",
        ),
        (
            {"sources": [{**SOURCE, "secrets": {"password": "new"}}]},
            "PATCH sources",
            {"configuration": {"password": "new"}},
            "change source shop: secrets",
        ),
        (
            {"sources": [{**SOURCE, "configuration": {"ssl_mode": {"mode": "require"}}}]},
            "PATCH sources",
            {"configuration": {"ssl_mode": {"mode": "require", "key": "hidden too"}}},
            "change source shop: ssl_mode",
        ),
        (
            {"connections": [{**CONNECTION, "options": {"status": "inactive"}}]},
            "PATCH connections",
            {"status": "inactive"},
            "status",
        ),
        (
            {"connections": [{**CONNECTION, "streams": [{"name": "sales"}, {"name": "returns"}]}]},
            "PATCH connections",
            {"configurations": {"streams": [{"name": "returns"}, {"name": "sales"}]}},
            "configurations",
        ),
    ],
)
def test_writes_only_what_differs(
    airbyte: Airbyte,
    parameters: dict[str, Any],
    change: dict[str, Any],
    write: str,
    body: dict[str, Any],
    words: str,
) -> None:
    module.run(parameters, False)
    airbyte.writes.clear()
    airbyte.bodies.clear()
    changed = {**parameters, **change}
    predicted = module.run(changed, True)
    assert airbyte.writes == [], "check mode writes nothing"
    result = module.run(changed, False)
    assert (airbyte.writes, airbyte.bodies) == ([write], [body])
    assert result["actions"] == predicted["actions"] and words in result["actions"][0]
    assert result["diff"] == predicted["diff"] and result["diff"]["before"] != result["diff"]["after"]
    assert module.run(changed, False)["changed"] is False


def test_a_connection_that_was_made_again_is_named_until_it_is_refreshed(
    airbyte: Airbyte, parameters: dict[str, Any]
) -> None:
    assert module.run(parameters, False)["read_again"] == [], "the first time there are no older rows"
    assert module.run(parameters, False)["read_again"] == []
    del airbyte.objects["connections"]["connection-0"]
    airbyte.objects["connections"]["unrelated"] = {"name": "other", "connectionId": "unrelated"}
    assert module.run(parameters, True)["read_again"] == [], "check mode makes none"
    assert module.run(parameters, False)["read_again"] == ["shop to lake"]
    assert module.run(parameters, False)["read_again"] == ["shop to lake"], "an interrupted run is repeated"
    Applied(parameters["state_file"]).remember_connection("shop to lake", "connection-1")
    assert module.run(parameters, False)["read_again"] == []
    airbyte.objects["connections"]["by hand"] = {
        **airbyte.objects["connections"].pop("connection-1"),
        "connectionId": "by hand",
    }
    assert module.run(parameters, False)["read_again"] == ["shop to lake"], "whoever made it"


def test_a_connection_whose_slot_was_lost_is_read_again(airbyte: Airbyte, parameters: dict[str, Any]) -> None:
    lost = {**parameters, "slot_replaced": ["shop to lake", "other"]}
    assert module.run(lost, False)["read_again"] == [], "it has not been read yet"
    airbyte.jobs = [{"jobId": 7, "status": "succeeded"}]
    assert module.run(parameters, False)["read_again"] == []
    assert module.run(lost, False)["read_again"] == ["shop to lake"]
    assert module.run(lost, True)["read_again"] == []
    airbyte.jobs.insert(0, {"jobId": 8, "status": "failed"})
    for failure, again in (
        ("Replication slot 'airbyte' is not valid: wal_status = 'lost', invalidation_reason = 'null'.", True),
        ("Replication slot 'airbyte' not found using the query: SELECT", False),
        ("Replication slot 'airbyte' has advanced beyond the source's state LSN.", False),
        ("connection refused", False),
    ):
        airbyte.failure = failure
        assert module.run(parameters, False)["read_again"] == (["shop to lake"] if again else []), failure
    airbyte.jobs.insert(0, {"jobId": 9, "status": "succeeded"})
    assert module.run(parameters, False)["read_again"] == [], "it was refreshed since"


@pytest.mark.parametrize(
    ("wanted", "found", "fits"),
    [
        ("4", "4.0.33", True),
        ("4.0.33", "4.0.33", True),
        ("4", "4-rc.1", True),
        ("", "5.1.0", True),
        ("4", "5.0.1", False),
        ("4", "40.0.1", False),
        ("4.0.33", "4.0.3", False),
        ("4.0.3", "4.0.33", False),
    ],
)
def test_a_connector_of_another_version_is_refused_before_a_connection_is_made(
    airbyte: Airbyte, parameters: dict[str, Any], wanted: str, found: str, fits: bool
) -> None:
    airbyte.versions["destination"] = found
    declared = {**parameters, "destinations": [{**DESTINATION, "version": wanted}]}
    if fits:
        assert module.run(declared, False)["connections"] == {"shop to lake": "connection-0"}
        return
    with pytest.raises(AirbyteError, match=f"runs version {re.escape(found)} of the .* {wanted} is declared"):
        module.run(declared, False)
    assert airbyte.objects["connections"] == {}
    assert len(module.run({**declared, "state_file": f"{parameters['state_file']}2"}, True)["actions"]) > 0


def test_check_mode_on_an_empty_airbyte(airbyte: Airbyte, parameters: dict[str, Any]) -> None:
    result = module.run(parameters, True)
    assert result["actions"] == [
        "create source shop",
        "create destination lake",
        "create connection shop to lake",
    ]
    assert airbyte.writes == [] and not Path(parameters["state_file"]).exists()


def test_check_mode_before_there_is_an_airbyte(parameters: dict[str, Any]) -> None:
    absent = {**parameters, "url": "http://127.0.0.1:1", "retries": 0}
    assert len(module.run(absent, True)["actions"]) == 3
    with pytest.raises(UnreachableError):
        module.run(absent, False)


def test_finds_what_is_not_on_the_first_page(airbyte: Airbyte, parameters: dict[str, Any]) -> None:
    module.run(parameters, False)
    mine = airbyte.objects["sources"].pop("source-0")
    others = {f"o{n}": {**mine, "name": f"other {n}", "sourceId": f"o{n}"} for n in range(2 * api.PAGE)}
    airbyte.objects["sources"] = {**others, "source-0": mine}
    assert module.run(parameters, False)["changed"] is False


def test_streams_in_another_order_are_the_same(airbyte: Airbyte, parameters: dict[str, Any]) -> None:
    streams = [{"name": "sales"}, {"name": "returns"}]
    module.run({**parameters, "connections": [{**CONNECTION, "streams": streams}]}, False)
    turned = module.run({**parameters, "connections": [{**CONNECTION, "streams": streams[::-1]}]}, False)
    assert turned["changed"] is False


@pytest.mark.parametrize("statuses", [[429, 503], [503, 502, 504]])
def test_waits_while_airbyte_is_busy(
    airbyte: Airbyte, parameters: dict[str, Any], statuses: list[int]
) -> None:
    airbyte.answer_first = statuses
    assert len(module.run(parameters, False)["actions"]) == 3


def test_gives_up_after_the_last_try(airbyte: Airbyte, parameters: dict[str, Any]) -> None:
    airbyte.answer_first = [503] * 100
    with pytest.raises(AirbyteError, match="503 to POST /applications/token: not now"):
        module.run(parameters, False)
    assert airbyte.requests == parameters["retries"] + 1
    assert airbyte.waits == [1, 2, 4], "longer and longer"


def test_renews_an_expired_token(airbyte: Airbyte, parameters: dict[str, Any]) -> None:
    airbyte.valid_for = 2
    assert len(module.run(parameters, False)["actions"]) == 3
    assert airbyte.tokens > 1


def _duplicate(airbyte: Airbyte) -> None:
    airbyte.objects["sources"]["twin"] = dict(airbyte.objects["sources"]["source-0"])


def _other_type(airbyte: Airbyte) -> None:
    airbyte.objects["sources"]["source-0"]["sourceType"] = "mysql"


def _other_source(airbyte: Airbyte) -> None:
    airbyte.objects["connections"]["connection-0"]["sourceId"] = "another"


def _workspaces(airbyte: Airbyte) -> None:
    airbyte.workspaces.append({"workspaceId": "w2", "name": "Second"})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_duplicate, "more than one source named shop"),
        (_other_type, "of type mysql, not postgres"),
        (_other_source, "another source than declared"),
        (_workspaces, "2 workspaces: name one"),
    ],
)
def test_refuses_what_is_not_clear(
    airbyte: Airbyte, parameters: dict[str, Any], spoil: Any, words: str
) -> None:
    module.run(parameters, False)
    airbyte.writes.clear()
    spoil(airbyte)
    with pytest.raises(AirbyteError, match=words):
        module.run(parameters, False)
    assert airbyte.writes == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"client_secret": "wrong"}, "refuses the client id and secret"),
        ({"workspace": "Nowhere"}, "0 workspaces named Nowhere"),
        ({"sources": [SOURCE, SOURCE]}, "declared twice: source shop"),
        ({"connections": [{**CONNECTION, "destination": "sea"}]}, "the destination sea is not declared"),
        ({"url": "http://127.0.0.1:1", "retries": 0}, "does not answer"),
    ],
)
def test_says_what_is_wrong(parameters: dict[str, Any], change: dict[str, Any], words: str) -> None:
    with pytest.raises(AirbyteError, match=words):
        module.run({**parameters, **change}, False)
