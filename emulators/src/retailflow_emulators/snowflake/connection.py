"""DuckDB's connection of a session: marks are resolved, conflicts waited for, failed transactions begun again."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Hashable
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from . import bounds, temporary
from .quoting import identifier, schema_setting
from .resolution import marks, resolve, types_of

CONFLICT_PAUSE_SECONDS = 0.05
_TEMPORARY = """select sql from (select table_oid as number, sql from duckdb_tables() where temporary
    union all select view_oid, sql from duckdb_views()
    where temporary and regexp_matches(view_name, '^[0-9a-f]{32}[.]')) order by number"""  # rows that are shown are views as well
_WRITES = re.compile(r"\s*(?:insert|update|delete|merge|copy|truncate|with)\b", re.IGNORECASE)
_HISTORY = re.compile(r"DELETE FROM (.+)\._fs_information_schema\._fs_load_history ")


class Connection:
    """A DuckDB connection whose ``execute`` resolves marks and waits for what others write."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, lock_seconds: float) -> None:
        self._connection = connection
        self._twin: duckdb.DuckDBPyConnection | None = None
        self.lock_seconds = lock_seconds
        self.in_transaction = False
        self.written: list[tuple[str, Any]] = []  # what the open transaction has done
        self._shown: dict[str, pa.Table] = {}
        self.columns: list[tuple[str, str]] = []
        self.reads: frozenset[str] | None = (
            None  # the tables of the statement that runs, where they are known
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def use(self, database: str, schema: str) -> None:
        """Make a schema the one where names are looked for first."""
        self._connection.execute(f"SET {schema_setting(database, schema)}")

    def has(self, database: str, schema: str) -> bool:
        """Whether there is such a schema."""
        sql = "select 1 from duckdb_schemas() where database_name = ? and schema_name = ?"
        return bool(self._connection.execute(sql, [database, schema]).fetchall())

    def begin(self) -> None:
        """Begin a transaction, as upstream does where a session does not commit by itself."""
        self._connection.begin()
        self.enter(True)

    def commit(self) -> None:
        """Commit what was begun, if anything was."""
        if self.in_transaction:
            self._connection.commit()
        self.enter(False)

    def enter(self, open_: bool) -> None:
        """Note that a transaction begins, or has ended."""
        self.in_transaction = open_
        self.written.clear()

    def recover(self, undo: bool = False) -> None:
        """After a statement that failed: the transaction is open, and has done what the statements before it did.

        ``undo``: the failed statement has done a part of its work, and DuckDB may not know of the failure.
        DuckDB ends a transaction at its first error, so it is begun again and its statements run once more.
        https://docs.snowflake.com/en/sql-reference/transactions#failed-statements-within-a-transaction
        """
        if not self.in_transaction:
            return
        with contextlib.suppress(duckdb.TransactionException):
            self._connection.execute("select 1").fetchall()
            if not undo:
                return
        self._connection.rollback()
        self._connection.begin()
        try:
            for sql, parameters in self.written:
                self._connection.execute(sql, parameters)
        except duckdb.Error:
            self._connection.rollback()
            self.enter(False)
            raise

    def show(self, name: str, rows: pa.Table) -> None:
        """Let statements read rows under a name, until ``hide``."""
        self._shown[name] = rows
        self._connection.register(name, rows)

    def hide(self) -> None:
        """Forget what was shown."""
        while self._shown:
            self._connection.unregister(self._shown.popitem()[0])

    def execute(self, sql: str, parameters: Any = None) -> Connection:
        """Run a statement; outside of a transaction it runs again when another one wrote to the same table."""
        if found := _HISTORY.match(sql):
            if found[1] == temporary.CATALOG:
                return self  # a new name has no history
            sql = f"DELETE FROM {identifier(found[1])}{sql[found.end(1) :]}"
        deadline = time.monotonic() + self.lock_seconds
        while True:
            try:
                self._execute(sql, parameters)
                return self
            except duckdb.TransactionException as error:
                conflict = "conflict" in str(error).lower() and not self.in_transaction
                if not conflict or time.monotonic() > deadline:
                    raise
                time.sleep(CONFLICT_PAUSE_SECONDS)

    def _execute(self, sql: str, parameters: Any) -> None:
        def run(text: str) -> None:
            if table := bounds.written(text):
                self._write(text, parameters, table)
            else:
                self._connection.execute(text, parameters)
            if self.in_transaction and _WRITES.match(text):
                self.written.append((text, list(parameters) if parameters else parameters))

        if not any(marks(sql)):
            run(sql)
            return

        def probe(text: str) -> None:
            self._probe(text, parameters)

        resolve(sql, run, probe if self.in_transaction else run, self._types(parameters))

    def _types(self, parameters: Any) -> Hashable:
        """The types that decide what the statement means that ``reads`` was set for, if they can be told."""
        if self.reads is None:
            return None
        try:
            return types_of(self._connection, self.reads, parameters)
        except duckdb.Error:
            self.recover()
            return None

    def _write(self, sql: str, parameters: Any, table: str) -> None:
        """Run a statement that puts values into a table, which is as before when one of them is too long."""
        if not self.in_transaction:
            self._connection.begin()
        try:
            answer = self._connection.execute(sql, parameters).to_arrow_table()
            bounds.verify(self._connection, table)
            if not self.in_transaction:
                self._connection.commit()
        except BaseException:
            if not self.in_transaction:
                with contextlib.suppress(duckdb.TransactionException):  # DuckDB has ended it
                    self._connection.rollback()
            raise
        self.show("_sf_written", answer)
        self._connection.execute("select * from _sf_written")

    def _probe(self, sql: str, parameters: Any) -> None:
        """Bind a statement beside a transaction, which would be aborted by the errors of a probe."""
        if self._twin is None:
            self._twin = self._connection.cursor()
        (found,) = self._connection.execute("select current_catalog(), current_schema()").fetchall()
        self._twin.execute("set schema = " + exp.Literal.string(f'"{found[0]}"."{found[1]}"').sql())
        for (statement,) in self._connection.execute(_TEMPORARY).fetchall():
            self._twin.execute(
                re.sub(r"^CREATE (?:TEMP )?(TABLE|VIEW)", r"CREATE OR REPLACE TEMP \1", statement)
            )
        for name, rows in self._shown.items():
            self._twin.register(name, rows)
        self._twin.execute(sql, parameters)

    def to_arrow_table(self) -> pa.Table:
        """The rows of the last statement; their columns' types are kept in ``columns``."""
        self.columns = [(column[0], str(column[1])) for column in self._connection.description or []]
        return self._connection.to_arrow_table()

    def close(self) -> None:
        """Close the connection, and the one that finds types for it."""
        if self._twin:
            self._twin.close()
        self._connection.close()
