"""The rows themselves: properties that hold for every seed, and the statistics of a large sample."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailflow_generator.batch import history, in_season
from retailflow_generator.binary import CHUNK_ROWS, default_encoder
from retailflow_generator.request import BatchRequest, InvalidRequestError
from retailflow_generator.rows import COLUMNS, EPOCH, Draws, draw, records, unit_discounts
from retailflow_generator.shop import STATUSES, Floats, default_shop

SHOP = default_shop()
NOON = dt.datetime(2026, 10, 14, 12, 0, tzinfo=dt.UTC)  # no promotion
PLACES = {(c.city, c.state, c.country) for c in SHOP.customers}


def rows_of(draws: Draws, first: int = 1) -> list[dict[str, Any]]:
    ids = np.arange(first, first + len(draws))
    return [dict(zip(COLUMNS, row, strict=True)) for row in records(SHOP, draws, ids)]


@given(
    seed=st.integers(0, 2**63 - 1),
    rows=st.integers(1, 300),
    as_of=st.datetimes(dt.datetime(2000, 1, 3), dt.datetime(2099, 12, 31), timezones=st.just(dt.UTC)),
    age=st.integers(0, 400),
    minutes=st.none() | st.integers(1, 2000),
)
@settings(deadline=None, max_examples=40)
def test_every_row_keeps_the_contract(
    seed: int, rows: int, as_of: dt.datetime, age: int, minutes: int | None
) -> None:
    draws = draw(SHOP, rows, seed, as_of, age, minutes)
    parsed = rows_of(draws)
    begin = dt.datetime.min.replace(tzinfo=dt.UTC)
    if minutes is not None:
        begin = as_of - dt.timedelta(minutes=minutes, microseconds=1)
        as_of -= dt.timedelta(microseconds=1)
    assert len(parsed) == rows
    for row in parsed:
        price, discount, shipping = (Decimal(row[name]) for name in ("price", "discount", "shipping_cost"))
        assert 0 <= discount <= price and shipping >= 0 and row["quantity"] >= 1
        assert all(-amount.as_tuple().exponent == 2 for amount in (price, discount, shipping))  # type: ignore[operator]
        assert row["purchased_at"] == row["ordered_at"].date() <= row["order_date_at"] == as_of.date()
        assert row["ordered_at"] <= as_of
        assert row["ordered_at"] >= begin or row["purchased_at"] < row["order_date_at"]
        assert (row["city"], row["state"], row["country"]) in PLACES
        assert row["order_status"] in STATUSES and (age or row["order_status"] == "placed")
    revenue = sum(row["quantity"] * Decimal(row["price"]) for row in parsed)
    discounts = sum(row["quantity"] * Decimal(row["discount"]) for row in parsed)
    assert (draws.revenue, draws.net_revenue) == (revenue * 100, (revenue - discounts) * 100)


def encoded(rows: int, seed: int) -> bytes:
    return b"".join(default_encoder().chunks(draw(SHOP, rows, seed, NOON), np.arange(1, rows + 1)))


def test_equal_seeds_give_equal_bytes_and_others_do_not() -> None:
    assert encoded(1000, 5) == encoded(1000, 5)
    assert encoded(1000, 5) != encoded(1000, 6)


def test_rows_come_in_chunks_and_none_is_lost_between() -> None:
    rows = CHUNK_ROWS * 2 + 1
    chunks = list(default_encoder().chunks(draw(SHOP, rows, 1, NOON), np.arange(1, rows + 1)))
    end_of_a_row = b"\x00\x00\x00\x06placed"
    assert [chunk.count(end_of_a_row) for chunk in chunks] == [0, CHUNK_ROWS, CHUNK_ROWS, 1, 0]


@pytest.fixture(scope="module")
def sample() -> Draws:
    return draw(SHOP, 200_000, 2026, NOON)


def chi_square(found: Any, odds: Floats) -> float:
    """Pearson's statistic per degree of freedom: about 1 where counts follow the odds."""
    counts = np.bincount(found, minlength=len(odds)).astype(float)
    used = odds > 0
    assert not counts[~used].any(), "what has no odds does not happen"
    expected = odds[used] * counts.sum()
    return float(((counts[used] - expected) ** 2 / expected).sum() / max(used.sum() - 1, 1))


@pytest.mark.parametrize(
    ("attribute", "odds"),
    [
        ("customer", SHOP.customer_odds),
        ("product", SHOP.product_odds),
        ("step", SHOP.discount_odds),
        ("quantity", np.concatenate([[0.0], SHOP.quantity_odds])),
        ("lag", SHOP.booking_odds),
        ("status", SHOP.life.status_odds(0)),
    ],
)
def test_a_large_sample_follows_the_parameters(sample: Draws, attribute: str, odds: Floats) -> None:
    """The bound is the 99.99 % point of chi-square with two degrees of freedom, the widest of these."""
    assert chi_square(getattr(sample, attribute), odds) < 9.2
    if len(odds) > 20:
        assert chi_square(getattr(sample, attribute), odds) < 1.7


def test_hours_follow_the_day_up_to_now(sample: Draws) -> None:
    midnight = (NOON.replace(hour=0) - EPOCH) // dt.timedelta(microseconds=1)
    hours = (sample.ordered_at - midnight) // 3_600_000_000
    morning = SHOP.hour_odds * (np.arange(24) < 12)
    assert chi_square(hours[sample.lag == 0], morning / morning.sum()) < 3
    assert chi_square(hours[sample.lag == 1] + 24, SHOP.hour_odds) < 3


def scheduled(moment: dt.datetime, rows: int) -> BatchRequest:
    return in_season(SHOP, BatchRequest(f"{moment}", rows, moment.minute, moment, scheduled=True))


