"""The pages that people read: log in, list of dashboards, a dashboard. Drawn here, without scripts."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from retailflow_emulators.dashboards.api import (
    COOKIE,
    address_of,
    error_response,
    read_body,
    session_token,
    set_session_cookie,
)
from retailflow_emulators.dashboards.charts import Drawing, draw
from retailflow_emulators.dashboards.queries import Values, by_mapping
from retailflow_emulators.dashboards.service import ApiError, Service
from retailflow_emulators.dashboards.warehouse import WarehouseError

_templates = Environment(
    loader=PackageLoader(__package__, "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_queries = ThreadPoolExecutor(max_workers=4, thread_name_prefix="card")


@dataclass(frozen=True)
class Tile:
    """A card on the page: its place on the grid and its drawing, or why there is none."""

    place: dict[str, Any]
    drawing: Drawing | None = None
    rows: int = 0
    truncated: bool = False
    error: str = ""


def _page(
    service: Service, request: Request, template: str, status: int = 200, **context: Any
) -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    html = _templates.get_template(template).render(
        site_name=service.site_name(), nonce=nonce, logged_in=bool(context.pop("user", None)), **context
    )
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; form-action 'self'; base-uri 'none'"
    )
    headers = {
        "Content-Security-Policy": f"{policy}; frame-ancestors 'none'",
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(html, status, headers)


@dataclass(frozen=True)
class Filter:
    """A filter above the cards: what it offers and what is chosen; without an offer one types."""

    name: str
    slug: str
    offered: list[str]
    chosen: str


def _tile(service: Service, place: dict[str, Any], values: Values) -> Tile:
    card = place["card"]
    try:
        result = service.run(card, values)
        return Tile(place, draw(card, result), len(result.rows), result.truncated)
    except (WarehouseError, ApiError) as error:
        return Tile(place, error=str(error))


def _filter(service: Service, dashboard: dict[str, Any], parameter: dict[str, Any], chosen: str) -> Filter:
    try:
        offered = [str(value) for value in service.filter_values(dashboard, parameter["id"])[0]]
    except (WarehouseError, ApiError):
        offered = []  # the cards say what is wrong
    if chosen and offered and chosen not in offered:
        offered = [chosen, *offered]
    name = parameter.get("name") or parameter["id"]
    return Filter(name, parameter.get("slug") or parameter["id"], offered, chosen)


def _local(target: str) -> str:
    """A path on this server, never another site."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) else "/"


def routes(service: Service) -> list[Route]:
    """Every page."""

    def page(
        handler: Callable[[Request, dict[str, Any]], Response],
    ) -> Callable[[Request], Awaitable[Response]]:
        def work(request: Request) -> Response:
            user = service.session_user(session_token(request))
            if user is None:
                target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return RedirectResponse(f"/login?redirect={quote(target)}", 303)
            try:
                return handler(request, user)
            except ApiError as error:
                return _page(service, request, "message.html", error.status, user=user, message=str(error))

        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(work, request)

        return endpoint

    def home(request: Request, user: dict[str, Any]) -> Response:
        return _page(service, request, "home.html", user=user, dashboards=service.dashboards())

    def dashboard(request: Request, user: dict[str, Any]) -> Response:
        return drawn(request, service.dashboard(int(request.path_params["id"])), user)

    def shared(request: Request) -> Response:
        try:
            return drawn(request, service.public_dashboard(request.path_params["uuid"]), None)
        except ApiError as error:
            return _page(service, request, "message.html", error.status, message=str(error))

    def drawn(request: Request, found: dict[str, Any], user: dict[str, Any] | None) -> Response:
        asked, parameters = request.query_params, found["parameters"]
        sent = [
            {"id": one["id"], "value": asked[slug]}
            for one in parameters
            if (slug := one.get("slug") or one["id"]) in asked
        ]
        chosen = {one["id"]: str(one["value"]) for one in sent}
        tabs = {str(tab["id"]): tab["name"] for tab in found["tabs"]}
        tab = asked.get("tab", "") if asked.get("tab") in tabs else next(iter(tabs), "")
        places = sorted(
            (place for place in found["dashcards"] if str(place.get("dashboard_tab_id") or "") == tab),
            key=lambda place: (place["row"], place["col"]),
        )
        filters = _queries.map(
            lambda one: _filter(service, found, one, chosen.get(one["id"], str(one.get("default") or ""))),
            parameters,
        )
        tiles = _queries.map(
            lambda place: _tile(service, place, by_mapping(sent, parameters, place["parameter_mappings"])),
            places,
        )
        kept = {name: value for name, value in asked.items() if value and name != "tab"}
        return _page(
            service,
            request,
            "dashboard.html",
            user=user,
            dashboard=found,
            tiles=list(tiles),
            filters=list(filters),
            tabs=[(name, urlencode({**kept, "tab": one}), one == tab) for one, name in tabs.items()],
            tab=tab,
            at=datetime.datetime.now(datetime.UTC),
        )

    def login_form(request: Request) -> Response:
        target = _local(request.query_params.get("redirect", "/"))
        return _page(
            service,
            request,
            "login.html",
            ready=service.has_user_setup(),
            redirect=target,
            error="",
            email="",
        )

    async def log_in(request: Request) -> Response:
        try:
            raw = await read_body(request)
        except ApiError as error:
            return error_response(error)
        fields = {name: values[0] for name, values in parse_qs(raw.decode(errors="replace")).items()}
        target, email = _local(fields.get("redirect", "/")), fields.get("username", "")
        try:
            token = await run_in_threadpool(
                service.log_in, email, fields.get("password", ""), address_of(request)
            )
        except ApiError as error:
            wait = (error.errors or {}).get("username", "")
            return _page(
                service,
                request,
                "login.html",
                401,
                ready=service.has_user_setup(),
                redirect=target,
                error=wait or "That e-mail address and password do not belong together.",
                email=email,
            )
        response = RedirectResponse(target, 303)
        set_session_cookie(response, token, service.session_seconds)
        return response

    def log_out(request: Request) -> Response:
        service.log_out(session_token(request))
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE)
        return response

    return [
        Route("/", page(home)),
        Route("/dashboard/{id:int}", page(dashboard)),
        Route("/public/dashboard/{uuid}", shared),
        Route("/login", login_form, methods=["GET"]),
        Route("/login", log_in, methods=["POST"]),
        Route("/logout", log_out, methods=["POST"]),
    ]
