"""The HTTP side: Metabase's paths, status codes and error bodies."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from retailflow_emulators.dashboards import models
from retailflow_emulators.dashboards.service import ROW_LIMIT, ApiError, Service
from retailflow_emulators.dashboards.warehouse import WarehouseError

COOKIE = "metabase.SESSION"
MAX_BODY = 1_000_000  # bytes
_Body = TypeVar("_Body", bound=BaseModel)


@dataclass(frozen=True)
class Call:
    """One request, read."""

    service: Service
    request: Request
    raw: bytes
    user: dict[str, Any] | None

    @property
    def id(self) -> int:
        """The id in the path."""
        return int(self.request.path_params["id"])

    def body(self, model: type[_Body]) -> _Body:
        """The JSON body; ApiError 400 names every field that is wrong."""
        try:
            return model.model_validate(json.loads(self.raw or b"{}"))
        except ValidationError as error:
            messages = {".".join(map(str, item["loc"])) or "body": item["msg"] for item in error.errors()}
            raise ApiError(400, errors=messages) from error
        except ValueError as error:
            raise ApiError(400, f"The body is not JSON: {error}") from error


def session_token(request: Request) -> str:
    """The session's token, from the header that programs send or the cookie that browsers send."""
    return request.headers.get("x-metabase-session") or request.cookies.get(COOKIE) or ""


