"""fakesnow's server with databases on disk, a health endpoint and errors that clients do not retry.

Configuration is by environment:

- ``EMULATED_SNOWFLAKE_HOST``, ``EMULATED_SNOWFLAKE_PORT``: address to listen on (127.0.0.1, 8080).
- ``EMULATED_SNOWFLAKE_DATA``: folder of the databases (/data), one ``<NAME>.db`` each.
- ``EMULATED_SNOWFLAKE_MEMORY_LIMIT``: what DuckDB may hold before it spills to disk (2GB).
- ``EMULATED_SNOWFLAKE_PATIENCE_SECONDS``: after which a statement that still runs is answered "in progress" (40).

``GET /health`` answers 200 as soon as statements can run. What a client saw committed survives ``kill -9``:
DuckDB replays its write-ahead log when a database is attached again. The log is folded into the database when no
statement has run for a moment, so that neither loads nor builds wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import os
import re
import signal
import sys
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import fakesnow.server as upstream
import pyarrow as pa
import uvicorn
from fakesnow import arrow, copy_into, info_schema, macros
from fakesnow.instance import FakeSnow
from sqlglot import exp
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from retailflow_emulators.snowflake.statements import Statements

log = logging.getLogger("retailflow.snowflake")

# Statements that Snowflake needs and DuckDB has no notion of: accepted, and without effect.
NOP_REGEXES = [
    r"^\s*(grant|revoke)\b",
    r"^\s*(create(\s+or\s+replace)?|drop|alter)\s+(role|user|warehouse|resource\s+monitor|network\s+policy)\b",
    r"^\s*alter\s+session\b",
    r"^\s*use\s+(secondary|role|warehouse)\b",
]
_DROP_DATABASE = re.compile(
    r"\s*drop\s+database\s+(?P<if_exists>if\s+exists\s+)?(?:(?P<name>\w+)|\"(?P<quoted>\w+)\")"
    r"(\s+(cascade|restrict))?\s*;?\s*",
    re.IGNORECASE,
)
_USE_ROLE = re.compile(r"\s*use\s+role\s+(?:(?P<name>\w+)|\"(?P<quoted>[^\"]+)\")\s*;?\s*", re.IGNORECASE)
_STRIP, _TIMESTAMPS = copy_into._strip_json_extract, arrow.timestamp_to_sf_struct
RESULTS_KEPT = 64  # results that RESULT_SCAN and late fetches may still read; upstream keeps all for ever
REST_SECONDS = 2.0  # without a statement, after which the logs are folded away

_failure: ContextVar[list[BaseException] | None] = ContextVar("failure", default=None)


@dataclass(frozen=True)
class Settings:
    """Where to listen and where the databases lie."""

    host: str = "127.0.0.1"
    port: int = 8080
    data: Path = Path("/data")
    memory_limit: str = "2GB"
    patience: float = 40.0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read the ``EMULATED_SNOWFLAKE_*`` variables; ValueError names the one that is wrong."""
        prefix = "EMULATED_SNOWFLAKE_"
        port = env.get(prefix + "PORT", str(cls.port))
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{prefix}PORT must be a port number, got {port!r}")
        data = Path(env.get(prefix + "DATA", str(cls.data)))
        if not data.is_dir():
            raise ValueError(f"{prefix}DATA: {data} is not a folder; create it or mount a volume there")
        patience = env.get(prefix + "PATIENCE_SECONDS", str(cls.patience))
        if not re.fullmatch(r"\d+(\.\d+)?", patience) or not float(patience):
            raise ValueError(f"{prefix}PATIENCE_SECONDS must be seconds above 0, got {patience!r}")
        return cls(
            env.get(prefix + "HOST", cls.host),
            int(port),
            data,
            env.get(prefix + "MEMORY_LIMIT", cls.memory_limit),
            float(patience),
        )


def quoted_columns(strip: Callable[[exp.Select], exp.Select], select: exp.Select) -> exp.Select:
    """The SELECT of a COPY as ``strip`` makes it, with the quotes that it takes from ``$1:"AT"``: some names need them."""
    stripped = strip(select)
    for name in stripped.find_all(exp.Identifier):
        name.set("quoted", True)
    return stripped


