"""Every server of the package as a process of its own, as its image starts it."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from retailflow_emulators.ports import free_port
from retailflow_emulators.snowflake.testing import START_SECONDS, EmulatedSnowflake, trust

SOURCE = Path(__file__).parents[2] / "src"


@dataclass
class Running:
    """A server, the path where it takes a log-in, and its log."""

    process: subprocess.Popen[bytes]
    port: int
    login: str
    log: Path
    trust: ssl.SSLContext | None = None  # where it speaks TLS

    def connection(self) -> http.client.HTTPConnection:
        """For requests, one after the other."""
        if self.trust:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self.trust)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def line(self) -> socket.socket:
        """For bytes that are no request."""
        line = socket.create_connection(("127.0.0.1", self.port), 20)
        return self.trust.wrap_socket(line, server_hostname="localhost") if self.trust else line

    @property
    def peak_mb(self) -> float:
        """The largest resident memory so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def send(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Status and body of an answer; an iterable is sent in chunks unless its length is in the headers."""
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()


def _start(folder: Path, name: str, login: str, port: int, **settings: object) -> Running:
    log = folder / f"{name}.log"
    environment = {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        **{key: str(value) for key, value in settings.items()},
    }
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", f"retailflow_emulators.{name}"], env=environment, stdout=file, stderr=file
        )
    running = Running(process, port, login, log)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            running.send("GET", "/")
            return running
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"{name} did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    folder = tmp_path_factory.mktemp("servers")
    one, other = free_port(), free_port()
    snowflake = EmulatedSnowflake(folder)
    found: dict[str, Running] = {}
    try:
        found["airbyte"] = _start(
            folder,
            "airbyte",
            "/api/public/v1/applications/token",
            one,
            EMBEDDED_AIRBYTE_HOST="127.0.0.1",
            EMBEDDED_AIRBYTE_PORT=one,
            EMBEDDED_AIRBYTE_DATA_DIR=folder,
        )
        found["dashboards"] = _start(
            folder,
            "dashboards",
            "/api/session",
            other,
            MB_JETTY_HOST="127.0.0.1",
            MB_JETTY_PORT=other,
            MB_DATA_DIR=folder,
        )
        snowflake.start()
        assert snowflake.process
        login = "/session/v1/login-request"
        found["snowflake"] = Running(snowflake.process, snowflake.port, login, snowflake.log, trust())
        yield found
    finally:
        snowflake.stop()
        for running in found.values():
            running.process.terminate()
            running.process.wait(60)
