"""Time zones: every TIMESTAMP_TZ and TIMESTAMP_LTZ is a moment in UTC, the time zone of every session.

DuckDB keeps a moment without its offset. So a TIMESTAMP_TZ with another offset than +0000 is refused, and
CONVERT_TIMEZONE with two arguments gives one only where the offset is gone in the next step.
https://docs.snowflake.com/en/sql-reference/data-types-datetime#timestamp-ltz-timestamp-ntz-timestamp-tz
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import duckdb
from sqlglot import exp

from . import lengths
from .errors import NotEmulatedError
from .kinds import looks_at

if TYPE_CHECKING:
    from .session import Session

_REFUSED = "a TIMESTAMP_TZ with another offset than +0000"
# A text whose offset follows the time; DuckDB reads it without a blank before it.
_CLOSED = r"rtrim(regexp_replace(cast(x as varchar), ' ([+-]\d\d):?(\d\d)?$', '\1:\2'), ':')"
_OTHER = r"""regexp_matches(cast(x as varchar), ':[\d.]+ ?[+-]\d\d:?(\d\d)?$')
    and not regexp_matches(cast(x as varchar), '[+-]00:?(00)?$')"""
_MACROS = "".join(
    f"""
create or replace macro CATALOG._sf_{cast}local(x) as case when typeof(x) <> 'VARCHAR' then cast(x as timestamptz)
    else {cast}cast({_CLOSED} as timestamptz) end;
create or replace macro CATALOG._sf_{cast}zoned(x) as case when typeof(x) = 'VARCHAR' and {_OTHER}
    then error('not emulated: {_REFUSED}') else CATALOG._sf_{cast}local(x) end;
"""
    for cast in ("", "try_")
)
_UTC = ("UTC", "ETC/UTC", "GMT", "ETC/GMT", "ZULU", "UCT")
_WALL_TYPES = (
    exp.DType.TIMESTAMP,
    exp.DType.TIMESTAMPNTZ,
    exp.DType.DATETIME,
    exp.DType.DATE,
    exp.DType.TIME,
)
_WALL_FUNCTIONS = (
    exp.TsOrDsToDate, exp.TsOrDsToTime, exp.Time, exp.Extract, exp.Year, exp.Quarter, exp.Month, exp.Week, exp.Day,
    exp.DayOfMonth, exp.DayOfWeek, exp.DayOfWeekIso, exp.DayOfYear, exp.WeekOfYear, exp.YearOfWeekIso, exp.Hour, exp.Minute,
    exp.Second, exp.Dayname, exp.Monthname, exp.LastDay,
)  # fmt: skip
_WALL_NAMES = ("TO_TIMESTAMP_NTZ", "TO_DATE", "DATE", "TO_TIME")
_STEPS = (exp.Paren, exp.DateTrunc, exp.TimestampTrunc, exp.DateAdd)  # which keep the offset
_WRITTEN = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::[\d.]+)? ?[+-](\d\d):?(\d\d)?")


def create(connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """Make what the statements call."""
    connection.execute(_MACROS.replace("CATALOG", catalog))


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=[one.copy() for one in arguments])


def _global(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Dot(this=exp.to_identifier("_fs_global"), expression=_call(name, *arguments))


@looks_at(
    exp.ConvertTimezone,
    exp.CurrentDate,
    exp.CurrentTimestamp,
    exp.Localtimestamp,
    exp.UnixToTime,
    exp.StrToTime,
    exp.TimestampTzFromParts,
    exp.Extract,
    exp.Cast,
    exp.TryCast,
    exp.Anonymous,
)
def zones(node: exp.Expr) -> exp.Expr:
    """Conversions to and between time zones."""
    if isinstance(node, exp.ConvertTimezone):
        return _convert(node)
    if isinstance(node, exp.CurrentDate) and not node.this:
        return _call("today")
    if isinstance(node, (exp.CurrentTimestamp, exp.Localtimestamp)) and not node.args.get("sysdate"):
        return _call(
            "now"
        )  # DuckDB would look for a column CURRENT_TIMESTAMP, which is the result's own name
    target = node.args.get("target_type") if isinstance(node, (exp.UnixToTime, exp.StrToTime)) else None
    if target is not None and target.this in (exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMPLTZ):
        template = node.args.get("format")
        if target.this == exp.DType.TIMESTAMPTZ and template is not None and "z" in template.name:
            raise NotEmulatedError(f"{_REFUSED}, read by a format")
        return _global("_sf_local", node) if isinstance(node, exp.UnixToTime) else node
    if isinstance(node, exp.TimestampTzFromParts):
        return _from_parts(node)
    if isinstance(node, exp.Extract) and re.match(r"(?i)tz|timezone", node.this.name):
        return exp.Literal.number(0)
    name = str(node.this).upper() if isinstance(node, exp.Anonymous) else ""
    safe = isinstance(node, exp.TryCast) or name.startswith("TRY_")
    value: exp.Expr
    if isinstance(node, (exp.Cast, exp.TryCast)) and not node.find_ancestor(exp.Copy):
        zoned, value = node.to.this, node.this
    elif name.removeprefix("TRY_") in ("TO_TIMESTAMP_TZ", "TO_TIMESTAMP_LTZ") and len(node.expressions) == 1:
        value = node.expressions[0]
        if isinstance(value, exp.Literal) and not value.is_string:
            value = _call("TO_TIMESTAMP_NTZ", value)  # seconds
        zoned = exp.DType.TIMESTAMPLTZ if name.endswith("LTZ") else exp.DType.TIMESTAMPTZ
    else:
        return node
    if zoned not in (exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMPLTZ):
        return node
    if isinstance(value, (exp.JSONExtract, exp.GetExtract)):
        value = exp.cast(value.copy(), exp.DType.VARCHAR)
    name = "zoned" if zoned == exp.DType.TIMESTAMPTZ else "local"
    return _global(f"_sf_{'try_' if safe else ''}{name}", value)


def _convert(node: exp.ConvertTimezone) -> exp.Expr:
    """https://docs.snowflake.com/en/sql-reference/functions/convert_timezone"""
    moment, target = node.args["timestamp"], node.args["target_tz"]
    if source := node.args.get("source_tz"):
        wall = exp.cast(moment.copy(), exp.DType.TIMESTAMPNTZ)
        return _call("timezone", target, _call("timezone", source, wall))
    moment = _global("_sf_local", moment)
    if isinstance(target, exp.Literal) and target.name.upper() in _UTC:
        return moment
    if not _is_wall(node):
        raise NotEmulatedError(
            f"{_REFUSED}: cast the result of CONVERT_TIMEZONE to TIMESTAMP_NTZ, or give it three arguments"
        )
    return _call("timezone", target, moment)


