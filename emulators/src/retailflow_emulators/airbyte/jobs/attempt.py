"""One attempt of a job: which streams are read again from the start, and the catalogs of both connectors."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import IO

from .. import catalogs, store
from ..catalogs import Key
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
        self._targets: dict[Key, JsonObject] = {}
        self.log = JobLog(log_file)
        self._pump = Pump(settings, memory, job, self.log, cancelled, deadline)

    @property
    def rows(self) -> int:
        return self._pump.rows

    @property
    def lost(self) -> set[Key]:
        """The streams that must be read again from the start."""
        return self._pump.lost

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
        self._propagate(connection, source)
        self._prepare(connection, destination)
        configurations = connection["settings"]["configurations"]
        states = self._known_states(connection["id"])
        targets = self._store.targets(connection["id"])
        read_catalog, write_catalog = catalogs.protocol_catalogs(
            connection,
            self._job["id"],
            self._store.generations(connection["id"]),
            self._store.refreshing(connection["id"]),
            {key: row["rows"] for key, row in targets.items() if key in states},
        )
        keys = [catalogs.key(stream) for stream in configurations]
        selected = {
            catalogs.key(entry["stream"]): entry["stream"]["json_schema"].get("properties", {})
            for entry, stream in zip(read_catalog["streams"], configurations, strict=True)
            if stream.get("selectedFields")
        }
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
                clearing = self._job["type"] in ("reset", "clear")
                self._pump.run(None if clearing else reading, writing, names, selected)
            except AttemptFailedError:
                if self._pump.lost:
                    self._store.new_generations(connection["id"], self._pump.lost)
                raise
        self._store.end_refreshes(connection["id"])

    def _known_states(self, connection_id: str) -> set[Key]:
        return {(row["stream"], row["namespace"] or None) for row in self._store.states(connection_id)}

    def _prepare(self, connection: Row, destination: Row) -> None:
        """New generations where tables are written again.

        A stream without a state is read from its beginning: rows that an attempt loaded without saving its
        state may be gone from the source by now, so they are of an older generation too. So is a stream whose
        table, mode, key or fields are others than those that its state vouches for.
        """
        settings = connection["settings"]
        configurations = settings["configurations"]
        try:
            tables = catalogs.targets(configurations, settings, destination["configuration"])
        except catalogs.CatalogError as error:
            raise AttemptFailedError("airbyte_platform", str(error), "config_error") from error
        known = self._known_states(connection["id"])
        before = self._store.targets(connection["id"])
        first = self._number == 1
        whole = first and self._job["type"] in ("reset", "clear")
        named = self._store.refreshing(connection["id"]) if first and self._job["type"] == "refresh" else ()
        again: list[Key] = []
        for stream in configurations:
            key = catalogs.key(stream)
            target = {
                "table": list(tables[key]),
                "syncMode": stream["syncMode"],
                "primaryKey": stream["primaryKey"],
                "fields": sorted(field["fieldPath"][0] for field in stream.get("selectedFields") or []),
            }
            moved = key in known and key in before and before[key]["target"] != target
            if moved:
                text = f"{catalogs.label(key)} goes to another table, or by another mode, key or selection: it is read again"
                self.log("airbyte_platform", "INFO", text)
            incremental = stream["syncMode"] in catalogs.INCREMENTAL
            if (
                whole
                or key in named
                or moved
                or stream["syncMode"] in catalogs.OVERWRITING
                or (incremental and key not in known)
            ):
                again.append(key)
            self._targets[key] = target
        self._store.new_generations(connection["id"], again)
        for key, target in self._targets.items():
            rows = 0 if key in again or key not in before else before[key]["rows"]
            self._store.set_target(connection["id"], key, target, rows)

    def _propagate(self, connection: Row, source: Row) -> None:
        """Take over what the source has now, where the connection says so."""
        settings = connection["settings"]
        behavior = str(settings["nonBreakingSchemaUpdatesBehavior"])
        if behavior == "ignore":
            return
        found, notes = self._connectors.discover(
            self._connectors.find("source", type_=source["type"]), source["configuration"]
        )
        if found == connection["catalog"]["streams"]:
            return
        if behavior == "disable_connection":
            settings["status"] = "inactive"
            self._store.update(store.connections, connection["id"], settings=settings)
            raise AttemptFailedError(
                "airbyte_platform",
                "the source's schema has changed, and the connection is set to be disabled then: it is inactive, and "
                "nothing was read. PATCH its streams and its status to go on",
                "config_error",
            )
        for stream in settings["configurations"]:
            try:
                known = catalogs.find(found, *catalogs.key(stream))
                key = known.get("source_defined_primary_key") or stream["primaryKey"]
                catalogs.configure(found, [{**stream, "primaryKey": key, "selectedFields": []}])
            except catalogs.CatalogError as error:
                text = ". ".join([str(error), *notes])
                raise AttemptFailedError("source", text, "config_error") from error
            before = catalogs.find(connection["catalog"]["streams"], *catalogs.key(stream))
            if retyped := _retyped(before, known):
                text = f"{catalogs.label(catalogs.key(stream))} is read again, because these fields have another type: "
                self.log("airbyte_platform", "WARN", text + ", ".join(retyped))
            if key != stream["primaryKey"]:
                self.log(
                    "airbyte_platform",
                    "WARN",
                    f"{catalogs.label(catalogs.key(stream))} has another key: {key}",
                )
                stream["primaryKey"] = key
        self.log("airbyte_platform", "INFO", "the source's schema has changed: the connection takes it over")
        connection["catalog"] = {"streams": found}
        self._store.update(
            store.connections, connection["id"], catalog=connection["catalog"], settings=settings
        )

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


def _retyped(before: JsonObject, now: JsonObject) -> list[str]:
    """The fields that had another type before."""
    old, new = (stream["json_schema"].get("properties", {}) for stream in (before, now))
    return [name for name in new if name in old and old[name] != new[name]]
