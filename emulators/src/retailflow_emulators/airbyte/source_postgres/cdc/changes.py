"""Changes of the write-ahead log as RECORD lines, spelled exactly as the snapshot spells its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

import orjson
import psycopg2.extensions
from psycopg2 import sql

from ...protocol import RefreshRequiredError, Stream
from ..catalog import CDC_DELETED_AT, CDC_LSN, CDC_UPDATED_AT, SourceTable, fields
from ..lines import not_utf8, record_header
from ..reading import OUTPUT
from .pgoutput import UNCHANGED, Relation, Row, Unchanged, Value

FETCH_ROWS = 500


def _text(value: bytes) -> bytes:
    return orjson.dumps(value.decode())


def _number(value: bytes) -> bytes:
    """NaN and the infinities are strings in PostgreSQL's JSON."""
    return b'"' + value + b'"' if value[-1:] in b"Ny" else value


def _boolean(value: bytes) -> bytes:
    return b"true" if value[:1] == b"t" else b"false"


def _timestamp(value: bytes) -> bytes:
    """`2026-01-31 10:00:00.5` in ISO 8601, as PostgreSQL's JSON has it."""
    return b'"' + value.replace(b" ", b"T", 1) + b'"'


def _timestamptz(value: bytes) -> bytes:
    """`2026-01-31 10:00:00.5+00` (the session is in UTC) likewise."""
    return b'"' + value.replace(b" ", b"T", 1).replace(b"+00", b"+00:00", 1) + b'"'


_SPELLINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "int2": bytes,
    "int4": bytes,
    "int8": bytes,
    "numeric": _number,
    "float4": _number,
    "float8": _number,
    "bool": _boolean,
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
}


@dataclass(frozen=True)
class Origin:
    """The transaction that a change belongs to."""

    lsn: int
    at: bytes

    @classmethod
    def of(cls, lsn: int, at: datetime) -> Origin:
        return cls(lsn, at.strftime('"%Y-%m-%dT%H:%M:%S.%fZ"').encode())


class Encoder:
    """Rows of one table, in the order of its stream's fields, to lines."""

    def __init__(self, table: SourceTable, stream: Stream) -> None:
        self.table = table
        self.stream = stream
        self.fields = fields(table, stream.properties)
        self._header = record_header(stream).encode() + b"{"
        self._spell = [
            (orjson.dumps(name) + b":", _SPELLINGS.get(table.columns[name].type, _text))
            for name in self.fields
        ]
        self._keys = [self.fields.index(name) for name in table.primary_key]

    def places(self, relation: Relation) -> list[int | None] | None:
        """Where each field stands in a row of the relation; None for a column that came later.

        None in all where columns had one another's names then: the log has them in the order of their numbers.
        """
        columns = self.table.columns
        numbers = [columns[name].number for name in relation.columns if name in columns]
        if numbers != sorted(numbers):
            return None
        at = {name: place for place, name in enumerate(relation.columns)}
        return [at.get(name) for name in self.fields]

    def key(self, row: Sequence[Value]) -> list[Value]:
        """The primary key; RefreshRequiredError where the log identifies the row by something else."""
        key = [row[place] for place in self._keys]
        if not all(isinstance(value, bytes) for value in key):
            self.other_key()
        return key

    def other_names(self) -> NoReturn:
        raise RefreshRequiredError(
            f"columns of {self.table.id} have exchanged their names: the table is read again", [self.stream]
        )

    def other_key(self) -> NoReturn:
        raise RefreshRequiredError(
            f"the log names a changed row of {self.table.id} by other columns than its primary key: "
            "the table is read again",
            [self.stream],
        )

    def line(self, row: Sequence[Value], origin: Origin, deleted: bool) -> bytes:
        """A row without unchanged values as a RECORD line."""
        try:
            parts = [
                name + (spell(value) if isinstance(value, bytes) else b"null")
                for (name, spell), value in zip(self._spell, row, strict=True)
            ]
        except UnicodeDecodeError as error:  # a database in SQL_ASCII
            place = next(place for place, value in enumerate(row) if value == error.object)
            raise not_utf8(self.table.id, self.fields[place]) from None
        parts.append(f'"{CDC_LSN}":{origin.lsn}'.encode())
        parts.append(f'"{CDC_UPDATED_AT}":'.encode() + origin.at)
        parts.append(f'"{CDC_DELETED_AT}":'.encode() + (origin.at if deleted else b"null"))
        return self._header + b",".join(parts) + b"}}}\n"


@dataclass
class Incomplete:
    """A row whose unchanged values are still to be fetched."""

    encoder: Encoder
    row: Row
    origin: Origin


def complete(connection: psycopg2.extensions.connection, rows: Sequence[Incomplete]) -> None:
    """Fetch the unchanged values of these rows from their tables, in place.

    What is fetched is the value of now. Where that is younger than the change, the log has the younger change
    too, and it comes later; where the row is gone, so does its deletion: then the values are NULL.
    """
    tables = {id(row.encoder): row.encoder for row in rows}
    for encoder in tables.values():
        own = [row for row in rows if row.encoder is encoder]
        for start in range(0, len(own), FETCH_ROWS):
            _complete(connection, encoder, own[start : start + FETCH_ROWS])


def _complete(
    connection: psycopg2.extensions.connection, encoder: Encoder, rows: Sequence[Incomplete]
) -> None:
    table = encoder.table
    missing = sorted(
        {place for row in rows for place, value in enumerate(row.row) if isinstance(value, Unchanged)}
    )
    if not missing:
        return
    keys = [
        sql.SQL("({})").format(
            sql.SQL(", ").join([sql.Literal(number), *(_literal(value) for value in encoder.key(row.row))])
        )
        for number, row in enumerate(rows)
    ]
    query = sql.SQL("select v.n, {} from (values {}) as v (n, {}) join {} as t on {}").format(
        sql.SQL(", ").join(
            sql.SQL(OUTPUT).format(sql.SQL("t.{}").format(sql.Identifier(encoder.fields[p]))) for p in missing
        ),
        sql.SQL(", ").join(keys),
        sql.SQL(", ").join(sql.Identifier(f"k{number}") for number in range(len(table.primary_key))),
        sql.Identifier(table.schema, table.name),
        sql.SQL(" and ").join(
            sql.SQL("t.{} = v.{}::{}").format(
                sql.Identifier(name), sql.Identifier(f"k{number}"), table.columns[name].cast
            )
            for number, name in enumerate(table.primary_key)
        ),
    )
    with connection.cursor() as cursor:
        cursor.execute(query)
        found = {number: values for number, *values in cursor.fetchall()}
    for number, row in enumerate(rows):
        values = dict(zip(missing, found.get(number) or [None] * len(missing), strict=True))
        for place, value in enumerate(row.row):
            if isinstance(value, Unchanged):
                text = values[place]
                row.row[place] = None if text is None else text.encode()


def _literal(value: Value) -> sql.Literal:
    assert isinstance(value, bytes), "a primary key is never null, and never left out"
    return sql.Literal(value.decode())


def fitted(row: Row, places: Sequence[int | None], old: Row | None) -> Row:
    """A row of the log in the order of the stream's fields; unchanged values from `old`, if it has them."""
    fit: Row = []
    for place in places:
        value = UNCHANGED if place is None else row[place]
        if isinstance(value, Unchanged) and old is not None and place is not None:
            value = old[place]
        fit.append(value)
    return fit
