"""docs/security.md names a test for each promise, and the test is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs/security.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| Promise ")
]
UNTESTED = {"No tool calls home", "On the local target every page and API listens on the loopback alone"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_a_promise_is_held_by_tests_that_exist(row: list[str]) -> None:
    promise, _, held = row
    if promise in UNTESTED:
        assert held.rstrip(" |") == "none"
        return
    names = re.findall(r"`([^`]+)::(\w+)`", held)
    assert names, f"no test holds the promise: {promise}"
    for path, name in names:
        text = (ROOT / path).read_text()
        assert re.search(rf'^(?:def {name}\(|run "{name}" )', text, re.MULTILINE), f"{path} has no {name}"


def test_no_promise_lost_its_test() -> None:
    assert {row[0] for row in ROWS if "::" not in row[2]} == UNTESTED
