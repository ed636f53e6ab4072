"""Changes of a statement's tree before upstream translates it to DuckDB's SQL.

What depends on the types of operands is only marked here, see ``resolution.py``.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import TypeVar

from sqlglot import exp

from . import bounds, conversions, domains, functions, lengths, moments, printing, semistructured, variants
from .kinds import LOOKED_AT, Rewrite, looks_at
from .resolution import PREFIX

_Whole = TypeVar("_Whole", bound=exp.Expr)
_ARITHMETIC: dict[type[exp.Expr], str] = {
    exp.Add: "ADD",
    exp.Sub: "SUB",
    exp.Mul: "MUL",
    exp.Div: "DIV",
    exp.Mod: "MOD",
}
_NUMERIC_AGGREGATES = (
    exp.Sum,
    exp.Variance,
    exp.VariancePop,
    exp.Stddev,
    exp.StddevSamp,
    exp.StddevPop,
)
_EXACT = (exp.DType.DECIMAL, exp.DType.DOUBLE, exp.DType.FLOAT, exp.DType.BIGINT, exp.DType.INT)
# Arguments that count something: a fraction is rounded as in every conversion to a whole number,
# https://docs.snowflake.com/en/sql-reference/functions/dateadd#arguments, and DuckDB takes 64-bit integers for them.
_COUNTS: dict[type[exp.Expr], tuple[str, ...]] = {
    exp.Substring: ("start", "length"),
    exp.Left: ("expression",),
    exp.Right: ("expression",),
    exp.Pad: ("expression",),
    exp.Repeat: ("times",),
    exp.Space: ("this",),
    exp.Stuff: ("start", "length"),
    exp.StrPosition: ("position", "occurrence"),
    exp.Strtok: ("part_index",),
    exp.RegexpExtract: ("position", "occurrence"),
    exp.RegexpInstr: ("position", "occurrence"),
    exp.RegexpCount: ("position",),
    exp.DateAdd: ("expression",),
    exp.DateSub: ("expression",),
    exp.TimeAdd: ("expression",),
    exp.TimestampAdd: ("expression",),
    exp.AddMonths: ("expression",),
    exp.TimeSlice: ("expression",),
    exp.DateFromParts: ("year", "month", "day"),
    exp.TimeFromParts: ("hour", "min", "sec", "nano"),
    exp.TimestampFromParts: ("year", "month", "day", "hour", "min", "sec", "nano"),
    exp.TimestampLtzFromParts: ("year", "month", "day", "hour", "min", "sec", "nano"),
    exp.TimestampTzFromParts: ("year", "month", "day", "hour", "min", "sec", "nano"),
    exp.Chr: ("expressions",),
    exp.SplitPart: ("part_index",),
    exp.Round: ("decimals",),
    exp.Trunc: ("decimals",),
    exp.Ceil: ("decimals",),
    exp.Floor: ("decimals",),
    exp.BitwiseLeftShift: ("expression",),
    exp.BitwiseRightShift: ("expression",),
    exp.Factorial: ("this",),
    exp.WidthBucket: ("num_buckets",),
    exp.Lag: ("offset",),
    exp.Lead: ("offset",),
    exp.Ntile: ("this",),
}
_DATE_UNITS = {"DAY", "WEEK", "WEEKISO", "MONTH", "QUARTER", "YEAR"}


def mark(name: str, *operands: exp.Expr) -> exp.Anonymous:
    """An expression whose meaning the rule of this name finds."""
    return exp.Anonymous(this=f"{PREFIX}{name}", expressions=list(operands))


def _is_mark(node: exp.Expr | None) -> bool:
    return isinstance(node, exp.Anonymous) and str(node.this).upper().startswith(PREFIX)


def _plain(node: exp.Expr) -> bool:
    """Whether an argument is a number already, so that no rule has to look at it."""
    return (isinstance(node, exp.Literal) and not node.is_string) or (
        isinstance(node, (exp.Cast, exp.TryCast)) and node.to.this in _EXACT
    )


def _is(node: exp.Expr, name: str) -> bool:
    return isinstance(node, exp.Anonymous) and str(node.this).upper() == name


def _global(name: str, *arguments: exp.Expr) -> exp.Expr:
    """A call of one of macros.py's functions."""
    return exp.Dot(
        this=exp.to_identifier("_fs_global"), expression=exp.Anonymous(this=name, expressions=list(arguments))
    )


@looks_at(*_ARITHMETIC)
def arithmetic(node: exp.Expr) -> exp.Expr:
    """Sums, differences, products, quotients and remainders have Snowflake's types."""
    if name := _ARITHMETIC.get(type(node)):
        return mark(name, _bare(node.this), _bare(node.expression))
    return node


def _bare(node: exp.Expr) -> exp.Expr:
    """An operand without the parentheses around it; a mark puts its own."""
    return _bare(node.this) if isinstance(node, exp.Paren) else node


