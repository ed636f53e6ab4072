"""Module airbyte_refresh against a small Airbyte that answers as airbyte-platform's controllers do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.airbyte_bash_installer import refresh
from ansible.module_utils.airbyte_bash_installer.api import Api
from ansible.module_utils.airbyte_bash_installer.applied import Applied
from ansible.module_utils.airbyte_bash_installer.errors import AirbyteError

import airbyte_refresh as module
import airbyte_support
import small_play

ROLES = Path(__file__).parents[2] / "roles"
STREAMS = [("public", "customers"), ("public", "sales"), ("old", "sales"), ("", "notes")]


class Airbyte:
    """What the handler serves: one connection, its jobs and the requests for a refresh."""

    def __init__(self) -> None:
        self.connections = [{"connectionId": "c1", "name": "shop to lake"}]
        self.asked: list[Any] = []
        self.port = 0
        self.busy = False
        self.supported = True
        self.states = ["running", "running", "succeeded"]
        self.failures: list[dict[str, str]] = []

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        match method, path:
            case "POST", "/api/public/v1/applications/token":
                return 200, {"access_token": "t"}
            case "GET", "/api/public/v1/workspaces":
                return 200, {"data": [{"workspaceId": "w1", "name": "Default Workspace"}]}
            case "GET", "/api/public/v1/connections":
                return 200, {"data": self.connections}
            case "POST", "/api/v1/connections/get":
                streams = [
                    {"stream": {"namespace": space or None, "name": name}, "config": {"selected": True}}
                    for space, name in STREAMS
                ]
                left_out = {"stream": {"name": "secrets"}, "config": {"selected": False}}
                return 200, {
                    "connectionId": body["connectionId"],
                    "syncCatalog": {"streams": [*streams, left_out]},
                }
            case "POST", "/api/v1/connections/refresh":
                if self.busy:
                    return 409, {"detail": "A sync is already running for: c1"}
                self.asked.append(body)
                return 200, {"job": {"id": 7, "configType": "refresh"} if self.supported else None}
            case "GET", "/api/public/v1/jobs/7":
                status = self.states.pop(0) if len(self.states) > 1 else self.states[0]
                return 200, {"jobId": 7, "status": status, "jobType": "refresh", "rowsSynced": 25}
            case "POST", "/api/v1/jobs/get":
                attempt = {
                    "attempt": {"failureSummary": {"failures": self.failures} if self.failures else None}
                }
                return 200, {"job": {"id": body["id"]}, "attempts": [attempt]}
        raise AssertionError(f"{method} {path}")


@pytest.fixture
def airbyte(monkeypatch: pytest.MonkeyPatch) -> Airbyte:
    monkeypatch.setattr(refresh, "POLL_SECONDS", 0.01)
    return Airbyte()


@pytest.fixture
def api(airbyte: Airbyte) -> Iterator[Api]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            path = self.path.partition("?")[0]
            status, body = airbyte.answer(self.command, path, json.loads(self.rfile.read(length) or b"null"))
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = handle_any

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    airbyte.port = server.server_port
    yield Api(f"http://127.0.0.1:{server.server_port}", "me", "right", 5, 0)
    server.shutdown()
    server.server_close()


def begin(api: Api, *streams: str, connection: str = "", check: bool = False) -> dict[str, Any]:
    return dict(
        module.begin(api, {"workspace": "", "connection": connection, "streams": list(streams)}, check)
    )


@pytest.mark.parametrize(
    ("streams", "asked"),
    [
        ((), STREAMS),
        (("customers",), [("public", "customers")]),
        (("public.sales",), [("public", "sales")]),
        (("notes", "old.sales", "notes"), [("", "notes"), ("old", "sales")]),
        (("customers", "public.customers"), [("public", "customers")]),
    ],
)
def test_the_streams_that_were_named_are_refreshed(
    airbyte: Airbyte, api: Api, streams: tuple[str, ...], asked: list[tuple[str, str]]
) -> None:
    result = begin(api, *streams)
    assert (result["changed"], result["busy"], result["job_id"]) == (True, False, 7)
    (body,) = airbyte.asked
    assert (body["connectionId"], body["refreshMode"]) == ("c1", "Truncate")
    found = [(one.get("streamNamespace", ""), one["streamName"]) for one in body["streams"]]
    assert sorted(found) == sorted(asked)
    assert sorted(result["streams"]) == sorted(".".join(filter(None, one)) for one in asked)


@pytest.mark.parametrize("name", ["sale", "SALES", "public.notes", "", "secrets", "sales; drop"])
def test_a_stream_that_is_not_there_is_refused_with_those_that_are(
    airbyte: Airbyte, api: Api, name: str
) -> None:
    with pytest.raises(AirbyteError, match=r"no stream named .*Nothing was refreshed") as error:
        begin(api, "customers", name)
    assert "notes, old.sales, public.customers, public.sales" in str(error.value)
    assert airbyte.asked == []


def test_a_name_that_two_streams_have_is_refused(airbyte: Airbyte, api: Api) -> None:
    with pytest.raises(AirbyteError, match="more than one stream named 'sales'"):
        begin(api, "sales")
    assert airbyte.asked == []


def test_a_connection_that_is_not_clear_is_refused(airbyte: Airbyte, api: Api) -> None:
    with pytest.raises(AirbyteError, match="0 connections named lake to shop; its connections: shop to lake"):
        begin(api, connection="lake to shop")
    airbyte.connections.append({"connectionId": "c2", "name": "other"})
    with pytest.raises(AirbyteError, match="2 connections; its connections: other, shop to lake"):
        begin(api)
    assert airbyte.asked == []
    assert begin(api, connection="shop to lake")["job_id"] == 7


def test_a_refresh_that_was_started_is_remembered(airbyte: Airbyte, api: Api, tmp_path: Path) -> None:
    file = tmp_path / "applied.json"
    params = {"workspace": "", "connection": "", "streams": [], "state_file": str(file)}
    airbyte.busy = True
    module.begin(api, params, False)
    airbyte.busy = False
    module.begin(api, params, True)
    assert not file.exists(), "neither where another job runs nor in check mode"
    module.begin(api, params, False)
    assert Applied(str(file)).connection("shop to lake") == "c1"
    assert file.stat().st_mode & 0o077 == 0


def test_a_running_job_is_data_and_nothing_is_started(airbyte: Airbyte, api: Api) -> None:
    airbyte.busy = True
    result = begin(api)
    assert (result["busy"], result["changed"], result["job_id"]) == (True, False, None)


def test_check_mode_checks_the_names_and_starts_nothing(airbyte: Airbyte, api: Api) -> None:
    result = begin(api, "customers", check=True)
    assert (result["changed"], result["job_id"], airbyte.asked) == (True, None, [])
    with pytest.raises(AirbyteError, match="no stream"):
        begin(api, "nothing", check=True)


def test_a_destination_that_cannot_refresh_is_said(airbyte: Airbyte, api: Api) -> None:
    airbyte.supported = False
    with pytest.raises(AirbyteError, match="does not support refreshes"):
        begin(api)


def test_the_end_of_the_job_is_waited_for_within_a_bound(airbyte: Airbyte, api: Api) -> None:
    found = module.look(api, {"job_id": 7, "wait": 0})
    assert (found["ended"], found["job"]["status"]) == (False, "running")
    found = module.look(api, {"job_id": 7, "wait": 10})
    assert (found["ended"], found["job"]["status"], found["job"]["rowsSynced"]) == (True, "succeeded", 25)


@pytest.mark.parametrize(
    ("status", "failures", "words"),
    [
        ("failed", [{"externalMessage": "the slot is lost"}], "failed: Airbyte's job 7: the slot is lost"),
        ("failed", [{"internalMessage": "oops"}], "job 7: oops"),
        ("failed", [], "job 7\\. "),
        ("cancelled", [], "cancelled"),
    ],
)
def test_a_job_that_does_not_succeed_fails_with_its_reason(
    airbyte: Airbyte, api: Api, status: str, failures: list[dict[str, str]], words: str
) -> None:
    airbyte.states, airbyte.failures = [status], failures
    with pytest.raises(AirbyteError, match=words):
        module.look(api, {"job_id": 7, "wait": 0})


@pytest.mark.usefixtures("api")
def test_the_entry_point_publishes_the_result_or_refuses_the_name(airbyte: Airbyte, tmp_path: Path) -> None:
    credentials = json.dumps({"client_id": "me", "client_secret": "right"})
    installer = airbyte_support.executable(tmp_path / "opt/install.sh", f"#!/bin/sh\necho '{credentials}'\n")

    def include(streams: list[str]) -> dict[str, Any]:
        return {
            "include_role": {"name": "airbyte-bash-installer", "tasks_from": "refresh"},
            "vars": {
                "airbyte_bash_installer_distribution": "embedded",
                "airbyte_bash_installer_port": airbyte.port,
                "airbyte_bash_installer_dir": str(installer.parent),
                "airbyte_bash_installer_state_dir": str(tmp_path),
                "airbyte_bash_installer_refresh_streams": streams,
            },
        }

    def write(name: str, value: str) -> dict[str, Any]:
        return {
            "copy": {"content": "{{ " + value + " | to_json }}", "dest": str(tmp_path / name), "mode": "0600"}
        }

    tasks = [
        {"block": [include(["customer"])], "rescue": [write("refused", "ansible_failed_result.msg")]},
        include([]),
        write("all", "airbyte_bash_installer_refreshed"),
        include(["customers"]),
        write("one", "airbyte_bash_installer_refreshed"),
    ]
    # Airbyte is on the host itself: never asked for by a proxy.
    small_play.run(tmp_path, tasks, {"http_proxy": "http://127.0.0.1:9"})
    found = {name: json.loads((tmp_path / name).read_text()) for name in ("refused", "all", "one")}
    assert "no stream named 'customer'. Nothing was refreshed." in found["refused"]
    assert found["all"]["status"] == "succeeded" and len(found["all"]["streams"]) == len(STREAMS)
    expected = {"connection": "shop to lake", "streams": ["public.customers"], "job_id": 7, "rows": 25}
    assert expected.items() <= found["one"].items()
    assert len(airbyte.asked) == 2
    assert Applied(str(tmp_path / "applied.json")).connection("shop to lake") == "c1"
