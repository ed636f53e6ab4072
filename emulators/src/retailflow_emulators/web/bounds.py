"""Middleware that bounds the bodies of requests, also for whoever has no login.

A body is counted, and unpacked where the server takes packed ones, while it arrives: nothing is held that is beyond the
bound. Who declares too much is refused before the first byte is read. A refusal is a `BodyError`, which the app answers
in the shape of its product.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATIENCE_SECONDS = 30.0  # for a body, and as long as it comes faster than
BYTES_PER_SECOND = 10_000
LINGER_SECONDS = 30.0  # in which a client that still sends can end, and read the refusal


class BodyError(Exception):
    """A body that is not read to its end, and the status of the answer: 400, 408 or 413."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Bound:
    """The bytes of a body; with ``unpacks``, of one that says it is packed with gzip, once it is unpacked."""

    size: int
    unpacks: bool = False


class Bounded:
    """Bounds bodies by what ``bound`` gives for their path."""

    def __init__(self, app: ASGIApp, bound: Callable[[str], Bound]) -> None:
        self._app, self._bound = app, bound

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        bound = self._bound(scope["path"])
        packed = bound.unpacks and headers.get(b"content-encoding") == b"gzip"
        if packed:
            kept = [pair for pair in scope["headers"] if pair[0] != b"content-encoding"]
            scope = {**scope, "headers": kept}
        body = _Body(headers, bound.size, packed, receive, send)
        await self._app(scope, body.receive, body.send)


class _Body:
    """One request's body on its way to the app, and the answer on its way back."""

    def __init__(
        self, headers: dict[bytes, bytes], limit: int, packed: bool, receive: Receive, send: Send
    ) -> None:
        length = headers.get(b"content-length")
        self._too_long = length is not None and int(length) > limit
        self._closes = self._too_long or b"transfer-encoding" in headers  # unless it is read to its end
        self._limit, self._receive, self._send = limit, receive, send
        self._unpack = zlib.decompressobj(wbits=31) if packed else None
        self._began = 0.0
        self._arrived = self._size = 0
        self._ended = False

    async def receive(self) -> Message:
        """The next part of the body; BodyError where it goes beyond a bound."""
        if self._ended:
            return await self._receive()  # the client leaves
        if self._too_long:
            raise self._refused(413)
        self._began = self._began or time.monotonic()
        spent = time.monotonic() - self._began
        try:
            async with asyncio.timeout(PATIENCE_SECONDS + self._arrived / BYTES_PER_SECOND - spent):
                message = await self._receive()
        except TimeoutError:
            raise self._refused(408) from None
        if message["type"] != "http.request":
            return message
        body, self._ended = message.get("body", b""), not message.get("more_body", False)
        self._arrived += len(body)
        if self._unpack:
            body = self._unpacked(body)
        self._size += len(body)
        if self._size > self._limit:
            raise self._refused(413)
        return {**message, "body": body}

    def _unpacked(self, body: bytes) -> bytes:
        assert self._unpack
        try:
            found = self._unpack.decompress(body, self._limit - self._size + 1)
        except zlib.error:
            raise self._refused(400) from None
        whole = self._unpack.eof or len(found) > self._limit - self._size
        if self._unpack.unused_data or (self._ended and not whole):
            raise self._refused(400)
        return found

    def _refused(self, status: int) -> BodyError:
        self._closes = not self._ended
        return BodyError(
            status,
            {
                400: "The body is not what its Content-Encoding says, which is gzip.",
                408: f"The body did not arrive within {PATIENCE_SECONDS:.0f} seconds.",
                413: f"The body has more than {self._limit} bytes.",
            }[status],
        )

    async def send(self, message: Message) -> None:
        """Pass the answer on; a client that still sends is read on for a moment, or it could not read the answer."""
        if self._closes and not self._ended:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
            elif not message.get("more_body", False):
                await self._send({**message, "more_body": True})
                await self._discard()
                message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _discard(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (await self._receive()).get("more_body", False):
                    pass
