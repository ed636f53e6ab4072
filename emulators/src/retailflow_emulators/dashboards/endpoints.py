"""How a path of the API is answered: who may call it, in which thread, with which status."""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .calls import Call, error_response, session_token
from .errors import ApiError
from .permissions import FORBIDDEN
from .service import Service

log = logging.getLogger("retailflow.dashboards")

Handler = Callable[[Call], Any]


class Access(enum.Enum):
    """Who may call."""

    PUBLIC = "anyone"
    READERS = "whoever is logged in or has an API key; what they see is up to their groups"
    ADMINISTRATORS = "administrators"


class Routes:
    """Collects the routes of one part of the API."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.made: list[Route] = []

    def add(self, method: str, path: str, access: Access, handler: Handler, status: int = 200) -> None:
        """Answer a path below /api with what ``handler`` gives: JSON, a Response, or None for 204."""
        endpoint = endpoint_of(self._service, handler, access, status)
        self.made.append(Route("/api" + path, endpoint, methods=[method]))


def endpoint_of(
    service: Service, handler: Handler, access: Access, status: int = 200
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that finds out who calls, and words refusals as Metabase does."""

    def work(request: Request, raw: bytes) -> Any:
        user = service.accounts.session_user(session_token(request))
        if user is None and (key := request.headers.get("x-api-key")):
            user = service.accounts.api_key_user(key)
        if user is None and access is not Access.PUBLIC:
            raise ApiError(401, "Unauthenticated")
        if access is Access.ADMINISTRATORS and not (user and user["is_superuser"]):
            raise ApiError(403, FORBIDDEN)
        return handler(Call(service, request, raw, user))

    async def endpoint(request: Request) -> Response:
        try:
            answer = await run_in_threadpool(work, request, await request.body())
        except ApiError as error:
            return error_response(error)
        if isinstance(answer, Response):
            return answer
        return Response(status_code=204) if answer is None else JSONResponse(answer, status)

    return endpoint
