"""COPY INTO a table: all files or none, and the history of loads with them.

https://docs.snowflake.com/en/sql-reference/sql/copy-into-table: ABORT_STATEMENT, the default of ON_ERROR, loads nothing where
a file has an error.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import Any

import duckdb
from fakesnow import copy_into, cursor
from fakesnow.transforms import stage
from sqlglot import exp

from . import copies
from .connection import CONFLICT_PAUSE_SECONDS
from .patches import patch
from .quoting import identifier

_copy = copy_into.copy_into
_OPTIONAL = ("FORCE", "PURGE")  # upstream takes them as true, whatever is said


class _Load:
    """A connection that keeps the history of loads in the database of the table; ``loaded`` are the files of this load."""

    def __init__(self, connection: Any, database: str) -> None:
        self._connection = connection
        self._place = f"{identifier(database)}._fs_information_schema._fs_load_history"
        self.loaded: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, parameters: Any = None) -> Any:
        return self._connection.execute(self._changed(sql), parameters)

    def executemany(self, sql: str, records: list[tuple[Any, ...]]) -> None:
        for record in records:
            self.execute(sql, list(record))
            self.loaded.append(copy_into.LoadHistoryRecord(*record).file_name)

    def _changed(self, sql: str) -> str:
        return re.sub(r"(?<=FROM |INTO )_fs_information_schema\._fs_load_history", lambda _: self._place, sql)


@patch(
    cursor,
    "copy_into",
    "COPY of several files, of which the last one has an error, leaves the table as it was",
)
def copy(connection: Any, database: str | None, schema: str | None, expression: exp.Copy, *rest: Any) -> str:
    """COPY as one change: rows and the history of loads, which is beside the table; files are removed after it."""
    table = expression.this.this if isinstance(expression.this, exp.Schema) else expression.this
    # Temporary tables have no place of their own.
    place = table.catalog if table.catalog and table.catalog != "temp" else str(database)
    purge = _take_options(expression)
    copies.note_target(connection, database, schema, expression)

    def run() -> tuple[str, list[str]]:
        load: Any = _Load(connection, place)
        return _copy(load, database, schema, expression, *rest), load.loaded

    sql, loaded = run() if connection.in_transaction else _whole(connection, run)
    if purge:
        for path in filter(stage.is_internal, map(stage.file_path, loaded)):
            os.remove(path)
    connection.execute(sql)
    return sql


def _take_options(expression: exp.Copy) -> bool:
    """Leave FORCE out where it is false, and PURGE in any case; returns whether that is true."""
    kept, purge = [], False
    for param in expression.args.get("params") or []:
        name, value = param.name.upper(), param.expression
        on = str(value.this if value else True).upper() != "FALSE"
        purge = purge or (name == "PURGE" and on)
        if name not in _OPTIONAL or (name == "FORCE" and on):
            kept.append(param)
    expression.set("params", kept)
    return purge


def _whole(connection: Any, run: Any) -> Any:
    """Run in a transaction of its own, again where another session wrote to the table at the same time."""
    deadline = time.monotonic() + connection.lock_seconds
    while True:
        connection.begin()
        try:
            done = run()
            connection.commit()
            return done
        except BaseException as error:
            with contextlib.suppress(duckdb.TransactionException):  # DuckDB has ended it
                connection.rollback()
            connection.enter(False)
            conflict = isinstance(error, duckdb.TransactionException) and "conflict" in str(error).lower()
            if not conflict or time.monotonic() > deadline:
                raise
        time.sleep(CONFLICT_PAUSE_SECONDS)
