"""The server: requests of the emulated Lambda to the Docker engine, each compared with a list, all others refused."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from .allowed import IN_A_FILLER, RefusedError, Site

log = logging.getLogger("retailflow.engine")

JSON_BYTES = 8 * 2**20  # an event of an invocation has 6 MB at most
CODE_BYTES = 300 * 2**20  # code and layers of a function have 250 MB at most, unpacked
SETTINGS = {
    *("timestamps", "stdout", "stderr", "tail", "follow", "since", "until"),
    *("v", "link", "force", "t", "signal", "condition"),
}
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]
#: What may be done with a container that was made here: moto's calls of docker-py.
WITH_A_CONTAINER = {
    ("GET", "/json"),
    ("GET", "/logs"),
    ("POST", "/start"),
    ("POST", "/stop"),
    ("POST", "/kill"),
    ("POST", "/wait"),
    ("PUT", "/archive"),
    ("DELETE", ""),
}
ID = re.compile(r"/containers/([0-9a-f]{12,64})(/[a-z]+)?")

Answer = Awaitable[Response]


class Proxy:
    """Sends on what is allowed; `upstream` is the engine's socket."""

    def __init__(self, site: Site, upstream: str) -> None:
        self._site = site
        transport = httpx.AsyncHTTPTransport(uds=upstream)
        # A function runs for 15 minutes at most; moto waits for it in one request.
        self._client = httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=1000)
        self._made: set[str] = set()

    async def answer(self, request: Request) -> Response:
        """The engine's answer, or its kind of refusal."""
        raw = request.scope["raw_path"].decode("ascii", "replace")
        version, path = re.fullmatch(r"(/v1\.[0-9]{1,3})?(.*)", raw, re.DOTALL).groups()  # type: ignore[union-attr]
        try:
            return await self._route(request, version or "", path)
        except RefusedError as error:
            log.warning("refused: %s %s: %s", request.method, raw, error)
            return JSONResponse({"message": f"Not allowed for the emulated Lambda: {error}"}, 403)
        except httpx.HTTPError as error:
            return JSONResponse({"message": f"The Docker engine does not answer: {error!r}"}, 502)

    async def _route(self, request: Request, version: str, path: str) -> Response:
        method, query = request.method, dict(request.query_params)
        if len(query) < len(request.query_params.multi_items()):
            raise RefusedError("a parameter twice")  # the engine takes the first
        found = ID.fullmatch(path)
        if (method, path) in {("GET", "/version"), ("GET", "/_ping"), ("HEAD", "/_ping")}:
            return await self._send(method, f"{version}{path}")
        if method == "GET" and (image := re.fullmatch(r"/images/([\w./:-]+)/json", path)):
            return await self._send(method, f"{version}/images/{self._site.image(image[1])}/json")
        if (method, path) == ("GET", "/volumes"):
            return JSONResponse({"Volumes": [], "Warnings": []})  # each invocation makes its own
        if (method, path) == ("POST", "/volumes/create"):
            return await self._send(
                method, f"{version}{path}", content=self._site.volume(await _read(request))
            )
        if method == "DELETE" and (volume := re.fullmatch(r"/volumes/([\w-]+)", path)):
            if not self._site.owns_volume(volume[1]):
                raise RefusedError("a volume that was not made here")
            return await self._send(method, f"{version}{path}")
        if (method, path) == ("POST", "/containers/create") and not query:
            made = self._site.container(await _read(request))
            answer = await self._send(method, f"{version}{path}", content=made)
            if answer.status_code == 201:
                self._made.add(json.loads(bytes(answer.body))["Id"])
            return answer
        if found and (method, found[2] or "") in WITH_A_CONTAINER:
            await self._check_ours(version, found[1])
            return await self._use_container(request, f"{version}{path}", query)
        raise RefusedError("this request")

    async def _use_container(self, request: Request, path: str, query: dict[str, str]) -> Response:
        if request.method == "PUT":
            if query.get("path") not in IN_A_FILLER or len(query) > 1:
                raise RefusedError("files elsewhere than at " + " and ".join(IN_A_FILLER))
            return await self._send("PUT", path, query, _bounded(request))
        if set(query) - SETTINGS:
            raise RefusedError(f"the parameter {sorted(set(query) - SETTINGS)[0]}")
        return await self._send(request.method, path, query)

    async def _check_ours(self, version: str, identity: str) -> None:
        """A container of an earlier run of this server bears the marks."""
        if any(made.startswith(identity) for made in self._made):
            return
        answer = await self._client.get(f"{version}/containers/{identity}/json")
        labels = (answer.json().get("Config") or {}).get("Labels") or {}
        if answer.status_code == 200 and not self._site.marks.items() <= labels.items():
            raise RefusedError("a container that was not made here")

    async def _send(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        content: dict[str, Any] | AsyncIterator[bytes] | None = None,
    ) -> Response:
        """Send a request of this server's own; short answers are read whole, the log and the like pass through."""
        is_json = isinstance(content, dict)
        sent = self._client.build_request(
            method,
            path,
            params=query,
            content=json.dumps(content).encode() if is_json else content,  # type: ignore[arg-type]
            headers={"Content-Type": "application/json" if is_json else "application/x-tar"}
            if content
            else None,
        )
        answer = await self._client.send(sent, stream=True)
        kind = answer.headers.get("content-type", "application/json")
        if not path.endswith(("/logs", "/wait")):
            try:
                return Response(await answer.aread(), answer.status_code, media_type=kind)
            finally:
                await answer.aclose()
        return StreamingResponse(_passed(answer), answer.status_code, media_type=kind)


async def _passed(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()


async def _bounded(request: Request, limit: int = CODE_BYTES) -> AsyncIterator[bytes]:
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise RefusedError(f"more than {limit} bytes")
        yield part


async def _read(request: Request) -> dict[str, Any]:
    body = b"".join([part async for part in _bounded(request, JSON_BYTES)])
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RefusedError("a body that is no JSON object")
    return found


def application(site: Site, upstream: str) -> Starlette:
    """The application for these settings."""
    handle: Callable[[Request], Answer] = Proxy(site, upstream).answer
    return Starlette(routes=[Route("/{path:path}", handle, methods=METHODS)])


def main() -> int:
    """Listen at the socket that `EMULATED_ENGINE_SOCKET` names until the process is ended."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    site = Site(
        images=frozenset(os.environ["EMULATED_ENGINE_IMAGES"].split(",")),
        filler=os.environ["EMULATED_ENGINE_FILLER"],
        network=os.environ["EMULATED_ENGINE_NETWORK"],
        prefix=os.environ["EMULATED_ENGINE_PREFIX"],
        labels=json.loads(os.environ["EMULATED_ENGINE_LABELS"]),
    )
    path = Path(os.environ["EMULATED_ENGINE_SOCKET"])
    path.unlink(missing_ok=True)
    application_ = application(site, os.environ.get("EMULATED_ENGINE_UPSTREAM", "/var/run/docker.sock"))
    uvicorn.run(
        application_, uds=str(path), log_level="warning", access_log=False, timeout_graceful_shutdown=5
    )
    return 0
