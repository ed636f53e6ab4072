"""Interval constants, as sqlglot and DuckDB read them.

https://docs.snowflake.com/en/sql-reference/data-types-datetime#interval-constants
"""

from __future__ import annotations

import re

from .errors import sql_error

_UNITS = {
    "year": "year y yy yyy yyyy yr years yrs",
    "quarter": "quarter q qtr qtrs quarters",
    "month": "month mm mon mons months",
    "week": "week w wk weekofyear woy wy weeks",
    "day": "day d dd days dayofmonth",
    "hour": "hour h hh hr hours hrs",
    "minute": "minute m mi min minutes mins",
    "second": "second s sec seconds secs",
    "millisecond": "millisecond ms msec milliseconds",
    "microsecond": "microsecond us usec microseconds",
    "nanosecond": "nanosecond ns nsec nanosec nsecond nanoseconds nanosecs nseconds",
}
UNITS = {word: unit for unit, words in _UNITS.items() for word in words.split()}
_SMALLER = {"quarter": (3, "month"), "week": (7, "day")}  # what DuckDB and sqlglot do not both know
_SKIPPED_OR_INTERVAL = re.compile(
    r"""'(?:[^'\\]|''|\\.)*'|"(?:[^"]|"")*"|\$\$.*?\$\$|--[^\n]*|//[^\n]*|/\*.*?\*/"""
    r"""|(?<![\w$.])interval\s*'(?P<text>[^']*)'""",
    re.DOTALL | re.IGNORECASE,
)
_PART = re.compile(r"\s*([+-]?\d+)\s*([a-z]*)\s*", re.IGNORECASE)


def plain(command: str) -> str:
    """A statement with each interval in parentheses, its parts in units that both know."""
    if "interval" not in command.lower():
        return command
    return _SKIPPED_OR_INTERVAL.sub(
        lambda found: found[0] if found["text"] is None else _plain(found["text"]), command
    )


def _plain(text: str) -> str:
    parts = []
    for part in text.split(","):
        found = _PART.fullmatch(part)
        unit = UNITS.get(found[2].lower() or "second") if found else None
        if not found or unit is None:
            raise sql_error(1003, "42000", f"SQL compilation error:\nInvalid interval literal: '{text}'")
        times, unit = _SMALLER.get(unit, (1, unit))
        if unit == "nanosecond":
            times, unit = 1, "microsecond"
            parts.append(f"{int(found[1]) // 1000} {unit}")
        else:
            parts.append(f"{int(found[1]) * times} {unit}")
    return f"(interval '{' '.join(parts)}')"
