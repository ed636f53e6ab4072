"""What was committed up to now, read from the log."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import psycopg2.extensions

from ...protocol import RefreshRequiredError, Stream
from .. import limits
from ..catalog import SourceTable
from ..lines import WRITE_BYTES
from .changes import FETCH_ROWS, Encoder, Incomplete, Origin, complete, fitted
from .heartbeat import Heartbeat
from .pgoutput import Begin, Change, Commit, Relation, Row, Truncate, Unchanged, decode
from .position import stream_id

if TYPE_CHECKING:
    from .reader import CdcReader


class Changes:
    """Turns messages into lines, those of each stream in the order of the commits.

    Lines are written stream by stream: whoever reads them handles many of one stream much faster than a mixture.
    """

    def __init__(
        self,
        reader: CdcReader,
        connection: psycopg2.extensions.connection,
        pairs: Sequence[tuple[SourceTable, Stream]],
        heartbeat: Heartbeat,
    ) -> None:
        """`connection` is for fetching values that the log leaves out."""
        self.seen = 0  # the end of the last transaction that was read
        self._reader = reader
        self._heartbeat = heartbeat
        self._connection = connection
        # By object id: a table may have had another name when it was changed.
        self._encoders = {table.oid: Encoder(table, stream) for table, stream in pairs}
        self._relations: dict[int, tuple[Encoder, Relation, list[int | None] | None]] = {}
        self._out: dict[str, list[bytes | Incomplete]] = {}
        self._size = 0
        self._incomplete = 0
        self._rows: dict[str, int] = {}
        self._origin = Origin(0, b"")
        self._again: list[RefreshRequiredError] = []  # why tables must be read from the start

    def take(self, data: bytes) -> None:
        message = decode(data)
        match message:
            case Change():
                if message.relation in self._relations:
                    try:
                        self._change(message, *self._relations[message.relation])
                    except RefreshRequiredError as error:
                        self._note(error)
            case Begin():
                self._origin = Origin.of(message.lsn, message.at)
            case Commit():
                self.seen = message.end_lsn
                self._heartbeat.beat_if_due()
                if not self._again and sum(self._rows.values()) >= limits.CHECKPOINT_ROWS:
                    self.checkpoint(message.end_lsn)
            case Relation():
                if encoder := self._encoders.get(message.id):
                    self._relations[message.id] = encoder, message, encoder.places(message)
            case Truncate():
                for relation in message.relations:
                    if relation in self._relations:
                        try:
                            self._reader.truncated(self._relations[relation][0].stream, self._origin.lsn)
                        except RefreshRequiredError as error:
                            self._note(error)

    def _note(self, error: RefreshRequiredError) -> None:
        """A table must be read from the start; the log may say so of others, too."""
        self._again.append(error)
        for oid in [oid for oid, encoder in self._encoders.items() if encoder.stream in error.streams]:
            del self._encoders[oid]
            self._relations.pop(oid, None)

    def end(self) -> None:
        """After the last message. RefreshRequiredError names all streams that must be read from the start."""
        if self._again:
            streams = [stream for error in self._again for stream in error.streams]
            raise RefreshRequiredError("; ".join(map(str, self._again)), streams)
        self.checkpoint(self.seen)

    def checkpoint(self, lsn: int) -> None:
        self.flush()
        for encoder in self._encoders.values():
            self._reader.checkpoint(encoder.stream, lsn, self._rows.pop(stream_id(encoder.stream), 0))

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

    def _change(
        self, change: Change, encoder: Encoder, relation: Relation, places: list[int | None] | None
    ) -> None:
        if self._origin.lsn < self._reader.position(encoder.stream).lsn:
            return  # this stream is further on than the slot, which waits for another
        if places is None:
            encoder.other_names()
        new = None
        if change.new is not None:
            new = fitted(change.new, places, change.old if relation.full else None)
        if change.old is not None:
            old: Row = [None if isinstance(v, Unchanged) else v for v in fitted(change.old, places, None)]
            self._check_key(encoder, relation)
            if new is None or encoder.key(old) != encoder.key(new):
                self._add(encoder, old, deleted=True)
        if new is not None:
            self._add(encoder, new, deleted=False)
        if self._size >= WRITE_BYTES or self._incomplete >= FETCH_ROWS:
            self.flush()

    def _check_key(self, encoder: Encoder, relation: Relation) -> None:
        """Two rows with one key of today may have lived under another key: then a deletion says too little."""
        if not relation.full and relation.key and relation.key != set(encoder.table.primary_key):
            encoder.other_key()

    def _add(self, encoder: Encoder, row: Row, *, deleted: bool) -> None:
        id_ = stream_id(encoder.stream)
        self._rows[id_] = self._rows.get(id_, 0) + 1
        out = self._out.setdefault(id_, [])
        if any(isinstance(value, Unchanged) for value in row):
            out.append(Incomplete(encoder, row, self._origin))
            self._incomplete += 1
            return
        line = encoder.line(row, self._origin, deleted)
        out.append(line)
        self._size += len(line)
