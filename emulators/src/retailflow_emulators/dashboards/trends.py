"""Metabase's display ``smartscalar``: the newest value of a column, compared with an earlier one or with another column.

By metabase/metabase, frontend/src/metabase/visualizations/visualizations/SmartScalar/compute.ts: the value is that of
the last row that has one and a date. ``anotherColumn``, ``previousValue`` and ``staticNumber`` are drawn; the others
need the unit of the dates, which a result of SQL does not tell here, and are named as not emulated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .warehouse import Column, Result, Value

DATES = ("type/Date", "type/DateTime", "type/DateTimeWithLocalTZ")


@dataclass(frozen=True)
class Change:
    """A comparison, as a person reads it; ``good`` is None where neither direction is."""

    text: str
    good: bool | None = None


@dataclass(frozen=True)
class Trend:
    """The column and the newest value with its date, and what it is compared with."""

    column: Column
    value: Value
    date: str
    changes: list[Change]


def trend(
    settings: dict[str, Any], result: Result, write: Callable[[Value, Column], str]
) -> Trend | str | None:
    """The trend of a result, or why it cannot be shown, in Metabase's words; None where no row has a value."""
    names = [column.name for column in result.columns]
    dates = [index for index, column in enumerate(result.columns) if column.base_type in DATES]
    field = settings.get("scalar.field")
    if not dates:
        return "No date column was found."
    if field not in names:
        return "Select a valid column for the primary number field (scalar.field)."
    at = names.index(field)
    known = [row for row in result.rows if row[at] is not None and row[dates[0]] is not None]
    if not known:
        return None
    newest = known[-1]
    wanted = settings.get("scalar.comparisons")
    changes = []
    for one in wanted if isinstance(wanted, list) else []:
        if not isinstance(one, dict):
            continue
        label = str(one.get("label") or one.get("column") or "")
        match one.get("type"):
            case "anotherColumn" if one.get("column") in names:
                before: Value = newest[names.index(one["column"])]
            case "anotherColumn":
                before, label = None, "N/A"
            case "previousValue" if len(known) > 1:
                before, label = known[-2][at], str(known[-2][dates[0]])
            case "previousValue":
                continue
            case "staticNumber":
                before = one.get("value")
            case kind:
                changes.append(Change(f"not emulated: a comparison of type {kind}"))
                continue
        turned = settings.get("scalar.switch_positive_negative") is True
        changes.append(_change(newest[at], before, label, turned, lambda v: write(v, result.columns[at])))
    return Trend(result.columns[at], newest[at], str(newest[dates[0]]), changes)


def _change(value: Value, before: Value, label: str, turned: bool, write: Callable[[Value], str]) -> Change:
    if not isinstance(value, int | float) or not isinstance(before, int | float):
        return Change(f"vs. {label}: (No data)")
    if value == before:
        return Change(f"No change vs. {label}")
    rises = value > before
    share = f" {abs((value - before) / before):,.1%}" if before else ""
    return Change(f"{'↑' if rises else '↓'}{share} vs. {label}: {write(before)}", rises is not turned)
