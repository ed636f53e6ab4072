"""Changes of fakesnow that belong upstream, each with the case that needs it (``emulators/tests/snowflake``).

A patch replaces one attribute of one of upstream's modules. What is a matter of this emulator alone, such as its
sessions, is not here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fakesnow.server as server
import pyarrow as pa
import pyarrow.compute as pc
from fakesnow import arrow, converter, rowtype, transforms
from sqlglot import exp
from sqlglot.dialects.snowflake import Snowflake

from . import batches

_timestamps, _to_sf = arrow.timestamp_to_sf_struct, arrow.to_sf


@dataclass(frozen=True)
class Patch:
    """What takes the place of ``module.name``, and the case in which upstream's own is wrong."""

    module: Any
    name: str
    replacement: Any
    case: str


PATCHES: list[Patch] = []


def patch(module: Any, name: str, case: str) -> Callable[[Any], Any]:
    """Register a function as the replacement of an attribute."""

    def register(replacement: Any) -> Any:
        PATCHES.append(Patch(module, name, replacement, case))
        return replacement

    return register


def apply() -> None:
    """Put every patch in its place; doing so again changes nothing."""
    for one in PATCHES:
        setattr(one.module, one.name, one.replacement)


@patch(arrow, "timestamp_to_sf_struct", "SELECT NULL::TIMESTAMP_NTZ is NULL and not the year 1970")
def nullable_timestamps(timestamps: Any) -> pa.StructArray:
    """Timestamps as upstream sends them, but NULL stays NULL."""
    sent = _timestamps(timestamps)
    whole = timestamps.combine_chunks() if isinstance(timestamps, pa.ChunkedArray) else timestamps
    parts = [sent.field(number) for number in range(sent.type.num_fields)]
    return pa.StructArray.from_arrays(parts, fields=list(sent.type), mask=whole.is_null())


@patch(
    transforms,
    "numeric_agg_implicit_cast",
    "SUM of NUMBER(38, 2) is exact and not a DOUBLE; texts are marked in rewrites.py",
)
def unchanged(expression: exp.Expr) -> exp.Expr:
    """No cast of every argument to DOUBLE."""
    return expression


@patch(
    transforms,
    "dateadd_date_cast",
    "DATEADD(day, 1, <a column of DATE>) is a DATE, not only where the argument is a cast",
)
def unchanged_dates(expression: exp.Expr) -> exp.Expr:
    """No cast by the look of the argument: rewrites.py marks it."""
    return expression


_clone = transforms.create_clone


@patch(
    transforms, "create_clone", "CREATE OR REPLACE TABLE … CLONE replaces, and IF NOT EXISTS does not fail"
)
def create_clone(expression: exp.Expr) -> exp.Expr:
    """A clone as upstream makes it, with what the statement says about a table that is there."""
    changed = _clone(expression)
    if changed is not expression:
        for name in ("replace", "exists"):
            changed.set(name, expression.args.get(name))
    return changed


_trim = transforms.trim_cast_varchar


@patch(transforms, "trim_cast_varchar", "LTRIM('00012', '0') trims the characters that it names")
def trim(expression: exp.Expr) -> exp.Expr:
    """A TRIM whose value is cast to a text, with its characters and its side."""
    changed = _trim(expression)
    if isinstance(expression, exp.Trim) and changed is not expression:
        for name in ("expression", "position"):
            changed.set(name, expression.args.get(name))
    return changed


_within_group = transforms.array_agg_within_group


@patch(transforms, "array_agg_within_group", "ARRAY_AGG(…) WITHIN GROUP (…) leaves NULL out")
def array_agg_within_group(expression: exp.Expr) -> exp.Expr:
    """An ordered array as upstream makes it, without NULLs."""
    changed = _within_group(expression)
    if changed is not expression:
        changed.set("nulls_excluded", True)
    return changed


def _to_char(arguments: list[exp.Expr]) -> exp.Expr:
    return exp.ToChar(this=arguments[0], format=arguments[1] if len(arguments) > 1 else None)


patch(
    Snowflake.Parser,
    "FUNCTIONS",
    "TO_CHAR(<a cast to DATE>, 'Mon DD') keeps its format, which sqlglot reads in part",
)(Snowflake.Parser.FUNCTIONS | dict.fromkeys(("TO_CHAR", "TO_VARCHAR"), _to_char))


_identifier = transforms.identifier


@patch(transforms, "identifier", 'IDENTIFIER(\'"DB"."S"."T"\') names a table in a schema, and no odd table')
def full_identifier(expression: exp.Expr, params: Any) -> exp.Expr:
    """IDENTIFIER as upstream reads it, a name of several parts as these."""
    changed = _identifier(expression, params)
    if isinstance(changed, exp.Table) and changed is not expression and '"."' in changed.name:
        return exp.to_table(f'"{changed.name}"', dialect="snowflake")
    return changed


