"""The connectors as any Airbyte platform would run them: read back with the parser of Airbyte's own CDK."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from retailflow_emulators.airbyte.records import Header

from .conftest import SOURCE_PATH, Postgres, PostgresServer, Snowflake

models = pytest.importorskip("airbyte_cdk.models")


def run(
    connector: str,
    command: str,
    folder: Path,
    code: int = 0,
    stdin: bytes = b"",
    file_bytes: int | None = None,
    **files: Any,
) -> list[Any]:
    """Run a connector's command; returns its messages, parsed by the CDK. `file_bytes`: a disk that is full."""
    arguments = [sys.executable, "-m", f"retailflow_emulators.airbyte.{connector}", command]
    for name, content in files.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(content))
        arguments += [f"--{name}", str(path)]
    environment = {**os.environ, "PYTHONPATH": SOURCE_PATH}
    limit = f"ulimit -f {file_bytes // 1024} && " if file_bytes else ""
    command_line = ["bash", "-c", f'{limit}exec "$0" "$@"', *arguments]
    done = subprocess.run(
        command_line, input=stdin, capture_output=True, env=environment, check=False, timeout=120
    )
    assert done.returncode == code, done.stderr.decode() + done.stdout.decode()
    return [models.AirbyteMessageSerializer.load(orjson.loads(line)) for line in done.stdout.splitlines()]


def of(messages: list[Any], type_: str) -> list[Any]:
    return [message for message in messages if message.type.value == type_]


def configured(stream: dict[str, Any], cursor: str, keys: list[str]) -> dict[str, Any]:
    entry = {
        "stream": stream,
        "sync_mode": "incremental",
        "destination_sync_mode": "append_dedup",
        "cursor_field": [cursor],
        "primary_key": [[key] for key in keys],
        "sync_id": 1,
        "generation_id": 0,
        "minimum_generation_id": 0,
    }
    models.ConfiguredAirbyteCatalogSerializer.load({"streams": [entry]})  # it is a catalog to the CDK
    return {"streams": [entry]}


@pytest.mark.parametrize("connector", ["source_postgres", "destination_snowflake"])
def test_spec(connector: str, tmp_path: Path) -> None:
    (message,) = run(connector, "spec", tmp_path)
    assert message.spec.connectionSpecification["type"] == "object"


def test_source_check_discover_read(postgres: Postgres, tmp_path: Path) -> None:
    postgres.execute(
        "create table note (id bigint primary key, text text, at timestamptz not null default now())"
    )
    postgres.execute("create table keyless (a int)")
    postgres.execute(
        r"""insert into note values (1, E'tab\t "quote" \\ \nnew \u0001 \u0002 é 😀'), (2, ''), (3, null)"""
    )
    config = postgres.configuration
    status = of(run("source_postgres", "check", tmp_path, config=config), "CONNECTION_STATUS")[0]
    assert status.connectionStatus.status.value == "SUCCEEDED"
    messages = run("source_postgres", "discover", tmp_path, config=config)
    (stream,) = models.AirbyteMessageSerializer.dump(of(messages, "CATALOG")[0])["catalog"]["streams"]
    assert (stream["name"], stream["source_defined_primary_key"]) == ("note", [["id"]])
    assert "keyless" in of(messages, "LOG")[0].log.message
    catalog = configured(stream, "at", ["id"])
    messages = run("source_postgres", "read", tmp_path, config=config, catalog=catalog)
    data = [message.record.data for message in of(messages, "RECORD")]
    assert [row["text"] for row in data] == ['tab\t "quote" \\ \nnew \x01 \x02 é 😀', "", None]
    statuses = [message.trace.stream_status.status.value for message in of(messages, "TRACE")]
    assert statuses == ["STARTED", "COMPLETE"]
    state = of(messages, "STATE")[-1].state
    assert state.sourceStats.recordCount == 3.0
    saved = [json.loads(orjson.dumps(models.AirbyteStateMessageSerializer.dump(state)))]
    again = run("source_postgres", "read", tmp_path, config=config, catalog=catalog, state=saved)
    assert of(again, "RECORD") == []


