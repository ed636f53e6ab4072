"""What a cycle of dbt costs when the history is 1, 10 and 30 times as large, and the changes are the same.

`dbt build` as Dagster runs it, over RAW tables of a million rows and more into which 10,000 changed rows have
come: nine of ten are new orders, most others are changes of the newest 20,000 orders (what the generator does), and
one in a hundred is a change of an old order anywhere in the history. The warehouse is emulated, on this
machine; how Snowflake bills a scan is not measured here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..measurement import Measurement
from ..warehouse import ROOT, Warehouse, server

CHANGED, NEWEST, OLD = 10_000, 20_000, 100
SIZES = (1, 10, 30)  # times the rows that were asked for
ROUNDS = 3
CHUNK = 1_000_000
# The history comes in steps: the emulated warehouse answers after the statement, and its clients wait a minute.
STEP = 2_000_000
#: What a cycle of Dagster runs.
CYCLE = ("build", "--exclude-resource-type", "unit_test")
DAY_ROWS = 100_000  # orders of a day: 30 million are less than a year

_META = """
    _AIRBYTE_RAW_ID varchar, _AIRBYTE_EXTRACTED_AT timestamp_tz, _AIRBYTE_META variant,
    _AIRBYTE_GENERATION_ID number(38, 0),
"""
_CDC = "_AB_CDC_LSN number(38, 0), _AB_CDC_UPDATED_AT varchar, _AB_CDC_DELETED_AT varchar"
_TABLES = (
    "create database RAW",
    "create schema RAW.RETAIL",
    "create database ANALYTICS",
    f"""create table RAW.RETAIL.SALES ({_META} ORDER_ID number(38, 0), CUST_NAME varchar, PRODUCT varchar,
        PRODUCT_CATEGORY varchar, QUANTITY number(38, 0), PRICE float, DISCOUNT float, SHIPPING_COST float,
        CUSTOMER_ID number(38, 0), PRODUCT_ID number(38, 0), PURCHASED_AT date, ORDER_DATE_AT date, CITY varchar,
        STATE varchar, COUNTRY varchar, CREATED_AT timestamp_tz, UPDATED_AT timestamp_tz, ORDER_STATUS varchar,
        ORDERED_AT timestamp_tz, {_CDC})""",
    f"""create table RAW.RETAIL.CUSTOMERS ({_META} CUSTOMER_ID number(38, 0), CUST_NAME varchar, CITY varchar,
        STATE varchar, COUNTRY varchar, CREATED_AT timestamp_tz, UPDATED_AT timestamp_tz, {_CDC})""",
    f"""create table RAW.RETAIL.PRODUCTS ({_META} PRODUCT_ID number(38, 0), PRODUCT varchar,
        PRODUCT_CATEGORY varchar, PRICE float, CREATED_AT timestamp_tz, UPDATED_AT timestamp_tz, {_CDC})""",
    """insert into RAW.RETAIL.CUSTOMERS
        select 'c' || i, '2026-01-01 00:00:00+00'::timestamp_tz, null, 0, i, 'Customer ' || i, 'City ' || mod(i, 48),
            'State ' || mod(i, 24), 'Country ' || mod(i, 8), '2026-01-01 00:00:00+00'::timestamp_tz,
            '2026-01-01 00:00:00+00'::timestamp_tz, i, '2026-01-01T00:00:00.000000Z', null
        from (select row_number() over (order by seq4()) - 1 as i from table(generator(rowcount => 5000)))""",
    """insert into RAW.RETAIL.PRODUCTS
        select 'p' || i, '2026-01-01 00:00:00+00'::timestamp_tz, null, 0, i, 'Product ' || i, 'Category ' || mod(i, 7),
            5 + i, '2026-01-01 00:00:00+00'::timestamp_tz, '2026-01-01 00:00:00+00'::timestamp_tz, i,
            '2026-01-01T00:00:00.000000Z', null
        from (select row_number() over (order by seq4()) - 1 as i from table(generator(rowcount => 35)))""",
)
_SALES = """
insert into RAW.RETAIL.SALES
select 'r' || i, '{at}'::timestamp_tz, null, 0, i, 'Customer ' || mod(i, 5000), 'Product ' || mod(i, 35),
    'Category ' || mod(mod(i, 35), 7), 1 + mod(i, 9), 5 + mod(i * 37, 9973) / 100.0::float, mod(i, 400) / 100.0::float,
    mod(i, 20)::float, mod(i, 5000), mod(i, 35), dateadd('day', floor(i / {day_rows}), '2025-01-01'::date),
    dateadd('day', 1 + floor(i / {day_rows}), '2025-01-01'::date), 'City ' || mod(i, 48), 'State ' || mod(i, 24),
    'Country ' || mod(i, 8), '{at}'::timestamp_tz, '{at}'::timestamp_tz, 'placed', '{at}'::timestamp_tz,
    i, '2026-01-01T00:00:00.000000Z', null
from (select row_number() over (order by seq4()) + {after} as i from table(generator(rowcount => {rows})))
"""
_CHANGE = """
update RAW.RETAIL.SALES set quantity = quantity + 1, order_status = 'returned',
    _airbyte_extracted_at = '{at}'::timestamp_tz, updated_at = '{at}'::timestamp_tz
