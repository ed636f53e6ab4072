"""CREATE TABLE (columns) AS SELECT: one statement of DuckDB, so that what fails leaves the table that was there.

https://docs.snowflake.com/en/sql-reference/sql/create-table#create-table-as-select-also-referred-to-as-ctas
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from .errors import sql_error
from .quoting import identifier

QUERY = "_sf_query"


@dataclass(frozen=True)
class Rules:
    """What the columns of a new table get after it was filled: DuckDB makes no such columns from a query."""

    not_null: list[str] = field(default_factory=list)
    defaults: dict[str, exp.Expr] = field(default_factory=dict)

    def apply(self, connection: Any, where: tuple[str, str, str]) -> None:
        """Give the columns of the table at ``where`` their rules, which its rows keep already."""
        table = ".".join(map(identifier, where))
        for column, value in self.defaults.items():
            default = value.sql(dialect="duckdb")
            connection.execute(f"alter table {table} alter column {identifier(column)} set default {default}")
        for column in self.not_null:
            connection.execute(f"alter table {table} alter column {identifier(column)} set not null")

    def __bool__(self) -> bool:
        return bool(self.not_null or self.defaults)


def typed(statement: exp.Expr) -> Rules:
    """Put the types and NOT NULLs of the column list into the query; returns what is left to do."""
    rules = Rules()
    if (
        not isinstance(statement, exp.Create)
        or str(statement.args.get("kind")).upper() != "TABLE"
        or not isinstance(statement.this, exp.Schema)
        or not isinstance(statement.expression, exp.Query)
    ):
        return rules
    columns = [one for one in statement.this.expressions if isinstance(one, (exp.ColumnDef, exp.Identifier))]
    query = _of_width(statement.expression, len(columns))
    selected = []
    for number, column in enumerate(columns):
        name = column.this if isinstance(column, exp.ColumnDef) else column
        stored = name.name if name.args.get("quoted") else name.name.upper()
        value: exp.Expr = exp.column(f"_sf_{number}", table=QUERY, quoted=True)
        if isinstance(column, exp.ColumnDef) and column.kind is not None:
            value = exp.Cast(this=value, to=column.kind.copy())
        for constraint in column.args.get("constraints") or []:
            if isinstance(constraint.kind, exp.NotNullColumnConstraint) and not constraint.kind.args.get(
                "allow_null"
            ):
                said = exp.Literal.string(f"NOT NULL constraint failed: {stored}")
                failed = exp.Anonymous(this="error", expressions=[said])
                null = exp.Is(this=value.copy(), expression=exp.null())
                value = exp.Case(ifs=[exp.If(this=null, true=failed)], default=value)
                rules.not_null.append(stored)
            elif isinstance(constraint.kind, exp.DefaultColumnConstraint):
                rules.defaults[stored] = constraint.kind.this
        selected.append(exp.alias_(value, stored, quoted=True))
    names = [exp.to_identifier(f"_sf_{number}", quoted=True) for number in range(len(columns))]
    alias = exp.TableAlias(this=exp.to_identifier(QUERY, quoted=True), columns=names)
    statement.set("expression", exp.select(*selected).from_(exp.Subquery(this=query, alias=alias)))
    statement.set("this", statement.this.this)
    return rules


def _of_width(query: exp.Query, width: int) -> exp.Query:
    """A query of as many columns as the list has."""
    inner = query.unnest()
    assert isinstance(inner, exp.Query)
    query = inner
    if not any(one.is_star for one in query.selects):
        if len(query.selects) != width:
            raise sql_error(2026, "42601", "SQL compilation error:\nInvalid column definition list")
        return query
    # Only DuckDB knows what a star selects: it refuses a UNION of queries of different width.
    nothing = exp.select(*[exp.null()] * width).where(exp.false())
    return exp.union(nothing, exp.select("*").from_(query.subquery("_sf_all")), distinct=False)
