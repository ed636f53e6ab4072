"""Primary and unique keys, which Snowflake keeps and does not enforce; foreign keys, of which none are kept.

https://docs.snowflake.com/en/sql-reference/constraints-overview. DuckDB enforces its own, so that a table has a CHECK
in their place, which always holds and which SHOW PRIMARY KEYS and DESCRIBE TABLE read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fakesnow import transforms
from fakesnow.transforms import transforms as module
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


# What upstream's _fs_columns says of one table, without a look at the columns of all others.
_COLUMNS = """(
    select column_name, column_index as ordinal_position, column_default, comment,
        case when is_nullable then 'YES' else 'NO' end as is_nullable,
        case when data_type like 'DECIMAL%' or data_type = 'BIGINT' then 'NUMBER' when data_type = 'VARCHAR' then 'TEXT'
            when data_type = 'DOUBLE' then 'FLOAT' when data_type = 'BLOB' then 'BINARY'
            when data_type = 'JSON' then coalesce(kind, 'VARIANT') when data_type = 'TIMESTAMP' then 'TIMESTAMP_NTZ'
            when data_type = 'TIMESTAMP WITH TIME ZONE' then coalesce(kind, 'TIMESTAMP_TZ')
            else data_type end as data_type,
        case when data_type = 'BIGINT' then 38 else numeric_precision end as numeric_precision, numeric_scale,
        ext_character_maximum_length as character_maximum_length,
        database_name as table_catalog, schema_name as table_schema, table_name
    from duckdb_columns() left join (select * from _fs_global._fs_information_schema._fs_columns_ext
        where ext_table_catalog = {0} and ext_table_schema = {1} and ext_table_name = {2}) on ext_column_name = column_name
        left join (select column_name as kind_of, kind from _fs_global._fs_information_schema._sf_kinds
        where table_catalog = {0} and table_schema = {1} and table_name = {2}) on kind_of = column_name
    where database_name = {0} and schema_name = {1} and table_name = {2}
)"""


@patch(
    transforms,
    "describe_table",
    "DESCRIBE TABLE says which columns are in a key, and looks at no other table",
)
def describe_table(expression: exp.Expr, *names: str | None) -> exp.Expr:
    """DESCRIBE TABLE as upstream answers it, with keys."""
    table = expression.find(exp.Table) if isinstance(expression, exp.Describe) else None
    kind = str(expression.args.get("kind")).upper()
    if table is None or kind not in ("TABLE", "VIEW") or table.db == "_FS_INFORMATION_SCHEMA":
        described: exp.Expr = quoting.describe(expression, *names)
        return described
    place = [literal(str(name)) for name in (table.catalog or names[0], table.db or names[1], table.name)]
    catalog, schema, name = (one[1:-1] for one in place)
    text = module.SQL_DESCRIBE_TABLE.substitute(catalog=catalog, schema=schema, table=name)
    text = text.replace("_fs_information_schema._fs_columns", _COLUMNS.format(*place))
    text = text.replace(
        "ELSE data_type END", "WHEN data_type = 'TIMESTAMP_LTZ' THEN 'TIMESTAMP_LTZ(9)' ELSE data_type END"
    )
    where = "database_name = {} and schema_name = {} and table_name = {}".format(*place)
    for key, shown in ((PRIMARY, "primary key"), (UNIQUE, "unique key")):
        has = f"""case when column_name in (select unnest(constraint_column_names) from {_CONSTRAINTS}
            where {where} and constraint_type = '{key}') then 'Y' else 'N' end"""
        text = text.replace(f"'N' AS \"{shown}\"", f'{has} AS "{shown}"')
    return exp.Command(this="SELECT", expression=text.strip().removeprefix("SELECT"))


def _parsed(sql: str) -> exp.Expr:
    found: exp.Expr = exp.maybe_parse(sql, dialect="duckdb")
    return found
