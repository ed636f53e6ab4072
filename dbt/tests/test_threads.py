"""dbt with ten threads while two syncs load: everything is there in the end, and nothing waits for another for long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dbt_support
from retailflow_emulators.snowflake.testing import EmulatedSnowflake, private_key

MODELS, ROWS, STEP = 21, 3000, 1000
KINDS = (
    "materialized = 'view'",
    "materialized = 'table'",
    "materialized = 'incremental', unique_key = 'id', tmp_relation_type = 'table'",
)
DESTINATION = "retailflow_emulators.airbyte.destination_snowflake"


def project(folder: Path) -> list[str]:
    """A project of models that read one another; returns what dbt needs to know of it."""
    (folder / "models").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text("{name: many, version: '1.0', profile: retailflow}")
    for number in range(MODELS):
        ids = f"select seq4() as id, {number} as n from table(generator(rowcount => 100))"
        above = f"select id, n + 1 as n from {{{{ ref('m{number - 7}') }}}}"
        text = f"{{{{ config({KINDS[number % 3]}) }}}}\n{ids if number < 7 else above}\n"
        (folder / f"models/m{number}.sql").write_text(text)
    return ["--project-dir", str(folder), "--threads", "10"]


def rows_of_a_sync() -> bytes:
    """What a source sends: every key twice, so that rows are merged, with states between them."""
    stream = {"name": "numbers", "namespace": None}
    messages: list[dict[str, Any]] = []
    for number in range(ROWS):
        data = {"id": number % (ROWS // 2), "n": number}
        messages.append(
            {"type": "RECORD", "record": {"stream": "numbers", "data": data, "emitted_at": number + 1}}
        )
        if number % STEP == STEP - 1:
            told = {"stream_descriptor": {"name": "numbers"}, "stream_state": {"n": number}}
            messages.append({"type": "STATE", "state": {"type": "STREAM", "stream": told}})
    status = {"stream_descriptor": {"name": stream["name"]}, "status": "COMPLETE"}
    messages.append(
        {"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": 1, "stream_status": status}}
    )
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def start_sync(warehouse: EmulatedSnowflake, folder: Path, name: str, key: str) -> subprocess.Popen[bytes]:
    config = {
        "host": f"127.0.0.1:{warehouse.port}",
        "jdbc_url_params": "disableOCSPChecks=true&account=retailflow&networkTimeout=120000",
        "username": "AIRBYTE",
        "role": "LOADER",
        "warehouse": "LOADING",
        "database": "RAW",
        "schema": name,
        "credentials": {"auth_type": "Key Pair Authentication", "private_key": key},
    }
    number = {"type": ["number", "null"], "airbyte_type": "integer"}
    entry = {
        "stream": {
            "name": "numbers",
            "json_schema": {"type": "object", "properties": {"id": number, "n": number}},
        },
        "sync_mode": "incremental",
        "destination_sync_mode": "append_dedup",
        "cursor_field": ["n"],
        "primary_key": [["id"]],
        "sync_id": 1,
        "generation_id": 1,
        "minimum_generation_id": 1,
    }
    paths = {"config": config, "catalog": {"streams": [entry]}}
    command = [sys.executable, "-m", DESTINATION, "write"]
    for option, content in paths.items():
        (path := folder / f"{name}_{option}.json").write_text(json.dumps(content))
        command += [f"--{option}", str(path)]
    incoming = folder / f"{name}.jsonl"
    incoming.write_bytes(rows_of_a_sync())
    environment = os.environ | {"PYTHONPATH": str(dbt_support.ROOT / "emulators/src")}
    with incoming.open("rb") as stdin:
        return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, env=environment)


def test_ten_threads_and_two_syncs_at_once_end(
    connected: EmulatedSnowflake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path / "target"))
    key = private_key()
    grants = ["usage on database RAW", "create schema on database RAW"]
    connected.add_user("AIRBYTE", "LOADER", *grants, key=key, warehouse="LOADING")
    options = project(tmp_path / "many")
    for turn in ("one", "two"):  # what is there is replaced, and incremental models are merged
        syncs = [start_sync(connected, tmp_path, f"{turn}_{side}", key) for side in ("left", "right")]
        try:
            ran = dbt_support.dbt("run", *options)
            assert {node.status for node in ran.results} == {"success"} and len(ran.results) == MODELS
            for sync in syncs:
                told, _ = sync.communicate(timeout=120)
                assert sync.returncode == 0, told.decode()[-2000:]
                assert told.count(b'"STATE"') == ROWS // STEP
        finally:
            for sync in syncs:
                sync.kill()
    for number in range(MODELS):
        expected = (100, 99, number % 7 + number // 7)
        found = connected.query(f"select count(*), max(ID), max(N) from ANALYTICS.MARTS.M{number}")
        assert found == [expected], number
    for turn in ("ONE", "TWO"):
        for side in ("LEFT", "RIGHT"):
            found = connected.query(f'select count(*), min(N), max(N) from RAW."{turn}_{side}".NUMBERS')
            assert found == [(ROWS // 2, ROWS // 2, ROWS - 1)]
