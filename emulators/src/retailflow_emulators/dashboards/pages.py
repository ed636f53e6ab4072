"""The pages that people read: log in, list of dashboards, a dashboard. Drawn here, without scripts."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from .calls import COOKIE, Call, address_of, session_token, set_session_cookie
from .errors import ApiError
from .service import Service
from .store import Document
from .views import view

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d")  # a date or a timestamp, which breaks no line
TILES = ("scalar", "smartscalar")  # displays of one figure
_templates = Environment(
    loader=PackageLoader(__package__, "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.tests["moment"] = lambda text: bool(_MOMENT.match(text))


def routes(service: Service) -> list[Route]:
    """Every page."""

    def page(path: str, handler: Callable[[Call], Response]) -> Route:
        return Route(path, _for_people(service, handler), methods=["GET"])

    def bound(handler: Callable[[Service, Request], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            answer: Response = await handler(service, request)
            return answer

        return endpoint

    return [
        page("/", _home),
        page("/dashboard/{id:int}", _dashboard),
        page("/question/{id:int}", _question),
        page("/card/{id:int}", _question),
        Route("/login", bound(_login_form), methods=["GET"]),
        Route("/login", bound(_log_in), methods=["POST"]),
        Route("/logout", bound(_log_out), methods=["POST"]),
    ]


def _render(
    service: Service, template: str, status: int = 200, call: Call | None = None, **context: Any
) -> HTMLResponse:
    """A page; ``call`` is that of a person who is logged in and sees where else to go."""
    nonce = secrets.token_urlsafe(16)
    html = _templates.get_template(template).render(
        {"current": 0, **context},
        site_name=service.accounts.site_name(),
        nonce=nonce,
        logged_in=call is not None,
        dashboards=_dashboards(call) if call else [],
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


def _for_people(
    service: Service, handler: Callable[[Call], Response]
) -> Callable[[Request], Awaitable[Response]]:
    """A page that needs a log-in and shows refusals as a page."""

    def work(request: Request) -> Response:
        user = service.accounts.session_user(session_token(request))
        if user is None:
            target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?redirect={quote(target)}", 303)
        call = Call(service, request, b"", user)
        try:
            return handler(call)
        except ApiError as error:
            return _render(service, "message.html", error.status, call, message=str(error))

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(work, request)

    return endpoint


def _dashboards(call: Call) -> list[Document]:
    """The dashboards that the caller may read."""
    return [found for found in call.service.dashboards.all() if call.sees(found)]


def _home(call: Call) -> Response:
    return _render(call.service, "home.html", call=call)


def _dashboard(call: Call) -> Response:
    found = call.service.dashboards.with_cards(call.user, call.id)
    shown = view(call.service, call.caller, found, call.request.query_params)
    context = {"alone": None, "current": call.id, "holder": None, **vars(shown)}
    return _render(call.service, "dashboard.html", 200, call, **context)


def _question(call: Call) -> Response:
    """One card by itself, as a dashboard that has no other, with the filters of the first dashboard that shows it."""
    card = call.service.answers.card(call.seen(call.service.cards.get(call.id)))
    holders = [
        (found, place)
        for found in _dashboards(call)
        for place in found["dashcards"]
        if place["card_id"] == card["id"]
    ]
    holder, held = holders[0] if holders else (None, {"parameter_mappings": []})
    mappings = held["parameter_mappings"]
    mapped = {mapping["parameter_id"] for mapping in mappings}
    place = {
        **{"id": 0, "card_id": card["id"], "card": card, "parameter_mappings": mappings},
        **{"row": 0, "col": 0, "size_x": 24, "size_y": 4 if card["display"] in TILES else 11},
    }
    alone = {
        "name": card["name"],
        "description": None,
        "parameters": [one for one in holder["parameters"] if one["id"] in mapped] if holder else [],
        "tabs": [],
        "dashcards": [place],
    }
    shown = view(call.service, call.caller, alone, call.request.query_params)
    context = {"alone": card["id"], "holder": holder, **vars(shown)}
    return _render(call.service, "dashboard.html", 200, call, **context)


def _login(service: Service, status: int = 200, **fields: str) -> Response:
    ready = service.accounts.has_user_setup()
    context = {"redirect": "/", "error": "", "email": "", **fields}
    return _render(service, "login.html", status, None, ready=ready, **context)


async def _login_form(service: Service, request: Request) -> Response:
    target = _local(request.query_params.get("redirect", "/"))
    return await run_in_threadpool(_login, service, redirect=target)


async def _log_in(service: Service, request: Request) -> Response:
    raw = await request.body()
    fields = {name: values[0] for name, values in parse_qs(raw.decode(errors="replace")).items()}
    target, email = _local(fields.get("redirect", "/")), fields.get("username", "")

    def work() -> Response:
        try:
            token = service.accounts.log_in(email, fields.get("password", ""), address_of(request))
        except ApiError as error:
            wait = (error.errors or {}).get("username", "")
            text = wait or "That e-mail address and password do not belong together."
            return _login(service, 401, redirect=target, email=email, error=text)
        response = RedirectResponse(target, 303)
        set_session_cookie(response, token, service.accounts.session_seconds)
        return response

    return await run_in_threadpool(work)


async def _log_out(service: Service, request: Request) -> Response:
    await run_in_threadpool(service.accounts.log_out, session_token(request))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE)
    return response


def _local(target: str) -> str:
    """A path on this server, never another site."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) else "/"
