"""`make down` removes the site of its own target, and fails where it cannot instead of leaving one behind."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from server_support import ROOT

PATH = "/usr/bin:/bin"


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clone in which both targets hold something, with a tools/machine and a docker that only say so."""
    for target in ("local", "aws"):
        for kind in (".state", ".secrets"):
            (tmp_path / kind / target).mkdir(parents=True)
            (tmp_path / kind / target / "kept").write_text("")
    (tmp_path / "tools").mkdir()
    for name in ("take-down", "made"):
        shutil.copy(ROOT / "tools" / name, tmp_path / "tools" / name)
    program(tmp_path / "tools/machine", 'echo "machine $*"')
    program(tmp_path / "bin/docker", "exit 1")
    return tmp_path


def down(folder: Path, target: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["tools/take-down", target, "-i inventory"],
        cwd=folder,
        env={"PATH": f"{folder}/bin:{folder}/.venv/bin:{PATH}", "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def held(folder: Path, target: str) -> bool:
    return all((folder / kind / target / "kept").exists() for kind in (".state", ".secrets"))


def test_without_the_virtual_environment_a_site_on_aws_is_not_forgotten(folder: Path) -> None:
    done = down(folder, "aws")
    assert done.returncode == 1
    assert "the virtual environment is missing, so nothing was removed on AWS" in done.stderr
    assert held(folder, "aws") and held(folder, "local")


def test_nor_is_one_that_was_made_from_another_folder(folder: Path) -> None:
    for kind in (".state", ".secrets"):
        shutil.rmtree(folder / kind / "aws")
    done = down(folder, "aws")
    assert (done.returncode, done.stderr) == (0, "")
    assert "AWS was not asked" in done.stdout
    (folder / "inventory/group_vars/aws").mkdir(parents=True)
    (folder / "inventory/group_vars/aws/site.yml").write_text("---\n")
    assert down(folder, "aws").returncode == 1


def test_without_the_engine_a_local_site_is_not_forgotten(folder: Path) -> None:
    program(folder / ".venv/bin/ansible-playbook", "exit 3")
    done = down(folder, "local")
    assert done.returncode == 1
    assert "no Docker engine answers, so nothing was removed" in done.stderr
    assert held(folder, "local") and held(folder, "aws")


def test_without_the_virtual_environment_a_local_site_is_not_forgotten(folder: Path) -> None:
    program(folder / "bin/docker", "exit 0")
    done = down(folder, "local")
    assert done.returncode == 1
    assert "the virtual environment is missing, so nothing was removed" in done.stderr
    assert held(folder, "local")


def test_an_engine_of_our_own_that_is_off_takes_its_site_along_and_leaves_the_other_target(
    folder: Path,
) -> None:
    (folder / ".state/machine/docker").mkdir(parents=True)
    (folder / ".env").write_text("RETAILFLOW_TARGET=aws\n")
    assert down(folder, "local").returncode == 0
    assert not (folder / ".state/local").exists() and not (folder / ".secrets/local").exists()
    assert held(folder, "aws") and (folder / ".env").exists()


@pytest.mark.parametrize("target", ["local", "aws"])
def test_a_teardown_that_fails_or_is_not_confirmed_fails_the_command(folder: Path, target: str) -> None:
    program(folder / "bin/docker", "exit 0")
    program(folder / ".venv/bin/ansible-playbook", f'echo "$*" > {folder}/typed; exit 2')
    done = down(folder, target)
    assert done.returncode == 2
    assert (folder / "typed").read_text() == "-i inventory teardown.yml\n"
    assert "machine" not in done.stdout, "the engine is not touched"
    assert held(folder, "local") and held(folder, "aws")


# --- a site beside the inventory's own ----------------------------------------------------------------------------------


@pytest.fixture
def two(folder: Path) -> Path:
    """The folder with a second site, and a teardown that removes what it is told to."""
    for kind in (".state", ".secrets"):
        (folder / kind / "local-staging").mkdir()
    teardown = (
        'echo "$SITE $*" >> typed; rm -rf ".state/local${SITE:+-$SITE}" ".secrets/local${SITE:+-$SITE}"'
    )
    program(folder / ".venv/bin/ansible-playbook", teardown)
    program(folder / "bin/docker", "exit 0")
    (folder / ".state/terraform.rc").touch()
    return folder


def test_a_site_that_was_never_made_is_no_site_that_is_gone(two: Path) -> None:
    done = down(two, "local", SITE="stagin")
    assert done.returncode == 1 and "no site stagin of the target local was made here" in done.stderr
    assert "These were: the inventory's own, staging" in done.stderr
    assert not (two / "typed").exists() and held(two, "local")


@pytest.mark.parametrize("first", ["staging", ""])
def test_the_machine_is_put_back_with_the_last_site_alone(two: Path, first: str) -> None:
    done = down(two, "local", SITE=first)
    assert done.returncode == 0, done.stderr
    assert "machine" not in done.stdout and "packages that were installed here: they stay" in done.stdout
    assert (two / ".state/terraform.rc").exists(), "the other site's next run reads it"
    assert (two / ".state/local").exists() == bool(first)
    assert (two / ".state/local-staging").exists() == (not first)
    last = down(two, "local", SITE="" if first else "staging")
    assert last.returncode == 0 and "machine down" in last.stdout
    assert not (two / ".state/terraform.rc").exists() and held(two, "aws")


def test_an_engine_that_is_off_is_not_thrown_away_with_the_other_site(two: Path) -> None:
    program(two / "bin/docker", "exit 1")
    (two / ".state/machine/docker").mkdir(parents=True)
    done = down(two, "local", SITE="staging")
    assert done.returncode == 1 and "it holds another site too, so nothing was removed" in done.stderr
    assert (two / ".state/local-staging").exists() and held(two, "local")
