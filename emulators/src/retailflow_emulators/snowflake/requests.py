"""What a request of a client holds: its body, its session; and the instance that all of them share."""

from __future__ import annotations

import json
from typing import Any

import fakesnow.server as upstream
from starlette.requests import Request

from ..web import json_text
from .session import Instance, Session


async def body(request: Request) -> Any:
    """Return the JSON of a request; BodyError or ValueError where there is none."""
    return json_text.read(await request.body())


def replace(request: Request, statement: dict[str, Any], sql: str) -> None:
    """Put another statement in the place of the one that was sent."""
    statement["sqlText"] = sql
    request._body = json.dumps(statement).encode()


def session(request: Request) -> Session:
    """Return the session that a request's token names; upstream's ServerError where it names none."""
    found = upstream.to_conn(upstream.to_token(request))
    assert isinstance(found, Session)
    return found


def instance() -> Instance:
    """Return the instance that upstream's endpoints share."""
    found = upstream.shared_fs
    assert isinstance(found, Instance)
    return found