def test_source_over_tls(postgres_server: PostgresServer, postgres: Postgres, tmp_path: Path) -> None:
    postgres.execute("create table note (id bigint primary key); insert into note values (1)")
    whole = {"mode": "verify-full", "ca_certificate": postgres_server.certificate}
    config = {**postgres.configuration, "ssl_mode": whole}
    (message,) = of(run("source_postgres", "check", tmp_path, config=config), "CONNECTION_STATUS")
    assert message.connectionStatus.status.value == "SUCCEEDED", message
    found = of(run("source_postgres", "discover", tmp_path, config=config), "CATALOG")[0]
    (stream,) = models.AirbyteMessageSerializer.dump(found)["catalog"]["streams"]
    read = run("source_postgres", "read", tmp_path, config=config, catalog=configured(stream, "id", ["id"]))
    assert [record.record.data for record in of(read, "RECORD")] == [{"id": 1}]
    another = PostgresServer.certificate_and_key()[0]
    config["ssl_mode"] = {**whole, "ca_certificate": another}
    (message,) = of(run("source_postgres", "check", tmp_path, config=config), "CONNECTION_STATUS")
    assert "certificate verify failed" in message.connectionStatus.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"port": 1}, "127.0.0.1:1"),
        ({"database": "nowhere"}, "nowhere"),
        ({"schemas": ["empty"]}, "finds no table to replicate in empty"),
        ({"port": "5432"}, "port: must satisfy type"),
        ({"username": "locked", "password": "wrong"}, "password authentication failed"),
    ],
)
def test_source_check_names_what_is_wrong(
    postgres: Postgres, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    postgres.execute("create table keyless (a int)")
    messages = run("source_postgres", "check", tmp_path, config={**postgres.configuration, **change})
    status = of(messages, "CONNECTION_STATUS")[0].connectionStatus
    assert status.status.value == "FAILED"
    assert words in status.message


def test_source_without_any_key_is_refused(postgres: Postgres, tmp_path: Path) -> None:
    postgres.execute("create table keyless (a int)")
    messages = run("source_postgres", "check", tmp_path, config=postgres.configuration)
    assert (
        "public.keyless has no primary key: give it one"
        in of(messages, "CONNECTION_STATUS")[0].connectionStatus.message
    )


def test_destination_check(warehouse: Snowflake, tmp_path: Path) -> None:
    good = warehouse.configuration("CHECKED")
    (message,) = of(run("destination_snowflake", "check", tmp_path, config=good), "CONNECTION_STATUS")
    assert message.connectionStatus.status.value == "SUCCEEDED"
    assert (
        warehouse.query("select table_name from RAW.information_schema.tables where table_schema = 'CHECKED'")
        == []
    )
    bad = {**good, "credentials": {"auth_type": "Key Pair Authentication", "private_key": "no key"}}
    (message,) = of(run("destination_snowflake", "check", tmp_path, config=bad), "CONNECTION_STATUS")
    assert "private_key" in message.connectionStatus.message


SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "amount": {"type": ["number", "null"]},
        "whole": {"type": "number", "airbyte_type": "integer"},
        "ok": {"type": ["null", "boolean"]},
        "day": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time", "airbyte_type": "timestamp_with_timezone"},
        "text": {"type": "string"},
        "more": {"type": ["object", "null"]},
    },
}


def lines(rows: list[dict[str, Any]], complete: bool = True, spelling: str = "ours") -> bytes:
    """What a source would send: rows, a state, and that the stream is complete."""
    sent = []
    for row in rows:
        record = {"stream": "thing", "emitted_at": 1_700_000_000_000, "data": row}
        if spelling == "cdk":
            record = {"data": row, **record}
        compact = (",", ":") if spelling == "ours" else (", ", ": ")
        sent.append(json.dumps({"type": "RECORD", "record": record}, separators=compact, ensure_ascii=False))
    descriptor = {"name": "thing"}
    stream = {"stream_descriptor": descriptor, "stream_state": {"rows": len(rows)}}
    sent.append(json.dumps({"type": "STATE", "state": {"type": "STREAM", "stream": stream}}))
    status = {"stream_descriptor": descriptor, "status": "COMPLETE"}
    if complete:
        sent.append(
            json.dumps(
                {
                    "type": "TRACE",
                    "trace": {"type": "STREAM_STATUS", "emitted_at": 1, "stream_status": status},
                }
            )
        )
    return ("\n".join(sent) + "\n").encode()


def catalog(
    generation: int = 0, minimum: int = 0, mode: str = "append_dedup", schema: Any = SCHEMA
) -> dict[str, Any]:
    stream = {"name": "thing", "json_schema": schema, "supported_sync_modes": ["incremental"]}
    entry = {
        "stream": stream,
        "sync_mode": "incremental",
        "destination_sync_mode": mode,
        "cursor_field": ["at"],
        "primary_key": [["id"]],
        "sync_id": 4,
        "generation_id": generation,
        "minimum_generation_id": minimum,
    }
    return {"streams": [entry]}


