"""The Airbyte protocol's side of the source: spec, check, discover, read."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from ..protocol import ConnectorError, JsonObject, Stream, emit, log, state, stream_status
from .catalog import SourceTable, tables
from .reading import Position, Reading

CHECKPOINT_ROWS = 100_000
OVERLAP_SECONDS = 3600
_WRITE_BYTES = 1 << 20


class PostgresSource:
    """Reads tables with a user-defined cursor (Airbyte's replication method "Standard")."""

    spec: JsonObject = {
        "protocol_version": "0.2.0",
        "documentationUrl": "https://docs.airbyte.com/integrations/sources/postgres",
        "connectionSpecification": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Postgres (embedded)",
            "type": "object",
            "required": ["host", "port", "database", "username"],
            "properties": {
                "host": {"type": "string", "title": "Host"},
                "port": {"type": "integer", "title": "Port", "minimum": 1, "maximum": 65535, "default": 5432},
                "database": {"type": "string", "title": "Database"},
                "schemas": {
                    "type": "array",
                    "items": {"type": "string"},
                    "minItems": 1,
                    "default": ["public"],
                },
                "username": {"type": "string", "title": "Username"},
                "password": {"type": "string", "title": "Password", "airbyte_secret": True},
                "ssl_mode": {
                    "type": "object",
                    "required": ["mode"],
                    "properties": {
                        "mode": {
                            "enum": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
                        },
                        "ca_certificate": {"type": "string", "airbyte_secret": True},
                    },
                },
                "replication_method": {
                    "type": "object",
                    "required": ["method"],
                    "properties": {"method": {"enum": ["Standard"]}},
                },
                "tunnel_method": {
                    "type": "object",
                    "required": ["tunnel_method"],
                    "properties": {"tunnel_method": {"enum": ["NO_TUNNEL"]}},
                },
                "cursor_overlap_seconds": {
                    "type": "integer",
                    "minimum": 0,
                    "default": OVERLAP_SECONDS,
                    "description": "Longest time that a writing transaction may take (embedded Airbyte only)",
                },
            },
        },
    }

    def check(self, config: JsonObject) -> None:
        with connect(config) as connection:
            self._usable(connection, config)

    def discover(self, config: JsonObject) -> None:
        with connect(config) as connection:
            streams = [table.stream() for table in self._usable(connection, config)]
        emit({"type": "CATALOG", "catalog": {"streams": streams}})

    def read(
        self, config: JsonObject, streams: Sequence[Stream], states: Sequence[Mapping[str, Any]]
    ) -> None:
        saved: dict[tuple[str, str | None], Mapping[str, Any] | None] = {}
        for entry in states:
            descriptor = entry["stream"]["stream_descriptor"]
            saved[descriptor["name"], descriptor.get("namespace")] = entry["stream"].get("stream_state")
        with connect(config) as connection:
            known: dict[tuple[str, str | None], SourceTable] = {
                (table.name, table.schema): table for table in self._usable(connection, config)
            }
            connection.rollback()  # each stream takes a snapshot of its own
            for stream in streams:
                table = known.get((stream.name, stream.namespace))
                if table is None:
                    raise ConnectorError(
                        f"table {stream.namespace}.{stream.name} is gone, has lost its primary key, or "
                        f"{config['username']} may no longer read it",
                        "config_error",
                    )
                reader = _StreamReader(
                    connection, table, stream, config.get("cursor_overlap_seconds", OVERLAP_SECONDS)
                )
                stream_status(stream, "STARTED")
                reader.read(saved.get((stream.name, stream.namespace)))
                stream_status(stream, "COMPLETE")

    def _usable(self, connection: psycopg2.extensions.connection, config: JsonObject) -> list[SourceTable]:
        """The tables that can be read; raises where there is none, naming those that lack a primary key."""
        schemas = config.get("schemas", ["public"])
        found = tables(connection, schemas)
        keyless = [f"{table.schema}.{table.name}" for table in found if not table.primary_key]
        usable = [table for table in found if table.primary_key]
        if keyless:
            log(f"left out, because they have no primary key: {', '.join(keyless)}", "WARN")
        if not usable:
            reason = f"without a primary key: {', '.join(keyless)}" if keyless else "none that it may read"
            raise ConnectorError(
                f"{config['username']} finds no table to replicate in {', '.join(schemas)} of "
                f"{config['database']} ({reason})",
                "config_error",
            )
        return usable


