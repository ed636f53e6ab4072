"""What the public API answers, good and bad."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from retailflow_emulators.airbyte.credentials import Credentials

from .conftest import SOURCE_PATH, Client, Server, wait_for

STREAM = {"name": "things", "syncMode": "incremental_deduped_history"}


@pytest.fixture
def pair(client: Client, tmp_path: Any) -> tuple[str, str]:
    source = client.actor("source", "fake", {"rows": 25, "nested": {"secret": "hidden"}})
    destination = client.actor(
        "destination", "fake", {"path": str(tmp_path / "out"), "password": "hidden too"}
    )
    return source, destination


def problem(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["type"].endswith(f"#{body['title']}")
    return answer.status_code, body["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/public/v1/workspaces"),
        ("GET", "/api/public/v1/connections"),
        ("POST", "/api/public/v1/jobs"),
        ("POST", "/api/v1/connections/get"),
        ("GET", "/api/public/v1/no/such/path"),
        ("GET", "/anything"),
    ],
)
@pytest.mark.parametrize(
    "header", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic dGVzdGVyOng="}]
)
def test_nothing_answers_without_a_token(
    client: Client, method: str, path: str, header: dict[str, str]
) -> None:
    assert problem(httpx.request(method, client.url + path, headers=header))[0] == 401


def test_tokens_expire_and_wrong_credentials_get_none(make_server: Callable[..., Server]) -> None:
    client = make_server(token_lifetime=2).client

    def accepted() -> bool:
        client.login()  # on a busy machine a token may end before it is used
        return client.http.get("/workspaces").status_code == 200

    wait_for(accepted)
    answer = wait_for(lambda: (found := client.http.get("/workspaces")).status_code != 200 and found)
    assert problem(answer)[0] == 401
    wrong = {"client_id": client.credentials.client_id, "client_secret": "guess"}
    assert problem(client.http.post("/applications/token", json=wrong))[0] == 401
    wait_for(accepted)


def test_a_token_outlives_a_restart_but_not_another_secret(server: Server) -> None:
    header = {"Authorization": server.client.http.headers["Authorization"]}
    url = f"{server.client.url}/api/public/v1/workspaces"
    server.stop()
    server.start()
    assert httpx.get(url, headers=header).status_code == 200


def test_the_credentials_are_its_own_and_only_its_command_prints_them(server: Server, tmp_path: Path) -> None:
    folder = server.settings.data_dir
    command = [sys.executable, "-m", "retailflow_emulators.airbyte.credentials"]

    def printed(data_dir: Path) -> subprocess.CompletedProcess[str]:
        environment = {"PYTHONPATH": SOURCE_PATH, "EMBEDDED_AIRBYTE_DATA_DIR": str(data_dir)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert json.loads(printed(folder).stdout) == asdict(server.client.credentials)
    assert (folder / "credentials.json").stat().st_mode & 0o777 == 0o600
    other = Credentials.ensure(tmp_path / "other")
    assert other.client_id != server.client.credentials.client_id
    assert other.client_secret != server.client.credentials.client_secret
    early = printed(tmp_path / "nothing")
    assert (early.returncode, early.stdout) == (1, "") and "has not made its credentials yet" in early.stderr


def test_another_secret_counts_from_the_next_start_on(server: Server) -> None:
    old = server.client.credentials

    def token(credentials: Credentials) -> int:
        url = f"{server.client.url}/api/public/v1/applications/token"
        return httpx.post(url, json=asdict(credentials)).status_code

    header = {"Authorization": server.client.http.headers["Authorization"]}
    new = Credentials.rotate(server.settings.data_dir)
    assert new.client_id == old.client_id and new.client_secret != old.client_secret
    assert (server.settings.data_dir / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert (token(old), token(new)) == (200, 401)
    server.stop()
    server.start()
    assert (token(old), token(new)) == (401, 200)
    url = f"{server.client.url}/api/public/v1/workspaces"
    assert httpx.get(url, headers=header).status_code == 401, "a session of the old secret is over"


def test_health_and_overview_are_open_and_say_what_this_is(client: Client, pair: tuple[str, str]) -> None:
    client.connection(*pair, [STREAM])
    assert httpx.get(f"{client.url}/api/public/v1/health").status_code == 200
    page = httpx.get(client.url).text
    assert "embedded Airbyte" in page and "not the Airbyte product" in page and "things" in page
    assert "hidden" not in page


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/sources", {"name": "x"}, 400, "workspaceId"),
        ("/sources", [], 400, "body"),
        ("/sources", {"name": "x", "workspaceId": "W", "configuration": {}}, 400, "sourceType"),
        (
            "/sources",
            {"name": "x", "workspaceId": "W", "configuration": {"sourceType": "oracle"}},
            422,
            "oracle",
        ),
        ("/sources", {"name": "x", "workspaceId": "W", "configuration": {"sourceType": "fake"}}, 422, "rows"),
        ("/sources", {"name": "x", "workspaceId": "none", "configuration": {}}, 404, "no workspace none"),
        ("/connections", {"sourceId": "none", "destinationId": "none"}, 404, "no source none"),
        ("/connections", {"sourceId": "S", "destinationId": "S"}, 404, "no destination"),
        ("/connections", {"streams": [{"name": "nothing"}]}, 400, "no streams named nothing"),
        ("/connections", {"streams": [{"name": "things", "syncMode": "sometimes"}]}, 400, "sometimes"),
        ("/connections", {"streams": [{"name": "things", "cursorField": ["when"], **STREAM}]}, 400, "when"),
        ("/connections", {"schedule": {"scheduleType": "cron"}, "streams": [STREAM]}, 400, "schedule"),
        ("/jobs", {"connectionId": "none", "jobType": "sync"}, 404, "none"),
        ("/jobs", {"connectionId": "none", "jobType": "dance"}, 400, "jobType"),
    ],
)
def test_bad_bodies(
    client: Client, pair: tuple[str, str], path: str, body: Any, status: int, words: str
) -> None:
    if isinstance(body, dict):
        ids = {"W": client.workspace, "S": pair[0]}
        body = {
            key: ids.get(value, value) if isinstance(value, str) else value for key, value in body.items()
        }
        if "streams" in body:
            ends = {"sourceId": pair[0], "destinationId": pair[1]}
            body = {**ends, "schedule": body.get("schedule"), "configurations": {"streams": body["streams"]}}
    answered, detail = problem(client.http.post(path, json=body))
    assert (answered, words in detail) == (status, True), detail


def test_unknown_ids_paths_and_methods(client: Client) -> None:
    for path in (
        "/sources/x",
        "/destinations/x",
        "/connections/x",
        "/jobs/1",
        "/jobs/x",
        "/workspaces/x",
        "/nothing",
    ):
        assert problem(client.http.get(path))[0] == 404
    assert problem(client.http.delete("/workspaces"))[0] == 405
    assert problem(client.http.get("/sources?limit=all"))[0] == 400


def test_secrets_are_masked_and_survive_being_sent_back(client: Client, pair: tuple[str, str]) -> None:
    source = client.call("GET", f"/sources/{pair[0]}")
    assert source["configuration"]["nested"]["secret"] == "**********"
    assert "hidden" not in client.http.get("/destinations").text
    client.call("PATCH", f"/sources/{pair[0]}", {"configuration": {**source["configuration"], "rows": 26}})
    stored = client.call("GET", f"/sources/{pair[0]}")["configuration"]
    assert (stored["rows"], stored["nested"]["secret"]) == (26, "**********")
    client.call("PUT", f"/sources/{pair[0]}", {"name": "other", "configuration": {"rows": 1}})
    assert client.call("GET", f"/sources/{pair[0]}")["configuration"] == {"sourceType": "fake", "rows": 1}


def test_lists_page_by_page(client: Client) -> None:
    names = [f"source {number}" for number in range(5)]
    for name in names:
        client.actor("source", "fake", {"rows": 1}, name)
    seen, page = [], client.call("GET", f"/sources?workspaceIds={client.workspace}&limit=2")
    while True:
        seen += [source["name"] for source in page["data"]]
        if not page["next"]:
            break
        page = client.http.get(page["next"]).json()
    assert seen == names
    assert client.call("GET", "/sources?workspaceIds=another")["data"] == []


def test_what_is_in_use_is_not_deleted(client: Client, pair: tuple[str, str]) -> None:
    connection = client.connection(*pair, [STREAM])
    assert problem(client.http.delete(f"/sources/{pair[0]}"))[0] == 409
    client.call("DELETE", f"/connections/{connection}", status=204)
    client.call("DELETE", f"/sources/{pair[0]}", status=204)
    assert problem(client.http.get(f"/sources/{pair[0]}"))[0] == 404


def test_a_connection_is_changed_field_by_field(client: Client, pair: tuple[str, str]) -> None:
    connection = client.connection(*pair, [STREAM])
    before = client.call("GET", f"/connections/{connection}")
    assert before["configurations"]["streams"][0]["primaryKey"] == [["id"]]  # the source defines it
    after = client.call("PATCH", f"/connections/{connection}", {"status": "inactive"})
    assert after == {**before, "status": "inactive"}
    assert problem(client.http.post("/jobs", json={"connectionId": connection, "jobType": "sync"}))[0] == 409


def test_streams_of_a_source(client: Client, pair: tuple[str, str]) -> None:
    (stream,) = client.call("GET", f"/streams?sourceId={pair[0]}")
    assert stream["streamName"] == "things"
    assert stream["sourceDefinedPrimaryKey"] == [["id"]]
    assert "incremental_deduped_history" in stream["syncModes"]


ODD_TEXT = st.one_of(
    st.text(max_size=30),
    st.integers(-(10**40), 10**40).map(str),
    st.sampled_from(
        [
            "99999999999999999999",
            "nonsense",
            "\u0663",
            "\u00b2",
            "1.0",
            "-1",
            "NaN",
            "null",
            "0001-01-01T00:00:00+23:59",
        ]
    ),
)
ODD_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
QUERIES = {
    "jobs": (
        "limit", "offset", "status", "jobType", "orderBy", "connectionId", "workspaceIds", "createdAtStart", "updatedAtEnd",
    ),
    "sources": ("limit", "offset", "workspaceIds"),
    "connections": ("limit", "offset", "workspaceIds"),
    "streams": ("sourceId",),
}  # fmt: skip


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=ODD_TEXT, body=ODD_JSON, data=st.data())
@example(text="99999999999999999999", body={"connectionId": "\ud800", "jobType": "sync"}, data=None)
@example(text="nonsense", body={"id": 10**30}, data=None)
def test_no_input_is_an_internal_error(
    client: Client, text: str, body: Any, data: st.DataObject | None
) -> None:
    place = quote(text, safe="")
    if place not in ("", ".", ".."):
        for method in ("GET", "DELETE"):
            assert problem(client.http.request(method, f"/jobs/{place}"))[0] == 404
        assert problem(client.http.get(f"/connections/{place}"))[0] == 404
    collection = data.draw(st.sampled_from(sorted(QUERIES))) if data else "jobs"
    for name in QUERIES[collection]:
        assert client.http.get(f"/{collection}", params={name: text}).status_code < 500, name
    sent = json.dumps(body)
    for path in ("/jobs", "/sources", "/connections"):
        assert problem(client.http.post(path, content=sent))[0] in (400, 404, 422)
    for path in ("jobs/get", "connections/get", "sources/check_connection"):
        assert client.http.post(f"{client.url}/api/v1/{path}", content=sent).status_code in (400, 404)


@pytest.mark.parametrize(
    "query",
    [
        "status=nonsense",
        "jobType=dance",
        "limit=0",
        "limit=101",
        "offset=-1",
        "limit=\u00b2",
        "createdAtStart=soon",
    ],
)
def test_wrong_filters_are_refused(client: Client, query: str) -> None:
    answered, detail = problem(client.http.get(f"/jobs?{query}"))
    assert (answered, query.partition("=")[0] in detail) == (400, True), detail


def test_what_json_does_not_know_is_refused(client: Client) -> None:
    body = f'{{"name": "x", "workspaceId": "{client.workspace}", "configuration": {{"sourceType": "fake", "rows": NaN}}}}'
    assert problem(client.http.post("/sources", content=body)) == (
        400,
        "body: not valid JSON: NaN is not a JSON number",
    )
    assert client.call("GET", "/sources")["data"] == []


def test_an_actor_tells_the_version_of_its_connector(client: Client) -> None:
    source = client.actor("source", "fake", {"rows": 1})
    answer = client.http.post(
        f"{client.url}/api/v1/actor_definition_versions/get_for_source", json={"sourceId": source}
    )
    assert (answer.status_code, answer.json()["dockerImageTag"]) == (200, "0.0.0")
    answer = client.http.post(
        f"{client.url}/api/v1/actor_definition_versions/get_for_destination", json={"destinationId": source}
    )
    assert answer.status_code == 404
