"""Texts of dates and numbers by Snowflake's format models.

Elements are those of https://docs.snowflake.com/en/sql-reference/date-time-input-output and
https://docs.snowflake.com/en/sql-reference/sql-format-models; one that is not known is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

_TIME_ELEMENTS: dict[str, tuple[str | None, Callable[[datetime], str]]] = {
    # element: what DuckDB's strftime calls it, if it has it, and the text
    "YYYY": ("%Y", lambda at: f"{at.year:04d}"),
    "YY": ("%y", lambda at: f"{at.year % 100:02d}"),
    "MMMM": ("%B", lambda at: f"{at:%B}"),
    "MON": ("%b", lambda at: f"{at:%b}"),
    "MM": ("%m", lambda at: f"{at.month:02d}"),
    "DD": ("%d", lambda at: f"{at.day:02d}"),
    "DY": ("%a", lambda at: f"{at:%a}"),
    "HH24": ("%H", lambda at: f"{at.hour:02d}"),
    "HH12": ("%I", lambda at: f"{at:%I}"),
    "HH": ("%H", lambda at: f"{at.hour:02d}"),
    "AM": ("%p", lambda at: f"{at:%p}"),
    "PM": ("%p", lambda at: f"{at:%p}"),
    "MI": ("%M", lambda at: f"{at.minute:02d}"),
    "SS": ("%S", lambda at: f"{at.second:02d}"),
    "FF3": ("%g", lambda at: f"{at.microsecond // 1000:03d}"),
    "FF6": ("%f", lambda at: f"{at.microsecond:06d}"),
    "FF9": (None, lambda at: f"{at.microsecond:06d}000"),
    "TZH:TZM": ("+00:00", lambda at: "+00:00"),
    "TZHTZM": ("+0000", lambda at: "+0000"),
    "TZH": ("+00", lambda at: "+00"),
    "UUUU": ("%Y", lambda at: f"{at.year:04d}"),
}
for _digits in (0, 1, 2, 4, 5, 7, 8):
    _TIME_ELEMENTS[f"FF{_digits}"] = None, lambda at, digits=_digits: f"{at.microsecond:06d}000"[:digits]  # type: ignore[misc]
_TIME_ELEMENTS["FF"] = _TIME_ELEMENTS["FF9"]
_TIME = re.compile(
    r'"(?P<quoted>(?:[^"]|"")*)"|(?P<element>'
    + "|".join(sorted(_TIME_ELEMENTS, key=len, reverse=True))
    + r")|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)


class FormatError(ValueError):
    """A format that Snowflake does not know, or that is not emulated."""


def strftime_format(template: str) -> str | None:
    """DuckDB's strftime format with the same meaning; None where it has none."""
    parts = []
    for found in _TIME.finditer(template):
        if found["element"]:
            known = _TIME_ELEMENTS[found["element"].upper()][0]
            if known is None:
                return None
            parts.append(known)
        else:
            parts.append(_literal(found).replace("%", "%%"))
    return "".join(parts)


def time_text(at: datetime, template: str) -> str:
    """The text of a moment in UTC."""
    return "".join(
        _TIME_ELEMENTS[found["element"].upper()][1](at) if found["element"] else _literal(found)
        for found in _TIME.finditer(template)
    )


def _literal(found: re.Match[str]) -> str:
    return found["quoted"].replace('""', '"') if found["quoted"] is not None else found["other"]


_NUMBER = re.compile(
    r'"(?P<quoted>(?:[^"]|"")*)"|(?P<element>FM|FX|TM9|TME|TM|MI|EEEEE|EEEE|EEE|EE|[09X.,DGSB$])|(?P<other>[\s;:=/()-])',
    re.IGNORECASE,
)


def number_text(value: str, template: str) -> str:
    """The text of a number; `#` in every place where it has more digits than the format."""
    tokens, at = [], 0
    while at < len(template):
        found = _NUMBER.match(template, at)
        if not found:
            raise FormatError(f"Bad format model: {template[at:]!r} in {template!r}")
        tokens.append(found)
        at = found.end()
    elements = [(found["element"] or "").upper() for found in tokens]
    if {"TM", "TM9"} & set(elements):
        return _plain(value)
    if "TME" in elements:
        return _scientific(Decimal(value))
    if set(elements) & {"EE", "EEE", "EEEE", "EEEEE"} or "X" in elements:
        raise FormatError(f"not emulated: the number format {template!r}")
    return _fixed(Decimal(value), tokens, elements)


def _plain(value: str) -> str:
    return f"{Decimal(value):f}" if "e" in value.lower() else value


def _scientific(value: Decimal) -> str:
    mantissa, exponent = f"{value:E}".split("E")
    return f"{mantissa}E{int(exponent)}"


def _fixed(value: Decimal, tokens: list[re.Match[str]], elements: list[str]) -> str:
    point = next((index for index, one in enumerate(elements) if one in (".", "D")), len(elements))
    whole = [index for index in range(point) if elements[index] in ("0", "9")]
    decimals = sum(one in ("0", "9") for one in elements[point:])
    rounded = abs(value).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    negative = value < 0 and rounded != 0
    digits, _, fraction = f"{rounded:f}".partition(".")
    digits = digits.lstrip("0")
    compact = "FM" in elements
    overflow = len(digits) > len(whole)
    zero_from = next((place for place, index in enumerate(whole) if elements[index] == "0"), len(whole))
    first = min(len(whole) - len(digits), zero_from)  # place of the first digit that is shown
    signed = {"S", "MI"} & set(elements)
    sign = "-" if negative else ""
    blank = "" if compact else " "
    body: list[str] = []
    place = shown = 0
    # Without an element for the sign there is a place for it in front, and it stands next to the number.
    pending = None if signed else sign
    for index, (found, element) in enumerate(zip(tokens, elements, strict=True)):
        if element in ("0", "9") and index < point:
            if place < first and not overflow:
                body.append(blank)
            else:
                digit = "#" if overflow else digits.rjust(len(whole), "0")[place]
                body.append(digit)
            place += 1
        elif element in ("0", "9"):
            body.append("#" if overflow else fraction[shown])
            shown += 1
        elif element in (",", "G"):
            body.append("," if place > first or overflow else blank)
        elif element in (".", "D"):
            body.append(".")
        elif element == "$":
            body.append("$")
        elif element == "S":
            body.append("-" if negative else "+")
        elif element == "MI":
            body.append("-" if negative else blank)
        elif found["quoted"] is not None:
            body.append(found["quoted"].replace('""', '"'))
        elif found["other"]:
            body.append(found["other"])
    text = "".join(body)
    lead = len(text) - len(text.lstrip(" "))
    if pending is not None:
        return text[:lead] + (pending or blank) + text[lead:]
    if "S" in elements and elements[0] == "S":
        sign_text, rest = text[0], text[1:]
        lead = len(rest) - len(rest.lstrip(" "))
        return rest[:lead] + sign_text + rest[lead:]
    return text
