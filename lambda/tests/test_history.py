"""A history: its rows over its days, how it goes on where it stopped, and that it has the pace of the schedule."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import pytest

from retailflow_generator.batch import history, in_season
from retailflow_generator.binary import Encoder
from retailflow_generator.config import DEFAULT_ROWS
from retailflow_generator.handler import handler
from retailflow_generator.request import MAX_HISTORY_ROWS, BatchRequest, InvalidRequestError, parse_event
from retailflow_generator.shop import default_shop

Sql = Callable[..., list[tuple[Any, ...]]]
SHOP = default_shop()

HISTORY = {"days": 20, "rows": 4000, "as_of": "2026-11-30", "batch_id": "past"}


def test_a_history_is_spread_over_its_days(database: Sql) -> None:
    result = handler(HISTORY)
    found = database(
        """select count(*), sum(quantity * price)::text, sum(quantity * (price - discount))::text,
                  min(order_date_at), max(order_date_at), count(distinct order_date_at) from sales"""
    )[0]
    assert found == (
        *(result[name] for name in ("rows", "total_revenue", "net_revenue")),
        *(dt.date(2026, 11, 11), dt.date(2026, 11, 30), 20),
    )
    assert (result["batches_written"], result["repeated"]) == (20, False)
    assert database("select count(*) from customers") == database(
        "select count(distinct customer_id) from sales"
    )
    by_age = "select distinct order_status from sales where order_date_at = %s order by 1"
    assert database(by_age, "2026-11-30") == [("placed",)]
    assert database(by_age, "2026-11-12") == [("cancelled",), ("returned",), ("shipped",)]


class Hurried:
    """A Lambda context whose timeout is always about to come."""

    aws_request_id = "hurried"

    def get_remaining_time_in_millis(self) -> int:
        return 9_000


def test_a_history_answers_before_its_timeout_and_goes_on_when_it_is_asked_again(database: Sql) -> None:
    left = []
    while not left or left[-1]:
        result = handler(HISTORY, Hurried())
        left.append(result["days_left"])
    assert left == list(range(19, -1, -1)), "a new day each time, whatever little time there is"
    assert database("select count(*) from sales") == [(result["rows"],)]
    assert result["batches_written"] == 1


def test_a_history_cut_short_goes_on_where_it_stopped(database: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, written = Encoder.chunks, 0

    def broken(*arguments: Any) -> Any:
        nonlocal written
        written += 1
        if written > 7:
            raise RuntimeError("cut off")
        return whole(*arguments)

    monkeypatch.setattr(Encoder, "chunks", broken)
    with pytest.raises(RuntimeError, match="cut off"):
        handler(HISTORY)
    assert database("select count(distinct order_date_at) from sales") == [(7,)]
    monkeypatch.setattr(Encoder, "chunks", whole)
    rest, again = handler(HISTORY), handler(HISTORY)
    assert (rest["batches_written"], rest["repeated"]) == (13, False)
    assert (again["batches_written"], again["repeated"]) == (0, True)
    assert database("select count(*) from sales") == [(4000,)]
    volatile = dict.fromkeys(("batches_written", "repeated", "seconds"))
    assert rest | volatile == again | volatile


# --- at the pace of the schedule --------------------------------------------------------------------------------------


def per_day(days: int, until: str, rows: int = DEFAULT_ROWS) -> dict[dt.date, int]:
    """The rows of each day of a history that does not say how many."""
    request = parse_event({"days": days, "as_of": until}, request_id="history", default_rows=rows)
    return {batch.as_of.date(): batch.rows for batch in history(SHOP, request)}


def by_schedule(day: dt.date, until: dt.datetime, rows: int) -> int:
    """What the events of a day bring, each parsed and sized as the function does it."""
    at, total = dt.datetime.combine(day, dt.time(), dt.UTC), 0
    end = min(until, at + dt.timedelta(days=1))
    while (at := at + dt.timedelta(minutes=SHOP.schedule_minutes)) <= end:
        event = {"id": f"{at}", "detail-type": "Scheduled Event", "time": at.isoformat(), "detail": {}}
        total += in_season(SHOP, parse_event(event, request_id="r", default_rows=rows)).rows
    return total


@pytest.mark.parametrize(("rows", "days"), [(1, 366), (DEFAULT_ROWS, 366), (500, 14)])
def test_a_day_of_a_history_has_as_many_rows_as_the_schedule_brings(rows: int, days: int) -> None:
    """So there is no step where the one ends and the other begins: every day of a year, with its promotions."""
    found = per_day(days, "2026-12-31T14:31:00Z", rows)
    until = dt.datetime(2026, 12, 31, 14, 31, tzinfo=dt.UTC)
    assert list(found) == [until.date() - dt.timedelta(days=age) for age in range(days - 1, -1, -1)]
    assert found == {day: by_schedule(day, until, rows) for day in found}


def test_a_history_has_the_seasons_of_the_shop() -> None:
    found = per_day(730, "2026-12-31")
    for day, rows in found.items():
        assert rows == pytest.approx(DEFAULT_ROWS * 480 * SHOP.demand_on(day), rel=0.07), day
    together = DEFAULT_ROWS * 480 * sum(map(SHOP.demand_on, found))
    assert sum(found.values()) == pytest.approx(together, rel=0.02)


def test_a_day_is_the_same_whatever_history_it_belongs_to() -> None:
    """A history that was cut short may go on days later, under the same batch id."""
    first = parse_event({"days": 5, "as_of": "2026-11-20T09:00:00Z"}, request_id="h", default_rows=5)
    later = parse_event({"days": 8, "as_of": "2026-11-23T18:00:00Z"}, request_id="h", default_rows=5)
    known = {batch.batch_id: (batch.rows, batch.seed) for batch in history(SHOP, later)}
    whole = [(batch.batch_id, (batch.rows, batch.seed)) for batch in history(SHOP, first)][:-1]
    assert len(whole) == 4 and [known[name] for name, _ in whole] == [day for _, day in whole]


@pytest.mark.parametrize(("until", "days"), [("2026-11-22T00:00:30Z", 1), ("2026-11-22T00:02:00Z", 3)])
def test_a_day_that_has_just_begun_is_not_empty(until: str, days: int) -> None:
    assert list(per_day(days, until).values())[-1] == 1 and len(per_day(days, until)) == days


def test_a_history_that_is_too_large_is_refused_before_its_first_row(
    database: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENERATOR_ROWS", "500")
    with pytest.raises(
        InvalidRequestError, match=f"at most {MAX_HISTORY_ROWS} rows; 180 days with 500 every 3 minutes"
    ):
        handler({"days": 180})
    assert database("select count(*) from generator_batches") == [(0,)]


def test_half_a_year_at_the_default_pace_takes_seconds(
    database: Sql, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seconds of the processor, which other work on the machine does not change; the rate is of the clock."""
    started, worked = time.monotonic(), time.process_time()
    result = handler({"days": 180, "batch_id": "history"})
    seconds, worked = time.monotonic() - started, time.process_time() - worked
    today = dt.datetime.fromisoformat(result["as_of"]).date()
    days = dict(database("select order_date_at, count(*) from sales group by 1"))
    assert sorted(days) == [today - dt.timedelta(days=age) for age in range(179, -1, -1)], "no day is empty"
    assert sum(days.values()) == result["rows"] and result["batches_written"] == 180
    assert 300_000 < result["rows"] < 700_000
    with capsys.disabled():
        print(
            f"{result['rows']} rows in {seconds:.1f} s ({worked:.1f} s of work): {result['rows'] / seconds:.0f} rows/s"
        )
    assert worked < 20
    assert handler({"days": 180, "batch_id": "history"})["repeated"] is True


def test_an_event_after_a_history_continues_it(database: Sql) -> None:
    """Its orders are later than all of the history, and only what is open moves on."""
    handler({"days": 30, "as_of": "2026-11-25T20:00:00Z", "batch_id": "history"})
    ((last, settled),) = database(
        "select max(ordered_at), count(*) filter (where order_status in ('returned', 'cancelled')) from sales"
    )
    event = {"id": "e-1", "detail-type": "Scheduled Event", "time": "2026-11-25T20:03:00Z", "detail": {}}
    result = handler(event)
    moment = dt.datetime(2026, 11, 25, 20, 3, tzinfo=dt.UTC)
    request = in_season(SHOP, BatchRequest("e-1", DEFAULT_ROWS, 1, moment, scheduled=True))
    assert (result["rows"], result["repeated"]) == (request.rows, False)
    ((first,),) = database(
        "select min(ordered_at) from sales where order_id >= %s and purchased_at = '2026-11-25'",
        result["first_order_id"],
    )
    assert first > last and settled > 0
