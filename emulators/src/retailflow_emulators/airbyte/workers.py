"""Connectors as subprocesses: the short commands (spec, check, discover) and what a configuration hides."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from .connectors import CATALOG, Connector, Kind
from .protocol import STARTED_BY_PLATFORM, ConnectorError, JsonObject, validate

MASK = "**********"
COMMAND_TIMEOUT_S = 120


def environment() -> dict[str, str]:
    """The environment of every connector: none of the server's own settings, so none of its secrets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EMBEDDED_AIRBYTE_")}
    path = [
        str(Path(__file__).parents[2]),
        *filter(None, [kept.get("PYTHONPATH")]),
    ]  # this package, wherever it is
    return {**kept, STARTED_BY_PLATFORM: "1", "PYTHONPATH": os.pathsep.join(path)}


def write_json(folder: Path, name: str, content: Any) -> str:
    """Write a file that only this user may read; returns its path."""
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


class Connectors:
    """The connectors that this server can run."""

    def __init__(self, connectors: Sequence[Connector] = CATALOG) -> None:
        self._connectors = connectors
        self.spec = cache(self._spec)

    def find(self, kind: Kind, *, type_: str | None = None, definition_id: str | None = None) -> Connector:
        """Raises ConnectorError where there is none of that type or definition."""
        for connector in self._connectors:
            if connector.kind == kind and (
                connector.type == type_ or connector.definition_id == definition_id
            ):
                return connector
        have = ", ".join(connector.type for connector in self._connectors if connector.kind == kind)
        raise ConnectorError(
            f"embedded Airbyte has no {kind} {type_ or definition_id}; it has: {have}", "config_error"
        )

    def validate(self, connector: Connector, configuration: JsonObject) -> None:
        """Raises ConnectorError that names the wrong fields."""
        validate(configuration, self.spec(connector)["connectionSpecification"])

    def check(self, connector: Connector, configuration: JsonObject) -> None:
        """Raises ConnectorError with the connector's own message."""
        messages = _run(connector, "check", configuration)
        status = _only(messages, "CONNECTION_STATUS", connector)["connectionStatus"]
        if status["status"] != "SUCCEEDED":
            raise ConnectorError(status.get("message", "check failed"), "config_error")

    def discover(self, connector: Connector, configuration: JsonObject) -> tuple[list[JsonObject], list[str]]:
        """The source's streams, and its warnings: what it leaves out, and why. Raises ConnectorError."""
        messages = _run(connector, "discover", configuration)
        streams: list[JsonObject] = _only(messages, "CATALOG", connector)["catalog"]["streams"]
        logs = [message["log"] for message in messages if message["type"] == "LOG"]
        return streams, [entry["message"] for entry in logs if entry["level"] == "WARN"]

    def masked(self, connector: Connector, configuration: JsonObject) -> JsonObject:
        """The configuration with every secret hidden."""
        hidden = _secret_fields(self.spec(connector)["connectionSpecification"])
        return {name: _mask_field(name, value, hidden) for name, value in configuration.items()}

    def _spec(self, connector: Connector) -> JsonObject:
        spec: JsonObject = _only(_run(connector, "spec", None), "SPEC", connector)["spec"]
        return spec


def _run(connector: Connector, command: str, configuration: JsonObject | None) -> list[JsonObject]:
    with tempfile.TemporaryDirectory() as folder:
        arguments = [*connector.command, command]
        if configuration is not None:
            arguments += ["--config", write_json(Path(folder), "config.json", configuration)]
        try:
            done = subprocess.run(
                arguments, capture_output=True, env=environment(), timeout=COMMAND_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ConnectorError(
                f"{connector.name}: {command} did not answer within {COMMAND_TIMEOUT_S} s", "transient_error"
            ) from error
    messages = list(_messages(done.stdout.splitlines()))
    for message in messages:
        if message["type"] == "TRACE" and message["trace"]["type"] == "ERROR":
            failure = message["trace"]["error"]
            raise ConnectorError(failure["message"], failure.get("failure_type") or "system_error")
    if done.returncode != 0:
        raise ConnectorError(
            f"{connector.name}: {command} failed: {done.stderr.decode(errors='replace')[-2000:]}"
        )
    return messages


def _messages(lines: Iterable[bytes]) -> Iterable[JsonObject]:
    for line in lines:
        try:
            message = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(message, dict) and "type" in message:
            yield message


def _only(messages: Sequence[JsonObject], type_: str, connector: Connector) -> JsonObject:
    for message in messages:
        if message["type"] == type_:
            return message
    raise ConnectorError(f"{connector.name} answered without a {type_} message")


def _secret_fields(schema: Any) -> frozenset[str]:
    """Names of properties marked `airbyte_secret`, wherever they stand in the schema."""
    names: set[str] = set()
    if isinstance(schema, Mapping):
        for name, property_ in (schema.get("properties") or {}).items():
            if isinstance(property_, Mapping) and property_.get("airbyte_secret"):
                names.add(name)
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            names |= _secret_fields(part)
    return frozenset(names)


def _mask_field(name: str, value: Any, secrets: frozenset[str]) -> Any:
    if name in secrets and value is not None:
        return MASK
    if isinstance(value, Mapping):
        return {inner: _mask_field(inner, part, secrets) for inner, part in value.items()}
    return value


def unmasked(new: Any, old: Any) -> Any:
    """`new` with every masked value taken from `old`, so that what was read back may be sent again."""
    if new == MASK and isinstance(old, str):
        return old
    if isinstance(new, Mapping):
        before = old if isinstance(old, Mapping) else {}
        return {name: unmasked(part, before.get(name)) for name, part in new.items()}
    return new
