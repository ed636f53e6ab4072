"""What DuckDB's types leave out of a column: whether it is an ARRAY, an OBJECT or a TIMESTAMP_LTZ.

It lies in a table of each database, which outlives the server, and in one of the catalog that every session sees, which
DESCRIBE, SHOW COLUMNS and the information schema read. Upstream keeps the lengths of texts in the same way.
"""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING, Any

import duckdb
from fakesnow import info_schema
from fakesnow.transforms import show
from sqlglot import exp

from . import inferred, lengths
from .access.needed import INFORMATION
from .inferred import LOCAL
from .parsing import read_again
from .patches import PATCHES, Patch
from .quoting import identifier

if TYPE_CHECKING:
    from .session import Session

AMBIGUOUS = ("JSON", "TIMESTAMP WITH TIME ZONE")
Place = tuple[str, str, str]
_HOME = "_fs_information_schema._sf_kinds"
_GLOBAL = f"_fs_global.{_HOME}"
_COLUMNS = (
    "table_catalog varchar, table_schema varchar, table_name varchar, column_name varchar, kind varchar"
)
_HERE = "table_catalog = ? and table_schema = ? and table_name = ?"
JOIN = """left join _fs_global._fs_information_schema._sf_kinds on _sf_kinds.table_catalog = {0}
    and _sf_kinds.table_schema = {1} and _sf_kinds.table_name = {2} and _sf_kinds.column_name = {3}"""


def _of_columns(text: str) -> str:
    """Upstream's view of all columns, with their kinds."""
    for duck, snowflake in (("TIMESTAMP WITH TIME ZONE", "TIMESTAMP_TZ"), ("JSON", "VARIANT")):
        old = f"when columns.data_type='{duck}' then '{snowflake}'"
        text = text.replace(
            old, f"when columns.data_type='{duck}' then coalesce(_sf_kinds.kind, '{snowflake}')"
        )
    names = (f"columns.{name}" for name in ("table_catalog", "table_schema", "table_name", "column_name"))
    return text.replace(
        "where schema_name != '_fs_information_schema'",
        f"{JOIN.format(*names)}\nwhere schema_name != '_fs_information_schema'",
    )


for _module, _name, _text in (
    (
        info_schema,
        "SQL_CREATE_GLOBAL_INFORMATION_SCHEMA_COLUMNS_VIEW",
        f"create table if not exists {_GLOBAL} ({_COLUMNS});\n"
        + _of_columns(info_schema.SQL_CREATE_GLOBAL_INFORMATION_SCHEMA_COLUMNS_VIEW),
    ),
    (
        show,
        "SQL_CREATE_VIEW_SHOW_COLUMNS",
        show.SQL_CREATE_VIEW_SHOW_COLUMNS.replace(
            "'TIMESTAMP_TZ','TIME'", "'TIMESTAMP_TZ','TIMESTAMP_LTZ','TIME'"
        ),
    ),
):
    PATCHES.append(
        Patch(_module, _name, _text, "a column of ARRAY, OBJECT or TIMESTAMP_LTZ is described as one")
    )

PATCHES.append(
    Patch(
        info_schema,
        "SQL_CREATE_LOAD_HISTORY_TABLE",
        Template(
            f"{info_schema.SQL_CREATE_LOAD_HISTORY_TABLE.template};\n"
            f"create table if not exists ${{catalog}}.{_HOME} ({_COLUMNS})"
        ),
        "columns of ARRAY, OBJECT and TIMESTAMP_LTZ are described as such after a restart",
    )
)


# Upstream keeps the lengths of texts in memory alone.
_LENGTHS = """insert or ignore into _fs_global._fs_information_schema._fs_columns_ext
    select database_name, schema_name, table_name, constraint_column_names[1], size, least(size * 4, 16777216) from (
        select *, try_cast(regexp_extract(constraint_text, $1, 1, 's') as integer) as size from duckdb_constraints()
        where constraint_type = 'CHECK' and database_name = $2 and len(list_distinct(constraint_column_names)) = 1
    ) where size is not null"""


def load(connection: duckdb.DuckDBPyConnection, database: str) -> None:
    """Let every session know what a database that was attached has kept."""
    connection.execute(
        f"insert into {_GLOBAL} select ?, * exclude (table_catalog) from {identifier(database)}.{_HOME}",
        [database],
    )
    connection.execute(_LENGTHS, [lengths.OURS, database])


def known(connection: Any, where: Place) -> dict[str, str]:
    """The kinds of a table's columns."""
    sql = f"select column_name, kind from {_GLOBAL} where {_HERE}"
    return dict(connection.execute(sql, list(where)).fetchall())


def keep(connection: Any, where: Place, kinds: dict[str, str]) -> None:
    """Remember the kinds of a table's columns, and no others."""
    if known(connection, where) == kinds:
        return
    rows = [[*where, column, kind] for column, kind in kinds.items()]
    for table in (_GLOBAL, *([] if where[0] == "temp" else [f"{identifier(where[0])}.{_HOME}"])):
        connection.execute(f"delete from {table} where {_HERE}", list(where))
        for row in rows:
            connection.execute(f"insert into {table} values (?, ?, ?, ?, ?)", row)


