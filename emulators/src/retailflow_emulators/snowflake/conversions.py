"""Conversions between texts, numbers, truth values and dates.

https://docs.snowflake.com/en/sql-reference/functions-conversion
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from string import Template

import duckdb
from fakesnow import macros as upstream
from sqlglot import exp

from . import printing
from .errors import sql_error
from .intervals import UNITS
from .kinds import looks_at
from .patches import PATCHES, Patch
from .resolution import PREFIX

# A text with a whole number: seconds, or smaller units from a year of them on,
# https://docs.snowflake.com/en/sql-reference/functions/to_date#usage-notes
_YEAR = 31_536_000_000
_MICROSECONDS = f"""case when n < {_YEAR} then n * 1000000 when n < {_YEAR}000 then n * 1000 when n < {_YEAR}000000 then n
    else n // 1000 end"""
# https://docs.snowflake.com/en/sql-reference/functions/to_boolean
_MACROS = f"""
create or replace macro {{c}}._sf_boolean(x) as case when typeof(x) <> 'VARCHAR' then cast(x as boolean)
    when lower(cast(x as varchar)) in ('true', 't', 'yes', 'y', 'on', '1') then true
    when lower(cast(x as varchar)) in ('false', 'f', 'no', 'n', 'off', '0') then false
    when x is not null then error('Boolean value ''' || cast(x as varchar) || ''' is not recognized') end;
create or replace macro {{c}}._sf_moment(n) as make_timestamp({_MICROSECONDS});
create or replace macro {{c}}._sf_date(x) as case
    when typeof(x) = 'VARCHAR' and try_cast(cast(x as varchar) as bigint) is not null
    then cast({{c}}._sf_moment(try_cast(cast(x as varchar) as bigint)) as date) else cast(x as date) end;
"""
_TIMESTAMP = Template(
    """
CREATE OR REPLACE MACRO ${catalog}._fs_to_timestamp(val, scale) AS (
    CASE WHEN typeof(val) = 'VARCHAR' AND regexp_full_match(cast(val AS VARCHAR), '-?[0-9]+')
        THEN _fs_global._sf_moment(try_cast(cast(val AS VARCHAR) AS BIGINT))
    WHEN try_cast(val AS BIGINT) IS NOT NULL
        THEN make_timestamp(cast(val AS BIGINT) * cast(pow(10, 6 - least(scale, 6)) AS BIGINT)
            // cast(pow(10, greatest(scale, 6) - 6) AS BIGINT))
    ELSE CAST(val AS TIMESTAMP) END
);
"""
)
PATCHES.append(
    Patch(
        upstream,
        "FS_TO_TIMESTAMP",
        _TIMESTAMP,
        "TO_TIMESTAMP('1700000000000'): milliseconds, and not the year 55840",
    )
)


def create(connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """Make what the statements call."""
    connection.execute(_MACROS.format(c=catalog))
    connection.create_function("_sf_number_in", number_in, ["VARCHAR", "VARCHAR"], "VARCHAR")


def number_in(text: str, template: str) -> str:
    """The number in a text that follows a format, https://docs.snowflake.com/en/sql-reference/sql-format-models"""
    pattern = template.upper().removeprefix("FM")
    if not re.fullmatch(r"[S$]*[09,G]*(?:[.D][09]*)?(?:MI|S)?", pattern):
        raise ValueError(f"not emulated: the number format '{template}' for reading")
    whole, _, decimals = re.sub(r"[S$]|MI", "", pattern).replace("D", ".").replace("G", ",").partition(".")
    bare = text.strip()
    for mark, allowed in (("$", "$" in pattern), (",", "," in whole)):
        if mark in bare and not allowed:
            raise ValueError(f"Can't parse '{text}' as number with format '{template}'")
        bare = bare.replace(mark, "")
    if bare.endswith("-"):
        bare = "-" + bare[:-1]
    digits, _, behind = bare.lstrip("+-").partition(".")
    try:
        number = Decimal(bare)
    except InvalidOperation:
        number = Decimal("nan")
    if number.is_nan() or len(digits) > len(whole.replace(",", "")) or len(behind) > len(decimals):
        raise ValueError(f"Can't parse '{text}' as number with format '{template}'")
    return f"{number:f}"


def _moment(digits: str) -> datetime:
    number = int(digits)
    micro = number * 1_000_000 if number < _YEAR else number * 1000 if number < _YEAR * 1000 else number
    micro = micro if number < _YEAR * 1_000_000 else number // 1000
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micro)


def _global(name: str, *arguments: exp.Expr) -> exp.Expr:
    copies = [one.copy() for one in arguments]
    return exp.Dot(
        this=exp.to_identifier("_fs_global"), expression=exp.Anonymous(this=name, expressions=copies)
    )


def _is_whole(node: exp.Expr | None) -> bool:
    return isinstance(node, exp.Literal) and node.is_string and bool(re.fullmatch(r"\d+", node.name))


_ENDS = (exp.Filter, exp.Window, exp.WithinGroup)


