"""fakesnow's server with databases on disk, a health endpoint and errors that clients do not retry.

Configuration is by environment:

- ``EMULATED_SNOWFLAKE_HOST``, ``EMULATED_SNOWFLAKE_PORT``: address to listen on (127.0.0.1, 8080).
- ``EMULATED_SNOWFLAKE_CERTIFICATE_FILE``: the server's certificate and its private key in one file, which may be exchanged while
  the server runs (/run/certificate/server.pem).
- ``EMULATED_SNOWFLAKE_DATA``: folder of the databases (/data), one ``<NAME>.db`` each.
- ``EMULATED_SNOWFLAKE_MEMORY_LIMIT``: what DuckDB may hold before it spills to disk (2GB).
- ``EMULATED_SNOWFLAKE_PATIENCE_SECONDS``: after which a statement that still runs is answered "in progress" (40).
- ``EMULATED_SNOWFLAKE_ACCOUNT``: name of the account, which clients and their tokens must name.
- ``EMULATED_SNOWFLAKE_ADMIN_USER``, ``EMULATED_SNOWFLAKE_ADMIN_PASSWORD_FILE``: who has ACCOUNTADMIN from the start,
  and a file whose first line is the password; everybody else logs in with a key pair (``access/login.py``).
- ``EMULATED_SNOWFLAKE_LOCK_SECONDS``: how long a statement waits for others that write to the same table (60).

``GET /health`` answers 200 as soon as statements can run. What a client saw committed survives ``kill -9``:
DuckDB replays its write-ahead log when a database is attached again. The log is folded into the database when no
statement has run for a moment, so that neither loads nor builds wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import duckdb
import fakesnow.server as upstream
import uvicorn
from fakesnow.transforms import SERVER_VERSION
from snowflake.connector.errors import ProgrammingError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..web.bounds import BodyError, Bound, Bounded
from ..web.certificate import Certificate
from ..web.serving import configuration
from . import bucket, commands, indenting, requests, stages
from .access import login as access_login
from .access.login import LoginError
from .access.who import Who
from .databases import fold_logs, open_instance
from .quoting import literal
from .session import Instance, Session
from .settings import Settings
from .statements import Statements

log = logging.getLogger("retailflow.snowflake")
Endpoint = Callable[[Request], Awaitable[Response]]

# A statement with its values may be large, but Snowflake answers 413 somewhere; a file is sent to object storage.
_LOGIN, _STATEMENT, _FILE = Bound(65_536, unpacks=True), Bound(33_554_432, unpacks=True), Bound(5_368_709_120)
SMALL = 100_000  # bytes that an error has at most
REST_SECONDS = 2.0  # without a statement, after which the logs are folded away

_failure: ContextVar[list[BaseException] | None] = ContextVar("failure", default=None)


async def _fold_at_rest(statements: Statements) -> None:
    while True:
        await statements.rest(REST_SECONDS)
        await run_in_threadpool(fold_logs, requests.instance())


class _KeepFailure(logging.Handler):
    """Remembers the exception that upstream logs and then hides from the client."""

    def emit(self, record: logging.LogRecord) -> None:
        seen = _failure.get()
        if seen is not None and record.exc_info and record.exc_info[1]:
            seen.append(record.exc_info[1])


async def login(request: Request) -> JSONResponse:
    """Let a user in with a key pair, or the administrator with the password.

    The tokens and their lifetimes are what clients ask for; nothing is renewed, because no token ends.
    """
    asked, query = (await requests.body(request))["data"], dict(request.query_params)
    try:
        answer = await run_in_threadpool(_open_session, asked, query)
    except LoginError as error:
        log.info("refused the login of %s: %s %s", asked.get("LOGIN_NAME"), error.code, error.message)
        data = {"authnMethod": "USERNAME_PASSWORD", "errorCode": error.code, "nextAction": "RETRY_LOGIN"}
        return JSONResponse({"data": data, "code": error.code, "message": error.message, "success": False})
    return JSONResponse(answer)


def _open_session(asked: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
    instance = requests.instance()
    gate = instance.gate
    place = access_login.login(gate.account, gate.password, asked, query)
    autocommit = (asked.get("SESSION_PARAMETERS") or {}).get("AUTOCOMMIT", True)
    visible = place.warehouse and gate.account.visible(
        ("WAREHOUSE", place.warehouse), Who(gate.account, place.user, place.role, place.secondary).roles
    )
    session = instance.connect(
        place.database,
        place.schema,
        who=Who(gate.account, place.user, place.role, place.secondary),
        warehouse=place.warehouse if visible else None,
        autocommit=autocommit,
    )
    parameters = asked.get("SESSION_PARAMETERS") or {}
    session.statement_count = parameters.get("MULTI_STATEMENT_COUNT", 1)
    session.json_indent = int(parameters.get("JSON_INDENT", indenting.DEFAULT))
    about = session.about
    about.account = gate.account.name
    about.client = f"{asked.get('CLIENT_APP_ID', '')} {asked.get('CLIENT_APP_VERSION', '')}".strip()
    stages.make_user_stage(session)
    token = secrets.token_urlsafe(32)
    upstream.sessions[token] = session
    database, schema = session.current()
    data = {
        "token": token,
        "serverVersion": SERVER_VERSION,
        "parameters": [
            {"name": "AUTOCOMMIT", "value": autocommit},
            {"name": "CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY", "value": 3600},
            # Arrays are sent with the statement and not through a stage.
            {"name": "CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", "value": 0},
        ],
        "sessionInfo": {
            "databaseName": database,
            "schemaName": schema,
            "roleName": place.role,
            "warehouseName": session.guard.warehouse,
        },
        "masterToken": secrets.token_urlsafe(32),
        "validityInSeconds": 3600,
        "masterValidityInSeconds": 14400,
        "sessionId": int(about.session),
        "displayUserName": place.user,
    }
    return {"data": data, "success": True}


def _sql_error(code: str, state: str, message: str) -> JSONResponse:
    data = {"errorCode": code, "sqlState": state, "queryId": str(uuid.uuid4())}
    return JSONResponse({"data": data, "code": code, "message": message, "success": False})


async def _run(request: Request) -> JSONResponse:
    """Upstream's query endpoint, but whatever cannot run is a SQL error and not HTTP 500.

    Snowflake's clients retry a 500 for minutes; the error here is final, and says what failed.
    """
    seen: list[BaseException] = []
    token = _failure.set(seen)
    try:
        response = await commands.serve(request) or await upstream.query_request(request)
    except ProgrammingError as error:
        return _sql_error(f"{error.errno:06d}", str(error.sqlstate), str(error.raw_msg))
    except upstream.ServerError:
        raise
    except Exception as error:
        log.exception("a statement failed outside of DuckDB")
        return _internal_error(error)
    finally:
        _failure.reset(token)
    if response.status_code != 500:
        return _with_query_id(response)
    if seen and isinstance(seen[-1], duckdb.InterruptException):
        return _sql_error("000604", "57014", "SQL execution canceled")
    return _internal_error(seen[-1] if seen else RuntimeError(json.loads(bytes(response.body))["message"]))


def _with_query_id(response: JSONResponse) -> JSONResponse:
    """The answer to a statement, which has an id also where it failed."""
    answer = json.loads(bytes(response.body)) if len(response.body) < SMALL else {"success": True}
    if answer.get("success") or not isinstance(answer.get("data"), dict):
        return response
    answer["data"]["queryId"] = str(uuid.uuid4())
    return JSONResponse(answer)


def _internal_error(error: BaseException) -> JSONResponse:
    if isinstance(error, NotImplementedError):
        return _sql_error("000002", "0A000", f"not emulated: {error}")
    message = f"emulated Snowflake cannot run this statement: {type(error).__name__}: {error}"
    return _sql_error("000603", "XX000", message)


def _statements(request: Request) -> Statements:
    found: Statements = request.app.state.statements
    return found


async def query(request: Request) -> JSONResponse:
    """Run a statement; one that takes long is answered "in progress"."""
    session = upstream.to_token(request)
    connection = upstream.to_conn(session)._duck_conn
    await request.body()  # now: the statement may outlive the request
    request_id = request.query_params.get("requestId") or str(uuid.uuid4())
    return await _statements(request).run(session, request_id, connection, _run(request))


async def result(request: Request) -> JSONResponse:
    """What the statement of an earlier request came to, or "in progress" once more."""
    session, request_id = upstream.to_token(request), request.path_params["request_id"]
    kept = upstream.to_conn(session).results_cache.get(request_id)
    answer = await _statements(request).wait(session, request_id)
    if answer is None and kept is not None:  # asked for by the id of the query, as connector 5 does
        requests.replace(request, {}, f"select * from table(result_scan({literal(request_id)}))")
        return await query(request)
    return answer or _sql_error("000709", "02000", f"Statement {request_id} not found")


async def abort(request: Request) -> JSONResponse:
    """Stop a statement; success also where there is nothing to stop."""
    _statements(request).abort(
        upstream.to_token(request), (await requests.body(request)).get("requestId", "")
    )
    return JSONResponse({"success": True})


async def session(request: Request) -> JSONResponse:
    """Upstream's end of a session, which leaves its statements running and its transaction open."""
    known = upstream.sessions.copy()
    response: JSONResponse = await upstream.session(request)
    token = upstream.to_token(request) if request.headers.get("Authorization") else ""
    if token in known and token not in upstream.sessions:
        _statements(request).forget(token)
        ended = known[token]
        assert isinstance(ended, Session)
        await run_in_threadpool(ended.end)
    return response


