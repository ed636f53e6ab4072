"""The emulated Snowflake with a clock around its checks: ``python -m bench.timed_checks``.

The file that ``BENCH_CHECKS_FILE`` names holds the seconds that all sessions have spent with them so far: reading what a
statement needs, looking whether it is allowed, and the statements about users, roles and grants.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retailflow_emulators.snowflake.access.guard import Guard
from retailflow_emulators.snowflake.server import main

_lock = threading.Lock()
_seconds = 0.0


def timed(check: Callable[..., Any], file: Path) -> Callable[..., Any]:
    """Return the same check, with its time added up in the file."""

    def run(*arguments: Any, **options: Any) -> Any:
        global _seconds
        began = time.perf_counter()
        try:
            return check(*arguments, **options)
        finally:
            took = time.perf_counter() - began
            with _lock:
                _seconds += took
                file.write_text(repr(_seconds))

    return run


if __name__ == "__main__":
    for name in ("check", "command", "check_table", "check_stage"):
        setattr(Guard, name, timed(getattr(Guard, name), Path(os.environ["BENCH_CHECKS_FILE"])))
    raise SystemExit(main())
