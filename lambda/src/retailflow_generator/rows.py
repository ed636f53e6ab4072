"""Order lines as PostgreSQL COPY text, vectorised.

Everything that can take few values (a customer, a product at a discount, a quantity with its shipping) is
rendered once; a row is then five fragments joined, picked by index.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retailflow_generator.shop import Ints, Shop, default_shop

CHUNK_ROWS = 10_000  # about 1.5 MB of COPY text

# The order of the fragments in a row: order_id, customer, product at a discount, quantity, days.
COLUMNS = (
    "order_id",
    *("cust_name", "customer_id", "city", "state", "country"),
    *("product", "product_category", "product_id", "price", "discount"),
    *("quantity", "shipping_cost"),
    *("purchased_at", "order_date_at"),
)

Texts = NDArray[np.object_]


@dataclass
class Totals:
    """Sums over the rows generated so far, in cents."""

    rows: int = 0
    revenue: int = 0
    discount: int = 0


def _line(*values: object) -> str:
    """Join values as COPY text, escaping what COPY would misread."""
    return "\t".join(
        str(v).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
        for v in values
    )


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _table(rows: int, columns: int, render: Callable[[int, int], str]) -> Texts:
    cells = np.empty((rows, columns), dtype=object)
    for row in range(rows):
        for column in range(columns):
            cells[row, column] = render(row, column)
    return cells


class Renderer:
    """The rendered fragments of one shop."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.country = np.array([c.country_index for c in shop.customers])
        self.price = np.array([p.price for p in shop.products])
        # Money off one unit: (product, discount step), rounded down to the cent.
        self.discount = self.price[:, None] * np.array(shop.discount_percent) // 100
        self.customers = np.array(
            [_line(c.name, c.customer_id, c.city, c.state, c.country) for c in shop.customers], dtype=object
        )
        self.products = _table(len(shop.products), len(shop.discount_percent), self._product)
        # (country, quantity); quantity without shipping cost follows in the last row.
        self.quantities = _table(len(shop.country_shipping) + 1, shop.quantity_max + 1, self._quantity)

    def _product(self, product: int, step: int) -> str:
        p = self.shop.products[product]
        return _line(
            p.name, p.category, p.product_id, _money(p.price), _money(int(self.discount[product, step]))
        )

    def _quantity(self, country: int, quantity: int) -> str:
        rates = self.shop.country_shipping
        cost = rates[country] + quantity * self.shop.shipping_per_unit if country < len(rates) else 0
        return _line(quantity, _money(cost))

    def chunks(self, order_ids: Ints, seed: int, as_of: dt.date, totals: Totals) -> Iterator[bytes]:
        """Yield the rows as COPY text in ``COLUMNS`` order, adding them up in ``totals``.

        Equal arguments give equal bytes. Orders are booked on ``as_of``; checkouts lie up to two days before.
        """
        shop, rng = self.shop, np.random.default_rng(seed)
        days = np.array(
            [_line(as_of - dt.timedelta(days=lag), as_of) for lag in range(len(shop.booking_odds))],
            dtype=object,
        )
        for start in range(0, len(order_ids), CHUNK_ROWS):
            ids = order_ids[start : start + CHUNK_ROWS]
            n = len(ids)
            customer = rng.choice(len(shop.customers), size=n, p=shop.customer_odds)
            product = rng.choice(len(shop.products), size=n, p=shop.product_odds)
            step = rng.choice(len(shop.discount_percent), size=n, p=shop.discount_odds)
            quantity = np.minimum(rng.geometric(1 / shop.quantity_mean, size=n), shop.quantity_max)
            lag = rng.choice(len(days), size=n, p=shop.booking_odds)

            revenue, discount = quantity * self.price[product], quantity * self.discount[product, step]
            free = revenue - discount >= shop.free_shipping_from
            shipping = np.where(free, len(shop.country_shipping), self.country[customer])
            totals.rows += n
            totals.revenue += int(revenue.sum())
            totals.discount += int(discount.sum())

            fields = zip(
                map(str, ids.tolist()),
                self.customers[customer].tolist(),
                self.products[product, step].tolist(),
                self.quantities[shipping, quantity].tolist(),
                days[lag].tolist(),
                strict=True,
            )
            yield ("\n".join(map("\t".join, fields)) + "\n").encode()


@functools.cache
def default_renderer() -> Renderer:
    """The fragments of the packaged shop, rendered once a process."""
    return Renderer(default_shop())
