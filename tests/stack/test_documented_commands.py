"""Every command line of README and docs, typed on the running site as it is written."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

import documents
import sites

from .conftest import NAME, PORTS, ROOT

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


def here(line: str) -> str:
    """A line of the documentation for the site that is tested, which may have other folders and ports than the first one."""
    own = sites.inventory("local")["local_cloud_ports"]
    for name in ("state", "secrets"):
        line = line.replace(f".{name}/local/", f".{name}/{sites.folder('local')}/")
    for part, port in own.items():
        line = line.replace(f"127.0.0.1:{port}", f"127.0.0.1:{PORTS[part]}")
    return line.replace("--user retailflow ", f"--user {NAME} ")


def run(typed: documents.Typed) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", here(typed.line)],
        cwd=ROOT,
        env=os.environ | {"DISPLAY": "", "WAYLAND_DISPLAY": ""},  # nobody is there to look at a browser
        input="".join(f"{line}\n" for line in typed.within),
        capture_output=True,
        text=True,
        timeout=900,
    )
