"""Which site tools/test tests: its own beside a person's, unless it is told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import clone as clones

# Sites that are up are lines of a file; make writes down for which site it was called, and makes none.
DOCKER = 'case $* in *label=retailflow.service=*) grep -x -- "${4##*=}" "$CLONE/up" ;; esac; exit 0'
MAKE = 'echo "${SITE:-none} $*" >> "$CLONE/made"; case " $* " in *" up "*) exit 1 ;; esac'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    root = clones.make(tmp_path / "clone")
    for name, text in {
        "docker": DOCKER,
        "make": MAKE,
        "pytest": 'echo "${SITE:-none} $*" >> "$CLONE/tested"',
    }.items():
        clones.program(root / "bin" / name, f"CLONE='{root}'\n{text}")
    clones.program(root / "tools/machine", "")
    return root


def run(clone: Path, *stages: str, up: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    (clone / "up").write_text(up)
    return subprocess.run(
        ["tools/test", *stages],
        cwd=clone,
        env={"PATH": f"{clone}/bin:{os.environ['PATH']}", "HOME": str(clone), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


PERSONS, TEST = "retailflow-aws\n", "test-retailflow-aws\n"
MADE = "--no-print-directory up TARGET=local HISTORY=7\n"


@pytest.mark.parametrize(
    ("up", "site", "made"),
    [
        ("", "", f"none {MADE}"),
        (PERSONS, "", f"test {MADE}"),
        (PERSONS, "other", f"other {MADE}"),
        ("", "main", f"none {MADE}"),
    ],
)
def test_a_site_of_its_own_is_made_beside_a_persons(clone: Path, up: str, site: str, made: str) -> None:
    done = run(clone, "stack", up=up, SITE=site)
    assert done.returncode == 1 and "there is no site" in done.stdout, done.stdout + done.stderr
    assert (clone / "made").read_text().startswith(made)
    assert not (clone / "tested").exists()


@pytest.mark.parametrize(
    ("up", "site", "tested"),
    [
        (PERSONS, "main", "none"),
        (PERSONS + TEST, "", "test"),
        (TEST, "", "test"),
        (PERSONS + "other-retailflow-aws\n", "other", "other"),
    ],
)
def test_a_site_that_is_up_is_tested_and_left_up(clone: Path, up: str, site: str, tested: str) -> None:
    done = run(clone, "stack", up=up, SITE=site)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (clone / "tested").read_text().startswith(f"{tested} tests/stack ")
    assert not (clone / "made").exists()


def test_the_engine_of_a_persons_site_is_not_restarted(clone: Path) -> None:
    refused = run(clone, "faults", up=PERSONS)
    assert refused.returncode == 2 and "on which the site retailflow runs too" in refused.stderr
    assert not (clone / "made").exists() and not (clone / "tested").exists()
    assert run(clone, "faults", up=PERSONS, SITE="main").returncode == 0
    assert (clone / "tested").read_text().startswith("none -s tests/stack/")
