"""From what a source discovers and a connection configures to the catalogs that connectors get.

A stream is found by its source name and namespace; `mapped` gives its name and namespace in the destination.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from .protocol import ROWS_BEFORE, JsonObject

SYNC_MODES: Mapping[str, tuple[str, str]] = {
    "full_refresh_overwrite": ("full_refresh", "overwrite"),
    "full_refresh_overwrite_deduped": ("full_refresh", "append_dedup"),
    "full_refresh_append": ("full_refresh", "append"),
    "incremental_append": ("incremental", "append"),
    "incremental_deduped_history": ("incremental", "append_dedup"),
}
OVERWRITING = frozenset({"full_refresh_overwrite", "full_refresh_overwrite_deduped"})
INCREMENTAL = frozenset(mode for mode, (source_mode, _) in SYNC_MODES.items() if source_mode == "incremental")
Key = tuple[str, str | None]
RESERVED_PREFIX = "_AIRBYTE_"  # of the columns and tables that destinations make for themselves
NAME_LENGTH = 255  # of a Snowflake identifier


class CatalogError(Exception):
    """The stream configuration does not fit what the source has; the message says how."""


def key(stream: Mapping[str, Any]) -> Key:
    return stream["name"], stream.get("namespace") or None


def configure(discovered: Sequence[JsonObject], wanted: Sequence[Mapping[str, Any]]) -> list[JsonObject]:
    """The stream configurations of a connection, completed and checked. Raises CatalogError.

    `wanted` has the public API's StreamConfiguration objects; without any, every stream is refreshed in full.
    """
    if not wanted:
        wanted = [
            {**({"namespace": s["namespace"]} if s.get("namespace") else {}), "name": s["name"]}
            for s in discovered
        ]
    configured = [_configure(discovered, want) for want in wanted]
    keys = [key(stream) for stream in configured]
    if len(set(keys)) != len(keys):
        raise CatalogError("a stream is configured twice")
    return configured


def find(discovered: Sequence[JsonObject], name: str, namespace: str | None) -> JsonObject:
    """The stream of that name; the namespace may be left out where the name alone is clear."""
    found = [s for s in discovered if s["name"] == name and namespace in (None, s.get("namespace"))]
    if len(found) != 1:
        what = f"{namespace}.{name}" if namespace else name
        have = ", ".join(sorted(f"{s.get('namespace') or ''}.{s['name']}".lstrip(".") for s in discovered))
        raise CatalogError(f"the source has {len(found) or 'no'} streams named {what}; it has: {have}")
    return found[0]


def _configure(discovered: Sequence[JsonObject], want: Mapping[str, Any]) -> JsonObject:
    stream = find(discovered, want["name"], want.get("namespace"))
    mode = want.get("syncMode") or "full_refresh_overwrite"
    if mode not in SYNC_MODES:
        raise CatalogError(f"{want['name']}: syncMode {mode} is not one of {', '.join(SYNC_MODES)}")
    source_mode, destination_mode = SYNC_MODES[mode]
    if source_mode not in stream["supported_sync_modes"]:
        raise CatalogError(f"{want['name']}: the source does not support {source_mode}")
    cursor = _cursor(stream, want.get("cursorField"))
    primary_key = stream.get("source_defined_primary_key") or want.get("primaryKey") or []
    if source_mode == "incremental" and not cursor and not stream.get("source_defined_cursor"):
        raise CatalogError(f"{want['name']}: cursorField is required for {mode}")
    if destination_mode == "append_dedup" and not primary_key:
        raise CatalogError(f"{want['name']}: primaryKey is required for {mode}")
    declared = stream["json_schema"].get("properties", {})
    for field in [cursor, *primary_key]:
        if field and field[0] not in declared:
            raise CatalogError(f"{want['name']}: the source has no field {field[0]}")
    for name, reason in _NOT_EMULATED.items():
        if want.get(name):
            raise CatalogError(f"{want['name']}: not emulated: {name} ({reason}). Nothing was changed")
    _check_fields(want["name"], declared)
    return {
        "name": stream["name"],
        **({"namespace": stream["namespace"]} if stream.get("namespace") else {}),
        "syncMode": mode,
        "cursorField": cursor,
        "primaryKey": primary_key,
        "selectedFields": _selected(
            want["name"],
            want.get("selectedFields") or [],
            declared,
            [*primary_key, *([cursor] if cursor else [])],
        ),
        "mappers": [],
    }


_NOT_EMULATED = {
    "mappers": "values would arrive as they are; deselect the field, or hash it in a view of the source",
    "includeFiles": "embedded Airbyte moves rows only",
    "destinationObjectName": "only destinations of objects have it",
}


def _check_fields(stream: str, declared: Mapping[str, Any]) -> None:
    """What is one column in the destination must be one field here, and none of Airbyte's own."""
    by_name: dict[str, str] = {}
    for field in declared:
        upper = field.upper()
        if upper.startswith(RESERVED_PREFIX):
            raise CatalogError(f"{stream}: field {field} has a name that Airbyte keeps for itself: rename it")
        if upper in by_name:
            raise CatalogError(f"{stream}: fields {by_name[upper]} and {field} become one column: rename one")
        by_name[upper] = field


