"""Runs, and their dbt commands, that start at once: forked from a process that has imported what they import.

Dagster's code server starts a new Python for each run, which starts another for dbt; their imports take seconds of CPU. Here they
are forked by the forkserver of multiprocessing, which imports `retailflow_dagster.preload` once. Before a run has threads, it
forks a process that waits to become its first dbt command. Later commands start a new Python as ever, and so do runs that no
code server started, such as ECS tasks.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import IO, Any, NoReturn

PRELOADED = ["retailflow_dagster.preload"]
POLL_SECONDS = 0.05


class Worker(ForkServerProcess):
    """Process of a run."""

    def run(self) -> None:
        """Runs its target beside a process that waits to become dbt."""
        stand_by()
        try:
            super().run()
        finally:
            stand_down()


class Context(ForkServerContext):
    """What multiprocessing.get_context() returns, of workers."""

    Process = Worker


def context() -> Context:
    """A context for workers, whose forkserver begins with its imports now."""
    forkserver.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()
    return Context()


class Command:
    """A dbt command in the process that waited for it: the part of subprocess.Popen that dagster-dbt uses."""

    def __init__(self, pid: int, args: Sequence[str], stdout: IO[bytes]) -> None:
        self.pid, self.args, self.stdout = pid, list(args), stdout
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Its exit code, or minus the number of the signal that ended it; None while it runs."""
        with self._lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """As `poll`, once it has ended; raises TimeoutExpired after `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() >= until:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(POLL_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)


#: The process that waits, and the line to it.
_waiting: tuple[int, socket.socket] | None = None


def stand_by() -> None:
    """Leaves a process that waits to become a dbt command, and ends with this one. For a process without other threads."""
    global _waiting
    ours, its = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _become_dbt(its)
    its.close()
    _waiting = pid, ours


def stand_down() -> None:
    """Ends the process that waits, if it still does."""
    global _waiting
    if _waiting is not None:
        (pid, line), _waiting = _waiting, None
        line.close()
        os.waitpid(pid, 0)


class Subprocess:
    """What dagster-dbt finds as the module subprocess: its Popen takes the process that waits, if one does."""

    PIPE, STDOUT = subprocess.PIPE, subprocess.STDOUT

    @staticmethod
    def Popen(args: Sequence[str], *, env: Mapping[str, str], cwd: Path, **others: Any) -> Any:
        """Starts dbt: `args`, its environment and its folder are those of the call, its output is a pipe."""
        global _waiting
        if _waiting is None:
            return subprocess.Popen(args, env=env, cwd=cwd, **others)
        (pid, line), _waiting = _waiting, None
        read, write = os.pipe()
        call = json.dumps([list(args), dict(env), os.fspath(cwd)]).encode()
        with line:
            socket.send_fds(line, [len(call).to_bytes(8, "big")], [write])
            line.sendall(call)
        os.close(write)
        return Command(pid, args, os.fdopen(read, "rb"))


def _become_dbt(line: socket.socket) -> NoReturn:
    import atexit

    code = 1
    try:
        # Until then an interrupt is for the run, which closes the line when it ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        size, descriptors, _, _ = socket.recv_fds(line, 8, 1)
        if not size:
            os._exit(0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with line.makefile("rb") as reader:
            args, environment, folder = json.loads(reader.read(int.from_bytes(size, "big")))
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        for stream in (1, 2):
            os.dup2(descriptors[0], stream)
        os.close(descriptors[0])
        sys.stdout, sys.stderr = open(1, "w", buffering=1), open(2, "w", buffering=1)
        sys.argv = args
        from dbt.cli.main import cli

        cli()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1 if ended.code else 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
