"""Texts that have a longest length: DuckDB's have none, so a column's CHECK constraint refuses what is longer.

https://docs.snowflake.com/en/sql-reference/data-types-text. DuckDB adds no constraint to a table that is there: where a
statement other than CREATE TABLE gives a column its length, the table is made again with it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from .errors import sql_error
from .quoting import identifier, literal

if TYPE_CHECKING:
    from .session import Session

LONGEST = 16_777_216  # characters, where no length is given
Lengths = Mapping[str, int | None]
_TEXT = (exp.DType.VARCHAR, exp.DType.TEXT, exp.DType.CHAR, exp.DType.NVARCHAR, exp.DType.NCHAR)
OURS = r"length\(.*?\) > \(?(\d+)\)?.*is too long and would be truncated"
_OURS = re.compile(OURS, re.DOTALL)


def of_type(type_: exp.Expr | None) -> int | None:
    """How many characters a type holds; None for other types, and for texts without a bound of their own."""
    if not isinstance(type_, exp.DataType) or type_.this not in _TEXT:
        return None
    default = 1 if type_.this in (exp.DType.CHAR, exp.DType.NCHAR) else LONGEST
    length = int(type_.expressions[0].name) if type_.expressions else default
    return length if length != LONGEST else None


def check(column: exp.Identifier, length: int) -> exp.Expr:
    """The condition of the constraint; what it says in its error is what Snowflake says."""
    text = exp.column(column.copy())
    said = [
        exp.Literal.string("String '"),
        text,
        exp.Literal.string("' is too long and would be truncated"),
    ]
    too_long = exp.GT(this=exp.Length(this=text.copy()), expression=exp.Literal.number(length))
    error = exp.Anonymous(this="error", expressions=[exp.Concat(expressions=said)])
    return exp.Case(ifs=[exp.If(this=too_long, true=error)], default=exp.true())


def given(statement: exp.Expr, session: Session) -> Lengths:
    """Lengths of columns that a statement gives and DuckDB would not know of; None takes one away."""
    if isinstance(statement, exp.Alter):
        return _altered(statement)
    if not isinstance(statement, exp.Create) or str(statement.args.get("kind")).upper() != "TABLE":
        return {}
    clone, like = statement.args.get("clone"), statement.find(exp.LikeProperty)
    if source := clone.this if clone else like.this if like else None:
        return known(source, session)
    query = statement.expression
    if not isinstance(query, exp.Query):
        return {}
    if isinstance(statement.this, exp.Schema) and any(d.args.get("kind") for d in statement.this.expressions):
        return _sized((name_of(d.this), of_type(d.args.get("kind"))) for d in statement.this.expressions)
    return _selected(query, session)


def _altered(statement: exp.Alter) -> Lengths:
    found: dict[str, int | None] = {}
    for action in statement.args.get("actions") or []:
        if isinstance(action, exp.ColumnDef):
            found |= _sized([(name_of(action.this), of_type(action.kind))])
        elif isinstance(action, exp.AlterColumn) and (type_ := action.args.get("dtype")):
            found[name_of(action.this)] = of_type(type_)
    return found


def _sized(columns: Any) -> dict[str, int | None]:
    return {name: length for name, length in columns if length is not None}


def _selected(query: exp.Query, session: Session) -> Lengths:
    """Lengths of what a query selects: of casts, and of columns where it reads one table."""
    from_ = query.args.get("from_")
    source = from_.this if from_ and not query.args.get("joins") else None
    columns = known(source, session) if isinstance(source, exp.Table) else {}
    found: dict[str, int | None] = {}
    for selected in query.selects:
        inner = selected.unalias().unnest()
        if selected.is_star:
            found |= columns
        elif isinstance(inner, (exp.Cast, exp.TryCast)):
            found |= _sized([(name_of(selected.args.get("alias") or selected), of_type(inner.to))])
        elif isinstance(inner, exp.Column):
            found |= _sized(
                [(name_of(selected.args.get("alias") or inner.this), columns.get(name_of(inner.this)))]
            )
    return found


def name_of(node: Any) -> str:
    """A name as it is stored."""
    if isinstance(node, exp.Column):
        node = node.this
    if isinstance(node, exp.Identifier) and node.args.get("quoted"):
        return node.name
    return str(node.alias_or_name if isinstance(node, exp.Expr) else node).upper()


def place(table: exp.Expr, session: Session) -> tuple[str, str, str]:
    """Database, schema and name of a table."""
    table = table.this if isinstance(table, exp.Schema) else table
    database, schema = table.args.get("catalog"), table.args.get("db")
    return (
        name_of(database) if database else str(session.database),
        name_of(schema) if schema else str(session.schema),
        name_of(table.this),
    )


def is_there(connection: Any, where: tuple[str, str, str]) -> bool:
    """Whether there is such a table."""
    sql = "select 1 from duckdb_tables() where database_name = ? and schema_name = ? and table_name = ?"
    return bool(connection.execute(sql, list(where)).fetchall())


def known(table: exp.Expr, session: Session) -> dict[str, int | None]:
    """The lengths of a table's columns."""
    return {
        columns[0]: int(found[1])
        for kind, text, columns in _constraints(session._duck_conn, place(table, session))
        if kind == "CHECK" and len(set(columns)) == 1 and (found := _OURS.search(text))
    }


