"""An emulated Snowflake for one benchmark, on disk, and the environment in which dbt finds it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import snowflake.connector
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ROOT = Path(__file__).parents[1]
STATEMENT_TIMEOUT_S = 1800


class Warehouse:
    """A running server: `process` is its process, `environment` what dbt needs, `query` runs a statement."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, key: Path) -> None:
        self.process = process
        self.environment = {
            "SNOWFLAKE_ACCOUNT": "bench",
            "SNOWFLAKE_HOST": "127.0.0.1",
            "SNOWFLAKE_PORT": str(port),
            "SNOWFLAKE_PROTOCOL": "http",
            "SNOWFLAKE_PRIVATE_KEY_PATH": str(key),
        }
        self._session = snowflake.connector.connect(
            account="bench",
            user="BENCH",
            password="any",
            host="127.0.0.1",
            port=port,
            protocol="http",
            network_timeout=STATEMENT_TIMEOUT_S,
        )

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of a statement."""
        cursor = self._session.cursor().execute(statement)
        assert cursor is not None, "execute returns its cursor unless it is asked for a description"
        return [tuple(row) for row in cursor.fetchall()]

    @property
    def peak_mb(self) -> float:
        """The largest resident memory of the server so far, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


@contextlib.contextmanager
def server() -> Iterator[Warehouse]:
    """Run a server on a free port of the loopback; removes its data at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        key = folder / "key.p8"
        key.write_bytes(
            rsa.generate_private_key(65537, 2048).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        data = folder / "data"
        data.mkdir()
        environment = os.environ | {
            "PYTHONPATH": str(ROOT / "emulators" / "src"),
            "EMULATED_SNOWFLAKE_PORT": str(port),
            "EMULATED_SNOWFLAKE_DATA": str(data),
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "retailflow_emulators.snowflake"],
                env=environment,
                stdout=log,
                stderr=log,
            )
            try:
                _wait(process, port, folder / "log")
                yield Warehouse(process, port, key)
            finally:
                process.terminate()
                process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1),
        ):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the emulated Snowflake did not start:\n{log.read_text()}")
        time.sleep(0.1)
