"""The Airbyte protocol's side of the source: spec, check, discover, read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2
import psycopg2.extensions

from ..protocol import ConnectorError, JsonObject, Stream, emit, log, stream_status
from .catalog import SourceTable, tables
from .cdc import CdcReader, Replication
from .session import failure, snapshots
from .spec import OVERLAP_SECONDS, SPEC
from .standard import StandardReader

Key = tuple[str, str | None]


class PostgresSource:
    """Reads tables by a cursor ("Standard") or from the write-ahead log ("CDC")."""

    spec: JsonObject = SPEC

    def check(self, config: JsonObject) -> None:
        with snapshots(config) as connection:
            found = _usable(connection, config)
            if replication := Replication.of(config):
                replication.check(connection, found)

    def discover(self, config: JsonObject) -> None:
        with snapshots(config) as connection:
            found = _usable(connection, config)
            replication = Replication.of(config)
            if replication:
                found = replication.published(connection, found)
        emit({"type": "CATALOG", "catalog": {"streams": [t.stream(replication is not None) for t in found]}})

    def read(
        self, config: JsonObject, streams: Sequence[Stream], states: Sequence[Mapping[str, Any]]
    ) -> None:
        saved: dict[Key, Mapping[str, Any]] = {}
        for entry in states:
            descriptor = entry["stream"]["stream_descriptor"]
            if blob := entry["stream"].get("stream_state"):
                saved[descriptor["name"], descriptor.get("namespace")] = blob
        try:
            with snapshots(config) as connection:
                known: dict[Key, SourceTable] = {
                    (table.name, table.schema): table for table in _usable(connection, config)
                }
                pairs = [(_table(known, stream, config), stream) for stream in streams]
                connection.rollback()  # each stream takes a snapshot of its own
                if replication := Replication.of(config):
                    CdcReader(config, replication, connection, pairs).read(saved)
                    return
                for table, stream in pairs:
                    overlap = config.get("cursor_overlap_seconds", OVERLAP_SECONDS)
                    reader = StandardReader(connection, table, stream, overlap)
                    stream_status(stream, "STARTED")
                    reader.read(saved.get((stream.name, stream.namespace)))
                    stream_status(stream, "COMPLETE")
        except psycopg2.Error as error:
            raise failure(error, f"reading {config['database']} at {config['host']} failed") from error


def _table(known: Mapping[Key, SourceTable], stream: Stream, config: JsonObject) -> SourceTable:
    if table := known.get((stream.name, stream.namespace)):
        return table
    raise ConnectorError(
        f"table {stream.namespace}.{stream.name} is gone, has lost its primary key, or "
        f"{config['username']} may no longer read it",
        "config_error",
    )


def _usable(connection: psycopg2.extensions.connection, config: JsonObject) -> list[SourceTable]:
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
