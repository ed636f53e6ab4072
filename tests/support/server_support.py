"""Server processes for tests. retailflow_emulators.snowflake.testing starts the emulated Snowflake."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from retailflow_emulators.ports import free_port

ROOT = Path(__file__).parents[2]
START_SECONDS = 120


@contextlib.contextmanager
def process(
    command: list[str], environment: dict[str, str], log: Path, url: str
) -> Iterator[subprocess.Popen[bytes]]:
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
                    urllib.request.urlopen(url, timeout=10).close()
                    break
                except urllib.error.HTTPError:
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                raise AssertionError(f"{command[0]} does not answer:\n{log.read_text()}")
            yield running
        finally:
            running.terminate()
            running.wait(120)


@contextlib.contextmanager
def emulated_aws(environment: dict[str, str], log: Path) -> Iterator[str]:
    """Run the server of the image moto until the block ends; gives its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(ROOT / "images/moto/server.py"), "-H", "127.0.0.1", "-p", str(port)]
    with process(command, environment, log, f"{url}/moto-api/"):
        yield url
