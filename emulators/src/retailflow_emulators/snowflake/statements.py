"""Statements that run longer than a client waits for an answer, the way Snowflake lets clients live with them.

A request whose statement does not end in time is answered "in progress" (code 333333) with an address at which the
client asks for the result, as often as it takes. A client that lost its connection sends the same request id again,
and gets the answer to the statement that it started: nothing runs twice.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.responses import JSONResponse

IN_PROGRESS = "333333"
ANSWERS_KEPT = 64
KEPT_BYTES = 64 * 1024**2
KEPT_SECONDS = 300.0  # a client that lost its connection has asked again long before
STOP_SECONDS = 5.0


class Connection(Protocol):
    """Where a statement runs; DuckDB's connections, which may be interrupted from any thread."""

    def interrupt(self) -> None: ...


@dataclass
class Statement:
    """A statement that runs, or its answer."""

    connection: Connection
    task: asyncio.Task[JSONResponse]

    def interrupt(self) -> None:
        if not self.task.done():
            self.connection.interrupt()

    def size(self) -> int:
        """Bytes of the answer."""
        failed = self.task.cancelled() or self.task.exception() is not None
        return 0 if failed else len(self.task.result().body)


@dataclass
class Statements:
    """Running statements and the latest answers, by session and request id.

    Belongs to the event loop: the statements may run in threads, but nothing here is called from another one.
    """

    patience: float
    _known: OrderedDict[tuple[str, str], Statement] = field(default_factory=OrderedDict)
    _worked: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(
        self, session: str, request_id: str, connection: Connection, work: Coroutine[Any, Any, JSONResponse]
    ) -> JSONResponse:
        """Start a statement, unless this request started it before, and answer as ``wait`` does."""
        key = session, request_id
        if key in self._known:
            work.close()
        else:
            task = asyncio.create_task(work)
            self._known[key] = Statement(connection, task)
            task.add_done_callback(lambda ended: self._ended(key, ended))
        answer = await self.wait(session, request_id)
        assert answer
        return answer

    async def wait(self, session: str, request_id: str) -> JSONResponse | None:
        """The answer of the statement, or "in progress" after ``patience`` seconds; None where it is not known."""
        statement = self._known.get((session, request_id))
        if statement is None:
            return None
        done, _ = await asyncio.wait({statement.task}, timeout=self.patience)
        if done:
            return statement.task.result()
        # Without a query id: upstream gives one to statements that have ended.
        data = {"getResultUrl": f"/queries/{request_id}/result"}
        message = "Query execution in progress..."
        return JSONResponse({"data": data, "code": IN_PROGRESS, "message": message, "success": True})

    def abort(self, session: str, request_id: str) -> None:
        """Interrupt a statement if it runs; its answer is then the error that interrupts bring."""
        if statement := self._known.get((session, request_id)):
            statement.interrupt()

    def forget(self, session: str) -> None:
        """Interrupt what a session runs, and drop its answers."""
        for key in [key for key in self._known if key[0] == session]:
            self._known.pop(key).interrupt()

    async def rest(self, seconds: float) -> None:
        """Wait until statements have run since the last call, and then none for ``seconds``."""
        await self._worked.wait()
        while self._worked.is_set() or self._running():
            self._worked.clear()
            await asyncio.sleep(seconds)

    async def stop(self) -> None:
        """Interrupt everything, and wait until it has ended."""
        running = self._running()
        for statement in self._known.values():
            statement.interrupt()
        if running:
            await asyncio.wait(running, timeout=STOP_SECONDS)

    def _running(self) -> set[asyncio.Task[JSONResponse]]:
        return {statement.task for statement in self._known.values() if not statement.task.done()}

    def _ended(self, key: tuple[str, str], task: asyncio.Task[JSONResponse]) -> None:
        """Keep the answer for a while; the oldest make room, never the newest."""
        self._worked.set()
        if (statement := self._known.get(key)) is None or statement.task is not task:
            return  # forgotten meanwhile
        self._known.move_to_end(key)
        task.get_loop().call_later(KEPT_SECONDS, self._known.pop, key, None)
        ended = [old for old, one in self._known.items() if one.task.done()]
        while len(ended) > 1 and (
            len(ended) > ANSWERS_KEPT or sum(self._known[old].size() for old in ended) > KEPT_BYTES
        ):
            del self._known[ended.pop(0)]