async def read_body(request: Request) -> bytes:
    """The body; ApiError 413 beyond ``MAX_BODY``."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise ApiError(413, f"A request may have {MAX_BODY} bytes at most.")
        chunks.append(chunk)
    return b"".join(chunks)


def set_session_cookie(response: Response, token: str, seconds: int) -> None:
    """A cookie that scripts cannot read and other sites cannot send."""
    response.set_cookie(COOKIE, token, max_age=seconds, httponly=True, samesite="lax", path="/")


def error_response(error: ApiError) -> Response:
    """An ApiError as Metabase words it."""
    if error.errors is None:
        return PlainTextResponse(error.message, error.status)
    body: dict[str, Any] = {"errors": error.errors}
    if error.message:
        body["message"] = error.message
    return JSONResponse(body, error.status)


Handler = Callable[[Call], Any]


def _endpoint(
    service: Service, handler: Handler, public: bool, status: int
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        def work(raw: bytes) -> Any:
            user = service.session_user(session_token(request))
            if user is None and not public:
                raise ApiError(401, "Unauthenticated")
            return handler(Call(service, request, raw, user))

        try:
            answer = await run_in_threadpool(work, await read_body(request))
        except ApiError as error:
            return error_response(error)
        if isinstance(answer, Response):
            return answer
        return Response(status_code=204) if answer is None else JSONResponse(answer, status)

    return endpoint


def _session(service: Service, token: str) -> Response:
    response = JSONResponse({"id": token})
    set_session_cookie(response, token, service.session_seconds)
    return response


def _set_up(call: Call) -> Response:
    return _session(call.service, call.service.set_up(call.body(models.Setup)))


def _log_in(call: Call) -> Response:
    body = call.body(models.Login)
    return _session(call.service, call.service.log_in(body.username, body.password))


def _log_out(call: Call) -> None:
    call.service.log_out(session_token(call.request))


def _current_user(call: Call) -> dict[str, Any]:
    user = call.user or {}
    names = [name for name in (user.get("first_name"), user.get("last_name")) if name]
    public = {key: value for key, value in user.items() if key != "password"}
    return {**public, "common_name": " ".join(names) or user.get("email")}


def _databases(call: Call) -> dict[str, Any]:
    found = call.service.databases()
    return {"data": found, "total": len(found)}


def _database(call: Call) -> dict[str, Any]:
    return call.service.database(call.id, with_tables=call.request.query_params.get("include") == "tables")


def _add_database(call: Call) -> dict[str, Any]:
    added = call.service.add_database(call.body(models.NewDatabase))
    call.service.sync_database(added["id"])
    return added


def _sync(call: Call) -> dict[str, str]:
    call.service.sync_database(call.id)
    return {"status": "ok"}


def _archived(call: Call) -> bool:
    return (
        call.request.query_params.get("f") == "archived"
        or call.request.query_params.get("archived") == "true"
    )


def _items(call: Call) -> dict[str, Any]:
    items = call.service.collection_items(call.id, set(call.request.query_params.getlist("models")))
    return {"data": items, "total": len(items), "limit": None, "offset": None}


def _query(call: Call) -> dict[str, Any]:
    card = call.service.card(call.id)
    base = {"database_id": card["database_id"], "json_query": card["dataset_query"], "context": "question"}
    started = time.monotonic()
    try:
        result = call.service.run(card)
    except WarehouseError as error:
        return {
            **base,
            "status": "failed",
            "error": str(error),
            "row_count": 0,
            "running_time": round(1000 * (time.monotonic() - started)),
            "data": {"rows": [], "cols": []},
        }
    cols = [{"name": c.name, "display_name": c.name, "base_type": c.base_type} for c in result.columns]
    data: dict[str, Any] = {"rows": result.rows, "cols": cols}
    if result.truncated:
        data["rows_truncated"] = ROW_LIMIT
    return {
        **base,
        "status": "completed",
        "row_count": len(result.rows),
        "running_time": round(1000 * (time.monotonic() - started)),
        "data": data,
    }


def routes(service: Service) -> list[Route]:
    """Every path of the API."""

    def route(path: str, method: str, handler: Handler, public: bool = False, status: int = 200) -> Route:
        return Route(path, _endpoint(service, handler, public, status), methods=[method])

    return [
        route("/api/health", "GET", lambda call: {"status": "ok"}, public=True),
        route("/api/session/properties", "GET", lambda call: call.service.properties(), public=True),
        route("/api/setup", "POST", _set_up, public=True),
        route("/api/session", "POST", _log_in, public=True),
        route("/api/session", "DELETE", _log_out),
        route("/api/user/current", "GET", _current_user),
        route("/api/database", "GET", _databases),
        route("/api/database", "POST", _add_database),
        route("/api/database/{id:int}", "GET", _database),
        route(
            "/api/database/{id:int}",
            "PUT",
            lambda call: call.service.update_database(call.id, call.body(models.DatabaseUpdate)),
        ),
        route("/api/database/{id:int}/sync_schema", "POST", _sync),
        route("/api/collection", "GET", lambda call: call.service.collections(_archived(call))),
        route(
            "/api/collection",
            "POST",
            lambda call: call.service.add_collection(call.body(models.NewCollection)),
        ),
        route("/api/collection/{id:int}", "GET", lambda call: call.service.collection(call.id)),
        route(
            "/api/collection/{id:int}",
            "PUT",
            lambda call: call.service.update_collection(call.id, call.body(models.CollectionUpdate)),
        ),
        route("/api/collection/{id:int}/items", "GET", _items),
        route("/api/card", "GET", lambda call: call.service.cards(_archived(call))),
        route("/api/card", "POST", lambda call: call.service.add_card(call.body(models.NewCard))),
        route("/api/card/{id:int}", "GET", lambda call: call.service.card(call.id)),
        route(
            "/api/card/{id:int}",
            "PUT",
            lambda call: call.service.update_card(call.id, call.body(models.CardUpdate)),
        ),
        route("/api/card/{id:int}/query", "POST", _query, status=202),
        route("/api/dashboard", "GET", lambda call: call.service.dashboards()),
        route(
            "/api/dashboard", "POST", lambda call: call.service.add_dashboard(call.body(models.NewDashboard))
        ),
        route("/api/dashboard/{id:int}", "GET", lambda call: call.service.dashboard(call.id)),
        route(
            "/api/dashboard/{id:int}",
            "PUT",
            lambda call: call.service.update_dashboard(call.id, call.body(models.DashboardUpdate)),
        ),
    ]
