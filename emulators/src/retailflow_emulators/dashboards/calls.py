"""Requests and refusals, as the API and the pages read and write them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from .errors import ApiError
from .service import Service
from .store import Document

COOKIE = "metabase.SESSION"
MAX_BODY = 1_000_000  # bytes
_Body = TypeVar("_Body", bound=BaseModel)


@dataclass(frozen=True)
class Call:
    """One request, read: its body, and who calls."""

    service: Service
    request: Request
    raw: bytes
    user: Document | None

    @property
    def id(self) -> int:
        """The id in the path."""
        return int(self.request.path_params["id"])

    def sees(self, item: Document) -> bool:
        """Whether the caller may read a card or dashboard, by its collection."""
        return self.service.permissions.sees(self.user, item)

    def seen(self, item: Document) -> Document:
        """The item; ApiError 403 where the caller may not read it."""
        return self.service.permissions.seen(self.user, item)

    def body(self, model: type[_Body]) -> _Body:
        """The JSON body; ApiError 400 names every field that is wrong."""
        try:
            return model.model_validate(json.loads(self.raw or b"{}"))
        except ValidationError as error:
            messages = {".".join(map(str, item["loc"])) or "body": item["msg"] for item in error.errors()}
            raise ApiError(400, errors=messages) from error
        except (ValueError, RecursionError) as error:
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
