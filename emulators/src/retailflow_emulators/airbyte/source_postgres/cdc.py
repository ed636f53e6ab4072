"""Airbyte's replication method "CDC": a snapshot of each table, then what the write-ahead log says.

Each stream's state holds `lsn`: every change committed before it has been read. The slot is moved on only at
the start of a read, to the smallest `lsn` among the states that the platform gives back, which are those
that the destination has committed. So whatever dies, the log still has all that may be missing.

A snapshot begins with the slot already in place, at or after a point in the log before which every
transaction had ended. Changes since that point are then read on top of the rows of the snapshot: each carries
the place of its commit as `_ab_cdc_lsn`, snapshot rows that of the point, so the newest wins under dedup
however the two overlap. An interrupted snapshot goes on after the last key that was loaded, in a snapshot of
its own: what changed between is in the log.

A stream that a connection gains later begins in the same way, from where the slot stands for the others. The log
has the changes of a table only since the publication carries it, so its snapshot waits for every transaction
that was writing to the table: what such a one wrote before would else be in neither.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, NoReturn, Self

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from ..protocol import ConnectorError, JsonObject, RefreshRequiredError, Stream, log, state, stream_status
from .catalog import CDC_DELETED_AT, CDC_FIELDS, CDC_LSN, CDC_UPDATED_AT, SourceTable
from .changes import FETCH_ROWS, Encoder, Incomplete, Origin, complete, fitted
from .lines import WRITE_BYTES, CopiedValues, Lines, record_header
from .pgoutput import Begin, Change, Commit, Relation, Row, Truncate, Unchanged, decode
from .reading import Position, Reading
from .replication import Replication, Slot, lsn_text
from .session import connect, failure

CHECKPOINT_ROWS = 100_000
SETTLE_SECONDS = 10
WRITERS_SECONDS = 60  # how long a snapshot waits for those who are writing to its table
_WRITERS = """
select virtualtransaction, coalesce(pid::text, 'of a prepared transaction') from pg_locks
where mode = 'RowExclusiveLock' and granted
  and database = (select oid from pg_database where datname = current_database())
  and (relation = %(table)s or relation in (select relid from pg_partition_tree(%(table)s::oid::regclass)))