where order_id > {newest} and mod(order_id, {step}) = 0 or order_id <= {newest} and mod(order_id, {old_step}) = 1
"""


def measure(rows: int) -> Iterator[Measurement]:
    """Measure a cycle at each size, the best of some rounds, beside the one of the smallest size."""
    found: dict[int, Cycle] = {}
    with server() as warehouse, tempfile.TemporaryDirectory(prefix="bench-dbt-") as name:
        dbt = Dbt(warehouse, Path(name))
        make_tables(warehouse)
        orders, day = 0, 1
        for size in SIZES:
            for after in range(orders, size * rows, STEP):
                _say(f"{after:,} of {size * rows:,} rows")
                for begin in range(after, min(after + STEP, size * rows), CHUNK):
                    load(warehouse, begin, min(CHUNK, size * rows - begin), day)
                dbt.run(*CYCLE)
                day += 2
            orders = size * rows
            rounds = []
            for _ in range(ROUNDS):
                day += 2  # later than what the tests of a cycle look at
                orders += change(warehouse, orders, day)
                rounds.append(dbt.run(*CYCLE))
            found[size] = Cycle.best(rounds)
            _say(f"{size * rows:,} rows: {found[size]}")
            day += 2
        peak = warehouse.peak_mb
    first, last = found[SIZES[0]], found[SIZES[-1]]
    note = f"seconds of models, seeds and snapshots added up; {CHANGED:,} changed rows"
    for size in SIZES[1:]:
        name = f"dbt.growth_{_short(rows)}_{_short(rows * size)}"
        values = {"value": found[size].models_s, "beside": first.models_s, "target": 1.5}
        yield Measurement(
            name, unit="s", at_most=True, peak_mb=peak if size == SIZES[-1] else None, note=note, **values
        )
    note = "data tests added up; those of uniqueness read the keys of the whole history"
    yield Measurement("dbt.growth_of_tests", last.tests_s, "s", beside=first.tests_s, at_most=True, note=note)
    yield Measurement("dbt.cycle_s", first.wall_s, "s", 60, at_most=True, note=f"dbt build at {rows:,} rows")
    yield Measurement("dbt.start_s", first.start_s, "s", note="of it, before the first node")


@dataclass(frozen=True)
class Cycle:
    """Seconds of one `dbt build`: in all, before the first node, and of each node."""

    wall_s: float
    start_s: float
    nodes: Mapping[str, float]

    @classmethod
    def best(cls, rounds: Sequence[Cycle]) -> Cycle:
        """The least of every figure: what else the machine does only ever adds to it."""
        nodes = {name: min(one.nodes[name] for one in rounds) for name in rounds[0].nodes}
        return cls(min(one.wall_s for one in rounds), min(one.start_s for one in rounds), nodes)

    @property
    def tests_s(self) -> float:
        """Of all data tests, one after the other."""
        return sum(seconds for name, seconds in self.nodes.items() if name.startswith("test."))

    @property
    def models_s(self) -> float:
        """Of all that is built, one after the other."""
        return sum(self.nodes.values()) - self.tests_s

    def __str__(self) -> str:
        longest = sorted(self.nodes.items(), key=lambda node: -node[1])[:6]
        names = ", ".join(f"{name.split('.')[2]} {seconds:.2f}" for name, seconds in longest)
        return (
            f"{self.wall_s:.1f} s, of which {self.start_s:.1f} to start; models {self.models_s:.2f},"
            f" tests {self.tests_s:.2f}; longest: {names}"
        )


class Dbt:
    """dbt in a process of its own, on a copy of the project so that nothing is left behind."""

    def __init__(self, warehouse: Warehouse, folder: Path) -> None:
        self._project = folder / "dbt"
        shutil.copytree(ROOT / "dbt", self._project, ignore=shutil.ignore_patterns("target", "logs"))
        self._environment = os.environ | warehouse.environment | {"DO_NOT_TRACK": "1"}

    def run(self, *arguments: str) -> Cycle:
        """Run a command; a failure ends the benchmark with dbt's own words."""
        began = time.monotonic()
        command = [str(Path(sys.executable).with_name("dbt")), "--quiet", *arguments]
        done = subprocess.run(
            [*command, "--project-dir", str(self._project), "--profiles-dir", str(self._project)],
            env=self._environment,
            cwd=self._project,
            capture_output=True,
            text=True,
        )
        wall = time.monotonic() - began
        if done.returncode:
            sys.exit(f"dbt {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        told: dict[str, Any] = json.loads((self._project / "target" / "run_results.json").read_text())
        nodes = {one["unique_id"]: float(one["execution_time"]) for one in told["results"]}
        return Cycle(wall, wall - told["elapsed_time"], nodes)


def make_tables(warehouse: Warehouse) -> None:
    """Make the tables of RAW, and let dbt read them."""
    for statement in _TABLES:
        warehouse.query(statement)
    warehouse.let_dbt_in()


def change(warehouse: Warehouse, orders: int, day: int) -> int:
    """New orders, changes of the newest ones before, changes of old ones; returns the number of new ones."""
    new = CHANGED * 9 // 10
    newest = orders - NEWEST
    values = {"at": _moment(day), "newest": newest, "old_step": max(1, newest // OLD)}
    warehouse.query(_CHANGE.format(step=NEWEST // (CHANGED - new - OLD), **values))
    load(warehouse, orders, new, day)
    return new


def load(warehouse: Warehouse, after: int, rows: int, day: int) -> None:
    """Insert orders, with ids that follow ``after``, as the generator would on that day."""
    warehouse.query(_SALES.format(at=_moment(day), after=after, rows=rows, day_rows=DAY_ROWS))


def _moment(day: int) -> str:
    return f"2026-{1 + (day - 1) // 28:02d}-{1 + (day - 1) % 28:02d} 00:00:00+00"


def _short(rows: int) -> str:
    return f"{rows // 1_000_000}m" if rows % 1_000_000 == 0 else str(rows)


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)
