"""Server processes for tests. retailflow_emulators.snowflake.testing starts the emulated Snowflake."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_SECONDS = 120


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