def test_a_day_of_scheduled_batches_follows_the_hours() -> None:
    """Each brings what was ordered since the one before; together they are a day like any other."""
    day = dt.datetime(2026, 10, 14, tzinfo=dt.UTC)
    step = dt.timedelta(minutes=SHOP.schedule_minutes)
    hours = np.zeros(24, dtype=np.int64)
    rows = 0
    for number in range(1, dt.timedelta(days=1) // step + 1):
        request = scheduled(day + number * step, 100)
        draws = draw(SHOP, request.rows, request.seed, request.as_of, minutes=SHOP.schedule_minutes)
        assert draws.booked_on == day.date(), "also at midnight"
        rows += request.rows
        at = draws.ordered_at[draws.lag == 0] - (day - EPOCH) // dt.timedelta(microseconds=1)
        hours += np.bincount(at // 3_600_000_000, minlength=24)
    assert chi_square(np.repeat(np.arange(24), hours), SHOP.hour_odds) < 2
    assert rows == pytest.approx(100 * 480 * SHOP.demand_on(day.date()), rel=0.01)


def test_scheduled_batches_follow_days_and_promotions() -> None:
    def rows(month: int, day: int, hour: int) -> int:
        return scheduled(dt.datetime(2026, month, day, hour, 30, tzinfo=dt.UTC), 500).rows

    assert rows(11, 18, 20) == pytest.approx(rows(11, 18, 8) * 66 / 18, rel=0.01)
    assert rows(11, 25, 20) == pytest.approx(rows(11, 18, 20) * 2.4, rel=0.01), "Black week"
    assert rows(2, 18, 20) == pytest.approx(rows(11, 18, 20) * 80 / 132, rel=0.01)
    assert scheduled(NOON, 1_000_000).rows == 1_000_000 and scheduled(NOON, 1).rows == 1


def test_an_hour_without_demand_keeps_its_times() -> None:
    evening = dataclasses.replace(SHOP, hour_odds=np.eye(24)[20])
    draws = draw(evening, 50, 1, NOON, minutes=3)
    before = (NOON - EPOCH) // dt.timedelta(microseconds=1) - draws.ordered_at[draws.lag == 0]
    assert 0 < before.min() <= before.max() <= 180_000_001


def test_customers_come_back_and_a_few_buy_most(sample: Draws) -> None:
    orders = np.sort(np.bincount(sample.customer))[::-1]
    assert np.median(orders) > 10
    assert orders[0] > 20 * np.median(orders)
    assert sample.quantity.max() > 30 and np.median(sample.quantity) == 1, "a long tail of large lines"


def test_a_promotion_changes_what_is_bought_at_which_price() -> None:
    promotion = next(p for p in SHOP.promotions if p.name == "Black week")
    draws = draw(SHOP, 100_000, 1, dt.datetime(2026, 11, 25, 23, tzinfo=dt.UTC))
    assert chi_square(draws.product, promotion.product_odds) < 1.7
    assert chi_square(draws.step, promotion.discount_odds) < 5
    first_day = draw(SHOP, 100_000, 1, dt.datetime(2026, 11, 20, 23, tzinfo=dt.UTC))
    assert chi_square(first_day.step[first_day.lag > 0], SHOP.discount_odds) < 5, (
        "the day of the checkout counts"
    )


def test_expensive_lines_ship_for_free(sample: Draws) -> None:
    net = sample.quantity * (sample.price - sample.discount)
    assert ((sample.shipping == 0) == (net >= SHOP.free_shipping_from)).all()


def test_discounts_are_rounded_down_to_the_cent() -> None:
    prices = np.array([product.price for product in SHOP.products])
    percent = np.array(SHOP.discount_percent)
    exact = prices[:, None] * percent / 100
    assert (unit_discounts(SHOP) <= exact + 1e-9).all() and (unit_discounts(SHOP) > exact - 1).all()


HISTORY = BatchRequest("h", 365_000, 3, dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC), days=365)


def test_a_history_is_one_batch_per_day_with_seasons() -> None:
    days = list(history(SHOP, HISTORY))
    assert sum(day.rows for day in days) == 365_000
    assert [day.age_days for day in days] == list(range(364, -1, -1))
    assert len({day.seed for day in days}) == len({day.batch_id for day in days}) == 365
    assert days[-1].as_of == HISTORY.as_of and days[0].batch_id == "h/2025-11-23"
    assert all(a.as_of < b.as_of for a, b in itertools.pairwise(days))
    weights = np.array([SHOP.demand_on(day.as_of.date()) for day in days])
    expected = 365_000 * weights / weights.sum()
    assert float(((np.array([d.rows for d in days]) - expected) ** 2 / expected).sum()) / 364 < 1.4
    by_day = {day.as_of.date(): day.rows for day in days}
    quiet, loud = by_day[dt.date(2026, 2, 18)], by_day[dt.date(2025, 11, 26)]
    assert loud > 2 * quiet, "the same weekday in Black week"


def test_a_history_ages() -> None:
    """Old orders are finished, those of today are placed."""
    old, today = draw(SHOP, 50_000, 1, NOON, 30), draw(SHOP, 100, 1, NOON, 0)
    assert chi_square(old.status, SHOP.life.status_odds(30)) < 5
    assert set(old.status) == {STATUSES.index(s) for s in ("shipped", "returned", "cancelled")}
    assert set(draw(SHOP, 5000, 1, NOON, 1).status) == {STATUSES.index(s) for s in ("paid", "cancelled")}
    assert set(today.status) == {0}


def test_a_history_has_no_more_rows_per_day_than_a_batch() -> None:
    request = BatchRequest("h", 3_000_000, 3, NOON, days=2)
    with pytest.raises(InvalidRequestError, match="at most 1000000 for a day, got 3000000 for 2"):
        list(history(SHOP, request))
