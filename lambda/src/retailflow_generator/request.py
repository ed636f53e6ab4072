"""What an invocation asks for: validated before anything is touched."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_ROWS = 1_000_000
FIRST_DAY, LAST_DAY = dt.date(2000, 1, 1), dt.date(2099, 12, 31)
OPTIONS = ("rows", "seed", "as_of", "batch_id")


class InvalidRequest(ValueError):
    """The event does not describe a batch; nothing was written."""


@dataclass(frozen=True)
class BatchRequest:
    """One batch: ``rows`` order lines booked on ``as_of``, equal whenever ``seed`` is equal."""

    batch_id: str
    rows: int
    seed: int
    as_of: dt.date


def _whole_number(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRequest(f"{name} must be a whole number from {low} to {high}, got {value!r:.80}")
    return value


def _day(name: str, value: object) -> dt.date:
    day = None
    if isinstance(value, str):
        with contextlib.suppress(ValueError, OverflowError):
            moment = dt.datetime.fromisoformat(value)
            day = (moment.astimezone(dt.UTC) if moment.tzinfo else moment).date()
    if day is None or not FIRST_DAY <= day <= LAST_DAY:
        raise InvalidRequest(
            f"{name} must be an ISO 8601 date or time between {FIRST_DAY} and {LAST_DAY}, got {value!r:.80}"
        )
    return day


def parse_event(event: object, *, request_id: str, default_rows: int) -> BatchRequest:
    """Read ``{"rows", "seed", "as_of", "batch_id"}``, every key optional, from a payload or an EventBridge event.

    An EventBridge event (it has ``detail-type``) gives its id and time, and the options in ``detail``. The
    batch id is what makes a batch exactly once: the event's id, else ``batch_id``, else ``request_id``, which
    AWS keeps when it retries. Without a seed the batch id is the seed. InvalidRequest says what is wrong.
    """
    if not isinstance(event, Mapping):
        raise InvalidRequest(f"the payload must be a JSON object, got {type(event).__name__}")
    options: Mapping[str, Any] = event
    if "detail-type" in event:
        detail = event.get("detail") or {}
        if not isinstance(detail, Mapping):
            raise InvalidRequest(f"detail must be a JSON object, got {type(detail).__name__}")
        options = {"batch_id": event.get("id"), "as_of": event.get("time")} | dict(detail)
    if unknown := sorted(set(map(str, options)) - set(OPTIONS)):
        raise InvalidRequest(f"unknown option {unknown[0]!r:.80}; known are {', '.join(OPTIONS)}")

    def given(name: str) -> Any:
        return options.get(name)

    batch_id = request_id if given("batch_id") is None else given("batch_id")
    if not isinstance(batch_id, str) or not 1 <= len(batch_id) <= 200 or not batch_id.isprintable():
        raise InvalidRequest(f"batch_id must be 1 to 200 printable characters, got {batch_id!r:.80}")
    seed = given("seed")
    if seed is None:
        seed = int.from_bytes(hashlib.sha256(batch_id.encode()).digest()[:4])
    return BatchRequest(
        batch_id=batch_id,
        rows=_whole_number("rows", default_rows if given("rows") is None else given("rows"), 1, MAX_ROWS),
        seed=_whole_number("seed", seed, 0, 2**63 - 1),
        as_of=dt.datetime.now(dt.UTC).date() if given("as_of") is None else _day("as_of", given("as_of")),
    )