def _selected(
    stream: str, wanted: Sequence[Mapping[str, Any]], declared: Mapping[str, Any], needed: Sequence[list[str]]
) -> list[JsonObject]:
    """The selected fields, checked; none means all. Key and cursor must be among them."""
    paths = [field.get("fieldPath") or [] for field in wanted]
    for path in paths:
        if len(path) != 1:
            raise CatalogError(
                f"{stream}: not emulated: selecting the nested field {'.'.join(path) or '(none)'}"
            )
        if path[0] not in declared:
            raise CatalogError(f"{stream}: the source has no field {path[0]}")
    for path in needed:
        if paths and path not in paths and not path[0].startswith("_ab_"):
            raise CatalogError(
                f"{stream}: selectedFields must hold {path[0]}, which is of the key or the cursor"
            )
    return [{"fieldPath": path} for path in paths]


def targets(
    configurations: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], configuration: Mapping[str, Any]
) -> dict[Key, tuple[str, str, str]]:
    """Database, schema and table of each stream as Snowflake spells them. Raises CatalogError for two of one name.

    `configuration` is that of the destination.
    """
    found: dict[Key, tuple[str, str, str]] = {}
    owners: dict[tuple[str, str, str], Key] = {}
    for stream in map(key, configurations):
        name, namespace = mapped(stream, settings)
        database, schema = configuration.get("database"), namespace or configuration.get("schema")
        target = (str(database or "").upper(), str(schema or "").upper(), name.upper())
        if other := owners.get(target):
            raise CatalogError(
                f"streams {label(other)} and {label(stream)} would both be written to {'.'.join(filter(None, target))}: "
                "give the connection the namespaceDefinition source, or replicate one of them with another prefix"
            )
        if name.upper().startswith(RESERVED_PREFIX):
            raise CatalogError(
                f"stream {label(stream)}: table names that begin with {RESERVED_PREFIX} are Airbyte's own"
            )
        for part in target:
            if len(part) > NAME_LENGTH:
                raise CatalogError(
                    f"stream {label(stream)}: a Snowflake identifier has at most {NAME_LENGTH} characters, and "
                    f"{part[:30]}… has {len(part)}"
                )
        found[stream] = target
        owners[target] = stream
    return found


def label(stream: Key) -> str:
    return f"{stream[1]}.{stream[0]}" if stream[1] else stream[0]


def mapped(stream: Key, settings: Mapping[str, Any]) -> Key:
    """Name and namespace of a stream in the destination, by the connection's prefix and namespaces."""
    name, namespace = f"{settings.get('prefix') or ''}{stream[0]}", stream[1]
    match settings["namespaceDefinition"]:
        case "source":
            return name, namespace
        case "custom_format" if settings.get("namespaceFormat"):
            return name, settings["namespaceFormat"].replace("${SOURCE_NAMESPACE}", namespace or "") or None
        case _:
            return name, None


def _cursor(stream: Mapping[str, Any], wanted: list[str] | None) -> list[str]:
    """A cursor that the source defines is not for the user to choose."""
    default: list[str] = stream.get("default_cursor_field") or []
    return default if stream.get("source_defined_cursor") else wanted or default