ROW = {
    "id": 1,
    "amount": 19.99,
    "whole": 9007199254740993,
    "ok": True,
    "day": "2026-02-28",
    "at": "2026-02-28T23:59:59.123456+00:00",
    "text": "é😀 \"'\\ \n\t",
    "more": {"a": [1, None]},
}
MOMENT = """to_char("AT", 'YYYY-MM-DD HH24:MI:SS.FF6')"""
COLUMNS = f'"ID", "AMOUNT", "WHOLE", "OK", "DAY"::varchar, {MOMENT}, "TEXT", "MORE"'


@pytest.mark.parametrize("spelling", ["ours", "cdk"])
def test_destination_keeps_every_value(warehouse: Snowflake, tmp_path: Path, spelling: str) -> None:
    config = warehouse.configuration(f"values_{spelling}")
    empty = dict.fromkeys(ROW, None) | {"id": 2, "text": ""}
    odd = ROW | {"id": 3, "amount": "NaN", "whole": "many", "ok": None}
    sent = lines([ROW, empty, odd], spelling=spelling)
    messages = run("destination_snowflake", "write", tmp_path, stdin=sent, config=config, catalog=catalog())
    assert [message.state.stream.stream_state for message in of(messages, "STATE")][0].rows == 3
    table = f'RAW."VALUES_{spelling.upper()}"."THING"'
    one, two, three = warehouse.query(f"select {COLUMNS} from {table} order by 1")
    assert one[:5] == (1, 19.99, 9007199254740993, True, "2026-02-28")
    assert one[5].startswith("2026-02-28 23:59:59.123456")
    assert (one[6], json.loads(one[7])) == (ROW["text"], ROW["more"])
    assert two[:8] == (2, None, None, None, None, None, "", None)
    assert three[1:4] == (None, None, None)
    meta = warehouse.query(f'select "_AIRBYTE_META", "_AIRBYTE_GENERATION_ID" from {table} order by "ID"')
    assert json.loads(meta[0][0]) == {"sync_id": 4, "changes": []}
    nulled = {(change["field"], change["change"]) for change in json.loads(meta[2][0])["changes"]}
    assert nulled == {("amount", "NULLED"), ("whole", "NULLED")}
    contract = warehouse.query(
        "select column_name, data_type from RAW.information_schema.columns "
        f"where table_schema = 'VALUES_{spelling.upper()}' order by ordinal_position"
    )
    assert contract[:4] == [
        ("_AIRBYTE_RAW_ID", "TEXT"),
        ("_AIRBYTE_EXTRACTED_AT", "TIMESTAMP_TZ"),
        ("_AIRBYTE_META", "VARIANT"),
        ("_AIRBYTE_GENERATION_ID", "NUMBER"),
    ]
    types = dict(contract[4:])
    assert (types["AMOUNT"], types["ID"], types["AT"], types["MORE"]) == (
        "FLOAT",
        "NUMBER",
        "TIMESTAMP_TZ",
        "VARIANT",
    )


def test_destination_dedup_never_goes_back(warehouse: Snowflake, tmp_path: Path) -> None:
    config = warehouse.configuration("DEDUP")
    newer = ROW | {"at": "2026-03-01T00:00:00+00:00", "text": "newer"}
    older = ROW | {"at": "2026-01-01T00:00:00+00:00", "text": "older"}
    for rows in ([older, newer, ROW], [older], [ROW | {"id": 2}]):
        run("destination_snowflake", "write", tmp_path, stdin=lines(rows), config=config, catalog=catalog())
    found = warehouse.query('select "ID", "TEXT" from RAW."DEDUP"."THING" order by 1')
    assert found == [(1, "newer"), (2, ROW["text"])]


def test_destination_widens_and_keeps_what_is_dropped(warehouse: Snowflake, tmp_path: Path) -> None:
    config = warehouse.configuration("WIDER")
    run("destination_snowflake", "write", tmp_path, stdin=lines([ROW]), config=config, catalog=catalog())
    properties = {name: type_ for name, type_ in SCHEMA["properties"].items() if name != "text"}  # type: ignore[attr-defined]
    wider = {"type": "object", "properties": {**properties, "colour": {"type": "string"}}}
    rows = [{"id": 2, "colour": "red"}]
    run(
        "destination_snowflake",
        "write",
        tmp_path,
        stdin=lines(rows),
        config=config,
        catalog=catalog(schema=wider),
    )
    found = warehouse.query('select "ID", "TEXT", "COLOUR" from RAW."WIDER"."THING" order by 1')
    assert found == [(1, ROW["text"], None), (2, None, "red")]


