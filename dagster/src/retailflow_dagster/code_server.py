"""Dagster's code server, whose watch over its run workers outlives the database, and whose run workers start at once.

    python -m retailflow_dagster.code_server api grpc --module-name=…

Each run is a process beside the code server, and a thread of the server marks a run as failed when its process has died.
Dagster's thread ends with the first error of the database. A database host that is away for minutes takes the run
workers and that thread along: the run stays STARTED, holds back the queue, and nobody notices
(`DagsterApiServer._cleanup_thread` in `dagster/_grpc/server.py`). Here the thread looks again instead.

Dagster starts each of them as a new Python (`DagsterApiServer._mp_ctx`); here it is forked, as `lib.warm` says.
"""

import sys
import time
from typing import Any

from .lib import warm

#: Seconds until the workers are looked at again after an error.
PAUSE_SECONDS = 5.0


def watch_again(server: type[Any]) -> None:
    """Makes the server's watch over its run workers survive an error."""
    look = server._check_for_orphaned_runs

    def look_again(self: Any) -> None:
        try:
            look(self)
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            print(
                f"Run workers cannot be looked at, trying again: {type(error).__name__}: {reason}", flush=True
            )
            time.sleep(PAUSE_SECONDS)

    server._check_for_orphaned_runs = look_again


def fork_workers(server: type[Any]) -> None:
    """Makes the server fork its run workers from a process that has imported what they import."""
    begin = server.__init__

    def begin_warm(self: Any, *args: Any, **options: Any) -> None:
        begin(self, *args, **options)
        self._mp_ctx = warm.context()

    server.__init__ = begin_warm


def main() -> None:
    """Runs the command `dagster` with the given arguments in this process."""
    # Run workers import this module too, and need neither of the two.
    from dagster._cli import main as dagster
    from dagster._grpc.server import DagsterApiServer

    watch_again(DagsterApiServer)
    fork_workers(DagsterApiServer)
    sys.argv[0] = "dagster"
    dagster()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