@looks_at(exp.Window, exp.Filter, exp.Avg)
def aggregates(node: exp.Expr) -> exp.Expr:
    """Sums and averages of exact numbers are exact; texts are read as FLOAT."""
    if isinstance(node, exp.Window) and _is(node.this, "RATIO_TO_REPORT"):
        # https://docs.snowflake.com/en/sql-reference/functions/ratio_to_report
        whole = node.copy()
        whole.this.replace(exp.Sum(this=node.this.expressions[0].copy()))
        return exp.Div(this=node.this.expressions[0].copy(), expression=whole)
    if isinstance(node, exp.Window) and isinstance(node.this, (exp.Avg, exp.Filter)):
        inner = node.this.this if isinstance(node.this, exp.Filter) else node.this
        if isinstance(inner, exp.Avg):
            return mark("AVG", *(_with(node, inner, make) for make in _SUM_AND_COUNT))
        return node
    if (
        isinstance(node, exp.Filter)
        and isinstance(node.this, exp.Avg)
        and not isinstance(node.parent, exp.Window)
    ):
        return mark("AVG", *(_with(node, node.this, make) for make in _SUM_AND_COUNT))
    if isinstance(node, exp.Avg) and not isinstance(node.parent, (exp.Window, exp.Filter)):
        return mark("AVG", *(make(node.this) for make in _SUM_AND_COUNT))
    return node


@looks_at(*_NUMERIC_AGGREGATES, exp.Median, exp.WithinGroup)
def summands(node: exp.Expr) -> exp.Expr:
    """Texts in aggregates of numbers are read as FLOAT."""
    if isinstance(node, _NUMERIC_AGGREGATES):
        argument = node.this
        target = argument.expressions[0] if isinstance(argument, exp.Distinct) else argument
        if not _plain(target) and not _is_mark(target):
            target.replace(mark("NUM", target.copy()))
    if isinstance(node, exp.Median) and not _is_mark(node.this):
        node.this.replace(mark("MIDDLE", node.this.copy()))
    if isinstance(node, exp.WithinGroup) and isinstance(node.this, exp.PercentileCont):
        for ordered in node.expression.expressions:
            if not _is_mark(ordered.this):
                ordered.this.replace(mark("MIDDLE", ordered.this.copy()))
    return node


_SUM_AND_COUNT: tuple[Rewrite, Rewrite] = (
    lambda argument: exp.Sum(this=argument.copy()),
    lambda argument: exp.Count(this=argument.copy()),
)


def _with(whole: _Whole, inner: exp.Expr, make: Rewrite) -> _Whole:
    """A copy of an expression in which ``make`` of the argument stands for the aggregate in it."""
    changed: _Whole = whole.copy()
    found = changed.this.this if isinstance(changed.this, exp.Filter) else changed.this
    found.replace(make(inner.this))
    return changed


@looks_at(*_COUNTS)
def counts(node: exp.Expr) -> exp.Expr:
    """Arguments that count something may be any NUMBER."""
    for name in _COUNTS.get(type(node), ()):
        value = node.args.get(name)
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, exp.Expr) or _is_mark(one):
                continue
            bare = _bare(one)
            sign, digits = ("-", _bare(bare.this)) if isinstance(bare, exp.Neg) else ("", bare)
            if not isinstance(digits, exp.Literal) or digits.is_string:
                one.replace(mark("INT", one.copy()))
            elif not digits.name.isdigit():
                whole = Decimal(digits.name).quantize(Decimal(1), ROUND_HALF_UP)
                one.replace(
                    exp.Paren(this=exp.Neg(this=exp.Literal.number(int(whole))))
                    if sign
                    else exp.Literal.number(int(whole))
                )
    return node


@looks_at(exp.DateTrunc, exp.TimestampTrunc, exp.DateAdd, exp.AddMonths)
def dates(node: exp.Expr) -> exp.Expr:
    """Dates stay dates when they are truncated, or when whole days are added."""
    if isinstance(node, (exp.DateTrunc, exp.TimestampTrunc)):
        return mark("KEEPDATE", node.copy(), node.this.copy())
    if isinstance(node, exp.DateAdd):
        unit = node.unit.name.upper() if node.unit else "DAY"
        if unit in _DATE_UNITS and not (isinstance(node.this, exp.Literal) and node.this.is_string):
            return mark("KEEPDATE", node.copy(), node.this.copy())
    if isinstance(node, exp.AddMonths):
        return mark("KEEPDATE", node.copy(), node.this.copy())
    return node


@looks_at(exp.ToChar)
def formats(node: exp.Expr) -> exp.Expr:
    """TO_CHAR and TO_VARCHAR with a format follow it."""
    if isinstance(node, exp.ToChar) and (template := node.args.get("format")):
        return mark("TOCHAR", node.this, template)
    return node


