"""Do PostgreSQL, RAW and the marts hold the same money? Pure comparison; the databases are asked elsewhere.

Rows keep arriving while a cycle runs, so "now" differs from system to system. What is compared instead is
what was committed when the sync began: its transaction snapshot is noted then.

- A row of PostgreSQL whose last change is visible in that snapshot is *settled*. The sync must have brought
  it.
- An order that was inserted or changed after the snapshot is left out on all sides: the warehouse may hold
  its old state, its new one, or none.

What is left must agree to the cent, whatever its timestamps say: a row that a slow transaction committed
late, with a time before the sync's cursor, is found missing as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

CENT = Decimal("0.01")
ZERO = Decimal("0.00")


@dataclass(frozen=True)
class Totals:
    """Number of orders, and money to the cent."""

    orders: int
    total_revenue: Decimal
    total_discount: Decimal
    net_revenue: Decimal

    @classmethod
    def of(cls, orders: Any, total_revenue: Any, total_discount: Any, net_revenue: Any = None) -> Self:
        """From a row of a database; net revenue is computed where the database does not hold it.

        Raises TypeError for a float and ValueError for money beyond the cent: both would hide a difference.
        """
        revenue, discount = _money(total_revenue), _money(total_discount)
        net = revenue - discount if net_revenue is None else _money(net_revenue)
        return cls(int(orders), revenue, discount, net)

    def __sub__(self, other: "Totals") -> "Totals":
        return Totals(
            self.orders - other.orders,
            self.total_revenue - other.total_revenue,
            self.total_discount - other.total_discount,
            self.net_revenue - other.net_revenue,
        )

    def __str__(self) -> str:
        return (
            f"{self.orders} orders, revenue {self.total_revenue}, discount {self.total_discount},"
            f" net {self.net_revenue}"
        )


NOTHING = Totals(0, ZERO, ZERO, ZERO)


@dataclass(frozen=True)
class SourceView:
    """PostgreSQL now: totals of the settled rows, the orders that changed or went since the sync began, and when a
    settled row last changed.
    """

    totals: Totals
    changed_since: Sequence[int]
    last_change: datetime | None = None


@dataclass(frozen=True)
class Level:
    """One step of the journey: what it should hold by the step before, what it holds, and what to do if
    not.
    """

    stage: str
    expected_of: str
    expected: Totals
    found_in: str
    found: Totals
    remedy: str

    @property
    def agrees(self) -> bool:
        """Equal in orders and to the cent."""
        return self.expected == self.found

    def __str__(self) -> str:
        verdict = "agrees with" if self.agrees else f"differs by ({self.found - self.expected}) from"
        return f"{self.stage}: {self.found_in} ({self.found}) {verdict} {self.expected_of} ({self.expected})"


def totals_by_place(levels: Sequence[Level]) -> dict[str, dict[str, int | str]]:
    """The numbers that were compared, keyed by where they were found; money as text, exact to the cent."""
    places = {level.expected_of: level.expected for level in levels} | {
        level.found_in: level.found for level in levels
    }
    return {
        place: {
            "orders": totals.orders,
            "total_revenue": str(totals.total_revenue),
            "total_discount": str(totals.total_discount),
            "net_revenue": str(totals.net_revenue),
        }
        for place, totals in places.items()
    }


def verdict(levels: Sequence[Level]) -> str:
    """One line on what is wrong, first broken stage first; or that all agree."""
    problems = [f"{level}. {level.remedy}" for level in levels if not level.agrees]
    return " | ".join(problems) or f"{len(levels)} levels agree: {levels[0].found}"


def _money(value: Any) -> Decimal:
    if isinstance(value, float):
        raise TypeError(f"{value!r} is a float: cast the column to NUMBER(38, 2) before adding up")
    amount = Decimal(value)
    if amount != amount.quantize(CENT):
        raise ValueError(f"{amount} is finer than a cent")
    return amount.quantize(CENT)