def _constraints(connection: Any, where: tuple[str, str, str]) -> list[tuple[str, str, list[str]]]:
    sql = (
        "select constraint_type, constraint_text, constraint_column_names from duckdb_constraints() "
        "where database_name = ? and schema_name = ? and table_name = ?"
    )
    rows: list[tuple[str, str, list[str]]] = connection.execute(sql, list(where)).fetchall()
    return rows


def verify(connection: Any, where: tuple[str, str, str], lengths: Lengths) -> None:
    """Refuse lengths that texts in a table exceed."""
    table = ".".join(map(identifier, where))
    for column, length in lengths.items():
        name = identifier(column)
        sql = f"select {name} from {table} where length({name}) > {length} limit 1"
        if length is not None and (found := connection.execute(sql).fetchone()):
            raise sql_error(100078, "22000", f"String '{found[0]}' is too long and would be truncated")


def apply(
    connection: Any,
    where: tuple[str, str, str],
    lengths: Lengths,
    constraints: Sequence[str] = (),
    not_null: Sequence[str] = (),
) -> None:
    """Make a table again whose columns have these lengths, in several statements; it may get further constraints."""
    database, schema, name = where
    at = f"where database_name = {literal(database)} and schema_name = {literal(schema)} and table_name = {literal(name)}"
    columns = connection.execute(
        f"select column_name, data_type, column_default, is_nullable, comment from duckdb_columns() {at} order by column_index"
    ).fetchall()
    ((comment,),) = connection.execute(f"select comment from duckdb_tables() {at}").fetchall() or ((None,),)
    kept = [
        text
        for kind, text, of in _constraints(connection, where)
        if kind != "NOT NULL" and not (kind == "CHECK" and of[:1] and of[0] in lengths and _OURS.search(text))
    ]
    parts = [
        f"{identifier(column)} {type_}{f' default {default}' if default else ''}"
        + ("" if nullable and column not in not_null else " not null")
        for column, type_, default, nullable, _ in columns
    ]
    parts += [*kept, *constraints]
    for column, length in lengths.items():
        if length is not None:
            condition = check(exp.to_identifier(column, quoted=True), length)
            parts.append(f"check ({condition.sql(dialect='duckdb')})")
    home, aside = (
        f"{identifier(database)}.{identifier(schema)}",
        identifier(f"_sf_made_again_{uuid.uuid4().hex}"),
    )
    table = f"{home}.{identifier(name)}"
    comments = [("table", table, comment)]
    comments += [("column", f"{table}.{identifier(column)}", said) for column, *_, said in columns]
    statements = [
        f"create {'temp ' if database == 'temp' else ''}table {home}.{aside} ({', '.join(parts)})",
        f"insert into {home}.{aside} select * from {table}",
        f"drop table {table}",
        f"alter table {home}.{aside} rename to {identifier(name)}",
        *(f"comment on {what} {which} is {literal(said)}" for what, which, said in comments if said),
    ]
    for statement in statements:
        connection.execute(statement)
