"""Requests and refusals, as the API and the pages read and write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qs

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ..web import json_text
from .errors import ApiError
from .service import Service
from .store import Document

COOKIE = "metabase.SESSION"
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

    @property
    def caller(self) -> Document:
        """Who calls; ApiError 401 for nobody."""
        if self.user is None:
            raise ApiError(401, "Unauthenticated")
        return self.user

    def ref(self, kind: str) -> int:
        """The id of what ``ref`` in the path names by its id or entity id; ApiError 404 where it is neither."""
        ref = str(self.request.path_params["ref"])
        if ref.isascii() and ref.isdigit() and len(ref) < 20:
            return int(ref)
        return int(self.service.records.find_entity(kind, ref)["id"])

    def number(self, name: str) -> int | None:
        """A whole number of the query string, None where it is not there; ApiError 400 where it is not one."""
        text = self.request.query_params.get(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise ApiError(400, errors={name: "value must be an integer greater or equal to than zero."})
        return int(text)

    def sees(self, item: Document) -> bool:
        """Whether the caller may read a card or dashboard, by its collection."""
        return self.service.permissions.sees(self.user, item)

    def seen(self, item: Document) -> Document:
        """The item; ApiError 403 where the caller may not read it."""
        return self.service.permissions.seen(self.user, item)

    def body(self, model: type[_Body]) -> _Body:
        """The JSON body; ApiError 400 names every field that is wrong."""
        return _checked(model, _json(self.raw or b"{}"))

    def form(self, model: type[_Body]) -> _Body:
        """The body as JSON, or as a form whose fields are JSON."""
        if "x-www-form-urlencoded" not in self.request.headers.get("content-type", ""):
            return self.body(model)
        fields = parse_qs(self.raw.decode(errors="replace"))
        return _checked(model, {name: _json(values[0].encode()) for name, values in fields.items()})


def _json(raw: bytes) -> Any:
    """The value of a text; ApiError 400 where it is not JSON, or what no database keeps."""
    try:
        value = json_text.read(raw)
    except ValueError as error:
        raise ApiError(400, f"The body is not JSON: {error}") from error
    if b"\\u0000" in raw:
        raise ApiError(400, "The body holds a NUL, which no text may.")
    return value


def _checked(model: type[_Body], value: Any) -> _Body:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        messages = {".".join(map(str, item["loc"])) or "body": item["msg"] for item in error.errors()}
        raise ApiError(400, errors=messages) from error


def session_token(request: Request) -> str:
    """The session's token, from the header that programs send or the cookie that browsers send."""
    return request.headers.get("x-metabase-session") or request.cookies.get(COOKIE) or ""


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
