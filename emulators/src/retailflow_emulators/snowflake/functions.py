"""Functions of Snowflake that DuckDB has not, or has with another meaning."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from itertools import groupby
from typing import Any

import duckdb
from sqlglot import exp

from .errors import NotEmulatedError
from .kinds import looks_at

# https://docs.snowflake.com/en/sql-reference/functions/width_bucket
_MACROS = """
create or replace macro CATALOG._sf_changes(l) as len(list_filter(l, lambda x, i: i > 1 and x <> l[i - 1]));
create or replace macro CATALOG._sf_getbit(x, n) as
    case when n between 0 and 126 then cast((cast(x as hugeint) >> cast(n as integer)) & 1 as integer) end;
create or replace macro CATALOG._sf_md5_upper(x) as cast('0x' || left(md5(cast(x as varchar)), 16) as ubigint);
create or replace macro CATALOG._sf_md5_lower(x) as cast('0x' || right(md5(cast(x as varchar)), 16) as ubigint);
create or replace macro CATALOG._sf_cbrt(x) as case when pow(round(cbrt(x)), 3) = x then round(cbrt(x))
    else sign(x) * pow(abs(x), 1 / 3) end;
create or replace macro CATALOG._sf_real(x) as case when not isnan(x) then x end;
create or replace macro CATALOG._sf_bucket(x, low, high, n) as case when x < low then 0 when x >= high then n + 1
    else cast(floor((cast(x as double) - low) * n / (cast(high as double) - low)) as bigint) + 1 end;
"""
_SOUNDS = {
    letter: code
    for code, letters in enumerate(("BFPV", "CGJKQSXZ", "DT", "L", "MN", "R"), 1)
    for letter in letters
}
_OF_NUMBERS = (exp.Abs, exp.Sign, exp.Round, exp.Ceil, exp.Floor, exp.Trunc)
_REGRESSIONS = (exp.RegrSlope, exp.RegrIntercept, exp.RegrR2)
_URL = re.compile(
    r"(?P<scheme>[a-zA-Z][\w+.-]*):(?://(?P<host>[^/?#]*?)(?::(?P<port>\d+))?(?=[/?#]|$))?"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?",
    re.DOTALL,
)
_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "c": re.NOFLAG}


def create(connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """Make what the statements call."""
    connection.execute(_MACROS.replace("CATALOG", catalog))
    functions: dict[Callable[..., Any], list[Any]] = {
        sha2: ["VARCHAR", "BIGINT"],
        soundex: ["VARCHAR"],
        parse_url: ["VARCHAR", "BIGINT"],
        regexp_replace: ["VARCHAR", "VARCHAR", "VARCHAR", "BIGINT", "BIGINT", "VARCHAR"],
    }
    for function, kinds in functions.items():
        connection.create_function(f"_sf_fn_{function.__name__}", function, kinds, "VARCHAR")


def sha2(text: str, bits: int) -> str:
    """https://docs.snowflake.com/en/sql-reference/functions/sha2"""
    if bits not in (224, 256, 384, 512):
        raise ValueError(f"Invalid digest size {bits} for SHA2")
    return hashlib.new(f"sha{bits}", text.encode()).hexdigest()


def soundex(text: str) -> str:
    """https://docs.snowflake.com/en/sql-reference/functions/soundex"""
    letters = [letter for letter in text.upper() if letter.isalpha()]
    if not letters:
        return ""
    codes = [_SOUNDS.get(letter, 0) for letter in letters if letter not in "HW" or letter is letters[0]]
    kept = [code for code, _ in groupby(codes)][1:]
    return (letters[0] + "".join(str(code) for code in kept if code) + "000")[:4]


def parse_url(text: str, permissive: int) -> str:
    """https://docs.snowflake.com/en/sql-reference/functions/parse_url"""
    found = _URL.fullmatch(text)
    if not found:
        if permissive:
            return '{"error":"scheme not specified"}'
        raise ValueError("Error parsing URL: scheme not specified")
    host, port, path = found["host"], found["port"], found["path"]
    query = found["query"]
    parameters = dict((*one.split("=", 1), None)[:2] for one in query.split("&") if one) if query else None
    parts = {"fragment": found["fragment"], "host": host, "parameters": parameters}
    parts |= {"path": path.removeprefix("/") if host is not None else path, "port": port, "query": query}
    return json.dumps({**parts, "scheme": found["scheme"]}, ensure_ascii=False, separators=(",", ":"))


def regexp_replace(text: str, pattern: str, new: str, position: int, occurrence: int, parameters: str) -> str:
    """https://docs.snowflake.com/en/sql-reference/functions/regexp_replace"""
    flags = re.NOFLAG
    for one in parameters:
        flags |= _FLAGS.get(one, re.NOFLAG)
    before, rest = text[: position - 1], text[position - 1 :]
    found = list(re.finditer(pattern, rest, flags))
    chosen = found if not occurrence else found[occurrence - 1 : occurrence]
    for match in reversed(chosen):
        rest = rest[: match.start()] + match.expand(new) + rest[match.end() :]
    return before + rest


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=[one.copy() for one in arguments])


