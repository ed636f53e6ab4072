"""How values look as texts: in casts, where a text is wanted, and inside of ARRAY, OBJECT and VARIANT.

The formats are the defaults of the parameters *_OUTPUT_FORMAT, https://docs.snowflake.com/en/sql-reference/parameters.
A macro asks for the type, which DuckDB knows when it binds, so that no part of it is left at run time. What holds a
query is looked at by a rule: DuckDB would run it once per place where the macro has it.
"""

from __future__ import annotations

import re
from string import Template

import duckdb
from fakesnow import macros as upstream
from sqlglot import exp

from . import variants
from .flattening import UNDEFINED
from .kinds import looks_at
from .patches import PATCHES, Patch
from .resolution import PREFIX
from .rules import rule
from .sqltypes import SqlType

_MOMENT = "%Y-%m-%d %H:%M:%S.%g"
_ZONED = f"{_MOMENT} +0000"  # the only offset that is kept, see moments.py
# Type in DuckDB, and the text of its values; other types look the same there.
_TEXTS = {
    "TIMESTAMP": f"strftime(try_cast(x as timestamp), '{_MOMENT}')",
    "TIMESTAMP_NS": f"strftime(try_cast(x as timestamp), '{_MOMENT}')",
    "TIMESTAMP WITH TIME ZONE": f"strftime(try_cast(x as timestamptz), '{_ZONED}')",
    "TIME": "left(cast(x as varchar), 8)",
    # https://docs.snowflake.com/en/sql-reference/data-types-numeric#special-values
    "DOUBLE": r"case when isnan(try_cast(x as double)) then 'NaN' else regexp_replace(cast(x as varchar), '\.0$', '') end",
    "JSON": "_fs_global._sf_json_text(try_cast(x as json) ->> '$')",
    "BLOB": "hex(try_cast(x as blob))",
}
_MOMENTS = ("TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE", "TIME")
_TYPES_OF_KINDS = {"timestamp": "TIMESTAMP", "time": "TIME", "float": "DOUBLE", "variant": "JSON"}


def _cases(kinds: dict[str, str]) -> str:
    return "case typeof(x) " + " ".join(f"when '{kind}' then {text}" for kind, text in kinds.items())


_ELEMENTS = {
    f"{kind}[]": f"to_json(list_transform(try_cast(x as {kind}[]), lambda y: {_TEXTS[kind].replace('(x ', '(y ')}))"
    for kind in _MOMENTS
}
_MACROS = f"""
create or replace macro {{c}}._sf_text(x) as {_cases(_TEXTS)} else cast(x as varchar) end;
create or replace macro {{c}}._sf_json(x) as
    {_cases({kind: f"to_json({_TEXTS[kind]})" for kind in _MOMENTS} | _ELEMENTS)}
    else case when typeof(x) like 'DECIMAL(%' and typeof(x) not like '%,0)' and {{c}}._sf_lost(cast(x as varchar))
    then error('not emulated: {variants.REFUSED}') else to_json(x) end end;
"""
_STAR = upstream.FS_OBJECT_CONSTRUCT_STAR.template
PATCHES.append(
    Patch(
        upstream,
        "FS_OBJECT_CONSTRUCT_STAR",
        Template(_STAR.replace("TO_JSON(COLUMNS(*))", "_fs_global._sf_json(COLUMNS(*))")),
        "OBJECT_CONSTRUCT(*) of a table with a TIMESTAMP",
    )
)