@looks_at(
    exp.Cast,
    exp.TryCast,
    exp.ToBoolean,
    exp.TsOrDsToDate,
    exp.Anonymous,
    exp.ToNumber,
    exp.ToBinary,
    exp.Time,
    exp.DateTrunc,
    exp.TimestampTrunc,
    exp.ToChar,
    exp.Booland,
    exp.Xor,
    exp.GroupConcat,
    *_ENDS,
)
def apply(node: exp.Expr) -> exp.Expr:
    """A conversion as DuckDB does it."""
    if type(node) is exp.Cast:
        return _cast(node)
    if isinstance(node, exp.TryCast):
        if node.to.this in (exp.DType.ARRAY, exp.DType.OBJECT, exp.DType.VARIANT):
            # https://docs.snowflake.com/en/sql-reference/functions/try_cast: only to the types that are listed there
            said = f"Function TRY_CAST cannot be used with arguments of types VARCHAR and {node.to.this.name}"
            raise sql_error(1065, "22023", f"SQL compilation error:\n{said}")
        if node.to.this in (exp.DType.TIMESTAMP, exp.DType.TIMESTAMPNTZ):
            return exp.Anonymous(this="TRY", expressions=[exp.Cast(this=node.this.copy(), to=node.to.copy())])
        return _text(node)
    if isinstance(node, exp.ToBoolean) and not node.args.get("safe"):
        return _global("_sf_boolean", node.this)
    if isinstance(node, exp.TsOrDsToDate) and not node.args.get("format") and not node.args.get("safe"):
        return _global("_sf_date", node.this)
    if (
        isinstance(node, exp.Anonymous)
        and str(node.this).upper() in ("TO_DATE", "DATE")
        and len(node.expressions) == 1
    ):
        return _global("_sf_date", node.expressions[0])
    if isinstance(node, exp.ToNumber) and (template := node.args.get("format")):
        read: exp.Expr = exp.Anonymous(this="_sf_number_in", expressions=[node.this.copy(), template.copy()])
        type_ = exp.DataType.build(f"DECIMAL({node.args['precision'].name}, {node.args['scale'].name})")
        if node.args.get("safe"):
            return exp.TryCast(this=exp.Anonymous(this="TRY", expressions=[read]), to=type_)
        return exp.Cast(this=read, to=type_)
    if isinstance(node, exp.ToBinary):
        return _binary(node)
    if isinstance(node, exp.Time) and not node.expression:
        return exp.cast(node.this.copy(), exp.DType.TIME)
    if isinstance(node, (exp.DateTrunc, exp.TimestampTrunc)):
        unit = node.args.get("unit")
        if isinstance(unit, (exp.Literal, exp.Var)) and (known := UNITS.get(unit.name.lower())):
            unit.replace(
                exp.Literal.string(known.upper()) if isinstance(unit, exp.Literal) else exp.var(known.upper())
            )
        return node
    if isinstance(node, exp.ToChar) and not node.args.get("format"):
        return printing.text(node.this)
    if isinstance(node, (exp.Booland, exp.Xor)) and node.args.get("round_input"):
        one, other = (_global("_sf_boolean", part) for part in (node.this, node.expression))
        if isinstance(node, exp.Booland):
            return exp.Paren(this=exp.And(this=one, expression=other))
        return exp.Paren(this=exp.NEQ(this=one, expression=other))
    return _listagg(node)


def _cast(node: exp.Cast) -> exp.Expr:
    to = node.to.this
    if to == exp.DType.BOOLEAN and not isinstance(node.this, (exp.Boolean, exp.JSONExtract)):
        return _global("_sf_boolean", node.this)
    if to == exp.DType.VARIANT:
        return exp.Anonymous(this="TO_JSON", expressions=[node.this.copy()])
    if to in (exp.DType.ARRAY, exp.DType.OBJECT) and not node.find_ancestor(exp.Copy):
        return exp.Anonymous(this=f"{PREFIX}{to.name}", expressions=[node.this.copy()])
    if to == exp.DType.DATE and _is_whole(node.this):
        return exp.Cast(this=exp.Literal.string(f"{_moment(node.this.name):%Y-%m-%d}"), to=node.to.copy())
    return _text(node)


def _text(node: exp.Cast) -> exp.Expr:
    if node.to.this not in (exp.DType.VARCHAR, exp.DType.TEXT) or isinstance(node.this, exp.JSONExtract):
        return node
    if node.find_ancestor(exp.Copy):
        return node
    if not node.to.expressions:
        return printing.text(node.this)
    if not printing.is_text(node.this):
        node.this.replace(printing.text(node.this))
    return node


def _binary(node: exp.ToBinary) -> exp.Expr:
    template = node.args.get("format")
    how = template.name.upper() if isinstance(template, exp.Literal) else "HEX"
    name = {"HEX": "from_hex", "UTF-8": "encode", "UTF8": "encode", "BASE64": "from_base64"}.get(how)
    if name is None:
        return node
    read = exp.Anonymous(this=name, expressions=[node.this.copy()])
    return exp.Anonymous(this="TRY", expressions=[read]) if node.args.get("safe") else read


def _listagg(node: exp.Expr) -> exp.Expr:
    """Of no rows it is an empty text, https://docs.snowflake.com/en/sql-reference/functions/listagg#returns"""
    inner = node
    while isinstance(inner, _ENDS):
        inner = inner.this
    if not isinstance(inner, exp.GroupConcat) or isinstance(node.parent, (*_ENDS, exp.Coalesce)):
        return node
    return exp.Coalesce(this=node.copy(), expressions=[exp.Literal.string("")])
