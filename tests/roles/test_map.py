"""The map of the folders in docs/architecture.md is the tree's, and no folder uses one that it may not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import map as folders


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tree of three folders; its files are found as those of a clone are."""
    for name in (
        "roles/web/meta",
        "roles/web/tasks",
        "lambda/src",
        "inventory",
        "dbt/models/marts",
        "terraform",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "dbt/models/marts/sums.sql").touch()
    (tmp_path / "inventory/network.yml").touch()
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(folders, "ROOT", tmp_path)
    return tmp_path


def test_the_map_is_fresh() -> None:
    assert folders.document() == folders.DOCUMENT.read_text(encoding="utf-8"), "run tools/map.py --write"


def test_no_folder_uses_one_that_it_may_not() -> None:
    assert folders.forbidden() == []


def test_every_folder_is_on_the_map() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=folders.ROOT, check=True, capture_output=True, text=True
    ).stdout
    tops = {line.split("/")[0] for line in listed.split("\n") if "/" in line and not line.startswith(".")}
    assert tops - set(folders.ROOMS) == {"docs"}, "give it a line in ROOMS of tools/map.py"


@pytest.mark.parametrize(
    ("path", "text", "tie"),
    [
        (
            "terraform/a.tf",
            'x = file("${path.module}/../inventory/network.yml")\n',
            ("terraform", "inventory"),
        ),
        ("inventory/a.yml", 'x: "{{ root }}/lambda/src"\n', ("inventory", "lambda")),
        (
            "lambda/src/a.py",
            "def f():\n    from retailflow_emulators.airbyte import api\n",
            ("lambda", "emulators"),
        ),
        ("lambda/src/a.py", "import retailflow_dagster.lib as lib\n", ("lambda", "dagster")),
        ("inventory/a.yml", "- ansible.builtin.include_role:\n    name: web\n", ("inventory", "roles")),
        ("roles/web/tasks/a.yml", "sql: select NET from ANALYTICS.MARTS.SUMS\n", ("roles", "dbt")),
    ],
)
def test_a_tie_is_found(tree: Path, path: str, text: str, tie: tuple[str, str]) -> None:
    (tree / path).write_text(text)
    assert list(folders.ties()) == [tie]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("inventory/a.yml", "# see lambda/src\nx: 1 # and lambda/src\n"),
        ("inventory/a.yml", "x: /somewhere/else/lambda/src\n"),
        ("inventory/a.yml", "x: lambda/missing\n"),
        (
            "lambda/src/a.py",
            '"""As retailflow_emulators does, and lambda/src."""\nX = "retailflow_emulators"\n',
        ),
    ],
)
def test_a_comment_and_a_path_elsewhere_are_no_tie(tree: Path, path: str, text: str) -> None:
    (tree / path).write_text(text)
    assert folders.ties() == {}


def test_a_forbidden_tie_is_named_with_what_makes_it(tree: Path) -> None:
    (tree / "lambda/src/a.py").write_text("import retailflow_emulators\n")
    assert folders.forbidden() == ["lambda may not use emulators, and does by import retailflow_emulators"]


def test_a_role_knows_who_includes_it(tree: Path) -> None:
    shutil.copytree(tree / "roles/web", tree / "roles/shop")
    (tree / "roles/shop/tasks/main.yml").write_text("- ansible.builtin.include_role:\n    name: web\n")
    (tree / "playbooks").mkdir()
    (tree / "playbooks/a.yml").write_text("- hosts: all\n  roles:\n    - role: web\n")
    assert folders.roles() == {"shop": (set(), set()), "web": ({"a"}, {"shop"})}