@looks_at(
    exp.Ceil,
    exp.Floor,
    exp.Extract,
    exp.MonthsBetween,
    exp.Typeof,
    exp.Anonymous,
    exp.ByteLength,
    exp.BitLength,
)
def other_types(node: exp.Expr) -> exp.Expr:
    """Functions of which DuckDB's own have other types."""
    if isinstance(node, (exp.Ceil, exp.Floor)):
        decimals = node.args.get("decimals")
        if decimals is None:
            return mark("WHOLE", node.copy(), node.this.copy())
        if isinstance(decimals, exp.Literal):
            whole = type(node)(
                this=exp.Mul(this=node.this.copy(), expression=exp.Literal.number(f"1e{decimals.name}"))
            )
            return mark("PLACES", whole, node.this.copy(), decimals.copy(), node.copy())
    if isinstance(node, exp.Extract) and node.this.name.upper() in ("EPOCH", "EPOCH_SECOND"):
        # https://docs.snowflake.com/en/sql-reference/functions/date_part
        floor = exp.Floor(this=exp.Extract(this=exp.var("EPOCH"), expression=node.expression.copy()))
        return node if isinstance(node.parent, exp.Floor) else exp.cast(floor, exp.DType.BIGINT)
    if isinstance(node, exp.MonthsBetween):
        moments = (exp.cast(one.copy(), exp.DType.TIMESTAMP) for one in (node.this, node.expression))
        return _global("_sf_months_between", *moments)
    if isinstance(node, exp.Typeof):
        return mark("TYPEOF", node.this)
    if _is(node, "OCTET_LENGTH") or isinstance(node, exp.ByteLength):
        argument = node.expressions[0] if isinstance(node, exp.Anonymous) else node.this
        return _global("_sf_octets", argument.copy())
    if isinstance(node, exp.BitLength):
        return exp.Mul(this=_global("_sf_octets", node.this.copy()), expression=exp.Literal.number(8))
    return node


@looks_at(exp.Parameter, exp.Window)
def positions(node: exp.Expr) -> exp.Expr:
    """``$1`` is the first column of what a SELECT reads, and SEQ4() the order in which it does.

    https://docs.snowflake.com/en/sql-reference/sql/values
    """
    if (
        isinstance(node, exp.Parameter)
        and isinstance(node.this, exp.Literal)
        and node.this.name.isdigit()
        and node.find_ancestor(exp.Select)
        and not node.find_ancestor(exp.Copy)
    ):
        return exp.PositionalColumn(this=node.this.copy())
    if isinstance(node, exp.Window) and (order := node.args.get("order")):
        for sequence in list(order.find_all(exp.Seq1, exp.Seq2, exp.Seq4, exp.Seq8)):
            sequence.replace(exp.Literal.number(1))  # any order will do, and DuckDB nests no windows
    return node


@looks_at(exp.Cast, exp.TryCast, exp.ColumnDef)
def texts(node: exp.Expr) -> exp.Expr:
    """A text that is longer than its type is refused; TRY_CAST makes NULL of it.

    https://docs.snowflake.com/en/sql-reference/functions/try_cast
    """
    if isinstance(node, (exp.Cast, exp.TryCast)) and (length := lengths.of_type(node.to)):
        checked = "_sf_try_sized" if isinstance(node, exp.TryCast) else "_sf_sized"
        return _global(checked, node.copy(), exp.Literal.number(length))
    if not isinstance(node, exp.ColumnDef):
        return node
    length = lengths.of_type(node.kind)
    check = lengths.check(node.this, length) if length else bounds.own(node)
    if check is None:
        return node
    if not isinstance(node.parent, exp.Schema) or not isinstance(node.parent.parent, exp.Create):
        return node
    if node.parent.parent.expression is not None or any(
        isinstance(one.kind, exp.CheckColumnConstraint) for one in node.constraints
    ):
        return node
    node.append("constraints", exp.ColumnConstraint(kind=exp.CheckColumnConstraint(this=check)))
    return node


@looks_at(exp.Values)
def columns_of_values(node: exp.Expr) -> exp.Expr:
    """VALUES with a name alone: its columns are COLUMN1, COLUMN2 and so on.

    https://docs.snowflake.com/en/sql-reference/constructs/values
    """
    alias = node.args.get("alias")
    if isinstance(alias, exp.TableAlias) and alias.this and not alias.columns and node.expressions:
        row = node.expressions[0]
        width = len(row.expressions) if isinstance(row, exp.Tuple) else 1
        alias.set("columns", [exp.to_identifier(f"COLUMN{number}") for number in range(1, width + 1)])
    return node


PASSES: tuple[Rewrite, ...] = (
    variants.texts,
    variants.values,
    variants.held,
    counts,
    functions.apply,
    semistructured.functions,
    moments.zones,
    conversions.apply,
    printing.texts,
    aggregates,
    summands,
    dates,
    formats,
    other_types,
    domains.checked,
    arithmetic,
    positions,
    columns_of_values,
    texts,
)


def apply(expression: exp.Expr) -> exp.Expr:
    """The statement with every rewrite of this module, inner expressions first."""
    variants.note_values(expression)
    nodes: list[exp.Expr] | None = None
    for one in PASSES:
        looked_at = LOOKED_AT[one]
        nodes = nodes or list(expression.walk())
        concerned = [node for node in nodes if looked_at.of(node)]
        if concerned:
            nodes = None
        for node in reversed(concerned):
            changed = one(node)
            if node is expression:
                expression = changed
            elif changed is not node:
                node.replace(changed)
    return expression
