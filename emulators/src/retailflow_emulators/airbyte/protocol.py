"""The Airbyte protocol as our connectors speak it: one JSON message per line on stdout.

Shapes follow https://docs.airbyte.com/understanding-airbyte/airbyte-protocol; the tests read every line back
with the parser of Airbyte's own CDK. The CDK is not imported at run time: it costs five seconds of CPU per
process, which is more than most incremental syncs take.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import orjson

# In the destination's catalog, from the embedded platform: how many records a stream that goes on from its state has
# sent in this generation; 0 where it begins. Other platforms leave it out.
ROWS_BEFORE = "embedded_rows_before"
# Set by the platform, which has validated what it passes on and takes its connectors with it when it dies.
STARTED_BY_PLATFORM = "EMBEDDED_AIRBYTE_JOB"
JsonObject = dict[str, Any]
FailureType = Literal["config_error", "system_error", "transient_error"]


class ConnectorError(Exception):
    """A failure with a message that a person can act on.

    `config_error` means that trying again without a change is useless.
    """

    def __init__(self, message: str, failure_type: FailureType = "system_error") -> None:
        super().__init__(message)
        self.failure_type = failure_type


class RefreshRequiredError(ConnectorError):
    """These streams cannot be continued from their states and must be read again from the start.

    Told as an error of each stream whose `internal_message` is REFRESH_REQUIRED: the embedded platform then
    begins a new generation of the stream, so that rows that are gone from the source go from the destination
    too. To any other platform it is a failed attempt.
    """

    def __init__(self, message: str, streams: Sequence[Stream]) -> None:
        super().__init__(message, "transient_error")
        self.streams = streams


REFRESH_REQUIRED = "refresh required"


@dataclass(frozen=True)
class Stream:
    """One configured stream of a sync, as both connectors need it."""

    name: str
    namespace: str | None
    json_schema: JsonObject
    incremental: bool
    dedup: bool
    cursor_field: str | None
    primary_key: tuple[str, ...]
    sync_id: int
    generation_id: int
    minimum_generation_id: int
    rows_before: int | None = None

    @classmethod
    def from_catalog_entry(cls, entry: Mapping[str, Any]) -> Stream:
        stream = entry["stream"]
        cursor = entry.get("cursor_field") or []
        keys = entry.get("primary_key") or []
        for path in [cursor, *keys]:
            if len(path) > 1:
                raise ConnectorError(
                    f"{stream['name']}: nested field {'.'.join(path)} is not supported", "config_error"
                )
        return cls(
            name=stream["name"],
            namespace=stream.get("namespace"),
            json_schema=stream["json_schema"],
            incremental=entry["sync_mode"] == "incremental",
            dedup=entry["destination_sync_mode"] == "append_dedup",
            cursor_field=cursor[0] if cursor else None,
            primary_key=tuple(path[0] for path in keys),
            sync_id=entry.get("sync_id") or 0,
            generation_id=entry.get("generation_id") or 0,
            minimum_generation_id=entry.get("minimum_generation_id") or 0,
            rows_before=entry.get(ROWS_BEFORE),
        )

    @property
    def replaces_all(self) -> bool:
        """True where every row that is not of this sync's generation will go once the stream is complete."""
        return 0 < self.generation_id == self.minimum_generation_id

    @property
    def properties(self) -> dict[str, JsonObject]:
        properties: dict[str, JsonObject] = self.json_schema.get("properties", {})
        return properties

    @property
    def descriptor(self) -> JsonObject:
        return {"name": self.name, **({"namespace": self.namespace} if self.namespace else {})}


def read_catalog(path: str) -> list[Stream]:
    return [Stream.from_catalog_entry(entry) for entry in _load(path)["streams"]]


def emit(message: Mapping[str, Any]) -> None:
    """Write one message and flush, so that the reader sees it before whatever comes next."""
    sys.stdout.buffer.write(orjson.dumps(message) + b"\n")
    sys.stdout.buffer.flush()


def log(text: str, level: str = "INFO") -> None:
    emit({"type": "LOG", "log": {"level": level, "message": text}})