_nextval = transforms.sequence_nextval


@patch(
    transforms,
    "sequence_nextval",
    "CREATE TABLE T (ID INT DEFAULT S.NEXTVAL): a name only where it is selected",
)
def sequence_nextval(expression: exp.Expr) -> exp.Expr:
    """NEXTVAL as upstream writes it, without a name inside of other expressions."""
    changed = _nextval(expression)
    made = changed is not expression and isinstance(changed, exp.Alias)
    if made and not isinstance(expression.parent, exp.Select):
        inner: exp.Expr = changed.this
        return inner
    return changed


_from_binding = converter.from_binding


@patch(server, "from_binding", "execute('select ?', (2.5,)) is a FLOAT and no text")
def from_binding(binding: dict[str, Any]) -> Any:
    """A parameter as upstream reads it, FLOAT as one, and the rows of an INSERT."""
    if binding["type"] == batches.KIND:
        return batches.read(binding, from_binding)
    if binding["type"] == "REAL" and binding["value"] is not None:
        return float(binding["value"])
    return _from_binding(binding)


_INTEGERS = (
    exp.DType.INT,
    exp.DType.BIGINT,
    exp.DType.SMALLINT,
    exp.DType.TINYINT,
    exp.DType.MEDIUMINT,
    exp.DType.INT128,
)


@patch(transforms, "integer_precision", "NUMBER(38, 0) and INT hold 38 digits, not 64 bits")
def whole_numbers(expression: exp.Expr) -> exp.Expr:
    """Integer types are NUMBER(38, 0), https://docs.snowflake.com/en/sql-reference/data-types-numeric."""
    if isinstance(expression, exp.DataType) and not expression.meta.get("exact"):
        plain = expression.this == exp.DType.DECIMAL and not expression.expressions
        if plain or expression.this in _INTEGERS:
            return exp.DataType.build("DECIMAL(38, 0)")
        if expression.this == exp.DType.DECIMAL and len(expression.expressions) == 1:
            return exp.DataType.build(f"DECIMAL({expression.expressions[0].name}, 0)")
    return expression


_to_sf_type = dict(rowtype.duckdb_to_sf_type)
_to_sf_type |= dict.fromkeys(
    ("TINYINT", "SMALLINT", "UTINYINT", "USMALLINT", "UINTEGER", "UHUGEINT"), "fixed"
)
_to_sf_type |= {
    "FLOAT": "real",
    "UUID": "text",
    "TIMESTAMP_S": "timestamp_ntz",
    "TIMESTAMP_MS": "timestamp_ntz",
    "INTERVAL": "text",
    "ARRAY": "array",
    "OBJECT": "object",
    "TIMESTAMP_LTZ": "timestamp_ltz",
}
PATCHES.append(
    Patch(
        rowtype,
        "duckdb_to_sf_type",
        _to_sf_type,
        "SELECT SIGN(1), BITAND(1, 3): small integers of DuckDB are NUMBER as well",
    )
)


def _narrow(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of whole numbers as 64-bit integers where all of them fit, as Snowflake sends it."""
    if not (pa.types.is_decimal(column.type) and column.type.scale == 0):
        return column.cast(pa.int64()) if pa.types.is_uint64(column.type) and _fits(column) else column
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return column


def _fits(column: pa.ChunkedArray) -> bool:
    most = pc.max(column).as_py()
    return most is None or most < 2**63


@patch(
    server,
    "to_sf",
    "SELECT 1::NUMBER(38, 0) is an int in Python and int64 in pandas, unless it needs more digits",
)
def narrowed(table: pa.Table, rowtype: list[Any]) -> pa.Table:
    """Rows as upstream sends them, whole numbers as Snowflake does."""
    columns = [_narrow(column) for column in table.columns]
    columns = [
        # a TIMESTAMP_LTZ is sent without an offset: clients show it in the time zone of the session
        column.cast(pa.timestamp("us")) if about["type"] == "timestamp_ltz" else column
        for column, about in zip(columns, rowtype, strict=True)
    ]
    columns = [
        column.cast(pa.decimal128(38, 0))
        if pa.types.is_uint64(column.type)
        else column.cast(pa.int64())
        if pa.types.is_integer(column.type)
        else column.cast(pa.float64())
        if pa.types.is_float32(column.type)
        else column
        for column in columns
    ]
    return _to_sf(
        pa.table(
            columns,
            schema=pa.schema([f.with_type(c.type) for f, c in zip(table.schema, columns, strict=True)]),
        ),
        rowtype,
    )
