"""Server processes for tests, and the emulated Snowflake with what a client of it needs."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import snowflake.connector
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ROOT = Path(__file__).parents[2]
START_SECONDS = 120


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], environment: dict[str, str], log: Path, url: str) -> Iterator[None]:
    """Run a server until the block ends; wait until its address answers."""
    with log.open("w") as output:
        running = subprocess.Popen(
            command, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while time.monotonic() < deadline:
                assert running.poll() is None, f"{command[0]} ended:\n{log.read_text()}"
                try:
                    urllib.request.urlopen(url, timeout=1).close()
                    break
                except urllib.error.HTTPError:
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                raise AssertionError(f"{command[0]} does not answer:\n{log.read_text()}")
            yield
        finally:
            running.terminate()
            running.wait(20)


@contextlib.contextmanager
def emulated_snowflake(folder: Path) -> Iterator[int]:
    """Run the emulated Snowflake; yield its port."""
    port = free_port()
    (folder / "snowflake").mkdir()
    settings = {
        "PYTHONPATH": str(ROOT / "emulators/src"),
        "EMULATED_SNOWFLAKE_PORT": str(port),
        "EMULATED_SNOWFLAKE_HOST": "127.0.0.1",
        "EMULATED_SNOWFLAKE_DATA": str(folder / "snowflake"),
    }
    command = [sys.executable, "-m", "retailflow_emulators.snowflake"]
    with process(command, settings, folder / "snowflake.log", f"http://127.0.0.1:{port}/health"):
        yield port


class Warehouse:
    """A session with an emulated Snowflake of this test's own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._session = snowflake.connector.connect(
            account="unit",
            user="U",
            password="any",
            host="127.0.0.1",
            port=port,
            protocol="http",
            network_timeout=20,
        )

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        cursor = self._session.cursor().execute(statement)
        assert cursor is not None
        return [tuple(row) for row in cursor.fetchall()]

    def close(self) -> None:
        """End the session."""
        self._session.close()


@contextlib.contextmanager
def warehouse(folder: Path) -> Iterator[Warehouse]:
    """Run the emulated Snowflake; yield a session with it."""
    with emulated_snowflake(folder) as port, contextlib.closing(Warehouse(port)) as made:
        yield made


def private_key() -> str:
    """A key to log in with, as PEM; the emulated Snowflake accepts any."""
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
