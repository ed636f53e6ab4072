"""What a column may hold at most, whatever statement writes it.

A column without a length of its own holds 16 MB of characters or 8 MB of BINARY, and a VARIANT, ARRAY or OBJECT 128 MB:
https://docs.snowflake.com/en/sql-reference/data-types-text and the behavior changes bcr-1942 and bcr-2118 (larger
defaults, postponed). DuckDB keeps the length of the longest value of each column, so a look at that is enough for
nearly every statement.
"""

from __future__ import annotations

import re
from typing import Any

from sqlglot import exp

from .quoting import identifier

_NAME = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_TABLE = rf"(?P<table>{_NAME}(?:\.{_NAME}){{0,2}})"
_WRITES = re.compile(
    rf"\s*(?:insert\s+into|update|merge\s+into)\s+{_TABLE}"
    rf"|\s*create\s+(?:or\s+replace\s+)?(?:temp(?:orary)?\s+)?table\s+{_TABLE.replace('table>', 'made>')}\s+as\b",
    re.IGNORECASE,
)
_OWN = "'length\\(.*\\) > .*(would be truncated|Max LOB size)'"
# By DuckDB's type: how long a value is, the longest one, and the longest where the column has a length of its own.
LIMITS = {
    "VARCHAR": ("length", 16_777_216, 134_217_728),
    "JSON": ("strlen", 134_217_728, 134_217_728),
    "BLOB": ("octet_length", 8_388_608, 67_108_864),
}


def written(sql: str) -> str | None:
    """The table to which a statement of DuckDB writes values, as it stands there."""
    found = _WRITES.match(sql)
    table = (found["table"] or found["made"]) if found else None
    return None if table and "_fs_" in table else table


def error(longest: str, size: str) -> str:
    """An expression that fails as Snowflake does: release note bcr-1779."""
    return f"error('Max LOB size ({longest}) exceeded, actual size of parsed column is ' || {size})"


def verify(connection: Any, table: str) -> None:
    """Raise DuckDB's error when a table holds a value that is too long."""
    rows = connection.execute(f"select stats(columns(*)) from {table} limit 1").fetchall()
    names = [column[0] for column in connection.description]
    smallest = min(default for _, default, _ in LIMITS.values())
    suspects = {
        name
        for row in rows
        for name, stats in zip(names, row, strict=True)
        if (stats or {}).get("max_string_length", 0) > smallest
    }
    if suspects:
        _look(connection, table, suspects)


def _look(connection: Any, table: str, suspects: set[str]) -> None:
    connection.execute(f"select * from {table} limit 0").fetchall()
    columns = connection.description
    own = {name for (name,) in connection.execute(_OWN_LENGTHS, [table.split(".")[-1].strip('"')]).fetchall()}
    for name, type_ in ((column[0], str(column[1])) for column in columns if column[0] in suspects):
        if type_ in LIMITS:
            size, default, largest = LIMITS[type_]
            longest = largest if name in own else default
            length = f"{size}({identifier(name)})"
            connection.execute(
                f"select {error(str(longest), length)} from {table} where {length} > {longest} limit 1"
            ).fetchall()


_OWN_LENGTHS = (
    "select unnest(constraint_column_names) from duckdb_constraints() where constraint_type = 'CHECK' "
    f"and regexp_matches(constraint_text, {_OWN}) and table_name = ?"
)


def own(definition: exp.ColumnDef) -> exp.Expr | None:
    """The condition that holds a BINARY to the length in its definition, which DuckDB's type does not take."""
    type_ = definition.kind
    if not isinstance(type_, exp.DataType) or type_.this not in (exp.DType.BINARY, exp.DType.VARBINARY):
        return None
    if not type_.expressions:
        return None
    longest = type_.expressions[0].name
    type_.set("expressions", None)
    length = exp.Anonymous(this="octet_length", expressions=[exp.column(definition.this.copy())])
    said = exp.Concat(
        expressions=[
            exp.Literal.string(f"Max LOB size ({longest}) exceeded, actual size of parsed column is "),
            length.copy(),
        ]
    )
    too_long = exp.GT(this=length, expression=exp.Literal.number(longest))
    return exp.Case(
        ifs=[exp.If(this=too_long, true=exp.Anonymous(this="error", expressions=[said]))], default=exp.true()
    )
