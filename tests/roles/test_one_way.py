"""What CONTRIBUTING.md says has one way and no tool checks: imports of our own packages, the licence, the version."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path for path in [*ROOT.glob("*/src/retailflow_*"), ROOT / "bench"] if path.is_dir())


def tracked(pattern: str) -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / line for line in listed if (ROOT / line).is_file()]


def absolute(package: Path, file: Path) -> list[str]:
    """The imports by which a file inside a package names the package itself."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        found += [f"{file.name}:{node.lineno} {name}" for name in names if name.split(".")[0] == package.name]
    return found


def test_a_package_imports_itself_relatively() -> None:
    assert len(PACKAGES) == 4
    found = [
        line
        for package in PACKAGES
        for file in sorted(package.rglob("*.py"))
        if "tests" not in file.parts
        for line in absolute(package, file)
    ]
    assert found == []


def test_an_absolute_import_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    file = tmp_path / "shop/a.py"
    file.write_text(
        "from .b import c\nimport shop.b\n\ndef f():\n    from shop import b\n    import shopping\n"
    )
    assert absolute(tmp_path / "shop", file) == ["a.py:2 shop.b", "a.py:5 shop"]


def test_one_file_holds_the_licence() -> None:
    mark = "SPDX-" + "License"
    assert [
        path.name for path in tracked("*") if path.suffix != ".md" and mark.encode() in path.read_bytes()
    ] == []
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_changelog_begins_with_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    heads = re.findall(r"^## \[(.+?)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert heads[0][0] == version
    assert heads == sorted(heads, key=lambda head: head[1], reverse=True)
