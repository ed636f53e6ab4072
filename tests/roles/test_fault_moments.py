"""The tasks at which the stage `faults` presses Ctrl-C exist, and are printed: an import shows no name of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ..stack.site import MOMENTS

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"


def tasks() -> list[dict[str, Any]]:
    found = []
    for path in sorted([*PLAYBOOKS.glob("*.yml"), *PLAYBOOKS.glob("tasks/*.yml")]):
        for item in yaml.safe_load(path.read_text()) or []:
            found += item.get("tasks", []) if "hosts" in item else [item]
    return found


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_moment_of_an_interruption_is_a_task_that_is_printed(moment: str) -> None:
    printed = [task for task in tasks() if moment in task.get("name", "")]
    assert printed, (
        f"no task is called {moment!r}: it was renamed, and test_faults.py would wait for it in vain"
    )
    assert not [key for task in printed for key in task if "import_" in key]
