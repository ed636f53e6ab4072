"""How the servers listen: uvicorn with h11, which bounds the head of a request in size, and here in time."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_BYTES = 32_768  # of a request's line and headers
HEAD_SECONDS = 30.0  # in which they must have arrived
FAREWELL_SECONDS = 1.0


def configuration(app: ASGIApp, host: str, port: int, **options: Any) -> uvicorn.Config:
    """Uvicorn's configuration; its other HTTP protocol, httptools, has no bound of the head."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Patient,
        h11_max_incomplete_event_size=HEAD_BYTES,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=15,
        **options,
    )


class Patient(H11Protocol):
    """Uvicorn closes a connection that is silent after an answer; this, also one whose next request does not come whole."""

    _giving_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch(True)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch(self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0]))

    def _watch(self, waiting: bool) -> None:
        if waiting and self._giving_up is None:
            self._giving_up = self.loop.call_later(HEAD_SECONDS, self.timeout_keep_alive_handler)
        elif not waiting and self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def shutdown(self) -> None:
        """At the server's end; a TLS client whose connection is idle says no farewell, for which asyncio would wait 30 s."""
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(FAREWELL_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch(False)
        super().connection_lost(exc)
