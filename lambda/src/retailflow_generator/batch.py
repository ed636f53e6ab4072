"""Writes what a request asks for: one batch, or a history of one batch per day."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg2
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from .binary import default_encoder
from .config import Settings
from .database import (
    Stock,
    advance_orders,
    copy_rows,
    draw_order_ids,
    engine_for,
    stock,
    write_once,
)
from .request import MAX_HISTORY_ROWS, MAX_ROWS, BatchRequest, InvalidRequestError, seed_of
from .rows import draw, money
from .shop import Shop, default_shop

Result = dict[str, Any]
Progress = Callable[[int], object]
Remaining = Callable[[], float]

# A history stops before the next day where fewer seconds are left than this, or than twice the slowest day took.
RESERVE_SECONDS = 10.0


# SQLSTATE disk_full: of PostgreSQL itself, and of the trigger sales_refuse_while_stopped, which refuses before that happens.
DISK_FULL = "53100"


class DatabaseUnavailableError(RuntimeError):
    """PostgreSQL did not answer, or refused; the batch at hand was not written."""


class DiskFullError(DatabaseUnavailableError):
    """The disk of PostgreSQL is full, or so full that nothing more is written; the batch at hand was not written."""


def scheduled_rows(shop: Shop, rows: int, moment: dt.datetime) -> int:
    """How many rows an event of the schedule brings: ``rows`` times the demand of the minutes before it, at least one."""
    demand = shop.demand_at(moment - dt.timedelta(minutes=shop.schedule_minutes))
    return min(max(round(rows * demand), 1), MAX_ROWS)


def rows_of_day(shop: Shop, rows: int, day: dt.date, until: dt.datetime) -> int:
    """How many rows the events of the schedule bring on a day, up to a moment; at least one, so that no day is empty."""
    step = dt.timedelta(minutes=shop.schedule_minutes)
    begin = dt.datetime.combine(day, dt.time(), dt.UTC)
    events = min(until - begin, dt.timedelta(days=1)) // step
    return max(1, sum(scheduled_rows(shop, rows, begin + number * step) for number in range(1, events + 1)))


def _rows_per_day(shop: Shop, request: BatchRequest, days: list[dt.date]) -> list[int]:
    """The rows of a history, spread over its days by their demand; without a number, those that the schedule brings."""
    if request.scheduled:
        until = request.as_of + dt.timedelta(microseconds=1)  # the last moment of a day is the whole day
        counts = [rows_of_day(shop, request.rows, day, until) for day in days]
        if sum(counts) > MAX_HISTORY_ROWS:
            raise InvalidRequestError(
                f"a history must have at most {MAX_HISTORY_ROWS} rows; {len(days)} days with {request.rows} "
                f"every {shop.schedule_minutes} minutes have {sum(counts)}: ask for fewer days, or for a number of rows"
            )
    else:
        demand = np.array([shop.demand_on(day) for day in days])
        drawn = np.random.default_rng(request.seed).multinomial(request.rows, demand / demand.sum())
        counts = drawn.tolist()
    if max(counts) > MAX_ROWS:
        raise InvalidRequestError(
            f"rows must leave at most {MAX_ROWS} for a day, got {sum(counts)} for {len(days)}"
        )
    return counts


def history(shop: Shop, request: BatchRequest) -> Iterator[BatchRequest]:
    """Split a history into batches, oldest day first: more rows where the shop sees more demand.

    Each day has a batch id and a seed of its own, so that a history cut short goes on where it stopped. Without a number
    of rows (``scheduled``) a day also has as many whatever the other days are, so it may go on with more days.
    """
    last = request.as_of.date()
    days = [last - dt.timedelta(days=age) for age in range((request.days or 1) - 1, -1, -1)]
    for day, rows in zip(days, _rows_per_day(shop, request, days), strict=True):
        if rows:
            yield BatchRequest(
                batch_id=f"{request.batch_id}/{day}",
                rows=rows,
                seed=seed_of(f"{request.seed}/{day}"),
                as_of=request.as_of if day == last else dt.datetime.combine(day, dt.time.max, dt.UTC),
                age_days=(last - day).days,
            )


def in_season(shop: Shop, request: BatchRequest) -> BatchRequest:
    """Give a scheduled batch the rows that its moment sees: more in the evening, in December, in a promotion."""
    return dataclasses.replace(request, rows=scheduled_rows(shop, request.rows, request.as_of))


def _write_batch(
    settings: Settings, request: BatchRequest, known: Stock, *, alive: bool
) -> tuple[Result, bool]:
    """Write one batch; ``alive`` advances earlier orders. Returns its result, and whether the batch was written before."""
    shop = default_shop()
    life = shop.life
    minutes = shop.schedule_minutes if request.scheduled else None
    if settings.delete_share is not None:
        life = dataclasses.replace(life, delete=settings.delete_share)

    def write(connection: Connection) -> Result:
        # The server draws the ids while the rows are drawn here.
        with ThreadPoolExecutor(1) as worker:
            drawing = worker.submit(
                draw, shop, request.rows, request.seed, request.as_of, request.age_days, minutes
            )
            ids = draw_order_ids(connection, request.rows)
            draws = drawing.result()
        stock(connection, shop, draws, known)
        copy_rows(connection, default_encoder().chunks(draws, ids))
        updated, deleted = (
            advance_orders(connection, life, request.seed, int(ids[0]), request.as_of.date())
            if alive
            else (0, 0)
        )
        return {
            "batch_id": request.batch_id,
            "rows": request.rows,
            "first_order_id": int(ids[0]),
            "last_order_id": int(ids[-1]),
            "total_revenue": money(draws.revenue),
            "net_revenue": money(draws.net_revenue),
            "updated": updated,
            "deleted": deleted,
            "as_of": request.as_of.isoformat(),
            "seed": request.seed,
        }

    return write_once(engine_for(settings), request.batch_id, write)


def _cents(amount: str) -> int:
    return int(amount.replace(".", ""))


def _write_history(
    settings: Settings, request: BatchRequest, progress: Progress, remaining: Remaining
) -> tuple[Result, bool]:
    results: list[tuple[Result, bool]] = []
    known = Stock()
    days = list(history(default_shop(), request))
    slowest = 0.0
    for day in days:
        # At least one day is new, so that a caller who asks again and again comes to an end.
        fresh = any(not repeated for _, repeated in results)
        if fresh and remaining() < max(RESERVE_SECONDS, 2 * slowest):
            break
        started = time.monotonic()
        results.append(_write_batch(settings, day, known, alive=False))
        slowest = max(slowest, time.monotonic() - started)
        progress(day.rows)
    written = [result for result, _ in results]
    return {
        "batch_id": request.batch_id,
        "rows": sum(result["rows"] for result in written),
        "first_order_id": min(result["first_order_id"] for result in written),
        "last_order_id": max(result["last_order_id"] for result in written),
        "total_revenue": money(sum(_cents(result["total_revenue"]) for result in written)),
        "net_revenue": money(sum(_cents(result["net_revenue"]) for result in written)),
        "updated": 0,
        "deleted": 0,
        "as_of": request.as_of.isoformat(),
        "seed": request.seed,
        "days": request.days,
        "days_left": len(days) - len(results),
        "batches_written": sum(not repeated for _, repeated in results),
    }, all(repeated for _, repeated in results)


def generate(
    settings: Settings,
    request: BatchRequest,
    progress: Progress = lambda rows: None,
    remaining: Remaining = lambda: float("inf"),
) -> tuple[Result, bool]:
    """Write what was asked for; returns its result (see ``handler``) and whether all of it had been written before.

    ``progress`` is called with the number of rows after each day of a history, ``remaining`` says how many seconds are
    left. Raises DatabaseUnavailableError, of which DiskFullError is one.
    """
    try:
        if request.days is None:
            if request.scheduled:
                request = in_season(default_shop(), request)
            return _write_batch(settings, request, Stock(), alive=True)
        return _write_history(settings, request, progress, remaining)
    except (OperationalError, psycopg2.OperationalError) as error:  # COPY goes past SQLAlchemy
        where = f"{settings.host}:{settings.port}/{settings.database} as {settings.user}"
        reason = error.orig if isinstance(error, OperationalError) else error
        if getattr(reason, "pgcode", None) == DISK_FULL:
            told = getattr(getattr(reason, "diag", None), "message_primary", None) or str(reason)
            raise DiskFullError(f"The batch was not written. PostgreSQL at {where}: {told}") from None
        raise DatabaseUnavailableError(
            f"PostgreSQL at {where}: {' '.join(str(reason).split())} "
            "Check that it runs, that the security group lets the function in, and DB_* of the function."
        ) from None
