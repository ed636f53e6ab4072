"""What the API reads and how it says no: request bodies and Airbyte's problem details."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from .protocol import JsonObject

_ERRORS = "https://reference.airbyte.com/reference/errors"


class ProblemError(Exception):
    """An answer that is an error, in the shape of Airbyte's problem details."""

    def __init__(self, status: int, title: str, detail: str, **data: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.content = {
            "status": status,
            "type": f"{_ERRORS}#{title}",
            "title": title,
            "detail": detail,
            "documentationUrl": None,
            "data": data or None,
        }


class Body(BaseModel):
    """Bodies are camelCase; fields that change nothing about the rows are accepted and ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")

    def given(self) -> JsonObject:
        """What the client sent, in the API's spelling."""
        return self.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)


class ActorCreate(Body):
    name: str = Field(min_length=1)
    workspace_id: str
    configuration: dict[str, Any]
    definition_id: str | None = None


class ActorPatch(Body):
    name: str | None = Field(default=None, min_length=1)
    workspace_id: str | None = None
    configuration: dict[str, Any] | None = None


class ActorPut(Body):
    name: str = Field(min_length=1)
    configuration: dict[str, Any]


class SelectedField(Body):
    field_path: list[str]


class StreamConfiguration(Body):
    name: str
    namespace: str | None = None
    sync_mode: str | None = None
    cursor_field: list[str] | None = None
    primary_key: list[list[str]] | None = None
    selected_fields: list[SelectedField] | None = None
    mappers: list[dict[str, Any]] | None = None
    include_files: bool | None = None
    destination_object_name: str | None = None


class StreamConfigurations(Body):
    streams: list[StreamConfiguration] | None = None


class Schedule(Body):
    schedule_type: Literal["manual"]


class ConnectionSettings(Body):
    name: str | None = Field(default=None, min_length=1)
    configurations: StreamConfigurations | None = None
    namespace_definition: Literal["source", "destination", "custom_format"] | None = None
    namespace_format: str | None = None
    non_breaking_schema_updates_behavior: (
        Literal["ignore", "disable_connection", "propagate_columns", "propagate_fully"] | None
    ) = None
    prefix: str | None = None
    schedule: Schedule | None = None
    status: Literal["active", "inactive", "deprecated"] | None = None


class ConnectionCreate(ConnectionSettings):
    source_id: str
    destination_id: str


JobType = Literal["sync", "reset", "refresh", "clear"]


class JobCreate(Body):
    connection_id: str
    job_type: JobType


class StreamName(Body):
    stream_name: str
    stream_namespace: str | None = None


class Refresh(Body):
    connection_id: str
    refresh_mode: Literal["Merge", "Truncate"]
    streams: list[StreamName] | None = None


DEFAULTS: Mapping[str, Any] = {
    "namespaceDefinition": "destination",
    "namespaceFormat": None,
    "nonBreakingSchemaUpdatesBehavior": "ignore",
    "prefix": "",
    "schedule": {"scheduleType": "manual"},
    "status": "active",
}
