"""Airbyte's replication method "Standard": rows after a cursor, and those that committed late."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import psycopg2.extensions
from psycopg2 import sql

from ..protocol import ConnectorError, RefreshRequiredError, Stream, state
from . import identity, limits
from .catalog import REFRESH_SCHEMA, SourceTable, fields
from .copying import copy_lines, lock
from .lines import Lines, record_header
from .reading import Position, Reading, exact


class StandardReader:
    """Reads one stream inside one snapshot, by a cursor that the user chose."""

    def __init__(
        self,
        connection: psycopg2.extensions.connection,
        control: psycopg2.extensions.connection,
        table: SourceTable,
        stream: Stream,
        overlap: int,
    ) -> None:
        """`connection` is for the snapshot, `control` for what must be seen as of now."""
        self._connection = connection
        self._control = control
        self._table = table
        self._stream = stream
        self._overlap = overlap
        self._cursor_field = stream.cursor_field if stream.incremental else None
        if stream.incremental and not self._cursor_field:
            raise ConnectorError(f"{table.id}: an incremental stream needs a cursor", "config_error")
        self._fields = fields(table, stream.properties)
        needed = [*table.primary_key, *([self._cursor_field] if self._cursor_field else [])]
        if missing := [name for name in needed if name not in self._fields]:
            raise ConnectorError(
                f"{table.id} has no column {', '.join(missing)} for the key or the cursor: choose another cursor; "
                f"{REFRESH_SCHEMA}",
                "config_error",
            )
        self._header = record_header(stream)
        self._unreported = 0
        self._server = list(identity.server(control))
        self._identity = identity.identity(control, table)

    def read(self, saved: Mapping[str, Any] | None) -> None:
        with self._connection, self._connection.cursor() as cursor:  # one transaction, one snapshot
            lock(cursor, self._control, self._table)
            cursor.execute(
                "select pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint, now()::text "
                "from pg_current_snapshot() as s"
            )
            xmin, next_xid, now = cursor.fetchone() or (0, 0, "")
            reading = Reading(self._table, self._fields, self._cursor_field, next_xid)
            here = Position(None, None, xmin, now, initial=True)
            if self._cursor_field is None:
                self._copy(cursor, reading.copy(reading.initial(here), self._header))
                return
            position = self._begin(saved) if saved else None
            if position is None or position.xmin > next_xid:  # the latter: a database restored elsewhere
                cursor.execute(reading.newest_cursor())
                (newest,) = cursor.fetchone() or (None,)
                position = replace(here, cursor=newest)
            if position.initial:
                # What changes after this pass began is for the next sync, which knows the xmin of then.
                self._copy(cursor, reading.copy(reading.initial(position), self._header), position)
                position = replace(position, key=None, initial=False)
            else:
                self._copy(cursor, reading.copy(reading.late(position, self._overlap), self._header))
                changed = reading.copy(reading.changed(position), self._header)
                position = self._copy(cursor, changed, replace(position, xmin=xmin, read_at=now))
            self._checkpoint(position)

    def _begin(self, saved: Mapping[str, Any]) -> Position | None:
        """The position of a state. Raises RefreshRequiredError where the table is not the one of then."""
        position = Position.of_state(saved, self._cursor_field or "", self._table.primary_key)
        before = saved.get("server")
        if before is not None and before != self._server:
            raise ConnectorError(
                f"{self._table.id} was last read from PostgreSQL system {before[0]}, timeline {before[1]}; this "
                f"server is system {self._server[0]}, timeline {self._server[1]}: it was restored, or it is another "
                "one. Nothing was read or removed. If it is the right one, refresh the connection",
                "config_error",
            )
        if known := saved.get("identity"):
            if why := identity.difference(self._connection, self._table, known, self._identity):
                raise RefreshRequiredError(
                    f"{self._table.id} {why}: it is read again from the start", [self._stream]
                )
            self._identity = identity.merged(known, self._identity)
        return position

    def _copy(
        self, cursor: psycopg2.extensions.cursor, statement: sql.Composable, position: Position | None = None
    ) -> Position:
        """Stream the rows of `statement` to stdout, with checkpoints from `position`. Returns the last."""
        last = position or Position(None, None, 0, "", initial=True)

        def settle(line: bytes, rows: int) -> None:
            nonlocal last
            self._unreported += rows
            if position is not None:
                row = exact(line[len(self._header.encode()) : line.rindex(b"}}")])
                last = last.at(row, self._table.primary_key, None if position.initial else self._cursor_field)
                if rows == limits.CHECKPOINT_ROWS:
                    self._checkpoint(last)

        lines = Lines(sys.stdout.buffer, settle, limits.CHECKPOINT_ROWS)
        copy_lines(cursor, statement, self._table, lines)
        return last

    def _checkpoint(self, position: Position) -> None:
        assert self._cursor_field is not None
        place = {"server": self._server, "identity": self._identity}
        state(self._stream, {**position.state(self._cursor_field), **place}, self._unreported)
        self._unreported = 0
