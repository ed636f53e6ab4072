"""Sessions: upstream's, with what they say about themselves."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import Any

import duckdb
from fakesnow.conn import FakeSnowflakeConnection
from fakesnow.instance import FakeSnow

from . import context, indenting, stages, temporary
from .access.guard import Gate, Guard
from .access.model import Key
from .access.who import Who
from .connection import Connection
from .cursor import Cursor
from .objects import HOME


class Session(FakeSnowflakeConnection):
    """A session with what it says about itself."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        results: dict[str, Any],
        database: str | None,
        schema: str | None,
        lock_seconds: float,
        gate: Gate,
        who: Who,
        warehouse: str | None = None,
        **settings: Any,
    ) -> None:
        own: Any = Connection(connection, lock_seconds)
        super().__init__(own, results, **settings)
        self.guard = Guard(gate, who, self, warehouse)
        if database and own.has(database, "main") and self.guard.sees("DATABASE", (database,)):
            self.database, self.database_set = database, True
            place = schema or HOME
            if own.has(database, place) and self.guard.sees("SCHEMA", (database, place)):
                own.use(database, place)
                self._schema, self.schema_set = place, True
            else:
                own.use(database, "main")
        self.about = context.About()
        self.statement_count: object = (
            1  # of a request, as the session asked for at its login; 0 is any number
        )
        self.json_indent = indenting.DEFAULT
        self.several = False  # whether the request at hand may hold several statements
        self.temporary = temporary.Temporary()
        self.described: OrderedDict[str, list[tuple[str, str]]] = OrderedDict()

    def current(self) -> tuple[str | None, str | None]:
        """The current database and schema."""
        return (
            self.database if self.database_set else None,
            self.schema if self.database_set and self.schema_set else None,
        )

    def look(self, key: Key) -> str | None:
        """The kind of an object, where a database has it."""
        kind, names = key[0], list(key[1:])
        columns = ["database_name", "schema_name", "table_name"][: len(names)]
        sources = {
            "DATABASE": [("DATABASE", "duckdb_databases() where not internal and path is not null and ")],
            "SCHEMA": [("SCHEMA", "duckdb_schemas() where not internal and ")],
            "TABLE": [
                ("TABLE", "duckdb_tables() where not internal and "),
                ("VIEW", "duckdb_views() where not internal and "),
            ],
        }
        for found, source in sources.get(kind, []):
            name = "view_name" if found == "VIEW" else columns[-1]
            where = " and ".join(f"{column} = ?" for column in (*columns[:-1], name))
            with contextlib.suppress(duckdb.Error), self._duck_conn.cursor() as cursor:
                if cursor.execute(f"select 1 from {source}{where}", names).fetchone():
                    return found
        return None

    def stage(self, text: str) -> tuple[str, tuple[str, ...]]:
        """Whose a stage is (``STAGE`` of its own, ``TABLE`` or ``USER``), and the database, schema and name of the owner."""
        (database, schema, name), _ = stages.parts(text, self)
        if database == stages.USERS:
            return "USER", (self.guard.who.user,)
        kind = "TABLE" if name.startswith("%") else "STAGE"
        return kind, tuple(stages.decode(one) for one in (database, schema, name.removeprefix("%")))

    def leave(self) -> None:
        """Have no current database, because it was dropped."""
        connection: Any = self._duck_conn
        connection.use("memory", "main")
        self.database, self.database_set, self._schema, self.schema_set = None, False, None, False

    def end(self) -> None:
        """Roll back what is not committed, or its locks would stay.

        https://docs.snowflake.com/en/sql-reference/transactions#transactions-and-sessions
        """
        connection: Any = self._duck_conn
        if connection.in_transaction:
            with contextlib.suppress(duckdb.Error):
                connection.rollback()

    def cursor(self, cursor_class: Any = None) -> Cursor:
        """A cursor of this session."""
        return Cursor(conn=self, duck_conn=self._duck_conn)


class Instance(FakeSnow):
    """An instance whose sessions are ours."""

    lock_seconds: float = 60
    gate: Gate

    def connect(
        self, database: str | None = None, schema: str | None = None, nop_regexes: Any = None, **settings: Any
    ) -> Session:
        """Open a session; ``settings`` are who it is and its warehouse. What is no operation is not the client's choice."""
        del nop_regexes
        return Session(
            self.duck_conn.cursor(),
            self.results_cache,
            database,
            schema,
            create_database=self.create_database_on_connect,
            create_schema=self.create_schema_on_connect,
            db_path=self.db_path,
            nop_regexes=self.nop_regexes,
            lock_seconds=self.lock_seconds,
            gate=self.gate,
            **settings,
        )