def nullable_timestamps(convert: Callable[[Any], pa.StructArray], timestamps: Any) -> pa.StructArray:
    """Timestamps as ``convert`` sends them, but NULL stays NULL: upstream makes it the year 1970."""
    sent = convert(timestamps)
    whole = timestamps.combine_chunks() if isinstance(timestamps, pa.ChunkedArray) else timestamps
    parts = [sent.field(number) for number in range(sent.type.num_fields)]
    return pa.StructArray.from_arrays(parts, fields=list(sent.type), mask=whole.is_null())


class RecentResults(OrderedDict[str, Any]):
    """The last ``RESULTS_KEPT`` results by query id."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        while len(self) > RESULTS_KEPT:
            self.popitem(last=False)


def open_instance(settings: Settings) -> FakeSnow:
    """An instance whose databases live in ``settings.data``, with those already there attached."""
    instance = FakeSnow(
        create_database_on_connect=False,
        create_schema_on_connect=False,
        db_path=settings.data,
        nop_regexes=NOP_REGEXES,
    )
    instance.results_cache = RecentResults()
    duck = instance.duck_conn
    duck.execute(f"set memory_limit = '{settings.memory_limit}'")
    # The stock 16 MB would fold the log away in the middle of loads and builds; here that is done at rest.
    duck.execute("set checkpoint_threshold = '256MB'")
    duck.execute(f"set temp_directory = '{settings.data / 'spill'}'")
    for file in sorted(settings.data.glob("*.db")):
        duck.execute(f"attach database '{file}' as \"{file.stem}\"")
        duck.execute(info_schema.per_db_creation_sql(file.stem))
        duck.execute(macros.creation_sql(file.stem))
        log.info("attached database %s", file.stem)
    return instance


def fold_logs(instance: FakeSnow, force: bool = False) -> None:
    """Fold write-ahead logs into their databases; what cannot be folded stays in the log.

    With ``force``, open transactions are rolled back; without, a log that they need is left for another time.
    """
    with instance.duck_conn.cursor() as cursor:
        databases = cursor.execute(
            "select database_name, path from duckdb_databases() where not internal and path is not null"
        ).fetchall()
        for name, path in databases:
            if Path(path + ".wal").exists():
                with contextlib.suppress(duckdb.Error):
                    cursor.execute(f'{"force " if force else ""}checkpoint "{name}"')
                    log.debug("checkpointed database %s", name)


async def _fold_at_rest(statements: Statements) -> None:
    while True:
        await statements.rest(REST_SECONDS)
        await run_in_threadpool(fold_logs, upstream.shared_fs)


class _KeepFailure(logging.Handler):
    """Remembers the exception that upstream logs and then hides from the client."""

    def emit(self, record: logging.LogRecord) -> None:
        seen = _failure.get()
        if seen is not None and record.exc_info and record.exc_info[1]:
            seen.append(record.exc_info[1])


def drop_database(name: str) -> bool:
    """Drop a database with its file, which upstream cannot; returns whether there was one."""
    instance = upstream.shared_fs
    file = Path(str(instance.db_path), f"{name}.db")
    if not file.exists():
        return False
    instance.duck_conn.execute(f'detach "{name}"')
    file.unlink()
    file.with_name(file.name + ".wal").unlink(missing_ok=True)
    log.info("dropped database %s", name)
    return True


def _zipped(request: Request) -> bool:
    return request.headers.get("Content-Encoding") == "gzip"


async def _body(request: Request) -> Any:
    body = await request.body()
    return json.loads(gzip.decompress(body) if _zipped(request) else body)


async def _serve_ourselves(request: Request) -> JSONResponse | None:
    """Do what upstream cannot: ``drop database`` and ``use role``; None where upstream answers the client."""
    statement = await _body(request)
    if match := _USE_ROLE.fullmatch(statement["sqlText"]):
        role = match["quoted"] or match["name"].upper()
        await run_in_threadpool(set_role, upstream.to_token(request), role)
        return None
    match = _DROP_DATABASE.fullmatch(statement["sqlText"])
    if not match:
        return None
    name = (match["name"] or match["quoted"]).upper()
    if not await run_in_threadpool(drop_database, name) and not match["if_exists"]:
        return _sql_error("002003", "02000", f"Database '{name}' does not exist or not authorized.")
    statement["sqlText"] = f"select '{name} successfully dropped.' as \"status\""
    answer = json.dumps(statement).encode()
    request._body = gzip.compress(answer) if _zipped(request) else answer
    return None


def _sql_error(code: str, state: str, message: str) -> JSONResponse:
    data = {"errorCode": code, "sqlState": state}
    return JSONResponse({"data": data, "code": code, "message": message, "success": False})


def set_role(token: str, role: str) -> None:
    """Let ``current_role()`` of a session answer with the role that it asked for; no role has or lacks any right."""
    text = role.replace("'", "''")
    upstream.sessions[token]._duck_conn.execute(f"create or replace temp macro current_role() as '{text}'")


async def login(request: Request) -> JSONResponse:
    """Upstream's login, which does not look at the role."""
    response: JSONResponse = await upstream.login_request(request)
    role = request.query_params.get("roleName") or "PUBLIC"
    await run_in_threadpool(set_role, json.loads(bytes(response.body))["data"]["token"], role.upper())
    return response


