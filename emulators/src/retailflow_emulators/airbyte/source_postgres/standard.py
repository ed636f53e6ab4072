"""Airbyte's replication method "Standard": rows after a cursor, and those that committed late."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import psycopg2.extensions
from psycopg2 import sql

from ..protocol import ConnectorError, Stream, state
from . import limits
from .catalog import SourceTable
from .lines import CopiedValues, Lines, record_header
from .reading import Position, Reading


class StandardReader:
    """Reads one stream inside one snapshot, by a cursor that the user chose."""

    def __init__(
        self, connection: psycopg2.extensions.connection, table: SourceTable, stream: Stream, overlap: int
    ) -> None:
        self._connection = connection
        self._table = table
        self._stream = stream
        self._overlap = overlap
        self._cursor_field = stream.cursor_field if stream.incremental else None
        if stream.incremental and not self._cursor_field:
            raise ConnectorError(
                f"{table.schema}.{table.name}: an incremental stream needs a cursor", "config_error"
            )
        self._fields = [name for name in stream.properties if name in table.columns]
        needed = [*table.primary_key, *([self._cursor_field] if self._cursor_field else [])]
        if missing := [name for name in needed if name not in self._fields]:
            raise ConnectorError(
                f"{table.schema}.{table.name} has no column {', '.join(missing)}", "config_error"
            )
        self._header = record_header(stream)
        self._unreported = 0

    def read(self, saved: Mapping[str, Any] | None) -> None:
        with self._connection, self._connection.cursor() as cursor:  # one transaction, one snapshot
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
            position = (
                Position.of_state(saved, self._cursor_field, self._table.primary_key) if saved else None
            )
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

    def _copy(
        self, cursor: psycopg2.extensions.cursor, statement: sql.Composable, position: Position | None = None
    ) -> Position:
        """Stream the rows of `statement` to stdout, with checkpoints from `position`. Returns the last."""
        last = position or Position(None, None, 0, "", initial=True)

        def settle(line: bytes, rows: int) -> None:
            nonlocal last
            self._unreported += rows
            if position is not None:
                row = json.loads(line[len(self._header.encode()) : line.rindex(b"}}")])
                last = last.at(row, self._table.primary_key, None if position.initial else self._cursor_field)
                if rows == limits.CHECKPOINT_ROWS:
                    self._checkpoint(last)

        lines = Lines(sys.stdout.buffer, settle, limits.CHECKPOINT_ROWS)
        cursor.copy_expert(statement, CopiedValues(lines.take))
        lines.close()
        return last

    def _checkpoint(self, position: Position) -> None:
        assert self._cursor_field is not None
        state(self._stream, position.state(self._cursor_field), self._unreported)
        self._unreported = 0