def create(connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """Make what the statements call."""
    connection.execute(_MACROS.format(c=catalog))


_WANT_TEXT = (
    exp.Lower, exp.Upper, exp.Initcap, exp.Trim, exp.Substring, exp.Left, exp.Right, exp.Replace, exp.Like, exp.ILike,
    exp.RegexpLike, exp.RegexpReplace, exp.RegexpExtract, exp.RegexpCount, exp.RegexpInstr, exp.SplitPart, exp.StartsWith,
    exp.EndsWith, exp.Contains, exp.Pad, exp.Reverse, exp.MD5, exp.SHA, exp.SHA2, exp.GroupConcat,
)  # fmt: skip
_TEXTS_ALREADY = (
    *_WANT_TEXT, exp.DPipe, exp.Concat, exp.ConcatWs, exp.ToChar, exp.JSONExtractScalar, exp.JSONFormat, exp.Chr, exp.Placeholder,
)  # fmt: skip


def _macro(name: str, value: exp.Expr) -> exp.Expr:
    return exp.Dot(
        this=exp.to_identifier("_fs_global"),
        expression=exp.Anonymous(this=name, expressions=[value.copy()]),
    )


def as_json(value: exp.Expr) -> exp.Expr:
    """A value as it stands in a VARIANT."""
    return _macro("_sf_json", value)


def is_text(node: exp.Expr) -> bool:
    """Whether a value is a text by its look, or one that a later step reads."""
    if isinstance(node, (exp.Paren, exp.Distinct, exp.Order)):
        inner = node.expressions[0] if isinstance(node, exp.Distinct) else node.this
        return is_text(inner)
    if isinstance(node, exp.Coalesce):
        return all(map(is_text, (node.this, *node.expressions)))
    if isinstance(node, exp.Dot):
        return node.expression.name in ("_sf_text", "_sf_sized", "_sf_try_sized")
    if isinstance(node, (exp.Cast, exp.TryCast)):
        return node.to.this in (exp.DType.VARCHAR, exp.DType.TEXT)
    marked = isinstance(node, exp.Anonymous) and node.name == f"{PREFIX}TEXT"
    return marked or isinstance(node, (exp.Literal, exp.Null, *_TEXTS_ALREADY))


def text(value: exp.Expr) -> exp.Expr:
    """A value as a text."""
    if isinstance(value, (exp.JSONExtract, exp.Literal)) or (
        is_text(value) and not isinstance(value, exp.Placeholder)
    ):
        return exp.cast(value.copy(), exp.DType.VARCHAR)
    if value.find(exp.Query):
        return exp.Anonymous(this=f"{PREFIX}TEXT", expressions=[value.copy()])
    return _macro("_sf_text", value)


@looks_at(exp.DPipe, exp.Concat, exp.ConcatWs, exp.Length, *_WANT_TEXT)
def texts(node: exp.Expr) -> exp.Expr:
    """Arguments of functions of texts may be of any type."""
    if isinstance(
        node, (exp.DPipe, exp.Concat, exp.ConcatWs, exp.Length, *_WANT_TEXT)
    ) and node.find_ancestor(exp.Copy):
        return node
    if isinstance(node, exp.DPipe):
        parts = [node.this, node.expression]
    elif isinstance(node, (exp.Concat, exp.ConcatWs)):
        parts = list(node.expressions)
    elif isinstance(node, _WANT_TEXT):
        parts = [node.this]
    elif isinstance(node, exp.Length) and not is_text(node.this):
        node.this.replace(exp.Anonymous(this=f"{PREFIX}MEASURED", expressions=[node.this.copy()]))
        return node
    else:
        return node
    for part in parts:
        while isinstance(part, (exp.Distinct, exp.Order, exp.Paren)):
            part = part.expressions[0] if isinstance(part, exp.Distinct) else part.this
        if isinstance(part, exp.Expr) and not is_text(part) and not isinstance(part, exp.JSONExtract):
            _replace(part, node)
    return node


def _replace(part: exp.Expr, node: exp.Expr) -> None:
    """Put the text of an argument in its place; DISTINCT values are ordered by what they are in DuckDB."""
    if isinstance(node.this, exp.Order) and isinstance(node.this.this, exp.Distinct):
        for ordered in node.this.expressions:
            if ordered.this == part:
                ordered.this.replace(text(part))
    part.replace(text(part))


@rule("TEXT")
def _as_text(operands: list[str], types: list[SqlType]) -> str:
    """The text of what a query gives."""
    kind = _TYPES_OF_KINDS.get(types[0].kind, "")
    kind = "TIMESTAMP WITH TIME ZONE" if types[0].zoned else kind
    return _TEXTS.get(kind, "cast(x as varchar)").replace("(x ", f"({operands[0]} ")


@rule("MEASURED")
def _measured(operands: list[str], types: list[SqlType]) -> str:
    """What LENGTH measures: a text, or the bytes of a BINARY."""
    return operands[0] if types[0].kind in ("text", "null", "other") else _as_text(operands, types)


_ELEMENT = re.compile(r"\[-?\d+\]$")


def in_json(statement: exp.Expr) -> exp.Expr:
    """A translated statement whose values become JSON as Snowflake writes them."""
    _undefined(statement)
    for node in list(statement.find_all(exp.Anonymous)):
        if str(node.this).upper() == "TO_JSON" and len(node.expressions) == 1:
            value = node.expressions[0]
            if not _is_json(value) and not value.find(exp.Query):
                node.replace(_macro("_sf_json", value))
    return statement


def _undefined(statement: exp.Expr) -> None:
    """Let what stands for a NULL in an ARRAY be NULL where an element is read."""
    for node in list(statement.find_all(exp.JSONExtract, exp.JSONExtractScalar, exp.GetExtract)):
        path = node.expression
        if isinstance(node, exp.GetExtract):
            path = exp.Literal.number(0) if not isinstance(path, exp.Literal) else path
        last = path.expressions[-1] if isinstance(path, exp.JSONPath) and path.expressions else path
        if isinstance(last, exp.JSONPathSubscript) or (
            isinstance(path, exp.Literal) and (not path.is_string or _ELEMENT.search(path.name))
        ):
            scalar = isinstance(node, exp.JSONExtractScalar)
            nothing: exp.Expr = exp.Literal.string(UNDEFINED if scalar else f'"{UNDEFINED}"')
            if not scalar:
                nothing = exp.Cast(this=nothing, to=exp.DataType(this=exp.DType.JSON))
            node.replace(exp.Nullif(this=exp.Paren(this=node.copy()), expression=nothing))


_AROUND = (exp.Window, exp.Filter, exp.WithinGroup, exp.ArrayAgg, exp.Order, exp.Distinct, exp.Paren)


def _is_json(value: exp.Expr) -> bool:
    if isinstance(value, (exp.Window, exp.Filter, exp.ArrayAgg)):
        # An array of what is JSON: the macro would have all of it in as many places as there are types.
        inner: exp.Expr = value
        while isinstance(inner, _AROUND):
            inner = inner.expressions[0] if isinstance(inner, exp.Distinct) else inner.this
        return bool(value.find(exp.ArrayAgg)) and _is_json(inner)
    called = value.expression if isinstance(value, exp.Dot) else value
    made = isinstance(called, exp.Anonymous) and str(called.this).upper() in (
        "TO_JSON", "_FS_OBJECT_CONSTRUCT", "_FS_OBJECT_CONSTRUCT_STAR", "JSON_ARRAY", "_SF_JSON", "RANGE", "MAP",
    )  # fmt: skip
    return made or isinstance(value, (exp.Literal, exp.Null, exp.Boolean, exp.JSONExtract))
