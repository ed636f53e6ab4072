"""The lines of a container to CloudWatch Logs, each once, also over a restart of the agent.

On AWS the engine's `awslogs` driver sends them. Here the engine keeps them in a file (`json-file`), from which the agent
reads, so that `docker logs` works as well and nothing is lost while the API is away, as long as the file has them (3 x 10
MB).

How far the lines were sent is a second and the number of lines since then that were sent: the engine gives the lines from a
second on, always in the order of the file. The times of lines are not always in order, as two threads of the engine stamp the
two streams. The position is written after each batch. Only an agent that is killed between the API's answer and that moment
sends a batch again.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .api import ApiAwayError, ApiRefusedError, Keys, asking
from .engine import Engine, EngineAwayError, NotFoundError
from .state import write

log = logging.getLogger("retailflow.ecs_agent")

#: Bounds of PutLogEvents (its API reference).
MOST_EVENTS, MOST_BYTES, EVENT_BYTES, SPAN_MS = 10_000, 1_048_576, 26, 24 * 3600 * 1000
GATHER_SECONDS = 1.0
QUEUE = 2000  # lines that are read and not sent; the engine's file keeps the others
KEEP_SECONDS, BACK_SECONDS = (
    5,
    2,
)  # a position is moved on when it is older, to a little before the newest line
LONGEST_PAUSE = 30.0
GROUP_SECONDS = 900.0  # that the lines of a container that has ended wait for their group


class Line(NamedTuple):
    """One entry of a container's log; `sent` before this agent began."""

    second: int
    milliseconds: int
    text: str
    sent: bool


class Position:
    """A second, and how many entries since then were passed."""

    def __init__(self, since: int = 1) -> None:
        self.since = since
        self._seconds: deque[int] = deque()

    @property
    def count(self) -> int:
        """The entries since then."""
        return len(self._seconds)

    def passed(self, second: int) -> None:
        """One more entry; a second that is too old is moved on."""
        if second < self.since:
            return  # the engine does not give it again from here on
        self._seconds.append(second)
        if second - self.since > KEEP_SECONDS:
            self.since = second - BACK_SECONDS
            self._seconds = deque(one for one in self._seconds if one >= self.since)


def load(path: Path) -> tuple[int, int]:
    """The second and the count that a file has, or the log's beginning."""
    try:
        found = json.loads(path.read_text())
        return int(found["since"]), int(found["count"])
    except (OSError, ValueError, KeyError, TypeError):
        return 1, 0


def parse(entry: bytes, sent: bool) -> Line:
    """An entry as the engine gives it: its time in RFC 3339 with nanoseconds, a space, the text."""
    stamp, _, text = entry.partition(b" ")
    moment = dt.datetime.fromisoformat(stamp[:19].decode() + "+00:00")
    second = int(moment.timestamp())
    fraction = stamp[19:].strip(b".Z").ljust(3, b"0")[:3]
    return Line(
        second, second * 1000 + int(fraction or 0), text.decode(errors="replace").rstrip("\r\n"), sent
    )


@dataclass(frozen=True)
class Stream:
    """Where lines go; `create_group` where the definition says that a missing group is made."""

    group: str
    name: str
    region: str
    create_group: bool = False

    def ensure(self, client: Any) -> None:
        """Make the stream; ApiRefusedError where that is not allowed or the group is missing."""
        try:
            self._make(client)
        except ApiRefusedError as error:
            if error.code != "ResourceNotFoundException" or not self.create_group:
                raise
            with asking():
                client.create_log_group(logGroupName=self.group)
            self._make(client)

    def _make(self, client: Any) -> None:
        try:
            with asking():
                client.create_log_stream(logGroupName=self.group, logStreamName=self.name)
        except ApiRefusedError as error:
            if error.code != "ResourceAlreadyExistsException":
                raise

    def put(self, client: Any, lines: list[Line]) -> None:
        """Send lines of one batch."""
        events = [{"timestamp": one.milliseconds, "message": one.text} for one in lines if one.text]
        if not events:
            return
        events.sort(key=lambda one: int(str(one["timestamp"])))
        with asking():
            client.put_log_events(logGroupName=self.group, logStreamName=self.name, logEvents=events)


def batches(lines: list[Line]) -> Iterator[list[Line]]:
    """Cut lines into what one PutLogEvents takes, in their order."""
    batch: list[Line] = []
    size, first, last = 0, 0, 0
    for one in lines:
        bytes_ = len(one.text.encode()) + EVENT_BYTES
        low, high = min(first, one.milliseconds), max(last, one.milliseconds)
        if batch and (len(batch) == MOST_EVENTS or size + bytes_ > MOST_BYTES or high - low >= SPAN_MS):
            yield batch
            batch, size = [], 0
        if not batch:
            low = high = one.milliseconds
        batch.append(one)
        size, first, last = size + bytes_, low, high
    if batch:
        yield batch


