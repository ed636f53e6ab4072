"""Arguments for which a function of numbers has no value: Snowflake raises an error, where DuckDB answers NaN or infinity.

The words of the errors of SQRT are in Snowpark's tests (``test_basic_numerical_operations_negative``), and those of LN,
which is a LOG to the base ``e``, in queries of its users. What Snowflake answers where the value is beyond a FLOAT is not
known, so that is refused. https://docs.snowflake.com/en/sql-reference/functions-numeric
"""

from __future__ import annotations

import re

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from .errors import NotEmulatedError
from .kinds import looks_at

INVALID = "Invalid floating point operation: "
BEYOND = "a FLOAT beyond its range: "
# By function: its arguments, when they are outside, how they are said, and the value.
_FUNCTIONS: dict[type[exp.Expr], tuple[str, str, str, str, str]] = {
    exp.Sqrt: ("sqrt", "x", "x < 0", "sqrt({:g})", "sqrt(x)"),
    exp.Ln: ("ln", "x", "x <= 0", "log(e,{:g})", "ln(x)"),
    exp.Log: ("log", "x, y", "x <= 0 or x = 1 or y <= 0", "log({:g},{:g})", "log(x, y)"),
    exp.Pow: ("pow", "x, y", "x = 0 and y < 0 or x < 0 and y <> trunc(y)", "pow({:g},{:g})", "pow(x, y)"),
    exp.Acos: ("acos", "x", "abs(x) > 1 and not isnan(x)", "acos({:g})", "acos(x)"),
    exp.Asin: ("asin", "x", "abs(x) > 1 and not isnan(x)", "asin({:g})", "asin(x)"),
    exp.Acosh: ("acosh", "x", "x < 1", "acosh({:g})", "acosh(x)"),
    exp.Atanh: ("atanh", "x", "abs(x) >= 1 and not isnan(x)", "atanh({:g})", "atanh(x)"),
    exp.Cot: ("cot", "x", "x = 0", "cot({:g})", "cot(x)"),
    exp.Exp: ("exp", "x", "false", "exp({:g})", "exp(x)"),
    exp.Sinh: ("sinh", "x", "false", "sinh({:g})", "sinh(x)"),
    exp.Cosh: ("cosh", "x", "false", "cosh({:g})", "cosh(x)"),
    exp.Degrees: ("degrees", "x", "false", "degrees({:g})", "degrees(x)"),
}
_GROWING = ("pow", "exp", "sinh", "cosh", "degrees")  # whose values may be beyond a FLOAT
_RANDOM = (exp.Rand, exp.Uniform, exp.Normal, exp.Query)  # what must not be evaluated twice


def create(connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """Make what the statements call: by function a macro of FLOATs, one of any numbers, and one that reads them once."""
    connection.execute(
        f"create or replace macro {catalog}._sf_finite(x) as "
        f"case when isinf(x) then error('not emulated: {BEYOND}' || x) else x end"
    )
    for name, names, outside, said, value in _FUNCTIONS.values():
        shown = f"format('{said}', {names})"
        if name in _GROWING:
            finite = " and ".join(f"isfinite({one})" for one in names.split(", "))
            value = f"case when isinf({value}) and {finite} then error('not emulated: {BEYOND}' || {shown}) else {value} end"
        value = f"case when {outside} then error('{INVALID}' || {shown}) else {value} end"
        given = ", ".join(f"cast({one} as double)" for one in names.split(", "))
        kept = ", ".join(f"v[{number}]" for number in range(1, len(names.split(", ")) + 1))
        for macro, body in (
            (f"_sf_{name}_", value),
            (f"_sf_{name}", f"{catalog}._sf_{name}_({given})"),
            (f"_sf_{name}_once", f"list_transform([[{given}]], lambda v: {catalog}._sf_{name}_({kept}))[1]"),
        ):
            connection.execute(f"create or replace macro {catalog}.{macro}({names}) as {body}")


_TOTALS = re.compile(r"\b(sum|avg)\s*\(", re.IGNORECASE)


def verify(table: pa.Table | None, statement: str | None) -> None:
    """Refuse a sum or an average beyond the range of a FLOAT, for which DuckDB answers that it is infinite."""
    if table is None or statement is None or not _TOTALS.search(statement):
        return
    for column in table.columns:
        if pa.types.is_floating(column.type) and pc.any(pc.is_inf(column)).as_py():
            raise NotEmulatedError(BEYOND.removesuffix(": "))


@looks_at(*_FUNCTIONS)
def checked(node: exp.Expr) -> exp.Expr:
    """A function of numbers that refuses what is outside of its domain."""
    if type(node) not in _FUNCTIONS:
        return node
    name = _FUNCTIONS[type(node)][0]
    arguments = [one.copy() for one in (node.this, node.expression) if isinstance(one, exp.Expr)]
    if len(arguments) != len(_FUNCTIONS[type(node)][1].split(", ")):
        return node
    if any(one.find(*_RANDOM) for one in arguments):
        name += "_once"
    return exp.Dot(
        this=exp.to_identifier("_fs_global"),
        expression=exp.Anonymous(this=f"_sf_{name}", expressions=arguments),
    )