def moved(connection: Any, old: Place, name: str) -> None:
    """Let the kinds of a table's columns follow its name."""
    kinds = known(connection, old)
    keep(connection, (old[0], old[1], name), kinds)
    keep(connection, old, {})


def look(session: Session) -> inferred.Look:
    """What is known of the tables that a statement of a session reads."""

    def found(node: exp.Expr) -> inferred.Kinds:
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            return of_table(node, session)
        function = node.this if isinstance(node, exp.TableFromRows) else None
        if isinstance(function, exp.Anonymous) and str(function.this).upper() == "RESULT_SCAN":
            return _of_result(function, session)
        return {}

    return found


class _Local(dict[str, str]):
    """Every timestamp is a TIMESTAMP_LTZ, https://docs.snowflake.com/en/sql-reference/info-schema"""

    def __contains__(self, _: object) -> bool:
        return True

    def __missing__(self, _: str) -> str:
        return LOCAL


def of_table(table: exp.Expr, session: Session) -> inferred.Kinds:
    """The kinds of the columns of a table by the name that a session knows it by."""
    where = lengths.place(table, session)
    if where[1] == INFORMATION or where[0] == "SNOWFLAKE":
        return _Local()
    if temporary := session.temporary.names.get(where):
        where = ("temp", "main", temporary)
    return known(session._duck_conn, where)


def _of_result(function: exp.Anonymous, session: Session) -> inferred.Kinds:
    argument = function.expressions[0] if function.expressions else exp.null()
    query = argument.this.name if isinstance(argument, exp.Cast) else argument.name
    if isinstance(argument, exp.Anonymous) or not query:
        query = next((one for one in reversed(session.about.queries) if one), "")
    return {
        name: type_ for name, type_ in session.described.get(query, []) if type_ in ("ARRAY", "OBJECT", LOCAL)
    }


def of_definition(type_: exp.Expr | None) -> str | None:
    """The kind of a column that is defined with a type."""
    return inferred.of_type(type_.this) if isinstance(type_, exp.DataType) else None


def described(columns: list[tuple[str, str]], written: str | None, session: Session) -> list[tuple[str, str]]:
    """The columns of a result with the types that DuckDB leaves out."""
    if not written or not any(type_ in AMBIGUOUS for _, type_ in columns):
        return columns
    read = read_again(written)
    if isinstance(read, exp.Query):
        kinds = inferred.of_result(read, [name for name, _ in columns], look(session))
    else:
        kinds = [LOCAL if isinstance(read, (exp.Show, exp.Command)) else None] * len(columns)
    return [
        (name, kind if kind and type_ in AMBIGUOUS and (kind == LOCAL) == (type_ != "JSON") else type_)
        for (name, type_), kind in zip(columns, kinds, strict=True)
    ]


def after(statement: exp.Expr, written: str, session: Session) -> None:
    """Remember what a statement that ran says about columns; ``written`` is the statement as it was written."""
    connection: Any = session._duck_conn
    where = lengths.place(statement.this, session)
    if isinstance(statement, exp.Alter) and not any(map(_concerns, statement.args.get("actions") or [])):
        return
    connection._connection.execute(f"select * from {'.'.join(map(identifier, where))} limit 0")
    columns = {column[0]: str(column[1]) for column in connection._connection.description}
    before = known(connection, where)
    if not before and not any(type_ in AMBIGUOUS for type_ in columns.values()):
        return
    read = read_again(written)
    kinds = _altered(read, before) if isinstance(read, exp.Alter) else _made(read, session, list(columns))
    keep(connection, where, {name: kind for name, kind in kinds.items() if columns.get(name) in AMBIGUOUS})


def _concerns(action: exp.Expr) -> bool:
    """Whether a part of an ALTER changes columns."""
    return isinstance(action, (exp.ColumnDef, exp.RenameColumn, exp.Drop, exp.Command))


def _made(read: exp.Expr, session: Session, names: list[str]) -> dict[str, str]:
    clone, like = read.args.get("clone"), read.find(exp.LikeProperty)
    if source := clone.this if clone else like.this if like else None:
        return dict(of_table(source, session))
    given = read.this.expressions if isinstance(read.this, exp.Schema) else []
    found: dict[str, str] = {}
    if isinstance(read.expression, exp.Query):
        kinds = inferred.of_result(read.expression, names, look(session))
        found = {name: kind for name, kind in zip(names, kinds, strict=True) if kind}
    for column in given:
        if isinstance(column, exp.ColumnDef) and column.kind is not None:
            found.pop(inferred.name_of(column.this), None)
            if kind := of_definition(column.kind):
                found[inferred.name_of(column.this)] = kind
    return found


def _altered(read: exp.Alter, before: dict[str, str]) -> dict[str, str]:
    found = dict(before)
    for action in read.args.get("actions") or []:
        if isinstance(action, exp.ColumnDef):
            found.pop(inferred.name_of(action.this), None)
            if kind := of_definition(action.kind):
                found[inferred.name_of(action.this)] = kind
        elif isinstance(action, exp.RenameColumn):
            old, new = (
                inferred.name_of(one.this if isinstance(one, exp.Column) else one)
                for one in (action.this, action.args["to"])
            )
            if old in found:
                found[new] = found.pop(old)
    return found