class Follower:
    """Follows one container until its end: one thread reads, one sends. `client` gives a client of CloudWatch Logs."""

    def __init__(
        self,
        engine: Engine,
        runtime_id: str,
        stream: Stream,
        client: Callable[[], Any],
        path: Path,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._engine, self._runtime_id, self._stream = engine, runtime_id, stream
        self._client, self._path, self._pause = client, path, pause
        self._lines: queue.Queue[Line | None] = queue.Queue(QUEUE)
        self._ended = threading.Event()
        self.done = threading.Event()

    def start(self) -> None:
        """Begin both threads; they end with the process."""
        for name, what in (("read", self.read), ("send", self.send)):
            threading.Thread(target=what, name=f"log-{name}-{self._runtime_id[:12]}", daemon=True).start()

    def read(self) -> None:
        """Read entries until the container has ended and all are read."""
        since, known = load(self._path)
        position, pause = Position(since), 1.0
        try:
            while True:
                try:
                    ended = not _runs(self._engine.inspect(self._runtime_id))
                    passed = position.count
                    for number, entry in enumerate(self._engine.logs(self._runtime_id, position.since)):
                        if number < passed:
                            continue
                        line = parse(entry, known > 0)
                        known -= 1
                        self._lines.put(line)
                        position.passed(line.second)
                        pause = 1.0
                    if ended:
                        return
                except EngineAwayError:
                    pause = min(pause * 2, LONGEST_PAUSE)
                self._pause(pause)
        except NotFoundError:
            pass
        except Exception:
            log.exception("the log of the container %s is not sent any more", self._runtime_id[:12])
        finally:
            self._ended.set()
            self._lines.put(None)

    def send(self) -> None:
        """Send what was read, until its end."""
        position, ended = Position(load(self._path)[0]), False
        while not ended:
            lines, ended = self._gathered()
            for one in lines:
                if one.sent:
                    position.passed(one.second)
            for batch in batches([one for one in lines if not one.sent]):
                self._put(batch)
                for one in batch:
                    position.passed(one.second)
                write(self._path, {"since": position.since, "count": position.count})
        self.done.set()

    def _gathered(self) -> tuple[list[Line], bool]:
        """What comes within a moment after the first line, and whether it is the end."""
        found: list[Line] = []
        one = self._lines.get()
        deadline = time.monotonic() + GATHER_SECONDS
        while one is not None:
            found.append(one)
            try:
                one = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return found, False
            if len(found) >= MOST_EVENTS:
                break
        return found if one is None else [*found, one], one is None

    def _put(self, batch: list[Line]) -> None:
        """Send one batch, however long the API is away or refuses: the group may be made again.

        Only where the container has ended and the group stays away are the lines dropped, as Docker's own driver does at once.
        """
        pause, said, without_group = 0.5, "", 0.0
        while True:
            try:
                client = self._client()
                try:
                    self._stream.put(client, batch)
                except ApiRefusedError as error:
                    if error.code != "ResourceNotFoundException":
                        raise
                    self._stream.ensure(client)
                    self._stream.put(client, batch)
                return
            except (ApiAwayError, ApiRefusedError) as error:
                if said != str(error):
                    log.warning("lines for %s wait: %s", self._stream.group, error)
                said = str(error)
                gone = isinstance(error, ApiRefusedError) and error.code == "ResourceNotFoundException"
                without_group = without_group + pause if gone and self._ended.is_set() else 0.0
                if without_group > GROUP_SECONDS:
                    log.warning(
                        "%s lines for %s are dropped: there is no such group", len(batch), self._stream.group
                    )
                    return
                self._pause(pause)
                pause = min(pause * 2, LONGEST_PAUSE)


def _runs(inspected: dict[str, Any]) -> bool:
    return inspected["State"]["Status"] in ("created", "running", "paused", "restarting", "removing")


def stream_of(definition: dict[str, Any], task_id: str, runtime_id: str, region: str) -> Stream | None:
    """Where the lines of a container go, if its driver is `awslogs`: `<prefix>/<container>/<task id>`, as ECS's.

    Without a prefix the stream has the id of the container ("awslogs-stream-prefix", ECS's developer guide).
    """
    found = definition.get("logConfiguration") or {}
    if found.get("logDriver") != "awslogs":
        return None
    options = found.get("options") or {}
    prefix = options.get("awslogs-stream-prefix")
    name = f"{prefix}/{definition['name']}/{task_id}" if prefix else runtime_id
    return Stream(
        options["awslogs-group"],
        name,
        options.get("awslogs-region") or region,
        options.get("awslogs-create-group") == "true",
    )


def keys_of(settings_override: bool, execution: Keys | None) -> Keys | None:
    """Whose credentials send: with ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE the execution role's of a task that has one, else
    the instance's.
    """
    return execution if settings_override else None
