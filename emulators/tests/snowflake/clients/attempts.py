"""What every script in this folder shares. It runs in the environment of a client, where this project is not installed."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

os.environ["SNOWFLAKE_DISABLE_PLATFORM_DETECTION"] = "true"
LOGIN: dict[str, Any] = {**json.loads(sys.argv[1]), "database": "DB", "schema": "PUBLIC"}
FOLDER = sys.argv[2]
_VERDICTS: dict[str, str] = {}


def attempt(operation: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Run a function at once; what it raises is the verdict, and otherwise the operation works."""

    def run(function: Callable[[], object]) -> Callable[[], object]:
        try:
            function()
            _VERDICTS[operation] = "works"
        except Exception as error:
            refused = re.search(r"not emulated: [^\n(╰]*", str(error))
            _VERDICTS[operation] = refused[0].strip() if refused else f"{type(error).__name__}: {error}"
        return function

    return run


def report() -> None:
    """Print the verdicts for the test that started the script."""
    print("VERDICTS", json.dumps(_VERDICTS))
