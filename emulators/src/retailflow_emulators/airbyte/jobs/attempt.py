"""One attempt of a job: which streams are read again from the start, and the catalogs of both connectors."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import IO

from .. import catalogs, store
from ..protocol import JsonObject
from ..settings import Settings
from ..store import Row, Store
from ..workers import Connectors, write_json
from .failures import AttemptFailedError
from .pump import JobLog, Pump, descriptor


class Attempt:
    """One run of a source into a destination."""

    def __init__(
        self,
        settings: Settings,
        memory: Store,
        connectors: Connectors,
        job: Row,
        number: int,
        log_file: IO[str],
        cancelled: threading.Event,
        deadline: float,
    ) -> None:
        self._settings = settings
        self._store = memory
        self._connectors = connectors
        self._job = job
        self._number = number
        self.log = JobLog(log_file)
        self._pump = Pump(settings, memory, job, self.log, cancelled, deadline)

    @property
    def rows(self) -> int:
        return self._pump.rows

    @property
    def bytes(self) -> int:
        return self._pump.bytes

    def run(self) -> None:
        """Raises AttemptFailedError, or ConnectorError from discovery."""
        connection = self._store.get(store.connections, self._job["connection_id"])
        if connection is None:
            raise AttemptFailedError("airbyte_platform", "the connection was deleted", "config_error")
        source = self._store.get(store.actors, connection["source_id"])
        destination = self._store.get(store.actors, connection["destination_id"])
        assert source and destination
        self._prepare(connection, source)
        read_catalog, write_catalog = catalogs.protocol_catalogs(
            connection,
            self._job["id"],
            self._store.generations(connection["id"]),
            self._store.refreshing(connection["id"]),
        )
        keys = [catalogs.key(stream) for stream in connection["settings"]["configurations"]]
        names = {key: catalogs.mapped(key, connection["settings"]) for key in keys}
        work = self._settings.data_dir / "work"
        work.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work) as name:
            folder = Path(name)
            reading = [
                *self._connectors.find("source", type_=source["type"]).command,
                "read",
                *("--config", write_json(folder, "source.json", source["configuration"])),
                *("--catalog", write_json(folder, "source_catalog.json", read_catalog)),
                *(
                    "--state",
                    write_json(folder, "state.json", self._saved_states(connection["id"], read_catalog)),
                ),
            ]
            writing = [
                *self._connectors.find("destination", type_=destination["type"]).command,
                "write",
                *("--config", write_json(folder, "destination.json", destination["configuration"])),
                *("--catalog", write_json(folder, "destination_catalog.json", write_catalog)),
            ]
            try:
                self._pump.run(None if self._job["type"] in ("reset", "clear") else reading, writing, names)
            except AttemptFailedError:
                if self._pump.lost:
                    self._store.new_generations(connection["id"], self._pump.lost)
                raise
        self._store.end_refreshes(connection["id"])

    def _prepare(self, connection: Row, source: Row) -> None:
        """New generations where tables are written again; a new catalog where schema changes propagate.

        A stream without a state is read from its beginning: rows that an attempt loaded without saving its
        state may be gone from the source by now, so they are of an older generation too.
        """
        configurations = connection["settings"]["configurations"]
        known = {(row["stream"], row["namespace"] or None) for row in self._store.states(connection["id"])}
        first = self._number == 1
        whole = first and self._job["type"] in ("reset", "clear")
        named = self._store.refreshing(connection["id"]) if first and self._job["type"] == "refresh" else ()
        again = [
            stream
            for stream in configurations
            if whole
            or catalogs.key(stream) in named
            or stream["syncMode"] in catalogs.OVERWRITING
            or (stream["syncMode"] in catalogs.INCREMENTAL and catalogs.key(stream) not in known)
        ]
        self._store.new_generations(connection["id"], map(catalogs.key, again))
        if str(connection["settings"]["nonBreakingSchemaUpdatesBehavior"]).startswith("propagate"):
            found = self._connectors.discover(
                self._connectors.find("source", type_=source["type"]), source["configuration"]
            )
            for stream in configurations:
                try:
                    catalogs.find(found, *catalogs.key(stream))
                except catalogs.CatalogError as error:
                    raise AttemptFailedError("source", str(error), "config_error") from error
            if found != connection["catalog"]["streams"]:
                self.log(
                    "airbyte_platform", "INFO", "the source's schema has changed: its new columns are used"
                )
                connection["catalog"] = {"streams": found}
                self._store.update(store.connections, connection["id"], catalog=connection["catalog"])

    def _saved_states(self, connection_id: str, catalog: JsonObject) -> list[JsonObject]:
        incremental = {
            catalogs.key(s["stream"]) for s in catalog["streams"] if s["sync_mode"] == "incremental"
        }
        return [
            {
                "type": "STREAM",
                "stream": {"stream_descriptor": descriptor(key), "stream_state": row["state"]},
            }
            for row in self._store.states(connection_id)
            if (key := (row["stream"], row["namespace"] or None)) in incremental
        ]
