"""The module lambda_package: equal inputs give an equal zip, and only what changed builds again."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import lambda_package as package

ROOT = Path(__file__).parents[2]

# Stands for uv: writes what a wheel would bring into the folder after --target.
# The shell starts Python, because a path with a space cannot stand in the first line; to Python its line is a string.
UV = f"""#!/bin/sh
"exec" "{sys.executable}" "$0" "$@"
import pathlib, sys
root = pathlib.Path(sys.argv[sys.argv.index("--target") + 1])
for path in ("lib/__init__.py", "lib/tests/test_lib.py", "lib/native.so", "lib/header.h", "bin/tool",
             "lib-1.0.dist-info/RECORD", "lib-1.0.dist-info/METADATA"):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text("x = 1\\n")
"""


@pytest.fixture
def params(tmp_path: Path) -> dict[str, Any]:
    source = tmp_path / "src"
    (source / "own/__pycache__").mkdir(parents=True)
    (source / "own/__init__.py").write_text("def handler(event, context):\n    return event\n")
    (source / "own/shop.toml").write_text("a = 1\n")
    (source / "own/__pycache__/old.cpython-311.pyc").write_bytes(b"left behind")
    (tmp_path / "requirements.txt").write_text("lib==1.0 --hash=sha256:00\n")
    (tmp_path / "uv").write_text(UV)
    (tmp_path / "uv").chmod(0o755)
    return {
        "dest": str(tmp_path / "out/function.zip"),
        "source": str(source),
        "requirements": str(tmp_path / "requirements.txt"),
        "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",
        "platform": "x86_64-manylinux2014",
        "strip": ["*/tests/*"],
        "uv": str(tmp_path / "uv"),
        "cache_dir": str(tmp_path / "cache"),
        "max_mb": 40,
    }


def build(params: dict[str, Any]) -> bytes:
    package.build(params, package.digest_of(params))
    return Path(params["dest"]).read_bytes()


def test_the_zip_holds_what_the_function_needs(params: dict[str, Any]) -> None:
    build(params)
    tag = sys.implementation.cache_tag
    with zipfile.ZipFile(params["dest"]) as archive:
        assert sorted(archive.namelist()) == [
            "lib-1.0.dist-info/METADATA",
            "lib/__init__.py",
            f"lib/__pycache__/__init__.{tag}.pyc",
            "lib/native.so",
            "own/__init__.py",
            f"own/__pycache__/__init__.{tag}.pyc",
            "own/shop.toml",
        ]
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}


def test_equal_inputs_give_equal_bytes(params: dict[str, Any]) -> None:
    assert build(params) == build(params)
    assert not list(Path(params["dest"]).parent.glob(".build-*"))


@pytest.mark.parametrize("changed", ["src/own/shop.toml", "src/own/new.py", "requirements.txt"])
def test_a_changed_input_is_noticed(params: dict[str, Any], tmp_path: Path, changed: str) -> None:
    build(params)
    dest = Path(params["dest"])
    assert package.digest_in(dest) == package.digest_of(params)
    (tmp_path / changed).write_text("b = 2\n")
    assert package.digest_in(dest) != package.digest_of(params)


def test_what_python_leaves_behind_is_no_input(params: dict[str, Any]) -> None:
    before = package.digest_of(params)
    Path(params["source"], "own/__pycache__/new.pyc").write_bytes(b"new")
    assert package.digest_of(params) == before


@pytest.mark.parametrize("content", [None, b"", b"not a zip"])
def test_a_zip_that_is_missing_or_broken_is_built_again(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "function.zip").write_bytes(content)
    assert package.digest_in(tmp_path / "function.zip") == ""


def test_a_zip_that_is_too_large_leaves_the_old_one(params: dict[str, Any]) -> None:
    before = build(params)
    with pytest.raises(ValueError, match="more than 0 MB"):
        package.build(params | {"max_mb": 0}, "new")
    assert Path(params["dest"]).read_bytes() == before


@pytest.mark.parametrize("processor", ["x86_64", "aarch64"])
def test_the_pins_have_wheels_for_the_processor_of_the_machine(processor: str) -> None:
    """On one machine the function runs on its processor; each has one platform of wheels, and another runtime of Lambda's."""
    architecture = {"aarch64": "arm64"}.get(processor, processor)
    role = ROOT / "roles/lambda-generator"
    platforms = yaml.safe_load((role / "vars/main.yml").read_text())["__lambda_generator_platforms"]
    spec = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert sorted(platforms) == sorted(spec["lambda_generator_architecture"]["choices"])
    assert platforms[architecture].startswith(f"{processor}-manylinux")
    local = yaml.safe_load((ROOT / "inventory/group_vars/local/main.yml").read_text())
    assert local["retailflow_processors"].get(processor, "x86_64") == architecture
