"""Tables to lines: the lock on a table, and COPY."""

from __future__ import annotations

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

from ..protocol import ConnectorError, log
from . import limits
from .catalog import SourceTable
from .lines import CopiedValues, Lines, in_utf8
from .session import failure, take_bytes

_BLOCKERS = """
select coalesce(string_agg(distinct case when l.pid is null then 'a prepared transaction (pg_prepared_xacts)'
                                         else 'process ' || l.pid end, ', '), 'another session')
from pg_locks l where l.relation = %s and l.mode = 'AccessExclusiveLock'
"""


def lock(
    cursor: psycopg2.extensions.cursor, control: psycopg2.extensions.connection, table: SourceTable
) -> None:
    """Hold a table as it is until the end of the transaction; `control` is asked who holds it back.

    Must come before anything that takes the transaction's snapshot.
    """
    statement = sql.SQL("lock table {} in access share mode").format(sql.Identifier(table.schema, table.name))
    for _ in range(limits.LOCK_TRIES):
        cursor.execute(f"set local lock_timeout = '{limits.LOCK_SECONDS}s'")
        try:
            cursor.execute(statement)
            return
        except psycopg2.errors.LockNotAvailable:
            cursor.connection.rollback()
            with control.cursor() as asking:
                asking.execute(_BLOCKERS, (table.oid,))
                (holders,) = asking.fetchone() or ("",)
            log(f"waiting for a lock on {table.id}, which {holders} of PostgreSQL holds or waits for")
        except psycopg2.Error as error:
            raise failure(error, f"cannot read {table.id}") from error
    raise ConnectorError(
        f"{table.id} was not read: another session ({holders}) has held a lock on it for "
        f"{limits.LOCK_TRIES * limits.LOCK_SECONDS} s. End that session (pg_terminate_backend), or wait for it",
        "transient_error",
    )


def copy_lines(
    cursor: psycopg2.extensions.cursor, statement: sql.Composable, table: SourceTable, lines: Lines
) -> None:
    """Run a COPY of RECORD lines into `lines`, and close them. Errors name the table."""
    any_bytes = take_bytes(cursor)
    try:
        cursor.copy_expert(
            statement, CopiedValues(in_utf8(table.id, lines.take) if any_bytes else lines.take)
        )
    except psycopg2.Error as error:
        raise failure(error, f"cannot read {table.id}") from error
    lines.close()
