"""The HTTP side: Metabase's paths, status codes and error bodies."""

from __future__ import annotations

import enum
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
from retailflow_emulators.dashboards.queries import Values, by_mapping, by_target
from retailflow_emulators.dashboards.service import ROW_LIMIT, ApiError, Service
from retailflow_emulators.dashboards.warehouse import WarehouseError

COOKIE = "metabase.SESSION"
FORBIDDEN = "You don't have permissions to do that."
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

    def sees(self, item: dict[str, Any]) -> bool:
        """Whether the caller may read a card or dashboard, by its collection."""
        return self.user is not None and self.service.permissions.may_read(
            self.user, item.get("collection_id")
        )

    def seen(self, item: dict[str, Any]) -> dict[str, Any]:
        """The item; ApiError 403 where the caller may not read it."""
        if not self.sees(item):
            raise ApiError(403, FORBIDDEN)
        return item

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


def address_of(request: Request) -> str:
    """Where a request comes from, as far as this server sees."""
    return request.client.host if request.client else ""


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


class Access(enum.Enum):
    """Who may call."""

    PUBLIC = "anyone"
    READERS = "whoever is logged in or has an API key; what they see is up to their groups"
    ADMINISTRATORS = "administrators"


def _endpoint(
    service: Service, handler: Handler, access: Access, status: int
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        def work(raw: bytes) -> Any:
            user = service.session_user(session_token(request))
            if user is None and (key := request.headers.get("x-api-key")):
                user = service.api_key_user(key)
            if user is None and access is not Access.PUBLIC:
                raise ApiError(401, "Unauthenticated")
            if access is Access.ADMINISTRATORS and not (user and user["is_superuser"]):
                raise ApiError(403, FORBIDDEN)
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
    token = call.service.log_in(body.username, body.password, address_of(call.request))
    return _session(call.service, token)


def _log_out(call: Call) -> None:
    call.service.log_out(session_token(call.request))


def _current_user(call: Call) -> dict[str, Any]:
    user = call.user or {}
    names = [name for name in (user.get("first_name"), user.get("last_name")) if name]
    public = {key: value for key, value in user.items() if key != "password"}
    return {**public, "common_name": " ".join(names) or user.get("email")}


def _database_for(call: Call, found: dict[str, Any]) -> dict[str, Any]:
    """A database; how it is connected is for administrators alone."""
    if call.user and call.user["is_superuser"]:
        return found
    return {name: value for name, value in found.items() if name != "details"}


def _databases(call: Call) -> dict[str, Any]:
    found = [_database_for(call, one) for one in call.service.databases()]
    return {"data": found, "total": len(found)}


def _database(call: Call) -> dict[str, Any]:
    tables = call.request.query_params.get("include") == "tables"
    return _database_for(call, call.service.database(call.id, with_tables=tables))


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


def _collections(call: Call) -> list[dict[str, Any]]:
    return [
        found
        for found in call.service.collections(_archived(call))
        if call.sees({"collection_id": None if found["id"] == "root" else found["id"]})
    ]


def _collection(call: Call) -> dict[str, Any]:
    call.seen({"collection_id": call.id})
    return call.service.collection(call.id)


def _items(call: Call) -> dict[str, Any]:
    call.seen({"collection_id": call.id})
    items = call.service.collection_items(call.id, set(call.request.query_params.getlist("models")))
    return {"data": items, "total": len(items), "limit": None, "offset": None}


def _answer(service: Service, card: dict[str, Any], values: Values, context: str) -> dict[str, Any]:
    base = {"database_id": card["database_id"], "json_query": card["dataset_query"], "context": context}
    started = time.monotonic()
    try:
        result = service.run(card, values)
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


def _query(call: Call) -> dict[str, Any]:
    card = call.seen(call.service.card(call.id))
    return _answer(call.service, card, by_target(call.body(models.QueryValues).parameters), "question")


def _run_dashcard(
    call: Call, dashboard: dict[str, Any], parameters: list[dict[str, Any]], context: str
) -> dict[str, Any]:
    path = call.request.path_params
    place = call.service.dashcard(dashboard, path["dashcard"], path["card"])
    values = by_mapping(parameters, dashboard["parameters"], place["parameter_mappings"])
    return _answer(call.service, place["card"], values, context)


def _query_dashcard(call: Call) -> dict[str, Any]:
    dashboard = call.seen(call.service.dashboard(call.id))
    return _run_dashcard(call, dashboard, call.body(models.QueryValues).parameters, "dashboard")


def _filter_values(call: Call) -> dict[str, Any]:
    dashboard = call.seen(call.service.dashboard(call.id))
    try:
        values, more = call.service.filter_values(dashboard, call.request.path_params["parameter"])
    except WarehouseError as error:
        raise ApiError(400, str(error)) from error
    return {"values": [[value] for value in values], "has_more_values": more}


def _public_dashboard(call: Call) -> dict[str, Any]:
    """A shared dashboard, without its SQL and whatever else is not needed to draw it."""
    found = call.service.public_dashboard(call.request.path_params["uuid"])
    shown = ("id", "name", "description", "display", "visualization_settings")
    cards = [{**place, "card": {name: place["card"][name] for name in shown}} for place in found["dashcards"]]
    return {
        **{name: found[name] for name in ("id", "name", "description", "parameters", "tabs")},
        "dashcards": cards,
    }


def _query_public(call: Call) -> dict[str, Any]:
    dashboard = call.service.public_dashboard(call.request.path_params["uuid"])
    try:
        raw = {"parameters": json.loads(call.request.query_params.get("parameters") or "[]")}
        parameters = models.QueryValues.model_validate(raw).parameters
    except ValueError as error:
        raise ApiError(400, errors={"parameters": "must be a JSON array of objects"}) from error
    answer = _run_dashcard(call, dashboard, parameters, "public-dashboard")
    return {name: answer[name] for name in ("status", "error", "row_count", "data") if name in answer}


def routes(service: Service) -> list[Route]:
    """Every path of the API."""
    public, readers, administrators = Access.PUBLIC, Access.READERS, Access.ADMINISTRATORS

    def route(method: str, path: str, access: Access, handler: Handler, status: int = 200) -> Route:
        return Route("/api" + path, _endpoint(service, handler, access, status), methods=[method])

    def writes(path: str, create: Handler, update: Handler) -> list[Route]:
        return [
            route("POST", path, administrators, create),
            route("PUT", path + "/{id:int}", administrators, update),
        ]

    return [
        route("GET", "/health", public, lambda call: {"status": "ok"}),
        route("GET", "/session/properties", public, lambda call: service.properties()),
        route("POST", "/setup", public, _set_up),
        route("POST", "/session", public, _log_in),
        route("DELETE", "/session", readers, _log_out),
        route("GET", "/user/current", readers, _current_user),
        route("GET", "/api-key", administrators, lambda call: service.api_keys()),
        route(
            "POST", "/api-key", administrators, lambda call: service.add_api_key(call.body(models.NewApiKey))
        ),
        route("DELETE", "/api-key/{id:int}", administrators, lambda call: service.remove_api_key(call.id)),
        route("GET", "/permissions/group", administrators, lambda call: service.permissions.groups()),
        route(
            "POST",
            "/permissions/group",
            administrators,
            lambda call: service.add_group(call.body(models.NewGroup)),
        ),
        route("GET", "/permissions/graph", administrators, lambda call: service.permissions.databases()),
        route(
            "PUT",
            "/permissions/graph",
            administrators,
            lambda call: service.change_permissions(call.body(models.PermissionsGraph)),
        ),
        route("GET", "/collection/graph", administrators, lambda call: service.permissions.collections()),
        route(
            "PUT",
            "/collection/graph",
            administrators,
            lambda call: service.change_collection_permissions(call.body(models.CollectionGraph)),
        ),
        route("GET", "/database", readers, _databases),
        route("GET", "/database/{id:int}", readers, _database),
        *writes(
            "/database",
            _add_database,
            lambda call: service.update_database(call.id, call.body(models.DatabaseUpdate)),
        ),
        route("POST", "/database/{id:int}/sync_schema", administrators, _sync),
        route("GET", "/collection", readers, _collections),
        route("GET", "/collection/{id:int}", readers, _collection),
        route("GET", "/collection/{id:int}/items", readers, _items),
        *writes(
            "/collection",
            lambda call: service.add_collection(call.body(models.NewCollection)),
            lambda call: service.update_collection(call.id, call.body(models.CollectionUpdate)),
        ),
        route(
            "GET",
            "/card",
            readers,
            lambda call: [found for found in service.cards(_archived(call)) if call.sees(found)],
        ),
        route("GET", "/card/{id:int}", readers, lambda call: call.seen(service.card(call.id))),
        route("POST", "/card/{id:int}/query", readers, _query, status=202),
        *writes(
            "/card",
            lambda call: service.add_card(call.body(models.NewCard)),
            lambda call: service.update_card(call.id, call.body(models.CardUpdate)),
        ),
        route(
            "GET",
            "/dashboard",
            readers,
            lambda call: [found for found in service.dashboards(_archived(call)) if call.sees(found)],
        ),
        route("GET", "/dashboard/{id:int}", readers, lambda call: call.seen(service.dashboard(call.id))),
        route("GET", "/dashboard/{id:int}/params/{parameter}/values", readers, _filter_values),
        route(
            "POST",
            "/dashboard/{id:int}/dashcard/{dashcard:int}/card/{card:int}/query",
            readers,
            _query_dashcard,
            status=202,
        ),
        *writes(
            "/dashboard",
            lambda call: service.add_dashboard(call.body(models.NewDashboard)),
            lambda call: service.update_dashboard(call.id, call.body(models.DashboardUpdate)),
        ),
        route(
            "POST",
            "/dashboard/{id:int}/public_link",
            administrators,
            lambda call: {"uuid": service.share(call.id)},
        ),
        route(
            "DELETE",
            "/dashboard/{id:int}/public_link",
            administrators,
            lambda call: service.unshare(call.id),
        ),
        route("GET", "/public/dashboard/{uuid}", public, _public_dashboard),
        route(
            "GET",
            "/public/dashboard/{uuid}/dashcard/{dashcard:int}/card/{card:int}",
            public,
            _query_public,
            status=202,
        ),
    ]
