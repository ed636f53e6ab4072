"""One figure, what it stands beside, and what it should be."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """``value`` in ``unit``; ``beside`` is the same of what it is compared with, in the same run.

    ``target`` is a bound of the ratio where there is one, else of the value: a lower bound, or an upper one
    when ``at_most``. ``peak_mb`` is the largest resident memory of the process in MB.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    beside: float | None = None
    at_most: bool = False
    peak_mb: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Value over what it stands beside."""
        return self.value / self.beside if self.beside else None

    @property
    def meets_target(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None:
            return None
        figure = self.value if self.ratio is None else self.ratio
        return figure <= self.target if self.at_most else figure >= self.target

    def as_json(self) -> dict[str, Any]:
        """The figure without its name: value, unit, beside, ratio, target, and peak_mb where it has one."""
        fields = {key: value for key, value in asdict(self).items() if key not in ("name", "at_most", "note")}
        if self.peak_mb is None:
            del fields["peak_mb"]
        return fields | {"ratio": self.ratio}

    def as_text(self) -> str:
        """The figure as a line for a person."""
        parts = [f"{self.name:<26} {_number(self.value):>11} {self.unit}"]
        if self.ratio is not None and self.beside is not None:
            parts.append(f"{self.ratio:.2f} times {_number(self.beside)} {self.unit}")
        if self.peak_mb is not None:
            parts.append(f"peak {self.peak_mb:.0f} MB")
        if self.target is not None:
            bound = f"{'at most' if self.at_most else 'at least'} {_number(self.target)}"
            parts.append(f"target {bound}: {'met' if self.meets_target else 'MISSED'}")
        return "; ".join(parts) + (f"  ({self.note})" if self.note else "")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
