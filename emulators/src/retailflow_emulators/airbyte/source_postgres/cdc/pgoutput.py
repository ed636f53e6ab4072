"""PostgreSQL's logical replication messages, protocol version 1.

Layout: https://www.postgresql.org/docs/15/protocol-logicalrep-message-formats.html
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_INT16 = struct.Struct("!H")
_INT32 = struct.Struct("!I")
_BEGIN = struct.Struct("!xQqI")
_COMMIT = struct.Struct("!xxQQq")


class Unchanged:
    """A large value that an update did not touch, so that the log does not carry it."""


UNCHANGED: Final = Unchanged()
Value = bytes | None | Unchanged
Row = list[Value]


@dataclass(frozen=True)
class Begin:
    """A transaction: where its commit stands in the log, and when that was (UTC)."""

    lsn: int
    at: datetime


@dataclass(frozen=True)
class Commit:
    """The end of a transaction; the next one begins at `end_lsn` or later."""

    end_lsn: int


@dataclass(frozen=True)
class Relation:
    """A table as it was when the changes after this message were made.

    `full`: old rows come whole (replica identity full), not only with their key. `key`: the columns by which the
    log names a changed row.
    """

    id: int
    columns: Sequence[str]
    full: bool
    key: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Change:
    """A row that came (`new`), went (`old`, its key or all of it), or was changed (`new`, maybe `old`).

    Values are in the spelling of PostgreSQL's text output, in the order of the relation's columns.
    """

    relation: int
    old: Row | None
    new: Row | None


@dataclass(frozen=True)
class Truncate:
    """Tables that were emptied."""

    relations: Sequence[int]


Message = Begin | Commit | Relation | Change | Truncate


def decode(data: bytes) -> Message | None:
    """The message in `data`; None for those that say nothing about rows (types, origins)."""
    match data[:1]:
        case b"I":
            (relation,) = _INT32.unpack_from(data, 1)
            return Change(relation, None, _row(data, 6)[0])
        case b"U":
            (relation,) = _INT32.unpack_from(data, 1)
            old, at = None, 5
            if data[at : at + 1] != b"N":
                old, at = _row(data, 6)
            return Change(relation, old, _row(data, at + 1)[0])
        case b"D":
            (relation,) = _INT32.unpack_from(data, 1)
            return Change(relation, _row(data, 6)[0], None)
        case b"B":
            lsn, microseconds, _ = _BEGIN.unpack(data)
            return Begin(lsn, _POSTGRES_EPOCH + timedelta(microseconds=microseconds))
        case b"C":
            return Commit(_COMMIT.unpack(data)[1])
        case b"R":
            return _relation(data)
        case b"T":
            (count,) = _INT32.unpack_from(data, 1)
            return Truncate(struct.unpack_from(f"!{count}I", data, 6))
        case _:
            return None


def _row(data: bytes, at: int) -> tuple[Row, int]:
    """The tuple that starts at `at`, and where it ends."""
    (count,) = _INT16.unpack_from(data, at)
    at += 2
    row: Row = []
    for _ in range(count):
        kind = data[at]
        at += 1
        if kind == 0x74:  # t: text follows
            (size,) = _INT32.unpack_from(data, at)
            at += 4 + size
            row.append(data[at - size : at])
        else:
            row.append(UNCHANGED if kind == 0x75 else None)  # u, n
    return row, at


def _relation(data: bytes) -> Relation:
    (id_,) = _INT32.unpack_from(data, 1)
    _, at = _string(data, 5)  # schema
    _, at = _string(data, at)  # and name, of then
    full = data[at : at + 1] == b"f"
    (count,) = _INT16.unpack_from(data, at + 1)
    at += 3
    columns, key = [], set()
    for _ in range(count):
        named = data[at] & 1
        column, at = _string(data, at + 1)  # after one byte of flags
        at += 8  # type and its modifier
        columns.append(column)
        if named:
            key.add(column)
    return Relation(id_, columns, full, frozenset(key))


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1
