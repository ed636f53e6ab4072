"""`make rotate` and its files: bad input changes nothing, and a rotation that was cut off anywhere ends well."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import clone as clones
import secret_rotation
import warm_python

ROOT = Path(__file__).parents[2]
PLAYBOOKS = ROOT / "playbooks"
TABLE: dict[str, dict[str, Any]] = yaml.safe_load((PLAYBOOKS / "vars/secrets.yml").read_text())[
    "retailflow_secrets"
]
KNOWN: dict[str, dict[str, Any]] = {
    "db_admin": {"group": "postgres", "files": ["db_admin"], "length": 32},
    "db_dagster": {"group": "postgres", "files": ["db_dagster"], "length": 32},
    "snowflake_dbt": {"group": "snowflake", "files": ["snowflake_dbt.p8", "snowflake_dbt.pub"]},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    made.mkdir()
    for one in KNOWN.values():
        for file in one["files"]:
            (made / file).write_text(f"old {file}\n")
    return made


def rotation(folder: Path, values: dict[str, str] | None = None) -> secret_rotation.Rotation:
    return secret_rotation.Rotation(folder, KNOWN, values)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


# --- what is asked for -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("all", list(KNOWN)),
        ("db-dagster", ["db_dagster"]),
        ("snowflake, db_admin", ["db_admin", "snowflake_dbt"]),
        (" postgres ", ["db_admin", "db_dagster"]),
    ],
)
def test_names_groups_and_all_are_understood(folder: Path, what: str, names: list[str]) -> None:
    asked = rotation(folder)
    asked.plan(what)
    assert asked.names == asked.waiting == names and not asked.resumed


@pytest.mark.parametrize("what", ["db_admn", "postgres db_admn", "", " , ", "../db_admin", "all db_admn"])
def test_a_wrong_name_gets_the_list_of_valid_ones(folder: Path, what: str) -> None:
    before = contents(folder)
    with pytest.raises(secret_rotation.RotationError) as refused:
        rotation(folder).plan(what)
    assert all(name in str(refused.value) for name in [*KNOWN, "postgres", "snowflake", "all"])
    assert contents(folder) == before


def test_a_secret_of_the_operators_own_variables_is_named_and_left_alone(folder: Path) -> None:
    own = {"db_admin": "from the vault", "db_dagster": "old db_dagster"}
    with pytest.raises(secret_rotation.RotationError, match="db_admin is given by your own variables"):
        rotation(folder, own).plan("db_admin")
    asked = rotation(folder, own)
    asked.plan("all")
    assert (asked.names, asked.skipped) == (["db_dagster", "snowflake_dbt"], ["db_admin"])
    with pytest.raises(secret_rotation.RotationError, match="db_admin, db_dagster are given"):
        rotation(folder, dict.fromkeys(("db_admin", "db_dagster"), "own")).plan("postgres")


def test_a_journal_that_cannot_be_read_is_refused(folder: Path) -> None:
    (folder / "next").mkdir()
    (folder / "next/rotation.json").write_text("{")
    with pytest.raises(secret_rotation.RotationError, match="rotation.json cannot be read"):
        rotation(folder)


# --- step by step ------------------------------------------------------------------------------------------------------------


def make(folder: Path, what: str = "all") -> None:
    making = rotation(folder)
    making.plan(what)
    making.make()
    for name in making.waiting:  # as the role snowflake does
        for file in KNOWN[name]["files"]:
            if not KNOWN[name].get("length") and not (folder / "next" / file).exists():
                (folder / "next" / file).write_text(f"new {file}\n")


def whole(folder: Path) -> None:
    """What the playbook does with files, from the beginning."""
    make(folder)
    exchanging = rotation(folder)
    exchanging.exchange(exchanging.names)
    rotation(folder).finish()


def test_new_secrets_wait_beside_the_old_ones_and_then_take_their_places(folder: Path) -> None:
    before = contents(folder)
    make(folder)
    assert {name: text for name, text in contents(folder).items() if "/" not in name} == before
    waiting = {name: (folder / "next" / name).read_text() for name in before}
    assert all(waiting[name] != before[name] for name in before)
    assert re.fullmatch(r"[A-Za-z0-9]{32}\n", waiting["db_admin"])
    assert {path.stat().st_mode & 0o777 for path in (folder / "next").glob("db_*")} == {0o600}
    assert (folder / "next").stat().st_mode & 0o777 == 0o700

    exchanging = rotation(folder)
    assert exchanging.resumed
    exchanging.exchange(exchanging.names)
    assert {name: (folder / name).read_text() for name in before} == waiting
    assert {name: (folder / "old" / name).read_text() for name in before} == before

    rotation(folder).finish()
    assert contents(folder) == waiting


class CutError(Exception):
    """The run ends here."""


def test_a_rotation_that_is_cut_off_anywhere_ends_well(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change of a file is the last of one run; the next run goes on from there."""
    before = contents(folder)
    real: dict[str, Callable[..., Any]] = {
        name: getattr(Path, name) for name in ("replace", "unlink", "mkdir", "rmdir")
    }
    left = 0

    def cut(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            if left == 0:
                raise CutError
            left -= 1
            return real[name](*arguments, **named)

        return call

    for name in real:
        monkeypatch.setattr(Path, name, cut(name))
    cuts = 0
    for moment in range(200):
        left = 10**6
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        for name, text in before.items():
            (folder / name).write_text(text)
        left = moment
        try:
            whole(folder)
        except CutError:
            cuts += 1
        left = 10**6
        present = {name: (folder / name).read_text() for name in before}
        begun = (folder / "next/rotation.json").exists()
        if not begun:
            # Not begun or done: nothing remembers it, so all must be old, or all new.
            assert present == before or all(present[name] != before[name] for name in before)
        else:
            make(folder)
            made = {
                name: (
                    folder / "next" / name if (folder / "next" / name).exists() else folder / name
                ).read_text()
                for name in before
            }
            going_on = rotation(folder)
            going_on.exchange(going_on.names)
            rotation(folder).finish()
            assert contents(folder) == made, "a new secret that was used already is not made a second time"
            assert all(made[name] != before[name] for name in before)
        if cuts <= moment:
            break
    assert 20 < cuts < 200, "every change was the last one once"


def test_nothing_takes_its_place_while_a_new_one_is_missing(folder: Path) -> None:
    make(folder)
    (folder / "next/snowflake_dbt.pub").unlink()
    before = contents(folder)
    exchanging = rotation(folder)
    with pytest.raises(secret_rotation.RotationError, match=r"next/snowflake_dbt\.pub: not made yet"):
        exchanging.exchange(exchanging.names)
    assert contents(folder) == before


def test_the_old_ones_are_not_forgotten_before_the_new_ones_are_in_place(folder: Path) -> None:
    make(folder)
    with pytest.raises(secret_rotation.RotationError, match="has not taken its place yet"):
        rotation(folder).finish()
    assert rotation(folder).resumed


def test_more_can_be_asked_for_when_it_goes_on(folder: Path) -> None:
    make(folder, "db_admin")
    exchanging = rotation(folder)
    exchanging.exchange(["db_admin"])
    current = (folder / "db_admin").read_text()
    make(folder, "db_dagster")
    going_on = rotation(folder)
    assert (going_on.names, going_on.waiting) == (["db_admin", "db_dagster"], ["db_dagster"])
    going_on.exchange(going_on.names)
    rotation(folder).finish()
    assert (folder / "db_admin").read_text() == current


def test_a_secret_that_cannot_be_rotated_is_left_alone_and_says_why(folder: Path) -> None:
    known = KNOWN | {"aws_operator": {"files": [], "fixed": "it ends with the API"}}
    asked = secret_rotation.Rotation(folder, known)
    asked.plan("all")
    assert asked.names == list(KNOWN) and asked.skipped == []
    with pytest.raises(
        secret_rotation.RotationError, match="aws_operator is not rotated: it ends with the API"
    ):
        secret_rotation.Rotation(folder, known).plan("db_admin aws_operator")


def test_the_old_key_of_backups_stays_under_a_name_of_its_own(folder: Path) -> None:
    known = {"backup": {"files": ["backup_key", "backup_key.pub"], "keeps": True}}
    for generation in ("first", "second", "third"):
        for file in known["backup"]["files"]:  # type: ignore[attr-defined]
            (folder / file).write_text(f"{generation} {file}\n")
        making = secret_rotation.Rotation(folder, known)
        making.plan("backup")
        making.make()
        for file in known["backup"]["files"]:  # type: ignore[attr-defined]
            (folder / "next" / file).write_text(f"after {generation} {file}\n")
        (kept,) = secret_rotation.Rotation(folder, known).kept
        assert (folder / kept).read_text() == f"{generation} backup_key\n"
        assert (folder / kept).stat().st_mode & 0o777 == 0o600
        secret_rotation.Rotation(folder, known).exchange(["backup"])
        secret_rotation.Rotation(folder, known).finish()
    assert len(list(folder.glob("backup_key.????????"))) == 3


def test_a_new_password_has_a_letter_and_a_digit() -> None:
    for _ in range(200):
        assert re.fullmatch(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9]{2}", secret_rotation.password(2))


# --- the table ---------------------------------------------------------------------------------------------------------------


def in_the_inventory() -> set[str]:
    """Files of the folder of secrets that the inventory names."""
    texts = [path.read_text() for path in (ROOT / "inventory").rglob("*.yml")]
    named = {
        name
        for text in texts
        for form in (r"retailflow_secrets_dir ~ '/([^']+)'", r"\{\{ retailflow_secrets_dir \}\}/([\w.]+)")
        for name in re.findall(form, text)
    }
    users = yaml.safe_load((ROOT / "inventory/group_vars/all/main.yml").read_text())[
        "retailflow_snowflake_users"
    ]
    return {name for name in named if not name.startswith(("old/", "next/"))} | {
        f"snowflake_{user}.p8" for user in users
    }


def rows() -> list[list[str]]:
    """The cells of the table in the documentation."""
    text = (ROOT / "docs/operations.md").read_text()
    section = text[text.index("## New secrets") :].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_every_secret_of_the_inventory_is_in_the_table() -> None:
    files = {file for one in TABLE.values() for file in one["files"]} | {
        name for name, one in TABLE.items() if one.get("fixed")
    }
    assert in_the_inventory() - files == set(), "make rotate forgets a secret"
    told = "\n".join(cell for row in rows() for cell in row[:2])
    assert [name for name in TABLE if f"`{name}`" not in told] == []
    groups = {one["group"] for one in TABLE.values() if one.get("group")} - set(TABLE)
    assert [group for group in groups if f"(group `{group}`)" not in told] == []


def test_every_secret_says_what_happens_when_its_file_is_lost() -> None:
    assert rows() and all(len(row) == 5 and all(row) for row in rows())


def test_a_private_key_moves_before_what_is_derived_from_it() -> None:
    for one in TABLE.values():
        derived = [file for file in one["files"] if file.endswith((".pub", ".crt"))]
        assert one["files"] == [file for file in one["files"] if file not in derived] + derived


# --- the playbook ------------------------------------------------------------------------------------------------------------


def rotate(tmp_path: Path, what: str) -> tuple[int, str, Path]:
    """`make rotate` in a clone whose site is known, as far as it goes without hosts."""
    root = clones.make(tmp_path / "clone")
    (root / "playbooks/own.yml").write_text(
        """---
- hosts: control
  vars_files: [vars/secrets.yml]
  tasks:
    - secret_rotation:
        folder: "{{ retailflow_secrets_dir }}"
        state: planned
        what: "{{ retailflow_rotate | default('all', true) }}"
        secrets: "{{ retailflow_secrets }}"
        values: "{{ retailflow_secret_values }}"
"""
    )
    secrets = root / ".secrets/local"
    secrets.mkdir(parents=True)
    for name in ("airbyte", "dbt", "metabase"):
        (secrets / f"snowflake_{name}.p8").write_text(f"private key of {name}\n")
    done = subprocess.run(
        [
            "tools/clean-env",
            *warm_python.playbook(),
            "-i",
            "inventory/local.yml",
            "playbooks/own.yml",
            "-e",
            json.dumps({"retailflow_rotate": what}),
        ],
        cwd=root,
        env={"PATH": f"{root}/bin:{os.environ['PATH']}", "HOME": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split()), root


def test_the_playbook_names_the_valid_ones_and_prints_no_secret(tmp_path: Path) -> None:
    code, text, root = rotate(tmp_path, "postgres, nothing")
    assert code != 0
    assert "WHAT=nothing is no secret of this site" in text and "db_generator" in text
    kept = [path.read_text().strip() for path in (root / ".secrets/local").iterdir()]
    assert kept and not [secret for secret in kept if secret in text]
    assert not (root / ".secrets/local/next").exists()


def test_the_steps_are_numbered() -> None:
    plays = yaml.safe_load((PLAYBOOKS / "rotate.yml").read_text())
    steps = [re.match(r"\((\d)/(\d)\) Rotate \| ", play["name"]) for play in plays]
    assert all(steps)
    numbers = [int(step[1]) for step in steps if step]
    last = max(numbers)
    assert numbers == sorted(numbers) and set(numbers) == set(range(1, last + 1))
    assert {int(step[2]) for step in steps if step} == {last}
