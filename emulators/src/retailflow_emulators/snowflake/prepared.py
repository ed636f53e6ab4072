"""Servers of tests that start at once: forked from a process that has imported the libraries that a server needs.

More than a second of a start is spent on libraries. The project's own modules, and fakesnow's, are not among them: each server
imports them itself, because they make folders and secrets when they are imported.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from .. import lean

MOST = 1 << 20  # bytes of a message
LIBRARIES = (
    "cryptography.x509",
    "duckdb",
    "jwt",
    "orjson",
    "pyarrow.compute",
    "pyarrow.parquet",
    "snowflake.connector.file_util",
    "snowflake.connector.pandas_tools",
    "sqlglot.dialects.duckdb",
    "sqlglot.dialects.snowflake",
    "sqlglot.optimizer",
    "starlette.applications",
    "unittest.mock",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.h11_impl",
)


class Forked:
    """A server, with what ``subprocess.Popen`` offers of it."""

    def __init__(self, parent: Parent, pid: int) -> None:
        self._parent, self.pid = parent, pid
        self._ends = os.pidfd_open(pid)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or the negative number of the signal that ended it; None while it runs."""
        if self.returncode is None:
            self.returncode = self._parent.ask({"ended": self.pid})
            if self.returncode is not None:
                os.close(self._ends)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code once it has ended; TimeoutExpired if it runs longer, in seconds."""
        if (code := self.poll()) is not None:
            return code
        select.select([self._ends], [], [], timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired("a forked server", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


class Parent:
    """The process that servers are forked from; it ends with this one, and they with it."""

    def __init__(self, modules: str) -> None:
        self._line, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with other:
            command = [sys.executable, "-m", __name__, str(other.fileno())]
            self._process = subprocess.Popen(
                command,
                env=os.environ | {"PYTHONPATH": modules},
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
            )
        atexit.register(self._end)

    def start(self, module: str, environment: dict[str, str], log: IO[bytes]) -> Forked:
        """Run a module in a process of its own, which writes into a file."""
        pid = self.ask({"module": module, "environment": environment, "folder": str(Path.cwd())}, log)
        return Forked(self, pid)

    def ask(self, message: dict[str, Any], *files: IO[bytes]) -> Any:
        """Send a message and return the answer."""
        with self._lock:
            socket.send_fds(self._line, [json.dumps(message).encode()], [one.fileno() for one in files])
            return json.loads(self._line.recv(MOST))

    def _end(self) -> None:
        self._line.close()
        self._process.wait(60)


_parent = functools.cache(Parent)


def start(module: str, environment: dict[str, str], log: IO[bytes]) -> Forked:
    """Run a module as `python -m` does, in a process that has its libraries."""
    return _parent(environment["PYTHONPATH"]).start(module, environment, log)


def _serve(line: socket.socket) -> str | None:
    """Fork a process for each message; returns the module that it has to run there, None in the parent at its end."""
    running: set[int] = set()
    while True:
        data, files, _, _ = socket.recv_fds(line, MOST, 1)
        if not data:
            break
        message = json.loads(data)
        if pid := message.get("ended"):
            ended, status = os.waitpid(pid, os.WNOHANG)
            running.discard(ended)
            line.send(json.dumps(os.waitstatus_to_exitcode(status) if ended else None).encode())
            continue
        (log,) = files
        if (pid := os.fork()) == 0:
            line.close()
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
            os.environ.clear()
            os.environ.update(message["environment"])
            os.chdir(message["folder"])
            return str(message["module"])
        os.close(log)
        running.add(pid)
        line.send(json.dumps(pid).encode())
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return None


def main(descriptor: int) -> None:
    """Import the libraries, then fork until nobody is left to ask for it."""
    lean.start()
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.collect()
    gc.freeze()  # or each server would copy what it counts
    if module := _serve(socket.socket(fileno=descriptor)):
        sys.argv = [module]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        os._exit(0)  # DuckDB reports what is frozen as leaked


if __name__ == "__main__":
    main(int(sys.argv[1]))
