"""Both connectors in this process, and a comparison of RAW with PostgreSQL, row by row.

What the platform does between them (states, generations, refreshes) is done here in a few lines, so that a sync
takes a fraction of a second; the platform's own part is tested in test_operator.py and test_owner.py.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import pytest

from retailflow_emulators.airbyte.destination_snowflake.connector import SnowflakeDestination
from retailflow_emulators.airbyte.destination_snowflake.table import quote
from retailflow_emulators.airbyte.protocol import ROWS_BEFORE, RefreshRequiredError, Stream
from retailflow_emulators.airbyte.source_postgres.connector import PostgresSource

from .conftest import Postgres, Snowflake

Key = tuple[str, str]
# How PostgreSQL spells a column so that it can be compared with what `_theirs` asks Snowflake for.
_SPELLED = {
    "date": ("{}::text", "{}::varchar"),
    "time": ("to_char({}, 'HH24:MI:SS.US')", "to_char({}, 'HH24:MI:SS.FF6')"),
    "date-time": ("(extract(epoch from {}) * 1000000)::bigint", "date_part(epoch_microsecond, {})"),
}


class Pipe:
    """All tables that a publication carries, from PostgreSQL into one schema per namespace of RAW."""

    def __init__(
        self,
        postgres: Postgres,
        warehouse: Snowflake,
        capture: pytest.CaptureFixture[bytes],
        prefix: str,
        publication: str = "for all tables",
    ) -> None:
        self.postgres, self.warehouse, self._capture, self._prefix = postgres, warehouse, capture, prefix
        self.slot = f"slot_{postgres.database}"[:60]
        postgres.execute(f"create publication everything {publication}")
        postgres.execute(f"select pg_create_logical_replication_slot('{self.slot}', 'pgoutput')")
        replication = {"method": "CDC", "publication": "everything", "replication_slot": self.slot}
        self.config = {
            **postgres.configuration,
            "schemas": ["public"],
            "replication_method": replication,
        }
        warehouse.query("create schema if not exists RAW.PIPE")
        self.states: dict[Key, Any] = {}
        self.generations: dict[Key, int] = {}
        self.rows: dict[Key, int] = {}
        self.unfinished: set[Key] = set()  # streams whose generation is not complete

    def afresh(self, prefix: str) -> Pipe:
        """One that has read nothing yet, into schemas of another prefix."""
        fresh = Pipe.__new__(Pipe)
        fresh.__dict__.update(
            self.__dict__, _prefix=prefix, states={}, generations={}, rows={}, unfinished=set()
        )
        return fresh

    def discover(self) -> dict[Key, dict[str, Any]]:
        PostgresSource().discover(self.config)
        streams = self._messages("CATALOG")[0]["catalog"]["streams"]
        return {(stream["namespace"], stream["name"]): stream for stream in streams}

    def sync(self, stop_after: int | None = None) -> None:
        """One sync; refreshed where that is asked for. `stop_after`: how many states are loaded before it dies."""
        for _ in range(5):  # each may find other streams
            streams = self.discover()
            for key in streams.keys() - self.states.keys():
                self.generations[key] = self.generations.get(key, 0) + 1
                self.rows[key] = 0
                self.unfinished.add(key)
            lines = self._read(streams)
            if lines is not None:
                break
        else:
            pytest.fail("it asks for a refresh again and again")
        if stop_after is not None:
            ends = [number for number, line in enumerate(lines, 1) if b'"type":"STATE"' in line]
            lines = lines[: ends[min(stop_after, len(ends)) - 1]]
        self._write(streams, lines)
        if stop_after is None:
            self.unfinished.clear()

    def _read(self, streams: Mapping[Key, dict[str, Any]]) -> list[bytes] | None:
        configured = [
            Stream.from_catalog_entry(
                {
                    "stream": stream,
                    "sync_mode": "incremental",
                    "destination_sync_mode": "append_dedup",
                    "cursor_field": stream.get("default_cursor_field"),
                    "primary_key": stream["source_defined_primary_key"],
                }
            )
            for stream in streams.values()
        ]
        saved = [
            {"stream": {"stream_descriptor": {"name": name, "namespace": schema}, "stream_state": state}}
            for (schema, name), state in self.states.items()
        ]
        try:
            PostgresSource().read(self.config, configured, saved)
        except RefreshRequiredError as error:
            self.drain()
            for stream in error.streams:
                self.states.pop((str(stream.namespace), stream.name), None)
            return None
        return self._capture.readouterr().out.splitlines(keepends=True)

    def _write(self, streams: Mapping[Key, dict[str, Any]], lines: Sequence[bytes]) -> None:
        entries = []
        for (schema, name), stream in streams.items():
            key = schema, name
            begins = key not in self.states
            entries.append(
                Stream.from_catalog_entry(
                    {
                        "stream": {**stream, "namespace": self._prefix + schema},
                        "sync_mode": "incremental",
                        "destination_sync_mode": "append_dedup",
                        "cursor_field": stream.get("default_cursor_field"),
                        "primary_key": stream["source_defined_primary_key"],
                        "sync_id": 1,
                        "generation_id": self.generations[key],
                        "minimum_generation_id": self.generations[key] if key in self.unfinished else 0,
                        ROWS_BEFORE: 0 if begins else self.rows[key],
                    }
                )
            )
        renamed = b"".join(self._renamed(line) for line in lines)
        configuration = self.warehouse.configuration("PIPE")
        SnowflakeDestination().write(configuration, entries, io.BytesIO(renamed))  # type: ignore[arg-type]
        for message in self._messages("STATE"):
            stream, sent = message["state"]["stream"], message["state"]["sourceStats"]["recordCount"]
            descriptor = stream["stream_descriptor"]
            key = descriptor["namespace"].removeprefix(self._prefix), descriptor["name"]
            self.states[key] = stream["stream_state"]
            self.rows[key] = self.rows.get(key, 0) + int(sent)

    def _renamed(self, line: bytes) -> bytes:
        if not line.startswith((b'{"type":"RECORD"', b'{"type":"STATE"', b'{"type":"TRACE"')):
            return b""
        prefix = orjson.dumps(self._prefix)[1:-1]
        return line.replace(b'"namespace":"', b'"namespace":"' + prefix, 1)

    def drain(self) -> None:
        """Drop what a sync that failed has sent."""
        self._capture.readouterr()

    def _messages(self, type_: str) -> list[dict[str, Any]]:
        lines = map(json.loads, self._capture.readouterr().out.splitlines())
        return [message for message in lines if message["type"] == type_]

    def assert_equal(self, situations: Mapping[str, str] | None = None) -> None:
        """Every table: the same rows, once each. All that differ are reported; `situations` says what their names mean."""
        wrong = []
        for (schema, name), stream in self.discover().items():
            properties = stream["json_schema"]["properties"]
            try:
                target = (self._prefix + schema, name)
                assert_equal(self.postgres, self.warehouse, (schema, name), properties, target)
            except AssertionError as error:
                meant = [what for what, table in (situations or {}).items() if table in name]
                wrong.append(f"{meant} {str(error)[:2000]}")
        assert not wrong, "\n".join(wrong)


def assert_equal(
    postgres: Postgres,
    warehouse: Snowflake,
    table: Key,
    properties: Mapping[str, Mapping[str, Any]],
    target: Key,
) -> None:
    """The same rows, once each, in a table and its copy (schema and name of both)."""
    columns = {name: kind for name, kind in properties.items() if not name.startswith("_ab_cdc_")}
    ours = ", ".join(_ours(name, kind) for name, kind in columns.items())
    theirs = ", ".join(
        _SPELLED.get(kind.get("format", ""), ("", "{}"))[1].format(quote(name.upper()))
        for name, kind in columns.items()
    )
    source = postgres.execute(f"select {ours} from {quote(*table)}")
    copied = warehouse.query(f"select {theirs} from {quote('RAW', *(part.upper() for part in target))}")
    expected, found = sorted(map(repr, map(_row, source))), sorted(map(repr, map(_row, copied)))
    assert found == expected, f"{'.'.join(table)}: {_differences(list(columns), source, copied)}"


def _differences(names: Sequence[str], source: Iterable[Any], copied: Iterable[Any]) -> str:
    """By first column: what differs, in PostgreSQL and in RAW."""
    ours, theirs = ({repr(_row(row)[0]): _row(row) for row in rows} for rows in (source, copied))
    missing, more = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    different = [
        f"{key} {name}: {one!r} is {other!r} in RAW"
        for key in sorted(ours.keys() & theirs.keys())
        for name, one, other in zip(names, ours[key], theirs[key], strict=True)
        if repr(one) != repr(other)
    ]
    return f"{missing[:5]} not in RAW; {more[:5]} only in it; {'; '.join(different[:10])}"


def _ours(name: str, kind: Mapping[str, Any]) -> str:
    column = quote(name)
    types = kind.get("type", [])
    if kind.get("format"):
        return _SPELLED[kind["format"]][0].format(column)
    if "string" in types:
        return f"case when {column} is distinct from null then concat({column}) end"  # the type's own output function
    if "number" in types and kind.get("airbyte_type") != "integer":
        return f"{column}::text::float8"
    return column


def _row(row: Sequence[Any]) -> list[Any]:
    return [int(value) if _whole(value) else value for value in row]


def _whole(value: Any) -> bool:
    return not isinstance(value, bool | float | str | bytes | type(None)) and int(value) == value
