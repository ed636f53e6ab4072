"""The HTTP side: Metabase's paths, status codes and error bodies."""

from __future__ import annotations

import enum
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import models
from .calls import Call, address_of, error_response, read_body, session_token, set_session_cookie
from .content import ROW_LIMIT
from .errors import ApiError
from .permissions import FORBIDDEN
from .queries import Values, by_mapping, by_target
from .service import Service
from .warehouse import WarehouseError

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
            user = service.accounts.session_user(session_token(request))
            if user is None and (key := request.headers.get("x-api-key")):
                user = service.accounts.api_key_user(key)
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
    set_session_cookie(response, token, service.accounts.session_seconds)
    return response


def _set_up(call: Call) -> Response:
    return _session(call.service, call.service.accounts.set_up(call.body(models.Setup)))


def _log_in(call: Call) -> Response:
    body = call.body(models.Login)
    token = call.service.accounts.log_in(body.username, body.password, address_of(call.request))
    return _session(call.service, token)


def _log_out(call: Call) -> None:
    call.service.accounts.log_out(session_token(call.request))


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
    found = [_database_for(call, one) for one in call.service.databases.all()]
    return {"data": found, "total": len(found)}


def _database(call: Call) -> dict[str, Any]:
    tables = call.request.query_params.get("include") == "tables"
    return _database_for(call, call.service.databases.get(call.id, with_tables=tables))


def _add_database(call: Call) -> dict[str, Any]:
    added = call.service.databases.add(call.body(models.NewDatabase))
    call.service.databases.sync(added["id"])
    return added


def _sync(call: Call) -> dict[str, str]:
    call.service.databases.sync(call.id)
    return {"status": "ok"}


def _archived(call: Call) -> bool:
    return (
        call.request.query_params.get("f") == "archived"
        or call.request.query_params.get("archived") == "true"
    )


def _collections(call: Call) -> list[dict[str, Any]]:
    return [
        found
        for found in call.service.collections.all(_archived(call))
        if call.sees({"collection_id": None if found["id"] == "root" else found["id"]})
    ]


def _collection(call: Call) -> dict[str, Any]:
    call.seen({"collection_id": call.id})
    return call.service.collections.get(call.id)


def _items(call: Call) -> dict[str, Any]:
    call.seen({"collection_id": call.id})
    items = call.service.collections.items(call.id, set(call.request.query_params.getlist("models")))
    return {"data": items, "total": len(items), "limit": None, "offset": None}


def _answer(service: Service, card: dict[str, Any], values: Values, context: str) -> dict[str, Any]:
    base = {"database_id": card["database_id"], "json_query": card["dataset_query"], "context": context}
    started = time.monotonic()
    try:
        result = service.cards.run(card, values)
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
    card = call.seen(call.service.cards.get(call.id))
    return _answer(call.service, card, by_target(call.body(models.QueryValues).parameters), "question")


def _run_dashcard(
    call: Call, dashboard: dict[str, Any], parameters: list[dict[str, Any]], context: str
) -> dict[str, Any]:
    path = call.request.path_params
    place = call.service.dashboards.dashcard(dashboard, path["dashcard"], path["card"])
    call.seen(place["card"])
    values = by_mapping(parameters, dashboard["parameters"], place["parameter_mappings"])
    return _answer(call.service, place["card"], values, context)


def _query_dashcard(call: Call) -> dict[str, Any]:
    dashboard = call.seen(call.service.dashboards.get(call.id))
    return _run_dashcard(call, dashboard, call.body(models.QueryValues).parameters, "dashboard")


def _filter_values(call: Call) -> dict[str, Any]:
    dashboard = call.seen(call.service.dashboards.get(call.id))
    try:
        values, more = call.service.dashboards.filter_values(
            call.user, dashboard, call.request.path_params["parameter"]
        )
    except WarehouseError as error:
        raise ApiError(400, str(error)) from error
    return {"values": [[value] for value in values], "has_more_values": more}


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
        route("GET", "/session/properties", public, lambda call: service.accounts.properties()),
        route("POST", "/setup", public, _set_up),
        route("POST", "/session", public, _log_in),
        route("DELETE", "/session", readers, _log_out),
        route("GET", "/user/current", readers, _current_user),
        route("GET", "/api-key", administrators, lambda call: service.accounts.api_keys()),
        route(
            "POST",
            "/api-key",
            administrators,
            lambda call: service.accounts.add_api_key(call.body(models.NewApiKey)),
        ),
        route(
            "DELETE",
            "/api-key/{id:int}",
            administrators,
            lambda call: service.accounts.remove_api_key(call.id),
        ),
        route("GET", "/permissions/group", administrators, lambda call: service.permissions.groups()),
        route(
            "POST",
            "/permissions/group",
            administrators,
            lambda call: service.groups.add(call.body(models.NewGroup)),
        ),
        route("GET", "/permissions/graph", administrators, lambda call: service.permissions.databases()),
        route(
            "PUT",
            "/permissions/graph",
            administrators,
            lambda call: service.groups.change_databases(call.body(models.PermissionsGraph)),
        ),
        route("GET", "/collection/graph", administrators, lambda call: service.permissions.collections()),
        route(
            "PUT",
            "/collection/graph",
            administrators,
            lambda call: service.groups.change_collections(call.body(models.CollectionGraph)),
        ),
        route("GET", "/database", readers, _databases),
        route("GET", "/database/{id:int}", readers, _database),
        *writes(
            "/database",
            _add_database,
            lambda call: service.databases.update(call.id, call.body(models.DatabaseUpdate)),
        ),
        route("POST", "/database/{id:int}/sync_schema", administrators, _sync),
        route("GET", "/collection", readers, _collections),
        route("GET", "/collection/{id:int}", readers, _collection),
        route("GET", "/collection/{id:int}/items", readers, _items),
        *writes(
            "/collection",
            lambda call: service.collections.add(call.body(models.NewCollection)),
            lambda call: service.collections.update(call.id, call.body(models.CollectionUpdate)),
        ),
        route(
            "GET",
            "/card",
            readers,
            lambda call: [found for found in service.cards.all(_archived(call)) if call.sees(found)],
        ),
        route("GET", "/card/{id:int}", readers, lambda call: call.seen(service.cards.get(call.id))),
        route("POST", "/card/{id:int}/query", readers, _query, status=202),
        *writes(
            "/card",
            lambda call: service.cards.add(call.body(models.NewCard)),
            lambda call: service.cards.update(call.id, call.body(models.CardUpdate)),
        ),
        route(
            "GET",
            "/dashboard",
            readers,
            lambda call: [found for found in service.dashboards.all(_archived(call)) if call.sees(found)],
        ),
        route("GET", "/dashboard/{id:int}", readers, lambda call: call.seen(service.dashboards.get(call.id))),
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
            lambda call: service.dashboards.add(call.body(models.NewDashboard)),
            lambda call: service.dashboards.update(call.id, call.body(models.DashboardUpdate)),
        ),
    ]
