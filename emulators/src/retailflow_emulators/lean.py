"""Starts of processes without what Snowflake's connector and fakesnow import where it can be found, and nobody uses there.

More than half of a start is spent on these modules. pyarrow and DuckDB look for pandas as well, and do without it.
"""

from __future__ import annotations

import importlib.abc
import sys

UNUSED = ("boto3", "botocore", "keyring", "pandas")


class _Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname in UNUSED:
            raise ModuleNotFoundError(f"{fullname} is hidden from this process", name=fullname)


def start() -> None:
    """Hide the modules for the life of this process; those that are imported already stay."""
    sys.meta_path.insert(0, _Hidden())
