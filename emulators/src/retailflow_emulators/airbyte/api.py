"""The slice of Airbyte's public API (and of its configuration API) that clients use, over HTTP.

Paths, bodies and errors follow https://reference.airbyte.com. Every path but the token's, /health and the
overview page wants a bearer token.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, get_args
from urllib.parse import parse_qsl, urlencode

import jinja2
import jwt
from pydantic import ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..web import json_text
from ..web.bounds import BodyError, Bound, Bounded
from .bodies import (
    ActorCreate,
    ActorPatch,
    ActorPut,
    Body,
    ConnectionCreate,
    ConnectionSettings,
    JobCreate,
    JobType,
    ProblemError,
    Refresh,
)
from .connectors import Kind
from .credentials import Credentials
from .protocol import JsonObject
from .service import Service, job_response
from .settings import Settings
from .store import JOB_STATES
from .workers import Connectors

PUBLIC, CONFIGURATION = "/api/public/v1", "/api/v1"
_OPEN_PATHS = {
    "/",
    *(f"{base}/{path}" for base in (PUBLIC, CONFIGURATION) for path in ("health", "applications/token")),
}
# Micronaut's default for `micronaut.server.max-request-size`, and what a request for a token needs.
_BODY, _TOKEN_BODY = Bound(10_485_760), Bound(65_536)
_ORDER_COLUMNS = {"createdAt": "created_at", "updatedAt": "updated_at"}
_Model = TypeVar("_Model", bound=Body)


class Tokens:
    """Signed bearer tokens; they outlive a restart of the server, but not their time."""

    def __init__(self, credentials: Credentials, lifetime: int) -> None:
        self._credentials, self._lifetime = credentials, lifetime

    def issue(self, client_id: str, client_secret: str) -> JsonObject:
        expected = f"{self._credentials.client_id}\n{self._credentials.client_secret}"
        if not hmac.compare_digest(f"{client_id}\n{client_secret}".encode(), expected.encode()):
            raise ProblemError(401, "unauthorized", "client_id or client_secret is wrong")
        lifetime = self._lifetime
        claims = {"sub": client_id, "iat": int(time.time()), "exp": time.time() + lifetime}
        token = jwt.encode(claims, self._key, algorithm="HS256")
        return {"access_token": token, "token_type": "Bearer", "expires_in": lifetime}

    def verify(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise jwt.InvalidTokenError("no bearer token")
            jwt.decode(token, self._key, algorithms=["HS256"], options={"require": ["exp", "sub"]})
        except jwt.InvalidTokenError as error:
            raise ProblemError(401, "unauthorized", f"a valid bearer token is required: {error}") from error

    @property
    def _key(self) -> str:
        return f"embedded-airbyte-token-signing:{self._credentials.client_secret}"


async def _json(request: Request) -> Any:
    try:
        return json_text.read(await request.body())
    except ValueError as error:
        raise ProblemError(400, "bad-request", f"body: not valid JSON: {error}") from error


async def _body(request: Request, model: type[_Model]) -> _Model:
    body = await _json(request)
    try:
        return model.model_validate(body)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()]
        raise ProblemError(400, "bad-request", "; ".join(problems)) from error


def _number(request: Request, name: str, default: int, minimum: int, maximum: int) -> int:
    text = request.query_params.get(name, str(default))
    if not re.fullmatch("[0-9]{1,10}", text) or not minimum <= int(text) <= maximum:
        raise ProblemError(
            400, "bad-request", f"{name} must be a whole number from {minimum} to {maximum}, not {text!r}"
        )
    return int(text)


def _choice(request: Request, name: str, choices: Sequence[str]) -> str | None:
    text = request.query_params.get(name)
    if text is not None and text not in choices:
        raise ProblemError(400, "bad-request", f"{name} must be one of {', '.join(choices)}, not {text!r}")
    return text


def _time(request: Request, name: str) -> float | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise ProblemError(400, "bad-request", f"{name} must be an ISO 8601 time, not {text!r}") from error


def _workspace_ids(request: Request) -> list[str] | None:
    values = [
        part for value in request.query_params.getlist("workspaceIds") for part in value.split(",") if part
    ]
    return values or None


async def _page(request: Request, find: Callable[[int, int], list[JsonObject]]) -> JSONResponse:
    """One page of a list, with `next` and `previous` as the public API gives them."""
    offset, limit = _number(request, "offset", 0, 0, 2**31 - 1), _number(request, "limit", 20, 1, 100)
    found = await run_in_threadpool(find, offset, limit + 1)

    def link(to: int) -> str:
        other = [item for item in request.query_params.multi_items() if item[0] not in ("offset", "limit")]
        return str(request.url.replace(query=urlencode([*other, ("limit", limit), ("offset", to)])))

    return JSONResponse(
        {
            "data": found[:limit],
            "next": link(offset + limit) if len(found) > limit else "",
            "previous": link(max(0, offset - limit)) if offset else "",
        }
    )


def _actor_routes(service: Service, kind: Kind) -> list[Route]:
    async def collection(request: Request) -> Response:
        if request.method == "GET":
            workspaces = _workspace_ids(request)
            return await _page(request, lambda offset, limit: service.actors(kind, workspaces, offset, limit))
        body = await _body(request, ActorCreate)
        return JSONResponse(await run_in_threadpool(service.create_actor, kind, body))

    async def item(request: Request) -> Response:
        id_ = request.path_params["id"]
        match request.method:
            case "GET":
                return JSONResponse(await run_in_threadpool(service.actor, kind, id_))
            case "DELETE":
                await run_in_threadpool(service.delete_actor, kind, id_)
                return Response(status_code=204)
            case method:
                model: type[ActorPatch] | type[ActorPut] = ActorPatch if method == "PATCH" else ActorPut
                body = await _body(request, model)
                return JSONResponse(await run_in_threadpool(service.change_actor, kind, id_, body))

    return [
        Route(f"/{kind}s", collection, methods=["GET", "POST"]),
        Route(f"/{kind}s/{{id}}", item, methods=["GET", "PATCH", "PUT", "DELETE"]),
    ]


def _public_routes(service: Service, issue: Callable[[Request], Awaitable[Response]]) -> list[Route]:
    async def health(_: Request) -> Response:
        return Response("Successful operation", media_type="text/plain")

    async def workspaces(request: Request) -> Response:
        return await _page(request, service.workspaces)

    async def workspace(request: Request) -> Response:
        return JSONResponse(service.workspace(request.path_params["id"]))

    async def streams(request: Request) -> Response:
        source_id = request.query_params.get("sourceId")
        if not source_id:
            raise ProblemError(400, "bad-request", "sourceId is required")
        return JSONResponse(await run_in_threadpool(service.streams, source_id))

    async def connections(request: Request) -> Response:
        if request.method == "GET":
            ids = _workspace_ids(request)
            return await _page(request, lambda offset, limit: service.connections(ids, offset, limit))
        body = await _body(request, ConnectionCreate)
        return JSONResponse(await run_in_threadpool(service.create_connection, body))

    async def connection(request: Request) -> Response:
        id_ = request.path_params["id"]
        match request.method:
            case "GET":
                return JSONResponse(service.connection(id_))
            case "DELETE":
                await run_in_threadpool(service.delete_connection, id_)
                return Response(status_code=204)
            case _:
                body = await _body(request, ConnectionSettings)
                return JSONResponse(await run_in_threadpool(service.change_connection, id_, body))

    async def jobs(request: Request) -> Response:
        if request.method == "POST":
            body = await _body(request, JobCreate)
            if body.job_type == "refresh":  # JobsController.kt of airbyte-platform, in its words
                raise ProblemError(
                    422, "unprocessable-entity", "Refreshes are not supported in the public API"
                )
            return JSONResponse(await run_in_threadpool(service.start_job, body))
        order, _, direction = request.query_params.get("orderBy", "createdAt|DESC").partition("|")
        if order not in _ORDER_COLUMNS or direction not in ("ASC", "DESC"):
            raise ProblemError(
                400, "bad-request", "orderBy must be createdAt or updatedAt, then |ASC or |DESC"
            )
        filters: JsonObject = {
            "connection_id": request.query_params.get("connectionId"),
            "type": _choice(request, "jobType", get_args(JobType)),
            "status": _choice(request, "status", JOB_STATES),
            "workspace_id": _workspace_ids(request),
            "order": (_ORDER_COLUMNS[order], direction == "DESC"),
            "between": {
                "created_at": (_time(request, "createdAtStart"), _time(request, "createdAtEnd")),
                "updated_at": (_time(request, "updatedAtStart"), _time(request, "updatedAtEnd")),
            },
        }
        return await _page(
            request,
            lambda offset, limit: [
                job_response(row) for row in service.store.find_jobs(offset=offset, limit=limit, **filters)
            ],
        )

    async def job(request: Request) -> Response:
        action = service.job if request.method == "GET" else service.cancel_job
        return JSONResponse(await run_in_threadpool(action, request.path_params["id"]))

    return [
        Route("/health", health),
        Route("/applications/token", issue, methods=["POST"]),
        Route("/workspaces", workspaces),
        Route("/workspaces/{id}", workspace),
        *_actor_routes(service, "source"),
        *_actor_routes(service, "destination"),
        Route("/streams", streams),
        Route("/connections", connections, methods=["GET", "POST"]),
        Route("/connections/{id}", connection, methods=["GET", "PATCH", "DELETE"]),
        Route("/jobs", jobs, methods=["GET", "POST"]),
        Route("/jobs/{id}", job, methods=["GET", "DELETE"]),
    ]


def _configuration_routes(service: Service, issue: Callable[[Request], Awaitable[Response]]) -> list[Route]:
    """The few calls of Airbyte's internal API that clients make: every one a POST with ids in its body."""

    def call(action: Callable[[str], JsonObject], name: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                id_ = (await _json(request))[name]
            except (KeyError, TypeError, IndexError) as error:
                raise ProblemError(400, "bad-request", f"{name} is required") from error
            if isinstance(id_, bool) or not isinstance(id_, str | int):
                raise ProblemError(400, "bad-request", f"{name} must be an id, not {id_!r}")
            return JSONResponse(await run_in_threadpool(action, str(id_)))

        return answer

    async def health(_: Request) -> Response:
        return JSONResponse({"available": True})

    async def refresh(request: Request) -> Response:
        body = await _body(request, Refresh)
        return JSONResponse(await run_in_threadpool(service.refresh, body))

    return [
        Route("/health", health),
        Route("/applications/token", issue, methods=["POST"]),
        Route("/connections/get", call(service.connection_details, "connectionId"), methods=["POST"]),
        Route("/connections/refresh", refresh, methods=["POST"]),
        Route("/jobs/get", call(service.job_details, "id"), methods=["POST"]),
        *(
            Route(
                f"/{kind}s/check_connection",
                call(lambda id_, kind=kind: service.check_actor(kind, id_), f"{kind}Id"),  # type: ignore[misc]
                methods=["POST"],
            )
            for kind in ("source", "destination")
        ),
        *(
            Route(
                f"/actor_definition_versions/get_for_{kind}",
                call(lambda id_, kind=kind: service.actor_version(kind, id_), f"{kind}Id"),  # type: ignore[misc]
                methods=["POST"],
            )
            for kind in ("source", "destination")
        ),
    ]


def _bound(path: str) -> Bound:
    return _TOKEN_BODY if path in _OPEN_PATHS else _BODY


class _Guard:
    """Middleware: no path answers without a token but the open ones."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _OPEN_PATHS:
            try:
                self._tokens.verify(Request(scope).headers.get("authorization", ""))
            except ProblemError as problem:
                await _problem_response(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _problem_response(problem: ProblemError) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else None
    return JSONResponse(problem.content, problem.status, headers, media_type="application/problem+json")


def create_app(settings: Settings, connectors: Connectors | None = None) -> Starlette:
    """The whole server as an ASGI application."""
    service = Service(settings, connectors or Connectors())
    tokens = Tokens(Credentials.ensure(settings.data_dir), settings.token_lifetime)
    template = jinja2.Environment(autoescape=True).from_string(
        Path(__file__).with_name("overview.html").read_text(encoding="utf-8")
    )

    async def issue(request: Request) -> Response:
        text = (await request.body()).decode(errors="replace")
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            given = dict(parse_qsl(text))
            return JSONResponse(tokens.issue(given.get("client_id", ""), given.get("client_secret", "")))
        given_json = await _body(request, _TokenRequest)
        return JSONResponse(tokens.issue(given_json.client_id, given_json.client_secret))

    async def overview(_: Request) -> Response:
        return HTMLResponse(template.render(connections=await run_in_threadpool(service.overview)))

    async def on_problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return _problem_response(error)

    async def not_read(_: Request, error: Exception) -> Response:
        assert isinstance(error, BodyError)
        title = {400: "bad-request", 408: "request-timeout", 413: "content-too-large"}[error.status]
        return _problem_response(ProblemError(error.status, title, str(error)))

    async def not_found(request: Request, _: Exception) -> Response:
        return _problem_response(
            ProblemError(404, "resource-not-found", f"embedded Airbyte has no {request.url.path}")
        )

    async def not_allowed(request: Request, _: Exception) -> Response:
        return _problem_response(
            ProblemError(405, "method-not-allowed", f"{request.method} is not allowed on {request.url.path}")
        )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.close)

    return Starlette(
        routes=[
            Route("/", overview),
            Mount(PUBLIC, routes=_public_routes(service, issue)),
            Mount(CONFIGURATION, routes=_configuration_routes(service, issue)),
        ],
        middleware=[Middleware(Bounded, bound=_bound), Middleware(_Guard, tokens=tokens)],
        exception_handlers={ProblemError: on_problem, BodyError: not_read, 404: not_found, 405: not_allowed},
        lifespan=lifespan,
    )


class _TokenRequest(Body):
    """Body of a token request; the names are those of RFC 6749."""

    model_config = ConfigDict(alias_generator=None, extra="ignore")

    client_id: str
    client_secret: str