def test_destination_on_a_full_disk(warehouse: Snowflake, tmp_path: Path) -> None:
    config = warehouse.configuration("FULL")
    rows = [ROW | {"id": number, "text": secrets.token_hex(500)} for number in range(2000)]
    sent: dict[str, Any] = {"stdin": lines(rows), "config": config, "catalog": catalog()}
    messages = run("destination_snowflake", "write", tmp_path, 1, file_bytes=64 * 1024, **sent)
    error = of(messages, "TRACE")[-1].trace.error
    assert "cannot stage rows in" in error.message and "File too large" in error.message
    assert of(messages, "STATE") == []
    run("destination_snowflake", "write", tmp_path, **sent)
    assert warehouse.query('select count(*), count(distinct "TEXT") from RAW."FULL"."THING"') == [
        (2000, 2000)
    ]


def test_destination_and_a_column_of_another_type(warehouse: Snowflake, tmp_path: Path) -> None:
    config = warehouse.configuration("RETYPED")
    run("destination_snowflake", "write", tmp_path, stdin=lines([ROW]), config=config, catalog=catalog())
    properties: dict[str, Any] = {**SCHEMA["properties"], "amount": {"type": "string"}}  # type: ignore[dict-item]
    schema = {"type": "object", "properties": properties}
    sent: dict[str, Any] = {"stdin": lines([ROW | {"amount": "12 €"}]), "config": config}
    messages = run("destination_snowflake", "write", tmp_path, 1, catalog=catalog(schema=schema), **sent)
    error = of(messages, "TRACE")[-1].trace.error
    assert (
        'column AMOUNT of "RAW"."RETYPED"."THING" is FLOAT, but the source now gives VARCHAR' in error.message
    )
    refresh = catalog(schema=schema, generation=1, minimum=1)
    run("destination_snowflake", "write", tmp_path, catalog=refresh, **sent)
    assert warehouse.query('select "ID", "AMOUNT" from RAW."RETYPED"."THING"') == [(1, "12 €")]


def test_destination_generations(warehouse: Snowflake, tmp_path: Path) -> None:
    config = warehouse.configuration("GENERATIONS")

    def write(rows: list[dict[str, Any]], complete: bool, **told: Any) -> list[tuple[Any, ...]]:
        sent = lines(rows, complete)
        run("destination_snowflake", "write", tmp_path, stdin=sent, config=config, catalog=catalog(**told))
        return warehouse.query(
            'select "ID", "_AIRBYTE_GENERATION_ID" from RAW."GENERATIONS"."THING" order by 1, 2'
        )

    overwrite = {"generation": 2, "minimum": 2, "mode": "append"}
    assert write([ROW, ROW], True, generation=1, mode="append") == [(1, 1), (1, 1)]
    # Old rows stay, alone, until the new ones are complete.
    assert write([ROW], False, **overwrite) == [(1, 1), (1, 1)]
    assert write([ROW | {"id": 2}], True, **overwrite) == [(1, 2), (2, 2)]


@pytest.mark.parametrize("company", [[], [{"id": 9, "amount": "NaN"}]], ids=["alone", "with an odd row"])
def test_destination_keeps_moments(
    warehouse: Snowflake, tmp_path: Path, company: list[dict[str, Any]]
) -> None:
    """Each one as it was, or NULL where Snowflake has no such moment, whatever else comes in the same block."""
    name = f"MOMENTS_{len(company)}"
    config = warehouse.configuration(name)
    there = {
        "2024-02-29": "2024-02-29 00:00:00.000000",
        "0001-01-01T00:00:00Z": "0001-01-01 00:00:00.000000",
        "9999-12-31T23:59:59.999999Z": "9999-12-31 23:59:59.999999",
        "2026-03-01T04:29:59.5+05:30": "2026-02-28 22:59:59.500000",
        "2026-02-28T23:59:59.123456789+00:00": "2026-02-28 23:59:59.123456",
    }
    gone = (
        "infinity",
        "0044-03-15T00:00:00+00:00 BC",
        "12026-01-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "soon",
    )
    rows = [ROW | {"id": -number, "at": text} for number, text in enumerate([*there, *gone])]
    sent = lines([*rows, *(ROW | row for row in company)])
    run("destination_snowflake", "write", tmp_path, stdin=sent, config=config, catalog=catalog())
    found = warehouse.query(f"""select {MOMENT} from RAW.{name}."THING" where "ID" < 1 order by "ID" desc""")
    assert [value for (value,) in found] == [*there.values(), *(None for _ in gone)]


