"""One read of all streams: snapshots, then the log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

from ...protocol import ConnectorError, RefreshRequiredError, Stream, log, state, stream_status
from .. import limits
from ..catalog import (
    CDC_DELETED_AT,
    CDC_FIELDS,
    CDC_LSN,
    CDC_UPDATED_AT,
    REFRESH_SCHEMA,
    SourceTable,
    fields,
)
from ..copying import copy_lines, lock
from ..lines import CopiedValues, Lines, record_header
from ..reading import Position, Reading, exact
from ..session import take_bytes
from .beginning import Beginning
from .following import Changes
from .heartbeat import Heartbeat
from .position import CdcPosition, stream_id, stream_names
from .replication import Replication, lsn_text

_WRITERS = """
select l.virtualtransaction, coalesce(
    'process ' || l.pid || ' in pg_stat_activity', (
        select 'prepared transaction ' || quote_literal(p.gid) || ' in pg_prepared_xacts: commit it, or roll it back'
        from pg_prepared_xacts p join pg_locks t on t.transactionid = p.transaction
        where t.virtualtransaction = l.virtualtransaction and t.pid is null limit 1), 'a prepared transaction')
from pg_locks l
where l.mode = 'RowExclusiveLock' and l.granted
  and l.database = (select oid from pg_database where datname = current_database())
  and (l.relation = %(table)s or l.relation in (select relid from pg_partition_tree(%(table)s::oid::regclass)))