def _is_wall(node: exp.Expr) -> bool:
    """Whether of a moment in a time zone only the date and the time on the wall there are used."""
    parent, child = node.parent, node
    while isinstance(parent, _STEPS) and parent.this is child:
        child, parent = parent, parent.parent
    if isinstance(parent, (exp.Cast, exp.TryCast)):
        return parent.to.this in _WALL_TYPES
    if isinstance(parent, exp.ToChar):
        template = parent.args.get("format")
        return isinstance(template, exp.Literal) and "TZ" not in template.name.upper()
    if isinstance(parent, exp.Anonymous):
        return str(parent.this).upper() in _WALL_NAMES
    return isinstance(parent, _WALL_FUNCTIONS)


def _from_parts(node: exp.TimestampTzFromParts) -> exp.Expr:
    zone = node.args.get("zone")
    if zone is None:
        plain = exp.TimestampLtzFromParts(**{key: one.copy() for key, one in node.args.items() if one})
        return exp.Cast(this=plain, to=exp.DataType.build("TIMESTAMPLTZ"))
    if not isinstance(zone, exp.Literal) or zone.name.upper() not in _UTC:
        raise NotEmulatedError(_REFUSED)
    return node


def check_written(statement: exp.Expr, session: Session) -> None:
    """Refuse to write a text with an offset into a column that would lose it."""
    if not isinstance(statement, exp.Insert):
        return
    written = (one.name for one in statement.find_all(exp.Literal) if one.is_string)
    offsets = (found.groups(default="00") for text in written if (found := _WRITTEN.fullmatch(text)))
    if any(offset != ("00", "00") for offset in offsets):
        sql = "select 1 from duckdb_columns() where data_type = 'TIMESTAMP WITH TIME ZONE' and database_name = ?"
        where = list(lengths.place(statement.this, session))
        if session._duck_conn.execute(f"{sql} and schema_name = ? and table_name = ?", where).fetchall():
            raise NotEmulatedError(_REFUSED)