def test_destination_copies_straight_only_what_must_be_new(warehouse: Snowflake, tmp_path: Path) -> None:
    config = warehouse.configuration("STRAIGHT")
    moment = {"type": ["null", "string"], "format": "date-time", "airbyte_type": "timestamp_with_timezone"}
    schema = {"type": "object", "properties": {**SCHEMA["properties"], "_ab_cdc_deleted_at": moment}}  # type: ignore[dict-item]
    gone = {"_ab_cdc_deleted_at": ROW["at"]}

    def write(*rows: dict[str, Any]) -> bool:
        """Whether the rows went straight into the table."""
        sent = {"stdin": lines([ROW | row for row in rows]), "catalog": catalog(schema=schema)}
        messages = run("destination_snowflake", "write", tmp_path, config=config, **sent)
        (how,) = [m.log.message for m in of(messages, "LOG") if m.log.message.startswith("loaded ")]
        return bool(how.endswith("straight"))

    assert write({"id": -3}, {"id": 1}, {"id": 4, "text": "old"})
    assert not write({"id": 3}, {"id": 4, "text": "new", "at": "2026-03-01T00:00:00Z"}, {"id": 5})
    assert not write({"id": 7}, {"id": 6})
    assert not write({"id": 8, "text": "first"}, {"id": 8, "text": "last"})
    assert not write({"id": 9}, {"id": 10, **gone})
    assert write({"id": 20}, {"id": 2**62}, {"id": 2**62 + 1})
    found = warehouse.query('select "ID", "TEXT" from RAW."STRAIGHT"."THING" where "ID" is not null')
    told = {4: "new", 8: "last"}
    assert sorted(found) == [
        (key, told.get(key, ROW["text"])) for key in (-3, 1, 3, 4, 5, 6, 7, 8, 9, 20, 2**62, 2**62 + 1)
    ]


def test_destination_sweeps_and_refuses(warehouse: Snowflake, tmp_path: Path) -> None:
    config = warehouse.configuration("SWEPT")
    warehouse.query("create schema RAW.SWEPT")
    orphan = f"_AIRBYTE_TMP_{hashlib.sha256(b'THING').hexdigest()[:16].upper()}_0123456789AB"
    for name in (orphan, "_AIRBYTE_TMP_THING_0123456789AB", "MINE"):
        warehouse.query(f'create table RAW.SWEPT."{name}" (n int)')
        warehouse.query(f'grant ownership on table RAW.SWEPT."{name}" to role LOADER')
    run("destination_snowflake", "write", tmp_path, stdin=lines([ROW]), config=config, catalog=catalog())
    tables = warehouse.query(
        "select table_name from RAW.information_schema.tables where table_schema = 'SWEPT'"
    )
    assert {name for (name,) in tables} == {"THING", "_AIRBYTE_TMP_THING_0123456789AB", "MINE"}
    warehouse.query("create or replace table RAW.SWEPT.THING (id int)")
    warehouse.query("grant ownership on table RAW.SWEPT.THING to role LOADER")
    messages = run(
        "destination_snowflake", "write", tmp_path, 1, lines([ROW]), config=config, catalog=catalog()
    )
    error = of(messages, "TRACE")[-1].trace.error
    assert "is no table of Airbyte's" in error.message and error.failure_type.value == "config_error"
    assert of(messages, "STATE") == [], "a state without its rows would lose them"


@pytest.mark.parametrize("namespace", ["public", "RETAIL", "a longer one", None])
def test_a_stream_is_renamed_on_every_line_or_not_at_all(namespace: str | None) -> None:
    def line(stream: str, data: dict[str, Any]) -> bytes:
        record = {"stream": stream, "namespace": "public", "emitted_at": 7, "data": data}
        return json.dumps({"type": "RECORD", "record": record}, separators=(",", ":")).encode() + b"\n"

    lines = [line("sales", {"id": number, "says": 'x"stream":"sales"'}) for number in range(3)]
    header = Header.of(lines[0])
    assert header
    text = header.renamed("sales", namespace)
    rewritten = header.rewritten(b"".join(lines), text)
    assert rewritten
    for before, after in zip(lines, rewritten.splitlines(), strict=True):
        record = json.loads(before)["record"]
        where = {"namespace": namespace} if namespace else {}
        told = {"stream": "sales", **where, "emitted_at": 7, "data": record["data"]}
        assert json.loads(after)["record"] == told
    renamed = Header.of(rewritten.splitlines(keepends=True)[0])
    assert renamed and renamed.key == ("sales", namespace)
    assert header.rewritten(b"".join([*lines, line("others", {"id": 9})]), text) is None
