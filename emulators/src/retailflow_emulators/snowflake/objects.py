"""Statements about schemas, stages and file formats that upstream runs in another way than Snowflake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlglot import exp

from . import stages
from .access.who import missing
from .quoting import identifier

if TYPE_CHECKING:
    from .session import Session

HOME = "PUBLIC"  # the schema that every database has, https://docs.snowflake.com/en/sql-reference/sql/create-database


def create_schema(transformed: exp.Create, session: Session) -> str:
    """Make a schema, which becomes the current one; returns its name."""
    connection: Any = session._duck_conn
    table = transformed.this
    database, schema = table.catalog or session.database, table.db
    if transformed.args.get("replace"):  # DuckDB replaces empty ones alone
        connection.execute(f"drop schema if exists {identifier(str(database))}.{identifier(schema)} cascade")
    connection.execute(transformed.sql(dialect="duckdb"))
    connection.use(database, schema)
    session.database, session.database_set = database, True
    session._schema, session.schema_set = schema, True
    return str(schema)


def enter(database: str, session: Session, make: bool) -> None:
    """Go to a database, and there to the schema that every database has; ``make`` makes that first."""
    connection: Any = session._duck_conn
    if make and not connection.has(database, HOME):
        connection.execute(f"create schema {identifier(database)}.{identifier(HOME)}")
    session.database, session.database_set = database, True
    session.schema_set = make or (
        connection.has(database, HOME) and session.guard.sees("SCHEMA", (database, HOME))
    )
    session._schema = HOME if session.schema_set else None
    connection.use(database, HOME if session.schema_set else "main")


def drop(transformed: exp.Drop, kind: str, session: Session) -> str:
    """Drop stages or file formats; returns the name of the last one."""
    name = ""
    for table in transformed.args.get("tables") or [transformed.this]:
        name, where = (
            table.name,
            (table.catalog or session.database, table.db or session.schema, table.name),
        )
        dropped = stages.drop(where, session) if kind == "STAGE" else _drop_file_format(where, session)
        if not dropped and not transformed.args.get("exists"):
            raise missing(kind, map(str, where))
    return str(name)


def _drop_file_format(where: tuple[object, ...], session: Session) -> bool:
    sql = "delete from _fs_global._fs_information_schema._fs_file_formats"
    sql += " where database_name = ? and schema_name = ? and name = ?"
    (dropped,) = session._duck_conn.execute(sql, list(where)).fetchone() or (0,)
    return bool(dropped)
