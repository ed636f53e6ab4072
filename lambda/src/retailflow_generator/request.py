"""What an invocation asks for: validated before anything is touched."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .envelope import Delivery, EnvelopeError, deliveries
from .moment import parse_moment

MAX_ROWS = 1_000_000  # of one batch, which is one transaction
MAX_DAYS = 3660
MAX_HISTORY_ROWS = 10_000_000
FIRST_DAY, LAST_DAY = dt.date(2000, 1, 1), dt.date(2099, 12, 31)
OPTIONS = ("rows", "seed", "as_of", "batch_id", "days")


class InvalidRequestError(ValueError):
    """The event does not describe a batch; nothing was written."""


@dataclass(frozen=True)
class BatchRequest:
    """``rows`` order lines booked on the day of ``as_of`` (UTC), equal whenever ``seed`` and ``as_of`` are.

    With ``days`` a history instead: the rows are spread over so many days, ``as_of`` being the last.
    ``age_days`` is the age of a day of a history, 0 for everything else. ``scheduled`` is what a schedule asks for
    without saying how many: ``rows`` are then those of average demand, ordered in the last minutes. With ``days`` it is
    all that the schedule would have brought in them.
    """

    batch_id: str
    rows: int
    seed: int
    as_of: dt.datetime
    days: int | None = None
    age_days: int = 0
    scheduled: bool = False


def seed_of(text: str) -> int:
    """A seed that follows from a text, from 0 to 2**32 - 1."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def _whole_number(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRequestError(f"{name} must be a whole number from {low} to {high}, got {value!r:.80}")
    return value


def _moment(name: str, value: object) -> dt.datetime:
    """A time as UTC; a day without time is its last moment."""
    moment = None
    if isinstance(value, str):
        with contextlib.suppress(ValueError, OverflowError):
            moment = parse_moment(value)
    if moment is None or not FIRST_DAY <= moment.date() <= LAST_DAY:
        raise InvalidRequestError(
            f"{name} must be an ISO 8601 day or time between {FIRST_DAY} and {LAST_DAY}, got {value!r:.80}"
        )
    return moment


def parse_events(event: object, *, request_id: str, default_rows: int) -> list[BatchRequest]:
    """Read what Lambda was invoked with: one request, or one for each message of a queue, stream or pipe.

    The payload is ``{"rows", "seed", "as_of", "batch_id", "days"}``, all optional, in any wrapping that
    ``envelope`` knows. An event of EventBridge without rows is ``scheduled``, and so is a history. The batch id is what makes a
    batch exactly once: ``batch_id``, else the id of the innermost wrapping, else ``request_id``, each of
    which AWS keeps when it delivers again. Without a seed the batch id is the seed. Raises
    InvalidRequestError, before anything is written, where one of the requests is wrong.
    """
    try:
        found = deliveries(event)
    except EnvelopeError as error:
        raise InvalidRequestError(str(error)) from error
    # Messages without an id of their own would be the same batch.
    ids = [request_id] if len(found) == 1 else [f"{request_id}/{number}" for number in range(len(found))]
    return [_request(one, id_, default_rows) for one, id_ in zip(found, ids, strict=True)]


def parse_event(event: object, *, request_id: str, default_rows: int) -> BatchRequest:
    """Read an event that holds one request; InvalidRequestError where it holds more."""
    requests = parse_events(event, request_id=request_id, default_rows=default_rows)
    if len(requests) > 1:
        raise InvalidRequestError(f"the payload must hold one request, got {len(requests)}")
    return requests[0]


def _request(delivery: Delivery, request_id: str, default_rows: int) -> BatchRequest:
    options: dict[str, Any] = {"batch_id": delivery.id}
    if delivery.event:
        options["as_of"] = delivery.time
    given_options: Mapping[str, Any] = delivery.payload
    if unknown := sorted(set(map(str, given_options)) - set(OPTIONS)):
        raise InvalidRequestError(f"unknown option {unknown[0]!r:.80}; known are {', '.join(OPTIONS)}")
    options |= {name: value for name, value in given_options.items() if value is not None}

    def given(name: str, otherwise: Any) -> Any:
        value = options.get(name)
        return otherwise if value is None else value

    batch_id = given("batch_id", request_id)
    if not isinstance(batch_id, str) or not 1 <= len(batch_id) <= 200 or not batch_id.isprintable():
        raise InvalidRequestError(f"batch_id must be 1 to 200 printable characters, got {batch_id!r:.80}")
    days = given("days", None)
    as_of = given("as_of", None)
    request = BatchRequest(
        batch_id=batch_id,
        rows=_whole_number(
            "rows", given("rows", default_rows), 1, MAX_ROWS if days is None else MAX_HISTORY_ROWS
        ),
        seed=_whole_number("seed", given("seed", seed_of(batch_id)), 0, 2**63 - 1),
        as_of=dt.datetime.now(dt.UTC) if as_of is None else _moment("as_of", as_of),
        days=None if days is None else _whole_number("days", days, 1, MAX_DAYS),
        scheduled=options.get("rows") is None and (delivery.event or days is not None),
    )
    if request.days and (request.as_of.date() - FIRST_DAY).days < request.days:
        raise InvalidRequestError(f"days must not reach back before {FIRST_DAY}, got {request.days}")
    return request
