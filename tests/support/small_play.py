"""A play of a few tasks on this machine, by which tests run entry points and modules of roles."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import warm_python

ROOT = Path(__file__).parents[2]


def run(
    folder: Path,
    tasks: list[dict[str, Any]],
    environment: dict[str, str] | None = None,
    play: dict[str, Any] | None = None,
) -> None:
    """Run the tasks by Ansible with `folder` for its files and home; `play` holds more keys of the play.

    Roles are those of the folder, then the project's. Of the environment it has PATH and what is given. AssertionError with
    Ansible's output where a task fails.
    """
    playbook = folder / "small_play.yml"
    whole = {"hosts": "localhost", "gather_facts": False} | (play or {}) | {"tasks": tasks}
    playbook.write_text(json.dumps([whole]))
    given = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    # As `ansible-playbook` of the virtual environment does.
    clean = ["tools/clean-env", *warm_python.playbook()]
    done = subprocess.run(
        [*clean, "-i", "localhost,", "-c", "local", playbook],
        cwd=ROOT,
        env=given | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