def protocol_catalogs(
    connection: Mapping[str, Any],
    job_id: int,
    generations: Mapping[Key, int],
    refreshing: Container[Key],
    loaded: Mapping[Key, int],
) -> tuple[JsonObject, JsonObject]:
    """The configured catalogs for the source and for the destination of one job.

    Streams that are `refreshing` lose the rows of older generations once they are complete. `loaded`: how many
    records the streams that go on from a state have sent before; the destination is told by ROWS_BEFORE.
    """
    source, destination = [], []
    discovered = connection["catalog"]["streams"]
    for wanted in connection["settings"]["configurations"]:
        stream = narrowed(find(discovered, *key(wanted)), wanted)
        sync_mode, destination_sync_mode = SYNC_MODES[wanted["syncMode"]]
        generation = generations.get(key(wanted), 0)
        entry: JsonObject = {
            "stream": stream,
            "sync_mode": sync_mode,
            "destination_sync_mode": destination_sync_mode,
            "cursor_field": _cursor(stream, wanted["cursorField"]),
            "primary_key": wanted["primaryKey"],
            "sync_id": job_id,
            "generation_id": generation,
            "minimum_generation_id": generation if key(wanted) in refreshing else 0,
        }
        name, namespace = mapped(key(wanted), connection["settings"])
        renamed = {**{k: v for k, v in stream.items() if k != "namespace"}, "name": name}
        source.append(entry)
        described = {**renamed, **({"namespace": namespace} if namespace else {})}
        destination.append({**entry, "stream": described, ROWS_BEFORE: loaded.get(key(wanted), 0)})
    return {"streams": source}, {"streams": destination}


def narrowed(stream: JsonObject, wanted: Mapping[str, Any]) -> JsonObject:
    """The stream with the fields that are selected, and those that a source adds for itself."""
    selected = {field["fieldPath"][0] for field in wanted.get("selectedFields") or []}
    if not selected:
        return stream
    schema = stream["json_schema"]
    kept = {
        name: kind
        for name, kind in schema.get("properties", {}).items()
        if name in selected or name.startswith("_ab_")
    }
    return {**stream, "json_schema": {**schema, "properties": kept}}


def stream_properties(discovered: Sequence[JsonObject]) -> list[JsonObject]:
    """The public API's StreamProperties of a source."""
    return [
        {
            "streamName": stream["name"],
            **({"streamnamespace": stream["namespace"]} if stream.get("namespace") else {}),
            "syncModes": [
                mode
                for mode, (source_mode, _) in SYNC_MODES.items()
                if source_mode in stream["supported_sync_modes"]
            ],
            "defaultCursorField": stream.get("default_cursor_field") or [],
            "sourceDefinedCursorField": bool(stream.get("source_defined_cursor")),
            "sourceDefinedPrimaryKey": stream.get("source_defined_primary_key") or [],
            "propertyFields": [[name] for name in stream["json_schema"].get("properties", {})],
        }
        for stream in discovered
    ]


def configuration_api_catalog(connection: Mapping[str, Any]) -> JsonObject:
    """`syncCatalog` as the configuration API spells it."""
    wanted = {key(stream): stream for stream in connection["settings"]["configurations"]}
    streams = []
    for stream in connection["catalog"]["streams"]:
        config = wanted.get(key(stream))
        sync_mode, destination_sync_mode = SYNC_MODES[
            config["syncMode"] if config else "full_refresh_overwrite"
        ]
        streams.append(
            {
                "stream": {
                    "name": stream["name"],
                    "namespace": stream.get("namespace"),
                    "jsonSchema": stream["json_schema"],
                    "supportedSyncModes": stream["supported_sync_modes"],
                    "sourceDefinedPrimaryKey": stream.get("source_defined_primary_key") or [],
                },
                "config": {
                    "syncMode": sync_mode,
                    "destinationSyncMode": destination_sync_mode,
                    "cursorField": config["cursorField"] if config else [],
                    "primaryKey": config["primaryKey"] if config else [],
                    "aliasName": stream["name"],
                    "selected": config is not None,
                },
            }
        )
    return {"streams": streams}
