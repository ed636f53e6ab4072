"""Every command line of README and docs, typed on the running site as it is written."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

import documents

from .conftest import ROOT

TYPED = [one for one in documents.commands() if not documents.runs_elsewhere(one)]


@pytest.mark.parametrize("typed", TYPED, ids=str)
def test_a_documented_command_works_as_it_is_typed(typed: documents.Typed) -> None:
    # Its exit code is a verdict: a test before this one may have let a cycle fail.
    patience = 20 if typed.line.startswith("make status") else 0
    while (done := run(typed)).returncode != 0 and patience > 0:
        patience -= 1
        time.sleep(30)
    assert done.returncode == 0, f"{typed.page}: {typed.line}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    # A log may come on standard error.
    assert (done.stdout + done.stderr).strip(), f"{typed.page}: {typed.line} says nothing"


def run(typed: documents.Typed) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", typed.line],
        cwd=ROOT,
        env=os.environ | {"DISPLAY": "", "WAYLAND_DISPLAY": ""},  # nobody is there to look at a browser
        input="".join(f"{line}\n" for line in typed.within),
        capture_output=True,
        text=True,
        timeout=900,
    )
