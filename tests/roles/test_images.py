"""The list of images: what it names is there, and what is there is in it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FACTS = yaml.safe_load((ROOT / "inventory/group_vars/all/images.yml").read_text(encoding="utf-8"))
IMAGES: dict[str, dict[str, Any]] = {one["name"]: one for one in FACTS["images"]}
# Made on the control node before the build, so not part of the repository.
GENERATED = ".cache/ca-certificates"

each_image = pytest.mark.parametrize("name", IMAGES)


def copied(dockerfile: Path) -> list[str]:
    """Return the sources of a Dockerfile's COPY lines."""
    lines = re.findall(r"^COPY (.+)$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
    words = [[word for word in line.split() if not word.startswith("--")] for line in lines]
    return [source.rstrip("/") for line in words for source in line[:-1]]


def with_bases(names: list[str]) -> set[str]:
    """Return images and what they are built on, as far as it is in the list."""
    found = set()
    for name in names:
        while name in IMAGES and name not in found:
            found.add(name)
            name = IMAGES[name]["base"]
    return found


def test_every_dockerfile_is_in_its_folder_and_listed_once() -> None:
    folders = ("images", "roles", "lambda", "emulators", "dbt", "dagster", "molecule", "bench", "tests")
    found = {
        str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).glob("**/Dockerfile*")
    }
    # The control node's is built by ./retailflow, before there is an Ansible that could build it.
    assert found == {one["dockerfile"] for one in FACTS["images"]} | {"images/control/Dockerfile"}
    assert len(IMAGES) == len(FACTS["images"])
    for name, one in IMAGES.items():
        assert one["dockerfile"] == f"images/{name}/Dockerfile"


@each_image
def test_a_context_holds_what_its_dockerfile_copies(name: str) -> None:
    image = IMAGES[name]
    for path in [*image.get("paths", []), image["dockerfile"]]:
        assert path == GENERATED or (ROOT / path).exists(), path
    for source in copied(ROOT / image["dockerfile"]):
        assert any(f"{source}/".startswith(f"{path}/") for path in image.get("paths", [])), source


@each_image
def test_a_base_is_in_the_list_or_the_one_of_the_target(name: str) -> None:
    assert IMAGES[name]["base"] in [*IMAGES, "{{ retailflow_base_image }}"]


def test_every_image_is_needed_by_a_target() -> None:
    emulated = yaml.safe_load((ROOT / "roles/local-cloud/vars/main.yml").read_text(encoding="utf-8"))
    local = with_bases([*emulated["__local_cloud_image_names"], *FACTS["images_pulled"]["local"]])
    assert local == set(IMAGES)
    aws = with_bases(FACTS["images_pulled"]["aws"])
    assert aws == {"base", "python", "dagster-dbt"}, "AWS needs no image of the emulated cloud"


@pytest.mark.parametrize("name", ["shop", 'a"b', "a'b", "a b$c;--", "100%s", "ä\\n"])
def test_the_postgres_image_makes_a_database_of_any_name(name: str, tmp_path: Path) -> None:
    """`initdb` and `postgres` stand in for PostgreSQL's: what they are given is under test."""
    programs = {
        "initdb": 'new=${1#*=}; mkdir -p "$new"; cat > "$HOME/password"; touch "$new/PG_VERSION"',
        "postgres": 'if [ "$1" = --single ]; then cat > "$HOME/sql"; fi',
        "id": "echo 1000",
    }
    for program, text in programs.items():
        (tmp_path / program).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / program).chmod(0o755)
    password = 'it\'s $HOME \\ "100 %s"'
    (tmp_path / "secret").write_text(password)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PGDATA": str(tmp_path / "data"),
        "POSTGRES_USER": "o'wner",
        "POSTGRES_DB": name,
        "POSTGRES_PASSWORD_FILE": str(tmp_path / "secret"),
    }
    command = ["sh", str(ROOT / "images/postgres/entrypoint.sh"), "postgres"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    doubled = name.replace('"', '""')
    assert (tmp_path / "sql").read_text() == f'create database "{doubled}"\n'
    assert (tmp_path / "password").read_text() == f"{password}\n"
    assert (tmp_path / "data/PG_VERSION").exists()
