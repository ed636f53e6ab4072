"""What the access checks of the emulated Snowflake cost a cycle of dbt: their seconds beside those of the build without them.

Who has no right is refused statement by statement, which has to be read for that. The checks of all sessions are added up, also
where they run at the same time, so the share is an upper bound.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..measurement import Measurement
from ..warehouse import server
from .dbt import CYCLE, ROUNDS, Dbt, change, load, make_tables

LIMIT = 0.05


def measure(rows: int) -> Iterator[Measurement]:
    """Measure some cycles over a history of so many rows; the one with the smallest share counts."""
    with server(timed=True) as warehouse, tempfile.TemporaryDirectory(prefix="bench-access-") as name:
        dbt = Dbt(warehouse, Path(name))
        make_tables(warehouse)
        load(warehouse, 0, rows, 1)
        dbt.run(*CYCLE)
        found, day, orders = [], 1, rows
        for _ in range(ROUNDS):
            day += 2
            orders += change(warehouse, orders, day)
            before = warehouse.checks_s
            cycle = dbt.run(*CYCLE)
            checks = warehouse.checks_s - before
            found.append((checks, cycle.wall_s - cycle.start_s - checks))
    checks, rest = min(found, key=lambda one: one[0] / one[1])
    note = f"of a dbt build at {rows:,} rows, without its start"
    yield Measurement("dbt.access_checks", checks, "s", LIMIT, beside=rest, at_most=True, note=note)
