"""The Airbyte protocol's side of the source: spec, check, discover, read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2
import psycopg2.extensions

from ..protocol import ConnectorError, JsonObject, Stream, emit, log, stream_status
from .catalog import REFRESH_SCHEMA, SourceTable, search_path, tables
from .cdc import CdcReader, Heartbeat, Replication
from .session import connect, failure, set_search_path, snapshots
from .spec import OVERLAP_SECONDS, SPEC
from .standard import StandardReader

Key = tuple[str, str | None]


class PostgresSource:
    """Reads tables by a cursor ("Standard") or from the write-ahead log ("CDC")."""

    spec: JsonObject = SPEC

    def check(self, config: JsonObject) -> None:
        with snapshots(config) as connection:
            replication, carried, unfit = _look(connection, config)
            if replication:
                # What is published is meant to be replicated. Standard has no such list of what is meant.
                publication = replication.publication_of(connection)
                hidden = publication.hidden(config.get("schemas", ["public"]), config["username"])
                for reason in [*unfit.values(), *publication.keyless(), *hidden]:
                    raise ConnectorError(reason, "config_error")
                replication.valid_slot(connection)
            _offered(config, carried, unfit)

    def discover(self, config: JsonObject) -> None:
        with snapshots(config) as connection:
            replication, carried, unfit = _look(connection, config)
        for reason in unfit.values():
            log(f"left out: {reason}", "WARN")
        streams = [table.stream(replication is not None) for table in _offered(config, carried, unfit)]
        emit({"type": "CATALOG", "catalog": {"streams": streams}})

    def read(
        self, config: JsonObject, streams: Sequence[Stream], states: Sequence[Mapping[str, Any]]
    ) -> None:
        saved: dict[Key, Mapping[str, Any]] = {}
        for entry in states:
            descriptor = entry["stream"]["stream_descriptor"]
            if blob := entry["stream"].get("stream_state"):
                saved[descriptor["name"], descriptor.get("namespace")] = blob
        try:
            with snapshots(config) as connection, connect(config) as control:
                known: dict[Key, SourceTable] = {
                    (table.name, table.schema): table for table in _found(connection, config)
                }
                pairs = [(_table(known, stream, config), stream) for stream in streams]
                for table, stream in pairs:
                    _check_catalog(table, stream)
                connection.rollback()  # each stream takes a snapshot of its own
                control.autocommit = True
                for session in (connection, control):
                    set_search_path(session, search_path(table for table, _ in pairs))
                if replication := Replication.of(config):
                    heartbeat = Heartbeat(config, replication.heartbeat)
                    CdcReader(replication, connection, control, pairs, heartbeat).read(saved)
                    return
                for table, stream in pairs:
                    if why := table.unfit(cdc=False):
                        raise ConnectorError(why, "config_error")
                    overlap = config.get("cursor_overlap_seconds", OVERLAP_SECONDS)
                    reader = StandardReader(connection, control, table, stream, overlap)
                    stream_status(stream, "STARTED")
                    reader.read(saved.get((stream.name, stream.namespace)))
                    stream_status(stream, "COMPLETE")
        except psycopg2.Error as error:
            raise failure(error, f"reading {config['database']} at {config['host']} failed") from error


def _table(known: Mapping[Key, SourceTable], stream: Stream, config: JsonObject) -> SourceTable:
    if table := known.get((stream.name, stream.namespace)):
        return table
    raise ConnectorError(
        f"table {stream.namespace}.{stream.name} is gone, or {config['username']} may no longer read it",
        "config_error",
    )


def _check_catalog(table: SourceTable, stream: Stream) -> None:
    """Raises ConnectorError where the catalog describes a table that is no more."""
    for name, column in table.columns.items():
        if stream.properties.get(name, column.schema) != column.schema:
            raise ConnectorError(
                f"column {name} of {table.id} has another type now than the connection's catalog says: "
                f"{REFRESH_SCHEMA}",
                "config_error",
            )
    if stream.dedup and set(stream.primary_key) != set(table.primary_key):
        raise ConnectorError(
            f"the primary key of {table.id} is ({', '.join(table.primary_key)}) now, but the connection merges rows "
            f"by ({', '.join(stream.primary_key)}): {REFRESH_SCHEMA}",
            "config_error",
        )


def _found(connection: psycopg2.extensions.connection, config: JsonObject) -> list[SourceTable]:
    return tables(connection, config.get("schemas", ["public"]))


def _look(
    connection: psycopg2.extensions.connection, config: JsonObject
) -> tuple[Replication | None, list[SourceTable], dict[str, str]]:
    """How the source is read, the tables that it carries, and by table why some cannot be replicated exactly."""
    replication = Replication.of(config)
    found = _found(connection, config)
    if replication is None:
        return None, found, {t.id: why for t in found if (why := t.unfit(cdc=False))}
    publication = replication.publication_of(connection)
    carried = [table for table in found if table.oid in publication.tables]
    return replication, carried, {t.id: why for t in carried if (why := publication.unfit(t))}


def _offered(
    config: JsonObject, carried: Sequence[SourceTable], unfit: Mapping[str, str]
) -> list[SourceTable]:
    """The tables that can be replicated. Raises ConnectorError where there is none."""
    if offered := [table for table in carried if table.id not in unfit]:
        return offered
    raise ConnectorError(
        f"{config['username']} finds no table to replicate in {', '.join(config.get('schemas', ['public']))} of "
        f"{config['database']}: {'; '.join(unfit.values()) or 'none that it may read and that is published'}",
        "config_error",
    )
