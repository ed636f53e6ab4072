"""Order lines in PostgreSQL's binary COPY format, which the server reads faster than text.

The format: https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.4. A field is its length (int32) and
its value as the type's ``recv`` function reads it, everything big-endian. What takes few values (a customer, a
product at a discount, a quantity with its shipping, days with a status) is encoded once; a row is then five
pieces of bytes, picked by index and joined.
"""

from __future__ import annotations

import datetime as dt
import functools
import struct
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from .rows import COLUMNS, EPOCH, Draws, unit_discounts
from .shop import STATUSES, Ints, Shop, default_shop

CHUNK_ROWS = 10_000  # about 2 MB

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
# The start of a row: number of fields, order_id and ordered_at with their lengths.
_ROW = np.dtype([("fields", ">i2"), ("l1", ">i4"), ("order_id", ">i8"), ("l2", ">i4"), ("ordered_at", ">i8")])

Pieces = NDArray[np.object_]


def _field(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def _text(value: str) -> bytes:
    return _field(value.encode())


def _int4(value: int) -> bytes:
    return _field(struct.pack(">i", value))


def _int8(value: int) -> bytes:
    return _field(struct.pack(">q", value))


def _date(value: dt.date) -> bytes:
    return _int4((value - EPOCH.date()).days)


def _numeric(cents: int) -> bytes:
    """A numeric with two decimals: digits to the base of 10,000, the last of them behind the point."""
    whole, fraction = divmod(cents, 100)
    digits = [fraction * 100]
    while whole:
        whole, digit = divmod(whole, 10_000)
        digits.insert(0, digit)
    # Number of digits, weight of the first digit, sign (0 = positive), digits to show behind the point.
    return _field(struct.pack(f">hhhh{len(digits)}h", len(digits), len(digits) - 2, 0, 2, *digits))


def _pieces(values: Iterable[bytes]) -> Pieces:
    listed = list(values)
    pieces = np.empty(len(listed), dtype=object)
    pieces[:] = listed
    return pieces


class Encoder:
    """The encoded pieces of one shop."""

    def __init__(self, shop: Shop) -> None:
        self._customers = _pieces(
            _text(c.name) + _int8(c.customer_id) + _text(c.city) + _text(c.state) + _text(c.country)
            for c in shop.customers
        )
        self._steps = len(shop.discount_percent)
        self._products = _pieces(
            _text(p.name) + _text(p.category) + _int8(p.product_id) + _numeric(p.price) + _numeric(off)
            for p, offs in zip(shop.products, unit_discounts(shop).tolist(), strict=True)
            for off in offs
        )

    def chunks(self, draws: Draws, order_ids: Ints) -> Iterator[bytes]:
        """Yield the rows as binary COPY data in the order of ``COLUMNS``; equal arguments give equal bytes."""
        lags = range(int(draws.lag.max(initial=0)) + 1)
        booked = _date(draws.booked_on)
        days = _pieces(
            _date(draws.booked_on - dt.timedelta(days=lag)) + booked + _text(status)
            for lag in lags
            for status in STATUSES
        )
        # Few pairs of quantity and shipping cost occur: encode each once.
        pairs, pair_of = np.unique(draws.quantity << 32 | draws.shipping, return_inverse=True)
        amounts = _pieces(_int4(pair >> 32) + _numeric(pair & 0xFFFFFFFF) for pair in pairs.tolist())

        yield _HEADER
        for start in range(0, len(draws), CHUNK_ROWS):
            here = slice(start, start + CHUNK_ROWS)
            n = len(order_ids[here])
            heads = np.empty(n, dtype=_ROW)
            heads["fields"], heads["l1"], heads["l2"] = len(COLUMNS), 8, 8
            heads["order_id"], heads["ordered_at"] = order_ids[here], draws.ordered_at[here]
            pieces: list[bytes] = [b""] * (5 * n)
            pieces[0::5] = heads.view(f"V{_ROW.itemsize}").tolist()
            pieces[1::5] = self._customers[draws.customer[here]].tolist()
            pieces[2::5] = self._products[draws.product[here] * self._steps + draws.step[here]].tolist()
            pieces[3::5] = amounts[pair_of[here]].tolist()
            pieces[4::5] = days[draws.lag[here] * len(STATUSES) + draws.status[here]].tolist()
            yield b"".join(pieces)
        yield _TRAILER


@functools.cache
def default_encoder() -> Encoder:
    """The pieces of the packaged shop, encoded once a process."""
    return Encoder(default_shop())
