"""Your own table in ten minutes: every block of docs/your-own-table.md, pasted into a shell on the running site.

    tools/test faults

Clone and site are as before afterwards, but for the table's copies in the warehouse.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from .conftest import ROOT, Playbook
from .ecs import converge
from .site import heal, say, warehouse

PAGE = ROOT / "docs/your-own-table.md"
BLOCKS = re.findall(r"^```shell\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
TABLE, MART = "revenue_targets", "analytics.marts.revenue_against_target"
Sql = Callable[[str], str]


def files() -> dict[str, bytes]:
    """What git knows or would add, with its content."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return {name: (ROOT / name).read_bytes() for name in listed.split("\0") if (ROOT / name).is_file()}


@pytest.fixture(scope="module", autouse=True)
def as_before(sql: Sql, playbook: Playbook) -> Iterator[None]:
    """The files of the clone come back, and the site follows them."""
    heal()
    kept = files()
    try:
        yield
    finally:
        for name in files().keys() - kept.keys():
            (ROOT / name).unlink()
        for name, content in kept.items():
            if not (ROOT / name).is_file() or (ROOT / name).read_bytes() != content:
                (ROOT / name).write_bytes(content)
        converge(playbook)
        sql(f"drop table if exists public.{TABLE}")
    assert files() == kept


def targets(columns: str) -> list[tuple[Any, ...]]:
    """Rows of the mart by country, as the dashboards read them."""
    with warehouse("metabase") as session:
        return list(session.cursor().execute(f"select {columns} from {MART} order by country").fetchall())


def paste(block: str) -> str:
    """Run a block as a person's shell does, but for one that ends with the first command that fails."""
    say(block.splitlines()[0])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout[-6000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.timeout(4000)
def test_a_table_of_ones_own_reaches_a_dashboard_by_the_blocks_of_the_page() -> None:
    assert len(BLOCKS) == 9
    for block in BLOCKS[:-2]:
        paste(block)
    assert targets("country, revenue_target") == [("France", Decimal("4000.50")), ("Germany", Decimal(5000))]
    paste(BLOCKS[-2])
    assert targets("country") == [("Canada",), ("France",), ("Germany",)]
    assert targets("net_revenue - revenue_target - above_target") == [(0,)] * 3
    paste(BLOCKS[-1])
