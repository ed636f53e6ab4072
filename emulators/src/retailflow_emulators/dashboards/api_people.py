"""Paths of the API about people: set-up, sessions, users, API keys, groups and what they may."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from . import answers, models
from .calls import Call, address_of, session_token, set_session_cookie
from .endpoints import Access, Routes
from .errors import ApiError
from .permissions import FORBIDDEN
from .service import Service


def add_routes(here: Routes, service: Service) -> None:
    """Add the paths."""
    public, readers, administrators = Access.PUBLIC, Access.READERS, Access.ADMINISTRATORS
    accounts, groups, permissions = service.accounts, service.groups, service.permissions
    here.add("GET", "/session/properties", public, lambda call: accounts.properties())
    here.add("POST", "/setup", public, _set_up)
    here.add("POST", "/session", public, _log_in)
    here.add("DELETE", "/session", readers, lambda call: accounts.log_out(session_token(call.request)))
    here.add("GET", "/user", administrators, _users)
    here.add("GET", "/user/current", readers, lambda call: answers.user(call.caller))
    here.add("GET", "/user/{id:int}", readers, _user)
    here.add("PUT", "/user/{id:int}/password", readers, _change_password)
    here.add("GET", "/api-key", administrators, lambda call: accounts.api_keys())
    here.add(
        "POST",
        "/api-key",
        administrators,
        lambda call: accounts.add_api_key(call.body(models.NewApiKey), call.caller),
    )
    here.add("DELETE", "/api-key/{id:int}", administrators, lambda call: accounts.remove_api_key(call.id))
    here.add("GET", "/permissions/group", administrators, lambda call: permissions.groups())
    here.add(
        "POST", "/permissions/group", administrators, lambda call: groups.add(call.body(models.NewGroup))
    )
    here.add("GET", "/permissions/graph", administrators, lambda call: permissions.databases())
    here.add(
        "PUT",
        "/permissions/graph",
        administrators,
        lambda call: groups.change_databases(call.body(models.PermissionsGraph)),
    )
    here.add("GET", "/collection/graph", administrators, lambda call: permissions.collections())
    here.add(
        "PUT",
        "/collection/graph",
        administrators,
        lambda call: groups.change_collections(call.body(models.CollectionGraph)),
    )


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


def _users(call: Call) -> dict[str, Any]:
    users = call.service.accounts.users()
    return {"data": users, "total": len(users), "limit": None, "offset": None}


def _user(call: Call) -> dict[str, Any]:
    if not call.caller["is_superuser"] and call.id != call.caller["id"]:
        raise ApiError(403, FORBIDDEN)
    return call.service.accounts.user(call.id)


def _change_password(call: Call) -> Response | None:
    if not call.caller["is_superuser"] and call.id != call.caller["id"]:
        raise ApiError(403, FORBIDDEN)
    accounts = call.service.accounts
    token = accounts.change_password(call.id, call.body(models.PasswordChange), call.caller)
    if token is None:
        return None
    response = JSONResponse({"success": True, "session_id": token})
    set_session_cookie(response, token, accounts.session_seconds)
    return response
