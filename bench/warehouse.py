"""An emulated Snowflake for one benchmark, on disk, and the environment in which dbt finds it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retailflow_emulators.snowflake.testing import ACCOUNT, EmulatedSnowflake, authority

ROOT = Path(__file__).parents[1]
STATEMENT_TIMEOUT_S = 1800
DATABASES = ("RAW", "ANALYTICS")


class Warehouse(EmulatedSnowflake):
    """A server whose statements may take long; ``environment`` is what dbt needs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._key = folder / "key.p8"
        self.environment = {
            "SNOWFLAKE_ACCOUNT": ACCOUNT,
            "SNOWFLAKE_HOST": "127.0.0.1",
            "SNOWFLAKE_PORT": str(self.port),
            "SNOWFLAKE_AUTHORITY": authority().read_text(),
            "SNOWFLAKE_PRIVATE_KEY_PATH": str(self._key),
        }

    def let_dbt_in(self) -> None:
        """Make the user of dbt, whose role may do everything in the databases that are there."""
        grants = [f"all on database {name}" for name in DATABASES]
        for what in ("schemas", "tables"):
            for name in DATABASES:
                grants += [
                    f"all on all {what} in database {name}",
                    f"all on future {what} in database {name}",
                ]
        self._key.write_text(self.add_user("DBT", "TRANSFORMER", *grants, warehouse="TRANSFORMING"))

    @property
    def login(self) -> dict[str, Any]:
        """That of every emulated Snowflake, with more patience."""
        return {**super().login, "network_timeout": STATEMENT_TIMEOUT_S}


class TimedWarehouse(Warehouse):
    """One that adds up the time of its access checks."""

    module = "bench.timed_checks"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._checks = folder / "checks"
        self._settings["BENCH_CHECKS_FILE"] = str(self._checks)

    @property
    def checks_s(self) -> float:
        """Seconds of all checks so far."""
        return float(self._checks.read_text())


@contextlib.contextmanager
def server(timed: bool = False) -> Iterator[Any]:
    """Run a server on a free port of the loopback; remove its data at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        warehouse = (TimedWarehouse if timed else Warehouse)(Path(folder))
        warehouse.start()
        try:
            yield warehouse
        finally:
            warehouse.stop()