async def _run(request: Request) -> JSONResponse:
    """Upstream's query endpoint, but a statement that cannot run is a SQL error and not HTTP 500.

    Snowflake's clients retry a 500 for minutes; the error here is final, and says what failed.
    """
    seen: list[BaseException] = []
    token = _failure.set(seen)
    try:
        response = await _serve_ourselves(request) or await upstream.query_request(request)
    finally:
        _failure.reset(token)
    if response.status_code != 500:
        return response
    if seen and isinstance(seen[-1], duckdb.InterruptException):
        return _sql_error("000604", "57014", "SQL execution canceled")
    cause = f"{type(seen[-1]).__name__}: {seen[-1]}" if seen else json.loads(bytes(response.body))["message"]
    return _sql_error("000603", "XX000", f"emulated Snowflake cannot run this statement: {cause}")


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
    upstream.to_conn(session)
    answer = await _statements(request).wait(session, request_id)
    return answer or _sql_error("000709", "02000", f"Statement {request_id} not found")


async def abort(request: Request) -> JSONResponse:
    """Stop a statement; success also where there is nothing to stop."""
    _statements(request).abort(upstream.to_token(request), (await _body(request)).get("requestId", ""))
    return JSONResponse({"success": True})


async def session(request: Request) -> JSONResponse:
    """Upstream's end of a session, which leaves its statements running."""
    response: JSONResponse = await upstream.session(request)
    if request.headers.get("Authorization") and upstream.to_token(request) not in upstream.sessions:
        _statements(request).forget(upstream.to_token(request))
    return response


async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Answer a request without a session as upstream does."""
    assert isinstance(error, upstream.ServerError)
    answer = {"data": None, "code": error.code, "message": error.message, "success": False, "headers": None}
    return JSONResponse(answer, status_code=error.status_code)


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
    await run_in_threadpool(fold_logs, upstream.shared_fs, force=True)
    upstream.shared_fs.duck_conn.close()


def build_app(instance: FakeSnow, patience: float) -> Starlette:
    """The server's app over ``instance``, which becomes the one that upstream's endpoints share."""
    upstream.shared_fs = instance
    copy_into._strip_json_extract = partial(quoted_columns, _STRIP)
    arrow.timestamp_to_sf_struct = partial(nullable_timestamps, _TIMESTAMPS)
    upstream.logger.handlers = [
        _KeepFailure()
    ]  # its own list is uvicorn's; records still reach the root logger
    ours = {
        "/queries/v1/query-request": query,
        "/queries/v1/abort-request": abort,
        "/session/v1/login-request": login,
        "/session": session,
    }
    routes = [route for route in upstream.routes if route.path not in ours]
    app = Starlette(
        routes=[
            *routes,
            *(Route(path, endpoint, methods=["POST"]) for path, endpoint in ours.items()),
            Route("/queries/{request_id}/result", result),
            Route("/health", health),
        ],
        exception_handlers={upstream.ServerError: refuse},
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
    except ValueError as error:
        log.error("%s", error)
        return 2
    app = build_app(open_instance(settings), settings.patience)
    # uvicorn raises the signal again after its own clean stop: by then there is nothing left to do.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    log.info(
        "emulated Snowflake on http://%s:%d, databases in %s", settings.host, settings.port, settings.data
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app, host=settings.host, port=settings.port, log_level="warning", timeout_graceful_shutdown=15
        )
    )
    server.run()
    return 0 if server.started else 1
