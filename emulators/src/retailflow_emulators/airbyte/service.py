"""What the API does, without HTTP."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import sqlalchemy as sa

from . import catalogs, store
from .bodies import (
    DEFAULTS,
    ActorCreate,
    ActorPatch,
    ActorPut,
    ConnectionCreate,
    ConnectionSettings,
    JobCreate,
    ProblemError,
    Refresh,
)
from .connectors import Connector, Kind
from .jobs import JobRunner
from .protocol import ConnectorError, JsonObject
from .settings import Settings
from .store import ActiveJobError, InUseError, Row, Store
from .words import ago, took
from .workers import Connectors, unmasked


class Service:
    """Workspaces, sources, destinations, connections and jobs. Every method raises ProblemError."""

    def __init__(self, settings: Settings, connectors: Connectors) -> None:
        self.store = Store(settings.data_dir, settings.workspace)
        self.connectors = connectors
        self.runner = JobRunner(settings, self.store, connectors)

    def close(self) -> None:
        self.runner.stop()
        self.store.close()

    # Workspaces

    def workspace(self, id_: str) -> JsonObject:
        return self._workspace(self._row(store.workspaces, id_, "workspace"))

    def workspaces(self, offset: int, limit: int) -> list[JsonObject]:
        return [self._workspace(row) for row in self.store.find(store.workspaces, offset, limit)]

    @staticmethod
    def _workspace(row: Row) -> JsonObject:
        return {"workspaceId": row["id"], "name": row["name"], "dataResidency": "auto", "notifications": {}}

    # Sources and destinations

    def actor(self, kind: Kind, id_: str) -> JsonObject:
        return self._actor(self._row(store.actors, id_, kind, kind=kind))

    def actors(
        self, kind: Kind, workspace_ids: list[str] | None, offset: int, limit: int
    ) -> list[JsonObject]:
        rows = self.store.find(store.actors, offset, limit, kind=kind, workspace_id=workspace_ids)
        return [self._actor(row) for row in rows]

    def create_actor(self, kind: Kind, body: ActorCreate) -> JsonObject:
        self._row(store.workspaces, body.workspace_id, "workspace")
        configuration = dict(body.configuration)
        type_ = configuration.pop(f"{kind}Type", None)
        if not type_ and not body.definition_id:
            raise ProblemError(400, "bad-request", f"configuration.{kind}Type or definitionId is required")
        connector = self._connector(kind, type_, body.definition_id)
        self._validate(connector, configuration)
        row = self.store.add(
            store.actors,
            kind=kind,
            type=connector.type,
            name=body.name,
            workspace_id=body.workspace_id,
            configuration=configuration,
        )
        return self._actor(row)

    def change_actor(self, kind: Kind, id_: str, body: ActorPatch | ActorPut) -> JsonObject:
        """PATCH merges the top of the configuration, PUT replaces it; a masked secret stays what it was."""
        row = self._row(store.actors, id_, kind, kind=kind)
        values: JsonObject = {}
        if body.name is not None:
            values["name"] = body.name
        if body.configuration is not None:
            given = unmasked(body.configuration, row["configuration"])
            given.pop(f"{kind}Type", None)
            kept = row["configuration"] if isinstance(body, ActorPatch) else {}
            values["configuration"] = {**kept, **given}
            self._validate(self._connector(kind, row["type"]), values["configuration"])
        if values:
            self.store.update(store.actors, id_, **values)
        return self._actor({**row, **values})

    def delete_actor(self, kind: Kind, id_: str) -> None:
        self._row(store.actors, id_, kind, kind=kind)
        try:
            self.store.delete_actor(id_)
        except InUseError:
            raise ProblemError(
                409, "state-conflict", f"a connection still uses this {kind}", resourceId=id_
            ) from None

    def streams(self, source_id: str) -> list[JsonObject]:
        discovered, _ = self._discover(self._row(store.actors, source_id, "source", kind="source"))
        return catalogs.stream_properties(discovered)

    def check_actor(self, kind: Kind, id_: str) -> JsonObject:
        """The configuration API's check_connection."""
        row = self._row(store.actors, id_, kind, kind=kind)
        try:
            self.connectors.check(self._connector(kind, row["type"]), row["configuration"])
        except ConnectorError as error:
            return {"status": "failed", "message": str(error), "jobInfo": {}}
        return {"status": "succeeded", "jobInfo": {}}

    def actor_version(self, kind: Kind, id_: str) -> JsonObject:
        """The configuration API's version of an actor's connector."""
        row = self._row(store.actors, id_, kind, kind=kind)
        connector = self._connector(kind, row["type"])
        return {
            "dockerRepository": f"airbyte/{kind}-{connector.type}",
            "dockerImageTag": connector.version,
            "supportsRefreshes": True,
            "isVersionOverrideApplied": False,
            "supportState": "supported",
            "supportLevel": "certified",
        }

    def _actor(self, row: Row) -> JsonObject:
        kind: Kind = row["kind"]
        connector = self._connector(kind, row["type"])
        return {
            f"{kind}Id": row["id"],
            "name": row["name"],
            f"{kind}Type": row["type"],
            "definitionId": connector.definition_id,
            "workspaceId": row["workspace_id"],
            "configuration": {
                f"{kind}Type": row["type"],
                **self.connectors.masked(connector, row["configuration"]),
            },
            "createdAt": int(row["created_at"]),
        }

    def _connector(self, kind: Kind, type_: str | None, definition_id: str | None = None) -> Connector:
        try:
            return self.connectors.find(kind, type_=type_, definition_id=definition_id)
        except ConnectorError as error:
            raise ProblemError(422, "unprocessable-entity", str(error)) from error

    def _validate(self, connector: Connector, configuration: JsonObject) -> None:
        try:
            self.connectors.validate(connector, configuration)
        except ConnectorError as error:
            raise ProblemError(422, "unprocessable-entity", f"{connector.type}: {error}") from error

    def _discover(self, source: Row) -> tuple[list[JsonObject], list[str]]:
        try:
            return self.connectors.discover(
                self._connector("source", source["type"]), source["configuration"]
            )
        except ConnectorError as error:
            raise ProblemError(
                422, "unprocessable-entity", f"discovery of {source['name']} failed: {error}"
            ) from error

    # Connections

    def connection(self, id_: str) -> JsonObject:
        return self._connection(self._row(store.connections, id_, "connection"))

    def connections(self, workspace_ids: list[str] | None, offset: int, limit: int) -> list[JsonObject]:
        rows = self.store.find(store.connections, offset, limit, workspace_id=workspace_ids)
        return [self._connection(row) for row in rows]

    def create_connection(self, body: ConnectionCreate) -> JsonObject:
        source = self._row(store.actors, body.source_id, "source", kind="source")
        destination = self._row(store.actors, body.destination_id, "destination", kind="destination")
        discovered, notes = self._discover(source)
        row = self.store.add(
            store.connections,
            name=body.name or f"{source['name']} → {destination['name']}",
            workspace_id=source["workspace_id"],
            source_id=source["id"],
            destination_id=destination["id"],
            settings=self._settings(dict(DEFAULTS), body, discovered, notes, destination),
            catalog={"streams": discovered},
        )
        return self._connection(row)

    def change_connection(self, id_: str, body: ConnectionSettings) -> JsonObject:
        row = self._row(store.connections, id_, "connection")
        catalog = row["catalog"]
        notes: list[str] = []
        if body.configurations is not None:
            discovered, notes = self._discover(self._row(store.actors, row["source_id"], "source"))
            catalog = {"streams": discovered}
        destination = self._row(store.actors, row["destination_id"], "destination")
        values = {
            "name": body.name or row["name"],
            "settings": self._settings(
                row["settings"], body, catalog["streams"], notes, destination, connection_id=id_
            ),
            "catalog": catalog,
        }
        self.store.update(store.connections, id_, **values)
        return self._connection({**row, **values})

    def delete_connection(self, id_: str) -> None:
        self._row(store.connections, id_, "connection")
        for job in self.store.find_jobs(connection_id=id_, status=list(store.ACTIVE)):
            self.runner.cancel(job["id"])
        self.store.delete_connection(id_)

    def connection_details(self, id_: str) -> JsonObject:
        """The configuration API's connection, with `syncCatalog`."""
        row = self._row(store.connections, id_, "connection")
        settings = row["settings"]
        return {
            "connectionId": row["id"],
            "name": row["name"],
            "sourceId": row["source_id"],
            "destinationId": row["destination_id"],
            "namespaceDefinition": settings["namespaceDefinition"].replace("custom_format", "customformat"),
            "namespaceFormat": settings["namespaceFormat"],
            "prefix": settings["prefix"],
            "status": settings["status"],
            "scheduleType": settings["schedule"]["scheduleType"],
            "syncCatalog": catalogs.configuration_api_catalog(row),
            "breakingChange": False,
        }

    def _settings(
        self,
        current: JsonObject,
        body: ConnectionSettings,
        discovered: list[JsonObject],
        notes: list[str],
        destination: Row,
        connection_id: str | None = None,
    ) -> JsonObject:
        """`notes` are the source's reasons for leaving tables out."""
        given = body.given()
        settings = {**current, **{name: given[name] for name in DEFAULTS if name in given}}
        try:
            if body.configurations is not None or "configurations" not in current:
                streams = given.get("configurations", {}).get("streams") or []
                settings["configurations"] = catalogs.configure(discovered, streams)
            self._check_targets(settings, destination, connection_id)
        except catalogs.CatalogError as error:
            raise ProblemError(400, "bad-request", ". ".join([str(error), *notes])) from error
        return settings

    def _check_targets(self, settings: JsonObject, destination: Row, connection_id: str | None) -> None:
        """No two streams write one table, of whatever connection. Raises CatalogError."""
        own = catalogs.targets(settings["configurations"], settings, destination["configuration"])
        for row in self.store.find(store.connections, destination_id=destination["id"]):
            if row["id"] == connection_id or row["settings"]["status"] == "deprecated":
                continue
            others = catalogs.targets(
                row["settings"]["configurations"], row["settings"], destination["configuration"]
            )
            if shared := set(own.values()) & set(others.values()):
                table = ".".join(filter(None, min(shared)))
                raise catalogs.CatalogError(
                    f"connection {row['name']} writes {table} already: give this one a prefix or another namespace, "
                    "or delete the other"
                )

    @staticmethod
    def _connection(row: Row) -> JsonObject:
        settings = {name: value for name, value in row["settings"].items() if value is not None}
        return {
            "connectionId": row["id"],
            "name": row["name"],
            "sourceId": row["source_id"],
            "destinationId": row["destination_id"],
            "workspaceId": row["workspace_id"],
            "createdAt": int(row["created_at"]),
            "tags": [],
            **settings,
            "configurations": {"streams": settings["configurations"]},
        }

    # Jobs

    def job(self, id_: str) -> JsonObject:
        return job_response(self._job_row(id_))

    def start_job(self, body: JobCreate) -> JsonObject:
        connection = self._row(store.connections, body.connection_id, "connection")
        if connection["settings"]["status"] != "active":
            raise ProblemError(409, "state-conflict", f"the connection is {connection['settings']['status']}")
        try:
            return job_response(self.runner.start(connection, body.job_type))
        except ActiveJobError:
            detail = "a job of this connection is already running"
            raise ProblemError(409, "state-conflict", detail, connectionId=body.connection_id) from None

    def refresh(self, body: Refresh) -> JsonObject:
        """Read streams again from the start; without names every stream (ConnectionApiController.kt)."""
        if body.refresh_mode == "Merge":
            detail = "not emulated: refreshMode Merge, which keeps rows that the source no longer has"
            raise ProblemError(422, "unprocessable-entity", detail)
        connection = self._row(store.connections, body.connection_id, "connection")
        present = [catalogs.key(stream) for stream in connection["settings"]["configurations"]]
        named = [(one.stream_name, one.stream_namespace or None) for one in body.streams or []]
        for name, namespace in named:
            if (name, namespace) not in present:
                shown = f"{namespace}.{name}" if namespace else name
                raise ProblemError(400, "bad-request", f"the connection has no stream {shown}")
        create = JobCreate(connection_id=body.connection_id, job_type="refresh")
        if not self.store.find_jobs(connection_id=connection["id"], status=list(store.ACTIVE)):
            self.store.begin_refreshes(connection["id"], named or present)
        return {"job": self.job_details(str(self.start_job(create)["jobId"]))["job"]}

    def cancel_job(self, id_: str) -> JsonObject:
        row = self._job_row(id_)
        if not self.runner.cancel(row["id"]):
            raise ProblemError(409, "state-conflict", f"job {id_} has already ended: {row['status']}")
        return job_response(self._job_row(id_))

    def job_details(self, id_: str) -> JsonObject:
        """The configuration API's job, with the failure and the log of each attempt."""
        row = self._job_row(id_)
        attempts = [
            {
                "attempt": {
                    "id": attempt["number"] - 1,
                    "status": attempt["status"],
                    "createdAt": int(attempt["started_at"]),
                    "endedAt": int(attempt["ended_at"]) if attempt["ended_at"] else None,
                    "recordsSynced": attempt["rows"],
                    "bytesSynced": attempt["bytes"],
                    "failureSummary": {"failures": [attempt["failure"]]} if attempt["failure"] else None,
                },
                "logs": {"logLines": self.runner.log_tail(row["id"], attempt["number"])},
            }
            for attempt in self.store.attempts(row["id"])
        ]
        job = {
            "id": row["id"],
            "configType": row["type"],
            "configId": row["connection_id"],
            "createdAt": int(row["created_at"]),
            "updatedAt": int(row["updated_at"]),
            "status": row["status"],
        }
        return {"job": job, "attempts": attempts}

    def overview(self) -> list[JsonObject]:
        """Connections with their last jobs, for people."""
        return [
            {
                "name": row["name"],
                "streams": [stream["name"] for stream in row["settings"]["configurations"]],
                "jobs": [
                    {
                        **job,
                        "started": iso(job["created_at"]),
                        "ago": ago(time.time() - job["created_at"]),
                        "took": took(job["updated_at"] - job["created_at"]),
                        "failure": next(
                            (
                                a["failure"]["externalMessage"]
                                for a in reversed(self.store.attempts(job["id"]))
                                if a["failure"]
                            ),
                            "",
                        ),
                    }
                    for job in self.store.find_jobs(connection_id=row["id"], limit=10)
                ],
            }
            for row in self.store.find(store.connections)
        ]

    def _job_row(self, id_: str) -> Row:
        # A job id is an int64 (Airbyte's OpenAPI): no other text can be that of a job.
        fits = re.fullmatch("[0-9]{1,19}", id_) and int(id_) < 2**63
        row = self.store.get(store.jobs, int(id_)) if fits else None
        return self._present(row, "job", id_)

    def _row(self, table: sa.Table, id_: str, what: str, **equal: str) -> Row:
        row = self.store.get(table, id_)
        if row and any(row[name] != value for name, value in equal.items()):
            row = None
        return self._present(row, what, id_)

    @staticmethod
    def _present(row: Row | None, what: str, id_: str) -> Row:
        if row is None:
            raise ProblemError(
                404, "resource-not-found", f"no {what} {id_}", resourceType=what, resourceId=id_
            )
        return row


def job_response(row: Row) -> JsonObject:
    seconds = int(row["updated_at"] - row["created_at"])
    return {
        "jobId": row["id"],
        "status": row["status"],
        "jobType": row["type"],
        "connectionId": row["connection_id"],
        "startTime": iso(row["created_at"]),
        "lastUpdatedAt": iso(row["updated_at"]),
        "duration": f"PT{seconds}S",
        "bytesSynced": row["bytes"],
        "rowsSynced": row["rows"],
    }


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
