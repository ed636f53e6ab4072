"""The pages that people read: log in, list of dashboards, a dashboard. Drawn here, without scripts."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from retailflow_emulators.dashboards.api import (
    COOKIE,
    error_response,
    read_body,
    session_token,
    set_session_cookie,
)
from retailflow_emulators.dashboards.charts import Drawing, draw
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


def _tile(service: Service, place: dict[str, Any]) -> Tile:
    card = place["card"]
    try:
        result = service.run(card)
        return Tile(place, draw(card, result), len(result.rows), result.truncated)
    except (WarehouseError, ApiError) as error:
        return Tile(place, error=str(error))


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
                return RedirectResponse(f"/login?redirect={quote(request.url.path)}", 303)
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
        found = service.dashboard(int(request.path_params["id"]))
        places = sorted(found["dashcards"], key=lambda place: (place["row"], place["col"]))
        tiles = list(_queries.map(lambda place: _tile(service, place), places))
        at = datetime.datetime.now(datetime.UTC)
        return _page(service, request, "dashboard.html", user=user, dashboard=found, tiles=tiles, at=at)

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
            token = await run_in_threadpool(service.log_in, email, fields.get("password", ""))
        except ApiError:
            return _page(
                service,
                request,
                "login.html",
                401,
                ready=service.has_user_setup(),
                redirect=target,
                error="That e-mail address and password do not belong together.",
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
        Route("/login", login_form, methods=["GET"]),
        Route("/login", log_in, methods=["POST"]),
        Route("/logout", log_out, methods=["POST"]),
    ]