def _trace(kind: str, body: Mapping[str, Any]) -> None:
    emit({"type": "TRACE", "trace": {"type": kind.upper(), "emitted_at": time.time() * 1000, kind: body}})


def stream_status(stream: Stream, status: Literal["STARTED", "COMPLETE", "INCOMPLETE"]) -> None:
    _trace("stream_status", {"stream_descriptor": stream.descriptor, "status": status})


def state(stream: Stream, blob: Mapping[str, Any], records: int) -> None:
    """A checkpoint: what came before it may be forgotten once the destination sends it back."""
    emit(
        {
            "type": "STATE",
            "state": {
                "type": "STREAM",
                "stream": {"stream_descriptor": stream.descriptor, "stream_state": blob},
                "sourceStats": {"recordCount": float(records)},
            },
        }
    )


class Connector(Protocol):
    """What a connector implements; `read` is for sources, `write` for destinations."""

    spec: JsonObject

    def check(self, config: JsonObject) -> None: ...


def main(connector: Connector, argv: Sequence[str]) -> int:
    """Run one command of the protocol: spec, check, discover, read or write. Returns the exit code."""
    _die_with_parent()
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["spec", "check", "discover", "read", "write"])
    parser.add_argument("--config")
    parser.add_argument("--catalog")
    parser.add_argument("--state")
    args = parser.parse_args(argv)
    try:
        if args.command == "spec":
            emit({"type": "SPEC", "spec": connector.spec})
            return 0
        config = _load(args.config)
        if not (args.command in ("read", "write") and os.environ.get(STARTED_BY_PLATFORM)):
            validate(config, connector.spec["connectionSpecification"])
        if args.command == "check":
            return _check(connector, config)
        command: Callable[..., None] = getattr(connector, args.command)
        if args.command == "discover":
            command(config)
        elif args.command == "read":
            command(config, read_catalog(args.catalog), _load(args.state) if args.state else [])
        else:
            command(config, read_catalog(args.catalog), sys.stdin.buffer)
        return 0
    except Exception as error:
        if args.command == "check":
            emit(
                {"type": "CONNECTION_STATUS", "connectionStatus": {"status": "FAILED", "message": str(error)}}
            )
            return 0
        failure: JsonObject = {
            "message": str(error),
            "internal_message": repr(error),
            "stack_trace": traceback.format_exc(),
            "failure_type": error.failure_type if isinstance(error, ConnectorError) else "system_error",
        }
        if isinstance(error, RefreshRequiredError):
            for stream in error.streams:
                told = {"internal_message": REFRESH_REQUIRED, "stream_descriptor": stream.descriptor}
                _trace("error", {**failure, **told})
        else:
            _trace("error", failure)
        return 1


def validate(config: JsonObject, schema: JsonObject) -> None:
    """Raise ConnectorError naming every field of `config` that breaks `schema`; values are never quoted."""
    import jsonschema  # half of a connector's start-up

    errors = sorted(
        jsonschema.Draft7Validator(schema).iter_errors(config), key=lambda error: list(error.path)
    )
    if errors:
        problems = "; ".join(_describe(error) for error in errors)
        raise ConnectorError(f"configuration is not valid: {problems}", "config_error")


def _describe(error: Any) -> str:
    """A jsonschema.ValidationError in a line."""
    where = ".".join(str(part) for part in error.path) or "configuration"
    if error.validator == "required":
        return f"{where}: {error.message}"
    return f"{where}: must satisfy {error.validator} {json.dumps(error.validator_value)[:200]}"


def _check(connector: Connector, config: JsonObject) -> int:
    connector.check(config)
    emit({"type": "CONNECTION_STATUS", "connectionStatus": {"status": "SUCCEEDED"}})
    return 0


def _load(path: str | None) -> Any:
    if path is None:
        raise ConnectorError("--config (and --catalog for read and write) must name a file", "config_error")
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _die_with_parent() -> None:
    """Ask Linux to end this process when the server that started it is killed."""
    if sys.platform == "linux" and os.environ.get(STARTED_BY_PLATFORM):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
