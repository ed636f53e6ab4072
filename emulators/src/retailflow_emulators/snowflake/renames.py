"""RENAME and SWAP, which DuckDB does within a schema.

https://docs.snowflake.com/en/sql-reference/sql/alter-table
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import duckdb
from sqlglot import exp

from . import columntypes
from .errors import NotEmulatedError
from .quoting import identifier

if TYPE_CHECKING:
    from .connection import Connection
    from .session import Session

Step = tuple[str, str, str]  # kind, old and new name


def steps(statement: exp.Alter, session: Session) -> list[Step]:
    """The steps of a RENAME or SWAP; none for another statement."""
    action = next(iter(statement.args.get("actions") or []), None)
    if not isinstance(action, (exp.SwapTable, exp.AlterRename)):
        return []
    one, other = statement.this, action.this
    places = [(table.catalog or session.database, table.db or session.schema) for table in (one, other)]
    if isinstance(action, exp.AlterRename) and not other.db:
        places[1] = places[0]
    kind = str(statement.args["kind"])
    if places[0] != places[1]:
        raise NotEmulatedError(f"ALTER {kind} RENAME or SWAP across schemas")
    place = f"{identifier(str(places[0][0]))}.{identifier(str(places[0][1]))}"

    def step(old: str, new: str) -> Step:
        return kind, f"{place}.{identifier(old)}", identifier(new)

    if isinstance(action, exp.AlterRename):
        return [step(one.name, other.name)]
    aside = f"_sf_swapped_{uuid.uuid4().hex}"
    return [step(one.name, aside), step(other.name, one.name), step(aside, other.name)]


def run(connection: Connection, steps_: list[Step]) -> None:
    """Rename all or nothing."""
    own = not connection.in_transaction and len(steps_) > 1
    if own:
        connection.execute("begin")
    try:
        for kind, old, new in steps_:
            connection.execute(f"alter {kind} {old} rename to {new}")
        if own:
            connection.execute("commit")
    except duckdb.Error:
        if own:
            connection.execute("rollback")
        raise
    for _, old, new in steps_:
        _keep(connection, old, new)


def _keep(connection: Connection, old: str, new: str) -> None:
    """Let the lengths of texts and the comment, which upstream keeps by the name of a table, follow its name.

    They lie in another database, and DuckDB writes to one in a transaction.
    """
    database, schema, name = (part.name for part in exp.to_table(old, dialect="duckdb").parts)
    known = "_fs_global._fs_information_schema"
    there = "ext_table_catalog = ? and ext_table_schema = ? and ext_table_name = ?"
    to = new[1:-1].replace('""', '"')
    columntypes.moved(connection, (database, schema, name), to)
    for table in ("_fs_columns_ext", "_fs_tables_ext"):
        connection.execute(f"delete from {known}.{table} where {there}", [database, schema, to])
        connection.execute(
            f"update {known}.{table} set ext_table_name = ? where {there}", [to, database, schema, name]
        )
