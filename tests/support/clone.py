"""A clone of the project for tests of what people type: its tools and playbooks, with this virtual environment."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = str(ROOT / ".venv/bin/python")
FOLDERS = ("tools", "inventory", "library", "module_utils", "playbooks")
FILES = ("Makefile", "ansible.cfg", "site.yml", "teardown.yml", "requirements.txt", "requirements-lint.txt")


def make(root: Path) -> Path:
    """Fill a folder; the roles are this clone's own, and the virtual environment holds Python alone."""
    root.mkdir()
    for part in FOLDERS:
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__", "site.yml"))
    (root / "roles").symlink_to(ROOT / "roles")
    for name in FILES:
        shutil.copy(ROOT / name, root)
    (root / ".venv/bin").mkdir(parents=True)
    python = root / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec {PYTHON} "$@"\n')
    python.chmod(0o755)
    both = (root / "requirements.txt").read_bytes() + (root / "requirements-lint.txt").read_bytes()
    stamp = subprocess.run(["sha256sum"], input=both, capture_output=True, check=True).stdout
    (root / ".venv/requirements.sha256").write_bytes(stamp)
    return root


def program(path: Path, text: str) -> Path:
    """Write a shell script that stands for a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
