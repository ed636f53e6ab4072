"""Moments and days as ISO 8601 writes them: read right, or refused."""

from __future__ import annotations

import datetime as dt
import re

_DATE = re.compile(
    r"(?P<year>[0-9]{4})"
    r"(?:-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})|-W(?P<week>[0-9]{2})-(?P<weekday>[1-7])|-(?P<ordinal>[0-9]{3}))"
)
_BASIC_DATE = re.compile(
    r"(?P<year>[0-9]{4})"
    r"(?:(?P<month>[0-9]{2})(?P<day>[0-9]{2})|W(?P<week>[0-9]{2})(?P<weekday>[1-7])|(?P<ordinal>[0-9]{3}))"
)
_FRACTION = r"(?:[.,](?P<fraction>[0-9]{1,30}))?"
_OFFSET = r"(?P<offset>[Zz]|[+\-\u2212][0-9]{2}(?::?[0-9]{2})?)?"
_TIME = re.compile(
    rf"(?P<hour>[0-9]{{2}})(?::(?P<minute>[0-9]{{2}})(?::(?P<second>[0-9]{{2}}))?)?{_FRACTION}{_OFFSET}"
)
_BASIC_TIME = re.compile(
    rf"(?P<hour>[0-9]{{2}})(?:(?P<minute>[0-9]{{2}})(?P<second>[0-9]{{2}})?)?{_FRACTION}{_OFFSET}"
)


def parse_moment(text: str) -> dt.datetime:
    """A moment as UTC. A day without a time is its last moment; a time without an offset is that of UTC.

    Reads the complete dates of ISO 8601 (calendar, week, ordinal), in the basic and in the extended form, and
    times of any precision with a decimal fraction of the last part, of which microseconds are kept. 24:00 is
    the beginning of the next day. RFC 3339's blank and lower-case letters are taken too. ValueError for
    everything else: a month, a year or a week as a whole, a leap second (which no sale can be booked at), a
    mixture of both forms, an interval; OverflowError for what no calendar holds.
    """
    date_text, separator, time_text = re.fullmatch(r"([^Tt ]*)([Tt ]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    date = _day(date_text)
    if not separator:
        return dt.datetime.combine(date, dt.time.max, dt.UTC)
    extended = "-" in date_text
    found = (_TIME if extended else _BASIC_TIME).fullmatch(time_text)
    if found is None:
        raise ValueError("not a time of day")
    hour, minute, second = (int(found[part] or 0) for part in ("hour", "minute", "second"))
    unit = dt.timedelta(seconds=1) if found["second"] else dt.timedelta(minutes=1)
    if not found["minute"]:
        unit = dt.timedelta(hours=1)
    rest = _part(found["fraction"], unit)
    if hour > 24 or minute > 59 or second > 59 or (hour == 24 and (minute or second or rest)):
        raise ValueError("not a time of day")
    length = dt.timedelta(hours=hour, minutes=minute, seconds=second) + rest
    moment = dt.datetime.combine(date, dt.time.min, dt.UTC) + length
    return moment - _offset(found["offset"] or "Z", extended)


def _day(text: str) -> dt.date:
    found = _DATE.fullmatch(text) or _BASIC_DATE.fullmatch(text)
    if found is None:
        raise ValueError("not a day")
    year = int(found["year"])
    if found["week"]:
        return dt.date.fromisocalendar(year, int(found["week"]), int(found["weekday"]))
    if found["ordinal"]:
        day = dt.date(year, 1, 1) + dt.timedelta(days=int(found["ordinal"]) - 1)
        if day.year != year:
            raise ValueError("that year has no such day")
        return day
    return dt.date(year, int(found["month"]), int(found["day"]))


def _part(digits: str | None, unit: dt.timedelta) -> dt.timedelta:
    """A decimal fraction of a unit, cut after the microseconds."""
    if not digits:
        return dt.timedelta(0)
    whole = unit // dt.timedelta(microseconds=1)
    return dt.timedelta(microseconds=whole * int(digits) // 10 ** len(digits))


def _offset(text: str, extended: bool) -> dt.timedelta:
    if text in "Zz":
        return dt.timedelta(0)
    sign = 1 if text[0] == "+" else -1
    digits = text[1:].replace(":", "")
    if len(digits) == 4 and (":" in text) != extended:
        raise ValueError("basic and extended form are mixed")
    hours, minutes = int(digits[:2]), int(digits[2:] or 0)
    if hours > 23 or minutes > 59:
        raise ValueError("not an offset")
    return sign * dt.timedelta(hours=hours, minutes=minutes)