"""


class CdcReader:
    """One read of all streams."""

    def __init__(
        self,
        replication: Replication,
        connection: psycopg2.extensions.connection,
        control: psycopg2.extensions.connection,
        pairs: Sequence[tuple[SourceTable, Stream]],
        heartbeat: Heartbeat,
    ) -> None:
        """`connection` is for snapshots, `control` for everything else.

        Raises ConnectorError where the publication does not carry a stream.
        """
        self._replication = replication
        self._connection = connection
        self._control = control
        self._pairs = pairs
        self._heartbeat = heartbeat
        self._positions: dict[str, CdcPosition] = {}
        self._unreported: dict[str, int] = {}
        publication = replication.publication_of(connection)
        for table, stream in pairs:
            if why := publication.unfit(table):
                raise ConnectorError(why, "config_error")
            if missing := [n for n in (*CDC_FIELDS, *table.primary_key) if n not in stream.properties]:
                raise ConnectorError(
                    f"the connection's catalog of {table.id} lacks {', '.join(missing)}: {REFRESH_SCHEMA}",
                    "config_error",
                )
        connection.rollback()

    def read(self, saved: Mapping[tuple[str, str | None], Mapping[str, Any]]) -> None:
        for _, stream in self._pairs:
            stream_status(stream, "STARTED")
        if following := [(table, stream) for table, stream in self._pairs if stream.incremental]:
            self._positions = Beginning(self._replication, self._control).positions(following, saved)
        for table, stream in self._pairs:
            position = self._positions.get(stream_id(stream))
            if position is None or position.initial:
                self._snapshot(table, stream, position)
        if following:
            self._follow(following)
        for _, stream in self._pairs:
            stream_status(stream, "COMPLETE")

    def _ask(self, query: str, *parameters: Any) -> tuple[Any, ...]:
        with self._control.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchone() or ()

    # Snapshots

    def _await_writers(self, table: SourceTable) -> None:
        """Wait until the transactions that are writing to this table now have ended."""

        def writers() -> dict[str, str]:
            with self._control.cursor() as cursor:
                cursor.execute(_WRITERS, {"table": table.oid})
                return dict(cursor.fetchall())

        if awaited := writers():
            log(f"the snapshot of {table.id} waits for {len(awaited)} writing transactions")
        deadline = time.monotonic() + limits.WRITERS_SECONDS
        while awaited:
            if time.monotonic() > deadline:
                raise ConnectorError(
                    f"the snapshot of {table.id} cannot begin: a transaction has been writing "
                    f"to it for longer than {limits.WRITERS_SECONDS} s ({', '.join(awaited.values())})",
                    "transient_error",
                )
            time.sleep(0.1)
            awaited = {id_: pid for id_, pid in writers().items() if id_ in awaited}

    def _snapshot(self, table: SourceTable, stream: Stream, position: CdcPosition | None) -> None:
        """Read a table in the order of its key; without a position (full refresh) there are no checkpoints."""
        header = record_header(stream)
        if position and position.key is None:
            # Who has committed before this place has let go of the table by the end of the wait, so that the snapshot
            # sees it: the log before it has nothing to add, and may describe the table as it was once.
            (begun,) = self._ask("select (pg_current_wal_insert_lsn() - '0/0')::bigint")
            self._await_writers(table)
            position = replace(position, lsn=max(position.lsn, begun))
        with self._connection, self._connection.cursor() as cursor:
            # A table that is being rewritten would look empty to a snapshot taken before the end of that.
            lock(cursor, self._control, table)
            cursor.execute(
                "select (pg_current_wal_insert_lsn() - '0/0')::bigint, "
                """to_char(now(), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
            )
            here, now = cursor.fetchone() or (0, "")
            if position and position.key is None:
                position = replace(position, horizon=here)
            values = {
                CDC_LSN: position.lsn if position else here,
                CDC_UPDATED_AT: now,
                CDC_DELETED_AT: None,
            }
            reading = Reading(table, fields(table, stream.properties), None, 0, values)

            def settle(line: bytes, rows: int) -> None:
                nonlocal position
                if position:
                    row = exact(line[len(header.encode()) : line.rindex(b"}}")])
                    position = replace(position, key={name: row[name] for name in table.primary_key})
                    self._unreported[stream_id(stream)] = self._unreported.get(stream_id(stream), 0) + rows
                    if rows == limits.CHECKPOINT_ROWS:
                        self._checkpoint(stream, position)

            lines = Lines(sys.stdout.buffer, settle, limits.CHECKPOINT_ROWS)
            start = Position(None, position.key if position else None, 0, "", initial=True)
            copy_lines(cursor, reading.copy(reading.initial(start), header), table, lines)
        if position:
            self._checkpoint(stream, replace(position, initial=False, key=None))

    def _checkpoint(self, stream: Stream, position: CdcPosition) -> None:
        self._positions[stream_id(stream)] = position
        state(stream, position.state(), self._unreported.pop(stream_id(stream), 0))

    def _follow(self, pairs: Sequence[tuple[SourceTable, Stream]]) -> None:
        """Read what was committed up to now, and a heartbeat."""
        self._heartbeat.beat_if_due()
        (target,) = self._ask("select (pg_current_wal_flush_lsn() - '0/0')::bigint")
        changes = Changes(self, self._control, pairs, self._heartbeat)
        statement = sql.SQL(
            "copy (select data from pg_logical_slot_peek_binary_changes({}, {}, null, "
            "'proto_version', '1', 'publication_names', {})) to stdout with (format binary)"
        ).format(
            sql.Literal(self._replication.slot),
            sql.Literal(lsn_text(target)),
            sql.Literal('"' + self._replication.publication.replace('"', '""') + '"'),
        )
        with self._connection, self._connection.cursor() as cursor:
            take_bytes(cursor)
            try:
                cursor.copy_expert(statement, CopiedValues(changes.take))
            except psycopg2.errors.UndefinedObject:
                self._replication.publication_of(self._control)  # these two say what to do
                self._replication.valid_slot(self._control)
                raise
        changes.end()

    def position(self, stream: Stream) -> CdcPosition:
        return self._positions[stream_id(stream)]

    def checkpoint(self, stream: Stream, lsn: int, rows: int) -> None:
        """All that `stream` has to say before `lsn` has been written to stdout."""
        position = self._positions[stream_id(stream)]
        self._unreported[stream_id(stream)] = rows
        self._checkpoint(stream, replace(position, lsn=max(lsn, position.lsn)))

    def truncated(self, stream: Stream, lsn: int) -> None:
        """The log does not name the rows that a TRUNCATE removed, so the table must be read again."""
        if lsn >= max(self.position(stream).horizon, self.position(stream).lsn):
            raise RefreshRequiredError(
                f"{stream_names([stream])} was truncated: it is read again from the start", [stream]
            )