async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Answer a request without a session as upstream does."""
    assert isinstance(error, upstream.ServerError)
    answer = {"data": None, "code": error.code, "message": error.message, "success": False, "headers": None}
    return JSONResponse(answer, status_code=error.status_code)


async def refuse_body(_: Request, error: Exception) -> JSONResponse:
    """Answer a body beyond the bounds; clients give up at 413, and would repeat a 400."""
    assert isinstance(error, BodyError)
    answer = _unreadable(error)
    answer.status_code = 200 if error.status == 400 else error.status
    return answer


def _bound(path: str) -> Bound:
    if path.startswith("/fs_bucket/"):
        return _FILE
    return _STATEMENT if path == "/queries/v1/query-request" else _LOGIN


def guarded(endpoint: Endpoint) -> Endpoint:
    """An endpoint that answers a request that is none of Snowflake's API in the shape that its clients read."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (upstream.ServerError, BodyError):
            raise
        except Exception as error:
            log.exception("a request failed")
            return _unreadable(error)

    return answer


def _unreadable(error: Exception) -> JSONResponse:
    return _sql_error(
        "390100", "08001", f"emulated Snowflake cannot read this request: {type(error).__name__}: {error}"
    )


async def health(_: Request) -> JSONResponse:
    """200 when a statement runs."""

    def probe() -> None:
        with upstream.shared_fs.duck_conn.cursor() as cursor:
            cursor.execute("select 1").fetchall()

    await run_in_threadpool(probe)
    return JSONResponse({"status": "ok", "service": "emulated Snowflake (fakesnow)"})


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Fold logs away when nobody asks for anything, and close the databases after the last statement."""
    folding = asyncio.create_task(_fold_at_rest(app.state.statements))
    yield
    folding.cancel()
    await asyncio.wait({folding})  # a fold that is under way ends before the databases are closed
    await app.state.statements.stop()
    upstream.sessions.clear()
    requests.instance().gate.account.save()
    await run_in_threadpool(fold_logs, requests.instance(), force=True)
    upstream.shared_fs.duck_conn.close()


def build_app(instance: Instance, patience: float) -> Starlette:
    """The server's app over ``instance``, which becomes the one that upstream's endpoints share."""
    upstream.shared_fs = instance
    upstream.logger.handlers = [
        _KeepFailure()
    ]  # its own list is uvicorn's; records still reach the root logger
    ours = {
        "/queries/v1/query-request": query,
        "/queries/v1/abort-request": abort,
        "/session/v1/login-request": login,
        "/session": session,
    }
    routes = [
        route
        for route in upstream.routes
        if route.path not in ours and not route.path.startswith("/fs_bucket")
    ]
    app = Starlette(
        routes=[
            *routes,
            *(Route(path, guarded(endpoint), methods=["POST"]) for path, endpoint in ours.items()),
            Route("/queries/{request_id}/result", result),
            Route("/fs_bucket/{path:path}", bucket.receive_file, methods=["PUT"]),
            Route("/monitoring/queries//{sfqid}", upstream.monitoring_query),  # as connector 5 writes it
            Route("/fs_bucket/{path:path}", bucket.send_file),
            Route("/health", health),
        ],
        middleware=[Middleware(Bounded, bound=_bound)],
        exception_handlers={upstream.ServerError: refuse, BodyError: refuse_body},
        lifespan=lifespan,
    )
    app.state.statements = Statements(patience)
    return app


def main() -> int:
    """Serve until SIGTERM or SIGINT; returns 0 after a clean stop, 1 on a taken port, 2 on bad configuration."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    try:
        settings = Settings.from_env(os.environ)
        certificate = Certificate(settings.certificate)
    except ValueError as error:
        log.error("%s", error)
        return 2
    app = build_app(open_instance(settings), settings.patience)
    log.info(
        "emulated Snowflake on https://%s:%d, databases in %s", settings.host, settings.port, settings.data
    )
    server = uvicorn.Server(
        configuration(app, settings.host, settings.port, ssl_context_factory=lambda *_: certificate.context)
    )

    # For a signal before uvicorn's own handlers are there; uvicorn raises a signal again after its clean stop, when this
    # changes nothing any more.
    def stop(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run()
    return 0 if server.started else 1