def _global(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Dot(this=exp.to_identifier("_fs_global"), expression=_call(name, *arguments))


@looks_at(
    exp.GroupConcat,
    exp.SHA2,
    exp.MD5NumberLower64,
    exp.MD5NumberUpper64,
    exp.Cbrt,
    exp.Soundex,
    exp.WidthBucket,
    exp.ApproxQuantile,
    exp.ArrayUniqueAgg,
    exp.RegexpExtractAll,
    exp.ArgMax,
    exp.ArgMin,
    exp.RegexpReplace,
    exp.Join,
    exp.Window,
    exp.Collate,
    exp.Filter,
    exp.Getbit,
    exp.LastDay,
    exp.ParseUrl,
    *_OF_NUMBERS,
    *_REGRESSIONS,
)
def apply(node: exp.Expr) -> exp.Expr:
    """A function as DuckDB has it."""
    if isinstance(node, exp.GroupConcat) and not node.args.get("separator"):
        # https://docs.snowflake.com/en/sql-reference/functions/listagg: the default is an empty text
        node.set("separator", exp.Literal.string(""))
    elif isinstance(node, exp.SHA2) and node.args.get("length") and node.args["length"].name != "256":
        return _call("_sf_fn_sha2", node.this, node.args["length"])
    elif isinstance(node, (exp.MD5NumberLower64, exp.MD5NumberUpper64)):
        # https://docs.snowflake.com/en/sql-reference/functions/md5_number_lower64
        half = "lower" if isinstance(node, exp.MD5NumberLower64) else "upper"
        return _global(f"_sf_md5_{half}", node.this)
    elif isinstance(node, exp.Cbrt):
        return _global("_sf_cbrt", node.this)
    elif isinstance(node, exp.Soundex):
        return _call("_sf_fn_soundex", node.this)
    elif isinstance(node, exp.WidthBucket):
        parts = (node.args[name] for name in ("min_value", "max_value", "num_buckets"))
        return _global("_sf_bucket", node.this, *parts)
    elif isinstance(node, exp.ApproxQuantile):
        return exp.cast(node.copy(), exp.DType.DOUBLE)
    elif isinstance(node, (exp.ArrayUniqueAgg, exp.RegexpExtractAll)) or (
        isinstance(node, (exp.ArgMax, exp.ArgMin)) and node.args.get("count")
    ):
        return _call("TO_JSON", node)
    elif isinstance(node, exp.RegexpReplace):
        return _regexp_replace(node)
    elif isinstance(node, exp.Join) and (condition := node.args.get("match_condition")):
        # https://docs.snowflake.com/en/sql-reference/constructs/asof-join: rows of the left table stay without a match
        node.set("match_condition", None)
        node.set("side", "LEFT")
        on = node.args.get("on")
        node.set("on", exp.and_(on, condition) if on else condition)
    elif isinstance(node, exp.Window) and node.this.name.upper() == "CONDITIONAL_TRUE_EVENT":
        # https://docs.snowflake.com/en/sql-reference/functions/conditional_true_event
        node.this.replace(exp.CountIf(this=node.this.expressions[0].copy()))
        node.set(
            "spec", exp.WindowSpec(kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW")
        )
    elif isinstance(node, exp.Window) and node.this.name.upper() == "CONDITIONAL_CHANGE_EVENT":
        # https://docs.snowflake.com/en/sql-reference/functions/conditional_change_event; DuckDB nests no windows
        seen = node.copy()
        seen.this.replace(_call("list", node.this.expressions[0]))
        seen.set(
            "spec", exp.WindowSpec(kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW")
        )
        return _global("_sf_changes", seen)
    elif isinstance(node, exp.Getbit):
        # https://docs.snowflake.com/en/sql-reference/functions/getbit
        return _global("_sf_getbit", node.this, node.expression)
    elif isinstance(node, exp.ParseUrl):
        parsed = _call("_sf_fn_parse_url", node.this, node.args.get("permissive") or exp.Literal.number(0))
        return exp.Cast(this=parsed, to=exp.DataType(this=exp.DType.JSON))
    elif isinstance(node, exp.LastDay) and isinstance(node.this, exp.Literal):
        node.this.replace(exp.cast(node.this.copy(), exp.DType.DATE))
    elif isinstance(node, _OF_NUMBERS) and isinstance(node.this, exp.Literal) and node.this.is_string:
        # https://docs.snowflake.com/en/sql-reference/data-type-conversion
        node.this.replace(exp.cast(node.this.copy(), exp.DType.DOUBLE))
    elif isinstance(node, (*_REGRESSIONS, exp.Window, exp.Filter)):
        inner = node
        while isinstance(inner, (exp.Window, exp.Filter)):
            inner = inner.this
        if isinstance(inner, _REGRESSIONS) and not isinstance(node.parent, (exp.Window, exp.Filter)):
            # https://docs.snowflake.com/en/sql-reference/functions/regr_slope: NULL where x does not vary
            return _global("_sf_real", node)
    elif isinstance(node, exp.Collate):
        raise NotEmulatedError("COLLATE")
    return node


def _regexp_replace(node: exp.RegexpReplace) -> exp.Expr:
    given = [node.args.get(name) for name in ("position", "occurrence", "modifiers")]
    if not any(given):
        return node
    position, occurrence, parameters = given
    pattern = node.expression
    if isinstance(pattern, exp.Literal):
        pattern = exp.Literal.string(pattern.name.replace("\\\\", "\\"))
    return _call(
        "_sf_fn_regexp_replace",
        node.this,
        pattern,
        node.args.get("replacement") or exp.Literal.string(""),
        position or exp.Literal.number(1),
        occurrence or exp.Literal.number(0),
        parameters or exp.Literal.string(""),
    )