"""


@dataclass(frozen=True)
class CdcPosition:
    """How far a stream has been read.

    lsn: every change committed before it has been read. key: in a snapshot under way (`initial`), the primary
    key of the last row. horizon: a truncation committed before it is already in what the snapshot saw.
    system and table: the identity of the PostgreSQL cluster and of the table that all this is about.
    """

    system: str
    table: int
    lsn: int
    initial: bool
    key: Mapping[str, Any] | None
    horizon: int

    def state(self) -> JsonObject:
        return {"version": 1, "method": "CDC", **asdict(self)}

    @classmethod
    def of_state(cls, blob: Mapping[str, Any], keys: Sequence[str]) -> Self | None:
        """None where the state is of another replication method or primary key."""
        if (blob.get("version"), blob.get("method")) != (1, "CDC"):
            return None
        if blob["key"] is not None and set(blob["key"]) != set(keys):
            return None
        return cls(blob["system"], blob["table"], blob["lsn"], blob["initial"], blob["key"], blob["horizon"])


class CdcReader:
    """One read of all streams."""

    def __init__(
        self,
        config: JsonObject,
        replication: Replication,
        connection: psycopg2.extensions.connection,
        pairs: Sequence[tuple[SourceTable, Stream]],
    ) -> None:
        """`connection` is for snapshots. Raises ConnectorError where the publication does not carry a stream."""
        self._config = config
        self._replication = replication
        self._connection = connection
        self._pairs = pairs
        self._positions: dict[str, CdcPosition] = {}
        self._unreported: dict[str, int] = {}
        carried = replication.published(connection, [table for table, _ in pairs])
        for table, stream in pairs:
            if table not in carried:
                raise ConnectorError(
                    f"publication {replication.publication} does not carry {table.schema}.{table.name}",
                    "config_error",
                )
            if missing := [n for n in (*CDC_FIELDS, *table.primary_key) if n not in stream.properties]:
                raise ConnectorError(
                    f"the connection's catalog of {table.schema}.{table.name} lacks {', '.join(missing)}: "
                    "refresh the source's schema",
                    "config_error",
                )
        connection.rollback()

    def read(self, saved: Mapping[tuple[str, str | None], Mapping[str, Any]]) -> None:
        with connect(self._config) as self._control:
            self._control.autocommit = True
            for _, stream in self._pairs:
                stream_status(stream, "STARTED")
            if following := [(table, stream) for table, stream in self._pairs if stream.incremental]:
                self._beat()
                self._begin(following, saved)
            for table, stream in self._pairs:
                position = self._positions.get(_id(stream))
                if position is None or position.initial:
                    self._snapshot(table, stream, position)
            if following:
                self._follow(following)
            for _, stream in self._pairs:
                stream_status(stream, "COMPLETE")

    def _beat(self) -> None:
        if self._replication.heartbeat:
            try:
                with self._control.cursor() as cursor:
                    cursor.execute(self._replication.heartbeat)
            except psycopg2.Error as error:
                raise failure(error, f"heartbeat_action_query `{self._replication.heartbeat}`") from error

    def _ask(self, query: str, *parameters: Any) -> tuple[Any, ...]:
        with self._control.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchone() or ()

    # Where to begin

    def _begin(
        self,
        pairs: Sequence[tuple[SourceTable, Stream]],
        saved: Mapping[tuple[str, str | None], Mapping[str, Any]],
    ) -> None:
        """Find or make the positions of all streams and move the slot to where the first of them stands."""
        known = [(table, stream) for table, stream in pairs if (stream.name, stream.namespace) in saved]
        slot = self._usable_slot([stream for _, stream in known])
        system, now = self._ask(
            "select system_identifier::text, (pg_current_wal_flush_lsn() - '0/0')::bigint "
            "from pg_control_system()"
        )
        foreign, lost = [], []
        for table, stream in known:
            position = CdcPosition.of_state(saved[stream.name, stream.namespace], table.primary_key)
            if (
                position is None
                or (position.system, position.table) != (system, table.oid)
                or position.lsn > now
            ):
                foreign.append(stream)
            elif position.lsn < slot.confirmed:
                lost.append(stream)
            else:
                self._positions[_id(stream)] = position
        if foreign:
            raise RefreshRequiredError(
                f"{_names(foreign)} was read by another method, or from another server or table before: it is read anew",
                foreign,
            )
        if lost:
            self._refresh(lost, f"slot {self._replication.slot} has moved on past the last sync")
        if self._positions:
            confirmed = max(slot.confirmed, min(position.lsn for position in self._positions.values()))
        else:
            confirmed = max(slot.confirmed, self._settled())
        if confirmed > slot.confirmed:
            self._advance(confirmed)
        for table, stream in pairs:
            new = CdcPosition(system, table.oid, confirmed, initial=True, key=None, horizon=0)
            self._positions.setdefault(_id(stream), new)

    def _usable_slot(self, known: Sequence[Stream]) -> Slot:
        """The slot; one that is gone is made anew if the user wants that."""
        slot = self._replication.find_slot(self._control)
        if slot and not slot.lost:
            if slot.active:
                raise ConnectorError(
                    f"slot {self._replication.slot} is being read by another process", "transient_error"
                )
            return slot
        why = self._replication.lost_slot if slot else self._replication.missing_slot
        if not self._replication.resync:
            raise ConnectorError(why, "config_error")
        name = self._replication.slot
        if slot:
            self._ask("select pg_drop_replication_slot(%s)::text", name)
        self._ask("select pg_create_logical_replication_slot(%s, 'pgoutput')::text", name)
        log(f"made slot {name} anew", "WARN")
        if known:
            self._refresh(known, why)
        made = self._replication.find_slot(self._control)
        assert made
        return made

    def _refresh(self, streams: Sequence[Stream], why: str) -> NoReturn:
        if self._replication.resync:
            raise RefreshRequiredError(f"{why}; {_names(streams)} is read anew", streams)
        raise ConnectorError(
            f"{why}: changes are lost. Refresh the connection, or set invalid_cdc_cursor_position_behavior "
            "to “Re-sync data”",
            "config_error",
        )

    def _settled(self) -> int:
        """A place in the log before which every transaction has ended; 0 if one does not end in time."""
        lsn, xmax = self._ask(
            "select (pg_current_wal_flush_lsn() - '0/0')::bigint, "
            "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        )
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            (xmin,) = self._ask("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            if xmin >= xmax:
                return int(lsn)
            time.sleep(0.1)
        return 0

    def _await_writers(self, table: SourceTable) -> None:
        """Wait until the transactions that are writing to this table now have ended."""

        def writers() -> dict[str, str]:
            with self._control.cursor() as cursor:
                cursor.execute(_WRITERS, {"table": table.oid})
                return dict(cursor.fetchall())

        if awaited := writers():
            log(f"the snapshot of {table.schema}.{table.name} waits for {len(awaited)} writing transactions")
        deadline = time.monotonic() + WRITERS_SECONDS
        while awaited:
            if time.monotonic() > deadline:
                raise ConnectorError(
                    f"the snapshot of {table.schema}.{table.name} cannot begin: a transaction has been writing "
                    f"to it for longer than {WRITERS_SECONDS} s (process {', '.join(awaited.values())} in "
                    "pg_stat_activity)",
                    "transient_error",
                )
            time.sleep(0.1)
            awaited = {id_: pid for id_, pid in writers().items() if id_ in awaited}

    def _advance(self, lsn: int) -> None:
        self._ask("select pg_replication_slot_advance(%s, %s)::text", self._replication.slot, lsn_text(lsn))

    # Snapshots

    def _snapshot(self, table: SourceTable, stream: Stream, position: CdcPosition | None) -> None:
        """Read a table in the order of its key; without a position (full refresh) there are no checkpoints."""
        header = record_header(stream)
        if position and position.key is None:
            self._await_writers(table)
        with self._connection, self._connection.cursor() as cursor:
            # A table that is being rewritten would look empty to a snapshot taken before the end of that.
            cursor.execute(
                sql.SQL("lock table {} in access share mode").format(sql.Identifier(table.schema, table.name))
            )
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
            fields = [name for name in stream.properties if name in table.columns]
            reading = Reading(table, fields, None, 0, values)

            def settle(line: bytes, rows: int) -> None:
                nonlocal position
                if position:
                    row = json.loads(line[len(header.encode()) : line.rindex(b"}}")])
                    position = replace(position, key={name: row[name] for name in table.primary_key})
                    self._unreported[_id(stream)] = self._unreported.get(_id(stream), 0) + rows
                    if rows == CHECKPOINT_ROWS:
                        self._checkpoint(stream, position)

            lines = Lines(sys.stdout.buffer, settle, CHECKPOINT_ROWS)
            start = Position(None, position.key if position else None, 0, "", initial=True)
            cursor.copy_expert(reading.copy(reading.initial(start), header), CopiedValues(lines.take))
            lines.close()
        if position:
            self._checkpoint(stream, replace(position, initial=False, key=None))

    def _checkpoint(self, stream: Stream, position: CdcPosition) -> None:
        self._positions[_id(stream)] = position
        state(stream, position.state(), self._unreported.pop(_id(stream), 0))

    # Changes

    def _follow(self, pairs: Sequence[tuple[SourceTable, Stream]]) -> None:
        """Read what was committed up to now."""
        (target,) = self._ask("select (pg_current_wal_flush_lsn() - '0/0')::bigint")
        changes = _Changes(self, self._control, pairs)
        statement = sql.SQL(
            "copy (select data from pg_logical_slot_peek_binary_changes({}, {}, null, "
            "'proto_version', '1', 'publication_names', {})) to stdout with (format binary)"
        ).format(
            sql.Literal(self._replication.slot),
            sql.Literal(lsn_text(target)),
            sql.Literal('"' + self._replication.publication.replace('"', '""') + '"'),
        )
        with self._connection, self._connection.cursor() as cursor:
            cursor.copy_expert(statement, CopiedValues(changes.take))
        changes.checkpoint(target)

    def position(self, stream: Stream) -> CdcPosition:
        return self._positions[_id(stream)]

    def checkpoint(self, stream: Stream, lsn: int, rows: int) -> None:
        """All that `stream` has to say before `lsn` has been written to stdout."""
        position = self._positions[_id(stream)]
        self._unreported[_id(stream)] = rows
        self._checkpoint(stream, replace(position, lsn=max(lsn, position.lsn)))

    def truncated(self, stream: Stream, lsn: int) -> None:
        """The log does not name the rows that a TRUNCATE removed, so the table must be read anew."""
        if lsn >= max(self.position(stream).horizon, self.position(stream).lsn):
            raise RefreshRequiredError(f"{_names([stream])} was truncated: it is read anew", [stream])


class _Changes:
    """Turns messages into lines, those of each stream in the order of the commits.

    Lines are written stream by stream: whoever reads them handles many of one stream much faster than a mixture.
    """

    def __init__(
        self,
        reader: CdcReader,
        connection: psycopg2.extensions.connection,
        pairs: Sequence[tuple[SourceTable, Stream]],
    ) -> None:
        """`connection` is for fetching values that the log leaves out."""
        self._reader = reader
        self._connection = connection
        self._encoders = {(table.schema, table.name): Encoder(table, stream) for table, stream in pairs}
        self._relations: dict[int, tuple[Encoder, Relation, list[int | None]]] = {}
        self._out: dict[str, list[bytes | Incomplete]] = {}
        self._size = 0
        self._incomplete = 0
        self._rows: dict[str, int] = {}
        self._origin = Origin(0, b"")

    def take(self, data: bytes) -> None:
        message = decode(data)
        match message:
            case Change():
                if message.relation in self._relations:
                    self._change(message, *self._relations[message.relation])
            case Begin():
                self._origin = Origin.of(message.lsn, message.at)
            case Commit():
                if sum(self._rows.values()) >= CHECKPOINT_ROWS:
                    self.checkpoint(message.end_lsn)
            case Relation():
                if encoder := self._encoders.get((message.schema, message.name)):
                    self._relations[message.id] = encoder, message, encoder.places(message)
            case Truncate():
                for relation in message.relations:
                    if relation in self._relations:
                        self._reader.truncated(self._relations[relation][0].stream, self._origin.lsn)

    def checkpoint(self, lsn: int) -> None:
        self.flush()
        for encoder in self._encoders.values():
            self._reader.checkpoint(encoder.stream, lsn, self._rows.pop(_id(encoder.stream), 0))

    def flush(self) -> None:
        """Write all lines, with the values that the log left out."""
        lines = list(chain.from_iterable(self._out.values()))
        complete(self._connection, [line for line in lines if isinstance(line, Incomplete)])
        sys.stdout.buffer.write(
            b"".join(
                line if isinstance(line, bytes) else line.encoder.line(line.row, line.origin, deleted=False)
                for line in lines
            )
        )
        sys.stdout.buffer.flush()
        self._out, self._size, self._incomplete = {}, 0, 0

    def _change(self, change: Change, encoder: Encoder, relation: Relation, places: list[int | None]) -> None:
        if self._origin.lsn < self._reader.position(encoder.stream).lsn:
            return  # this stream is further on than the slot, which waits for another
        new = None
        if change.new is not None:
            new = fitted(change.new, places, change.old if relation.full else None)
        if change.old is not None:
            old: Row = [None if isinstance(v, Unchanged) else v for v in fitted(change.old, places, None)]
            if new is None or encoder.key(old) != encoder.key(new):
                self._add(encoder, old, deleted=True)
        if new is not None:
            self._add(encoder, new, deleted=False)
        if self._size >= WRITE_BYTES or self._incomplete >= FETCH_ROWS:
            self.flush()

    def _add(self, encoder: Encoder, row: Row, *, deleted: bool) -> None:
        id_ = _id(encoder.stream)
        self._rows[id_] = self._rows.get(id_, 0) + 1
        out = self._out.setdefault(id_, [])
        if any(isinstance(value, Unchanged) for value in row):
            out.append(Incomplete(encoder, row, self._origin))
            self._incomplete += 1
            return
        line = encoder.line(row, self._origin, deleted)
        out.append(line)
        self._size += len(line)


def _id(stream: Stream) -> str:
    return f"{stream.namespace}.{stream.name}"


def _names(streams: Sequence[Stream]) -> str:
    return ", ".join(map(_id, streams))