class _StreamReader:
    """Reads one stream inside one snapshot."""

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
        record = {"stream": stream.name, "namespace": table.schema, "emitted_at": time.time_ns() // 1_000_000}
        head = json.dumps({"type": "RECORD", "record": record}, separators=(",", ":"))
        self._header = head.removesuffix("}}") + ',"data":'
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
        lines = _Lines(sys.stdout.buffer)
        last = position or Position(None, None, 0, "", initial=True)

        def settle(line: bytes, rows: int) -> None:
            nonlocal last
            self._unreported += rows
            if position is not None:
                row = json.loads(line[len(self._header.encode()) : line.rindex(b"}}")])
                last = last.at(row, self._table.primary_key, None if position.initial else self._cursor_field)
                if rows == CHECKPOINT_ROWS:
                    self._checkpoint(last)

        lines.on_rows = settle
        cursor.copy_expert(statement, lines)
        lines.close()
        return last

    def _checkpoint(self, position: Position) -> None:
        assert self._cursor_field is not None
        state(self._stream, position.state(self._cursor_field), self._unreported)
        self._unreported = 0


class _Lines:
    """The file that COPY writes to, one call a row. Calls `on_rows` every CHECKPOINT_ROWS and at the end."""

    def __init__(self, out: BinaryIO) -> None:
        self.on_rows: Callable[[bytes, int], None] = lambda line, rows: None
        self._out = out
        self._buffer: list[bytes] = []
        self._size = 0
        self._rows = 0

    def write(self, line: bytes) -> None:
        self._buffer.append(line)
        self._size += len(line)
        self._rows += 1
        if self._rows == CHECKPOINT_ROWS:
            self.close()
        elif self._size >= _WRITE_BYTES:
            self._flush(keep=1)

    def close(self) -> None:
        """Write everything and report the rows since the last report with the last line of them."""
        if self._rows:
            last, rows = self._buffer[-1], self._rows
            self._rows = 0
            self._flush()
            self.on_rows(last, rows)

    def _flush(self, keep: int = 0) -> None:
        """Write the buffer but for its last `keep` lines."""
        cut = len(self._buffer) - keep
        self._out.write(b"".join(self._buffer[:cut]))
        self._out.flush()
        self._buffer = self._buffer[cut:]
        self._size = sum(map(len, self._buffer))


@contextmanager
def connect(config: JsonObject) -> Iterator[psycopg2.extensions.connection]:
    """A read-only, repeatable-read connection in UTC. ConnectorError names host, database and user."""
    ssl = config.get("ssl_mode", {"mode": "prefer"})
    options: dict[str, Any] = {"sslmode": ssl["mode"]}
    with tempfile.TemporaryDirectory() as folder:
        if ssl.get("ca_certificate"):
            authority = Path(folder) / "ca.pem"
            authority.write_text(ssl["ca_certificate"], encoding="utf-8")
            options["sslrootcert"] = str(authority)
        try:
            connection = psycopg2.connect(
                host=config["host"],
                port=config["port"],
                dbname=config["database"],
                user=config["username"],
                password=config.get("password", ""),
                connect_timeout=15,
                client_encoding="UTF8",
                application_name="embedded airbyte",
                options="-c timezone=UTC -c datestyle=ISO -c statement_timeout=0",
                keepalives_idle=30,
                **options,
            )
        except psycopg2.OperationalError as error:
            text = str(error).strip()
            refused = any(word in text for word in ("authentication", "does not exist", "no pg_hba.conf"))
            raise ConnectorError(
                f"cannot open {config['database']} at {config['host']}:{config['port']} "
                f"as {config['username']}: {text}",
                "config_error" if refused else "transient_error",
            ) from error
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    try:
        yield connection
    finally:
        connection.close()
