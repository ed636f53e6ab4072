"""What containers and the host's administrator ask the agent by HTTP.

Containers get the credentials of their task's role at 169.254.170.2, port 80, as from Amazon's agent: the SDKs of AWS read
`AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` and ask there ("Task IAM role", ECS's developer guide). Words and codes of errors are
those of `ecs-agent/tmds/handlers/v1/credentials_handler.go`. Whoever reaches the address and knows the id, a random UUID,
gets them.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from ..web.serving import configuration
from .api import Keys

log = logging.getLogger("retailflow.ecs_agent")

PATH = "/v2/credentials/"
#: The keys of a task by its id; None while the API has not sent them yet, KeyError for an id that no task has.
Lookup = Callable[[str], Keys | None]
AGAIN_SECONDS = 5.0


def application(lookup: Lookup) -> Starlette:
    """The server of task credentials."""

    async def answer(request: Request) -> JSONResponse:
        identity = request.path_params.get("identity", "")
        if not identity:
            return _error(400, "NoIdInRequest", "No Credential ID in the request")
        try:
            keys = lookup(identity)
        except KeyError:
            return _error(400, "InvalidIdInRequest", "Credentials not found")
        if keys is None:
            return _error(503, "CredentialsUninitialized", "Credentials uninitialized for ID")
        return JSONResponse(
            {
                "RoleArn": keys.role_arn,
                "AccessKeyId": keys.access,
                "SecretAccessKey": keys.secret,
                "Token": keys.token,
                "Expiration": keys.expiration,
            }
        )

    paths = (PATH, f"{PATH}{{identity}}")
    return Starlette(routes=[Route(path, answer, methods=["GET"]) for path in paths])


def _error(status: int, code: str, text: str) -> JSONResponse:
    told = {"code": code, "message": f"CredentialsV2Request: {text}", "HTTPErrorCode": status}
    return JSONResponse(told, status_code=status)


def serve(what: str, app: ASGIApp, address: tuple[str, int]) -> threading.Thread:
    """Serve from a thread of its own, as soon as this host has the address."""

    def run() -> None:
        said = False
        while True:
            listening = socket.socket()
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind(address)
                break
            except OSError as error:
                listening.close()
                if not said:
                    log.warning("%s waits for %s:%d: %s", what, *address, error)
                said = True
                time.sleep(AGAIN_SECONDS)
        uvicorn.Server(configuration(app, *address)).run(sockets=[listening])

    thread = threading.Thread(target=run, name=what, daemon=True)
    thread.start()
    return thread
