"""Requests that no client would send, to every path of every server, with a login and without.

Whatever comes, the server says what is wrong: no 500, no traceback in an answer, no growth.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from unittest import mock
from urllib.parse import quote

import fakesnow.server as upstream
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_requests import MANY, models_of, paths, requests
from pydantic import BaseModel

from retailflow_emulators.airbyte import api as airbyte
from retailflow_emulators.airbyte import bodies
from retailflow_emulators.airbyte.credentials import Credentials
from retailflow_emulators.dashboards import api as dashboards
from retailflow_emulators.dashboards import models, pages
from retailflow_emulators.snowflake import server as snowflake
from retailflow_emulators.snowflake.testing import ACCOUNT, ADMINISTRATOR, PASSWORD

from .conftest import Running

GROWTH_MB = 100  # by caches and what was made, however many requests there are
SQL = (
    *(
        "select",
        "from",
        "where",
        "(",
        ")",
        ",",
        ";",
        "*",
        "1",
        "-1.5e400",
        "'a'",
        "''",
        '"',
        "'",
        "null",
        "as",
        "A",
        "DB",
    ),
    *(
        "with",
        "union all",
        "order by",
        "limit",
        "::",
        "number(99,99)",
        "varchar(0)",
        "variant",
        "parse_json('{')",
        "$1",
    ),
    *(
        "create",
        "or replace",
        "table",
        "view",
        "database",
        "schema",
        "role",
        "user",
        "warehouse",
        "stage",
        "@~",
        "@A/b",
    ),
    *(
        "drop",
        "alter",
        "session set",
        "grant",
        "revoke",
        "on",
        "to",
        "use",
        "show",
        "like",
        "describe",
        "insert into",
    ),
    *(
        "values",
        "update",
        "set",
        "=",
        "delete",
        "merge into",
        "using",
        "when matched then",
        "copy into",
        "put file://a",
    ),
    *(
        "get",
        "remove",
        "begin",
        "commit",
        "rollback",
        "?",
        ":1",
        "--",
        "/*",
        "*/",
        "$$",
        "flatten(",
        "table(",
        "lateral",
    ),
    *(
        "try_cast(",
        "to_number(",
        "array_agg(",
        "over (",
        "interval",
        "date",
        "é",
        "\x00",
        "{{",
        "identifier(",
        "explain",
    ),
)


@dataclass
class Target:
    """Where requests go: paths with their methods, the bodies that fit somewhere, and what a login is."""

    server: Running
    routes: list[tuple[str, tuple[str, ...]]]
    models: list[type[BaseModel]] = field(default_factory=list)
    login: dict[str, str] = field(default_factory=dict)

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        connection = self.server.connection()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class Statement(BaseModel):
    """What clients of Snowflake send to run a statement."""

    sqlText: str
    bindings: dict[str, dict[str, Any]] | None = None
    describeOnly: bool | None = None
    parameters: dict[str, Any] | None = None


class LogIn(BaseModel):
    """What clients of Snowflake send to log in."""

    class Data(BaseModel):
        ACCOUNT_NAME: str | None = None
        LOGIN_NAME: str | None = None
        PASSWORD: str | None = None
        AUTHENTICATOR: str | None = None
        TOKEN: str | None = None
        SESSION_PARAMETERS: dict[str, Any] | None = None

    data: Data


@pytest.fixture(scope="module")
def targets(servers: dict[str, Running]) -> dict[str, Target]:
    nobody = mock.Mock()
    kept = upstream.shared_fs, upstream.logger.handlers
    of_snowflake = list(paths(snowflake.build_app(nobody, 1).routes))
    upstream.shared_fs, upstream.logger.handlers = kept
    of_airbyte = [
        *paths(airbyte._public_routes(nobody, nobody), airbyte.PUBLIC),
        *paths(airbyte._configuration_routes(nobody, nobody), airbyte.CONFIGURATION),
        ("/", ("GET",)),
    ]
    of_dashboards = [*paths(dashboards.routes(nobody)), *paths(pages.routes(nobody))]
    return {
        "airbyte": Target(servers["airbyte"], of_airbyte, models_of(bodies)),
        "dashboards": Target(servers["dashboards"], of_dashboards, models_of(models)),
        "snowflake": Target(servers["snowflake"], of_snowflake, [Statement, LogIn]),
    }


def airbyte_login(target: Target) -> dict[str, str]:
    credentials = Credentials.read(target.server.log.parent)
    body = json.dumps({"client_id": credentials.client_id, "client_secret": credentials.client_secret})
    _, answer = target.send("POST", target.server.login, {"Content-Type": "application/json"}, body.encode())
    return {"Authorization": f"Bearer {json.loads(answer)['access_token']}"}


def dashboards_login(target: Target) -> dict[str, str]:
    _, properties = target.send("GET", "/api/session/properties", {}, None)
    user = {"email": "fuzz@retailflow.example", "password": "correct horse 1"}
    if token := json.loads(properties)["setup-token"]:
        path, body = "/api/setup", {"token": token, "user": user, "prefs": {"site_name": "Shop"}}
    else:
        path, body = "/api/session", {"username": user["email"], "password": user["password"]}
    status, answer = target.send("POST", path, {}, json.dumps(body).encode())
    assert status == 200, answer
    return {"X-Metabase-Session": json.loads(answer)["id"]}


def snowflake_login(target: Target) -> dict[str, str]:
    body = {"data": {"ACCOUNT_NAME": ACCOUNT, "LOGIN_NAME": ADMINISTRATOR, "PASSWORD": PASSWORD}}
    _, answer = target.send("POST", target.server.login, {}, json.dumps(body).encode())
    return {"Authorization": f'Snowflake Token="{json.loads(answer)["data"]["token"]}"'}


LOGINS = {"airbyte": airbyte_login, "dashboards": dashboards_login, "snowflake": snowflake_login}


@pytest.mark.parametrize("name", LOGINS)
@pytest.mark.parametrize("logged_in", [False, True], ids=["without a login", "with a login"])
def test_no_request_is_a_fault_of_the_server(targets: dict[str, Target], name: str, logged_in: bool) -> None:
    target = targets[name]
    login = LOGINS[name](target) if logged_in else {}
    before = target.server.peak_mb

    @MANY
    @given(st.data())
    def attempt(data: st.DataObject) -> None:
        method, path, headers, body = data.draw(requests(target.routes, target.models))
        if name == "snowflake" and logged_in and data.draw(st.booleans()):
            text = " ".join(data.draw(st.lists(st.sampled_from(SQL), min_size=1, max_size=9)))
            method, path = "POST", "/queries/v1/query-request?requestId=" + quote(text[:9], safe="")
            body = json.dumps({"sqlText": text}).encode()
        status, answer = target.send(method, path, headers | login, body)
        if status == 401 and logged_in:  # logged out by a request
            login.update(LOGINS[name](target))
        assert status < 500 or status == 501, answer[:2000]
        assert b"Traceback (most recent call last)" not in answer

    attempt()
    assert target.server.process.poll() is None
    assert target.server.peak_mb - before < GROWTH_MB
