"""dbt and the code location for tests: one parse, made before anything imports the definitions."""

from __future__ import annotations

import functools
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "dbt"
_FOLDER = tempfile.TemporaryDirectory(prefix="dbt-unit-")  # goes when the tests end
TARGET = Path(_FOLDER.name) / "target"

os.environ.update(
    DO_NOT_TRACK="1",
    DBT_SEND_ANONYMOUS_USAGE_STATS="false",
    DBT_PROJECT_DIR=str(PROJECT),
    DBT_PROFILES_DIR=str(PROJECT),
    DBT_TARGET_PATH=str(TARGET),
    DBT_LOG_PATH=str(TARGET.parent / "logs"),
)
os.environ.setdefault("SNOWFLAKE_ACCOUNT", "none")


def dbt(*arguments: str) -> Any:
    """Runs a dbt command in this process and returns dbt's result; fails the test with dbt's own words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from dbt.cli.main import dbtRunner

        result = dbtRunner().invoke(["--quiet", *arguments])
    failed = [
        f"{node.node.name}: {node.message}"
        for node in getattr(result.result, "results", [])
        if node.status in ("error", "fail", "runtime error")
    ]
    assert result.success, result.exception or failed or result.result
    return result.result


@functools.cache
def manifest() -> Any:
    """The parsed project; also written to TARGET, where the definitions look for it."""
    return dbt("parse")
