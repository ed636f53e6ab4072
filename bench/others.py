"""Tools of others, for comparison: each in a virtual environment of its own that lives as long as the measurement.

They are no dependencies of this project. Where one cannot be installed, ToolMissingError says why.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

TAP = ["meltanolabs-tap-postgres==0.10.0"]
DLT = ["dlt[parquet,sql-database]==1.31.0", "psycopg2-binary"]
INSTALL_TIMEOUT_S, TIMEOUT_S = 300, 900
TAP_SECONDS = 30  # it is read for so long; a whole table takes it minutes


class ToolMissingError(Exception):
    """The tool cannot be installed here; the message says why."""


@contextlib.contextmanager
def _environment(packages: list[str]) -> Iterator[tuple[Path, Path, dict[str, str]]]:
    """A folder, the programs of an environment with these packages, the variables to run them with."""
    print(f"… {packages[0]}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder, programs = Path(name), Path(name) / "environment/bin"
        variables = {**os.environ, "DO_NOT_TRACK": "1", "RUNTIME__DLTHUB_TELEMETRY": "false"}
        for command in (
            ["venv", "--quiet", "--python", sys.executable, str(programs.parent)],
            ["pip", "install", "--quiet", "--python", str(programs / "python"), *packages],
        ):
            try:
                done = subprocess.run(
                    [_uv(), *command],
                    env=variables,
                    capture_output=True,
                    text=True,
                    timeout=INSTALL_TIMEOUT_S,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ToolMissingError(f"uv {command[0]}: {error}") from error
            if done.returncode:
                raise ToolMissingError(
                    f"uv {command[0]}: {(done.stderr.strip().splitlines() or ['no word'])[-1].strip()}"
                )
        yield folder, programs, variables


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else "uv"


def meltano_tap(url: str, schema: str, table: str, rows: int) -> float:
    """Rows a second that Meltano's Singer tap prints, its start included. Raises ToolMissingError."""
    where = urlsplit(url)
    config = {
        "host": where.hostname,
        "port": where.port,
        "user": where.username,
        "password": "unused",
        "database": where.path.strip("/"),
        "filter_schemas": [schema],
    }
    with _environment(TAP) as (folder, programs, variables):
        paths = {"config": folder / "config.json", "catalog": folder / "catalog.json"}
        paths["config"].write_text(json.dumps(config))
        command = [str(programs / "tap-postgres"), "--config", str(paths["config"])]
        found = subprocess.run([*command, "--discover"], env=variables, capture_output=True, check=False)
        if found.returncode:
            raise ToolMissingError(f"--discover fails: {found.stderr.decode().strip()[-200:]}")
        catalog = json.loads(found.stdout)
        catalog["streams"] = [
            one for one in catalog["streams"] if one["tap_stream_id"] == f"{schema}-{table}"
        ]
        for entry in catalog["streams"][0]["metadata"]:
            entry["metadata"]["selected"] = True
        paths["catalog"].write_text(json.dumps(catalog))
        began, count = time.monotonic(), 0
        process = subprocess.Popen(
            [*command, "--catalog", str(paths["catalog"])],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout
        for line in process.stdout:
            count += line.startswith(b'{"type":"RECORD"')
            if time.monotonic() - began > TAP_SECONDS:
                break
        seconds = time.monotonic() - began
        process.kill()
        process.wait()
    if not 0 < count <= rows:
        raise ToolMissingError(f"it printed {count} of {rows} rows")
    return count / seconds


def dlt_extract(url: str, schema: str, table: str, rows: int) -> float:
    """Rows a second of dlt's extract step with its arrow backend, its start included. Raises ToolMissingError."""
    with _environment(DLT) as (folder, programs, variables):
        script = Path(__file__).with_name("dlt_extract.py")
        command = [str(programs / "python"), str(script), url, schema, table, str(folder / "pipelines")]
        began = time.monotonic()
        done = subprocess.run(
            command, env=variables, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        seconds = time.monotonic() - began
    if done.returncode or done.stdout.split()[-1:] != [str(rows)]:
        raise ToolMissingError(f"it does not run: {(done.stderr or done.stdout).strip()[-200:]}")
    return rows / seconds
