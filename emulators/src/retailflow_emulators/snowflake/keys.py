"""Primary and unique keys, which Snowflake keeps and does not enforce; foreign keys, of which none are kept.

https://docs.snowflake.com/en/sql-reference/constraints-overview. DuckDB enforces its own, so that a table has a CHECK
in their place, which always holds and which SHOW PRIMARY KEYS and DESCRIBE TABLE read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fakesnow import transforms
from sqlglot import exp

from . import lengths, quoting
from .patches import patch
from .quoting import literal

PRIMARY, UNIQUE = "PRIMARY KEY", "UNIQUE KEY"
_FOREIGN = (exp.ForeignKey, exp.Reference)
_Key = tuple[str, list[exp.Identifier]]


def _mark(kind: str) -> str:
    return f"('{kind.lower()}' IS NULL)"


def check(kind: str, columns: list[exp.Identifier]) -> exp.Expr:
    """The condition that stands for a key; it always holds."""
    condition: exp.Expr = exp.Not(this=exp.Is(this=exp.Literal.string(kind.lower()), expression=exp.null()))
    for column in columns:
        condition = exp.Or(
            this=condition, expression=exp.Is(this=exp.column(column.copy()), expression=exp.null())
        )
    return condition


def _key(node: exp.Expr) -> _Key | None:
    """The kind and the columns of a key of a table."""
    if isinstance(node, exp.PrimaryKey):
        return PRIMARY, [
            exp.to_identifier(one.this) if isinstance(one, exp.Ordered) else one for one in node.expressions
        ]
    if isinstance(node, exp.UniqueColumnConstraint) and isinstance(node.this, exp.Schema):
        return UNIQUE, list(node.this.expressions)
    return None


def _parts(node: exp.Expr) -> Iterator[exp.Expr]:
    yield from node.expressions if isinstance(node, exp.Constraint) else [node]


def unenforced(statement: exp.Expr) -> exp.Expr:
    """CREATE TABLE without keys that DuckDB would enforce; columns of a primary key are NOT NULL."""
    if not isinstance(statement, exp.Create) or not isinstance(statement.this, exp.Schema):
        return statement
    schema = statement.this
    found: list[_Key] = []
    for node in list(schema.expressions):
        if isinstance(node, exp.ColumnDef):
            kept = []
            for one in node.constraints:
                if isinstance(one.kind, exp.PrimaryKeyColumnConstraint):
                    found.append((PRIMARY, [node.this]))
                elif isinstance(one.kind, exp.UniqueColumnConstraint):
                    found.append((UNIQUE, [node.this]))
                elif not isinstance(one.kind, _FOREIGN):
                    kept.append(one)
            node.set("constraints", kept)
        elif keys := [key for part in _parts(node) if (key := _key(part))]:
            found += keys
            node.pop()
        elif all(isinstance(part, _FOREIGN) for part in _parts(node)):
            node.pop()
    primary = {column.name.upper() for kind, columns in found if kind == PRIMARY for column in columns}
    for node in schema.expressions:
        if (
            isinstance(node, exp.ColumnDef)
            and node.name.upper() in primary
            and not node.find(exp.NotNullColumnConstraint)
        ):
            node.append("constraints", exp.ColumnConstraint(kind=exp.NotNullColumnConstraint()))
    if not isinstance(statement.expression, exp.Query):
        for kind, columns in found:
            schema.append("expressions", exp.CheckColumnConstraint(this=check(kind, columns)))
    return statement


def added(statement: exp.Expr) -> list[_Key] | None:
    """The keys that an ALTER TABLE adds, none where it adds foreign ones; None for other statements."""
    if not isinstance(statement, exp.Alter):
        return None
    parts = [
        part
        for action in statement.args.get("actions") or []
        for node in (action.expressions if isinstance(action, exp.AddConstraint) else [action])
        for part in _parts(node)
    ]
    if not parts or not all(_key(part) or isinstance(part, _FOREIGN) for part in parts):
        return None
    return [key for part in parts if (key := _key(part))]


def remake(connection: Any, where: tuple[str, str, str], found: list[_Key]) -> None:
    """Make a table again with keys that are added to it."""
    parts = [f"check ({check(kind, columns).sql(dialect='duckdb')})" for kind, columns in found]
    primary = [one.name for kind, columns in found if kind == PRIMARY for one in columns]
    lengths.apply(connection, where, {}, parts, primary)


_CONSTRAINTS = f"""(select * replace (case when contains(constraint_text, {literal(_mark(PRIMARY))}) then '{PRIMARY}'
    when contains(constraint_text, {literal(_mark(UNIQUE))}) then '{UNIQUE}' else constraint_type end as constraint_type)
    from duckdb_constraints()) as duckdb_constraints"""


@patch(transforms, "show_keys", "SHOW PRIMARY KEYS of a table whose keys are not enforced")
def show_keys(expression: exp.Expr, *names: str | None, **kinds: Any) -> exp.Expr:
    """SHOW … KEYS that reads what stands for keys as well."""
    changed: exp.Expr = quoting.show_keys(expression, *names, **kinds)
    if changed is not expression:
        for table in list(changed.find_all(exp.Table)):
            if table.name.lower() == "duckdb_constraints":
                table.replace(_parsed(f"select * from {_CONSTRAINTS}").args["from_"].this)
        for alias in changed.find_all(exp.Alias):
            if alias.alias == "key_sequence":
                alias.set("this", _parsed("unnest(generate_series(1, len(constraint_column_names)))"))
    return changed


@patch(transforms, "describe_table", "DESCRIBE TABLE says which columns are in a key")
def describe_table(expression: exp.Expr, *names: str | None) -> exp.Expr:
    """DESCRIBE TABLE as upstream answers it, with keys."""
    described: exp.Expr = quoting.describe(expression, *names)
    table = expression.find(exp.Table)
    if described is expression or table is None:
        return described
    place = (table.catalog or names[0], table.db or names[1], table.name)
    for alias in described.find_all(exp.Alias):
        if kind := {"primary key": PRIMARY, "unique key": UNIQUE}.get(alias.alias):
            where = " and ".join(
                f"{column} = {literal(str(name))}"
                for column, name in zip(("database_name", "schema_name", "table_name"), place, strict=True)
            )
            has = f"""case when column_name in (select unnest(constraint_column_names) from {_CONSTRAINTS}
                where {where} and constraint_type = '{kind}') then 'Y' else 'N' end"""
            alias.set("this", _parsed(has))
    return described


def _parsed(sql: str) -> exp.Expr:
    found: exp.Expr = exp.maybe_parse(sql, dialect="duckdb")
    return found
