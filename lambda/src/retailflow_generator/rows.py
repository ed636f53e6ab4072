"""Order lines as numbers: everything that chance decides about a batch, drawn at once and vectorised.

Equal arguments give equal draws. What a row says in words follows from the pools of the shop.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .shop import STATUSES, Floats, Ints, Shop

EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)  # PostgreSQL's
_MICROSECOND = dt.timedelta(microseconds=1)
_MINUTE = 60_000_000  # in microseconds
_DAY = 1440 * _MINUTE

COLUMNS = (
    *("order_id", "ordered_at"),
    *("cust_name", "customer_id", "city", "state", "country"),
    *("product", "product_category", "product_id", "price", "discount"),
    *("quantity", "shipping_cost"),
    *("purchased_at", "order_date_at", "order_status"),
)


@dataclass(frozen=True)
class Draws:
    """The rows of a batch: arrays of one length, each an index into a pool of the shop if not said otherwise.

    ``quantity`` is in units, ``lag`` in days before ``booked_on``, ``ordered_at`` in microseconds since 2000,
    money in cents, ``status`` an index into ``STATUSES``.
    """

    booked_on: dt.date
    customer: Ints
    product: Ints
    step: Ints
    quantity: Ints
    lag: Ints
    ordered_at: Ints
    status: Ints
    price: Ints
    discount: Ints
    shipping: Ints

    def __len__(self) -> int:
        return len(self.customer)

    @property
    def revenue(self) -> int:
        """Sum of quantity times price, in cents."""
        return int((self.quantity * self.price).sum())

    @property
    def net_revenue(self) -> int:
        """Sum of quantity times price less discount, in cents."""
        return int((self.quantity * (self.price - self.discount)).sum())


def unit_discounts(shop: Shop) -> Ints:
    """Money off one unit in cents, rounded down: an array (product, discount step)."""
    prices = np.array([product.price for product in shop.products], dtype=np.int64)
    return prices[:, None] * np.array(shop.discount_percent, dtype=np.int64) // 100


def _pick(chances: Floats, odds: Floats) -> Ints:
    """Turn uniform chances into indices of ``odds`` by its cumulative sums."""
    found: Ints = np.searchsorted(np.cumsum(odds)[:-1], chances, side="right")
    return found


def _moments(shop: Shop, chances: Floats, begin: int, end: int) -> Ints:
    """Turn uniform chances into microseconds of a day from ``begin`` to ``end``, by the weights of its hours.

    The distribution is constant inside an hour, so its inverse is a line from hour to hour.
    """
    hours = np.arange(25, dtype=np.float64) * (_DAY / 24)
    sums = np.concatenate([[0.0], np.cumsum(shop.hour_odds)])
    low, high = np.interp((begin, end), hours, sums)
    moments: Ints = np.interp(low + chances * (high - low), sums, hours).astype(np.int64)
    return np.clip(moments, begin, end)


def draw(
    shop: Shop, rows: int, seed: int, as_of: dt.datetime, age_days: int = 0, minutes: int | None = None
) -> Draws:
    """Draw ``rows`` order lines that were booked on the day of ``as_of`` (UTC), none ordered after that moment.

    Checkouts lie up to ``len(shop.booking_odds) - 1`` days before. With ``minutes`` those of the day itself lie
    in the minutes before ``as_of``; midnight ends a day then. Orders are as far as orders of ``age_days`` are;
    without an age all are just placed.
    """
    rng = np.random.default_rng(seed)
    if minutes is not None:
        as_of -= _MICROSECOND
    booked_on = as_of.date()
    midnight = (dt.datetime.combine(booked_on, dt.time(), dt.UTC) - EPOCH) // _MICROSECOND
    now = (as_of - EPOCH) // _MICROSECOND - midnight
    begin = 0 if minutes is None else max(0, now - minutes * _MINUTE)

    customer = _pick(rng.random(rows), shop.customer_odds)
    quantity = _pick(rng.random(rows), shop.quantity_odds) + 1
    status = _pick(rng.random(rows), shop.life.status_odds(age_days))
    lag = _pick(rng.random(rows), shop.booking_odds)
    chances = rng.random((3, rows))
    product, step, ordered_at = (np.empty(rows, dtype=np.int64) for _ in range(3))
    for days in range(len(shop.booking_odds)):
        # What is bought at which discount depends on the day of the checkout.
        promotion = shop.promotion_on(booked_on - dt.timedelta(days=days))
        here = np.flatnonzero(lag == days)
        product[here] = _pick(chances[0, here], (promotion or shop).product_odds)
        step[here] = _pick(chances[1, here], (promotion or shop).discount_odds)
        between = (0, _DAY - 1) if days else (begin, now)
        ordered_at[here] = midnight - days * _DAY + _moments(shop, chances[2, here], *between)

    price = np.array([p.price for p in shop.products], dtype=np.int64)[product]
    discount = unit_discounts(shop)[product, step]
    country = np.array([c.country_index for c in shop.customers], dtype=np.int64)[customer]
    rates = np.array(shop.country_shipping, dtype=np.int64)
    free = quantity * (price - discount) >= shop.free_shipping_from
    shipping = np.where(free, 0, rates[country] + quantity * shop.shipping_per_unit)
    return Draws(
        *(booked_on, customer, product, step, quantity, lag, ordered_at, status, price, discount, shipping)
    )


def money(cents: int) -> str:
    """Cents as decimal text with two places."""
    return f"{cents // 100}.{cents % 100:02d}"


def records(shop: Shop, draws: Draws, order_ids: Ints) -> Iterator[tuple[object, ...]]:
    """Yield each row as plain values in the order of ``COLUMNS``; money is decimal text."""
    for i, order_id in enumerate(order_ids.tolist()):
        who, what = shop.customers[draws.customer[i]], shop.products[draws.product[i]]
        yield (
            order_id,
            EPOCH + int(draws.ordered_at[i]) * _MICROSECOND,
            *(who.name, who.customer_id, who.city, who.state, who.country),
            *(what.name, what.category, what.product_id),
            *(money(int(draws.price[i])), money(int(draws.discount[i]))),
            *(int(draws.quantity[i]), money(int(draws.shipping[i]))),
            draws.booked_on - dt.timedelta(days=int(draws.lag[i])),
            draws.booked_on,
            STATUSES[draws.status[i]],
        )
