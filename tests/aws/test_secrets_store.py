"""The secrets of a site in the Parameter Store: a clone without them gets them back, and nothing is ever overwritten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import moto_support
import secrets_store

from . import aws_support

SECRETS = {"db_admin": "hunter2\n", "id_ed25519": "-----BEGIN KEY-----\nä\n", "snowflake_dbt.p8": "x" * 1704}


@pytest.fixture
def ssm() -> Iterator[Any]:
    with moto_support.account("ssm", region="eu-central-1") as clients:
        yield clients["ssm"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the clone that makes the site."""
    made = tmp_path / "first"
    made.mkdir()
    for name, value in SECRETS.items():
        (made / name).write_text(value)
    (made / ".half-written").write_text("no secret")
    (made / "folder").mkdir()
    return made


def store(ssm: Any, folder: Path, check: bool = False, **tags: str) -> Any:
    return secrets_store.Store(ssm, "/shop", folder, tags or {"Project": "shop"}, check)


def ensure(ssm: Any, folder: Path, check: bool = False) -> list[str]:
    ensured = store(ssm, folder, check)
    ensured.ensure()
    return list(ensured.actions)


def test_every_secret_is_stored_once_and_encrypted(ssm: Any, folder: Path) -> None:
    planned = ensure(ssm, folder, check=True)
    assert ssm.describe_parameters()["Parameters"] == [], "check mode stores nothing"
    assert planned == ensure(ssm, folder) == [f"store {name}" for name in sorted(SECRETS)]
    assert ensure(ssm, folder) == []
    listed = ssm.describe_parameters()["Parameters"]
    assert {one["Name"]: one["Type"] for one in listed} == {
        f"/shop/{name}": "SecureString" for name in SECRETS
    }


def test_a_clone_without_secrets_gets_the_same_ones(ssm: Any, folder: Path, tmp_path: Path) -> None:
    ensure(ssm, folder)
    second = tmp_path / "second/.secrets/aws"
    fetched = store(ssm, second)
    fetched.fetch()
    assert {path.name: path.read_text() for path in second.iterdir()} == SECRETS
    assert second.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in second.iterdir()} == {0o600}
    assert ensure(ssm, second) == ensure(ssm, folder) == []


def test_a_copy_that_differs_is_refused_by_name_and_nothing_changes(
    ssm: Any, folder: Path, tmp_path: Path
) -> None:
    ensure(ssm, folder)
    (folder / "db_admin").write_text("another\n")
    (folder / "id_ed25519").unlink()
    (folder / "new").write_text("new")
    for work in ("fetch", "ensure"):
        with pytest.raises(secrets_store.DifferenceError, match="first/db_admin differ") as refused:
            getattr(store(ssm, folder), work)()
        assert "another" not in str(refused.value) and "hunter2" not in str(refused.value)
    assert not (folder / "id_ed25519").exists()
    assert len(ssm.describe_parameters()["Parameters"]) == len(SECRETS)


def test_a_rotation_replaces_what_is_stored_by_the_new_files_alone(
    ssm: Any, folder: Path, tmp_path: Path
) -> None:
    ensure(ssm, folder)
    (folder / "next").mkdir()
    (folder / "next/db_admin").write_text("new\n")
    (folder / "next/added").write_text("first\n")
    replaced = store(ssm, folder)
    names = ["db_admin", "added", "id_ed25519"]
    replaced.replace(names)
    assert replaced.actions == ["replace db_admin", "store added"], "a file without a new one is as it was"
    second = tmp_path / "second"
    store(ssm, second).fetch()
    assert {path.name: path.read_text() for path in second.iterdir()} == SECRETS | {
        "db_admin": "new\n",
        "added": "first\n",
    }
    # It was cut off here: the file is the old one, the store has the new one.
    with pytest.raises(
        secrets_store.DifferenceError, match="a rotation of db_admin was cut off. Run make rotate"
    ):
        ensure(ssm, folder)
    again = store(ssm, folder)
    again.replace(names)
    assert again.actions == []
    for name in ("db_admin", "added"):
        (folder / "next" / name).replace(folder / name)
    assert ensure(ssm, folder) == []


def test_parameters_of_somebody_else_are_left_alone(ssm: Any, folder: Path) -> None:
    ssm.put_parameter(Name="/shop/db_admin", Value="theirs", Type="SecureString")
    for work, given in (("fetch", []), ("ensure", []), ("remove", []), ("replace", [["db_admin"]])):
        with pytest.raises(secrets_store.ForeignError, match="/shop/db_admin lacks the tag Project=shop"):
            getattr(store(ssm, folder), work)(*given)
    assert len(ssm.describe_parameters()["Parameters"]) == 1


def test_other_sites_are_not_touched(ssm: Any, folder: Path) -> None:
    ssm.put_parameter(Name="/shop-2/db_admin", Value="theirs", Type="SecureString")
    ensure(ssm, folder)
    removed = store(ssm, folder)
    removed.remove()
    assert removed.actions == [f"remove {name}" for name in sorted(SECRETS)]
    assert [one["Name"] for one in ssm.describe_parameters()["Parameters"]] == ["/shop-2/db_admin"]
    assert {path.name for path in folder.iterdir()} > set(SECRETS), "the files stay"


# --- by the playbooks' own tasks -------------------------------------------------------------------------------------------

PLAY = """---
- hosts: control
  environment: "{{ retailflow_aws_environment }}"
  tasks:
    - ansible.builtin.import_tasks: tasks/secrets.yml
"""


def test_a_second_operator_gets_the_passwords_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    with aws_support.moto(tmp_path) as url:
        site = aws_support.clone(tmp_path / "site", url, 9)
        (site.root / "playbooks/own.yml").write_text(PLAY)
        folder = site.root / ".secrets/aws"

        def run(state: str) -> aws_support.Run:
            return site.play("playbooks/own.yml", "-e", f"retailflow_secrets_state={state}")

        first = run("present")
        assert first.ok and first.changed == 1, first.text
        kept = {path.name: path.read_text() for path in folder.iterdir()}
        assert {"db_admin", "db_dagster", "metabase_encryption"} <= set(kept)
        assert not [value for value in kept.values() if value.strip() in first.text], "nothing is printed"
        shutil.rmtree(folder)
        fetched = run("fetched")
        assert fetched.ok, fetched.text
        assert {path.name: path.read_text() for path in folder.iterdir()} == kept
        again = run("present")
        assert again.ok and again.changed == 0, again.text
        (folder / "db_admin").write_text("of another clone\n")
        refused = run("fetched")
        assert not refused.ok
        assert ".secrets/aws/db_admin differ from what the site has" in " ".join(refused.text.split())


def tasks_of_rotation(*names: str) -> list[Any]:
    """Tasks of playbooks/rotate.yml as they are there."""
    plays = yaml.safe_load((aws_support.ROOT / "playbooks/rotate.yml").read_text())
    tasks = {task["name"]: task for play in plays for task in play.get("tasks", [])}
    return [tasks[f"Rotate | {name}"] for name in names]


def test_a_rotation_is_in_the_store_before_anything_uses_it_and_a_second_operator_gets_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "site").mkdir()
    with aws_support.moto(tmp_path) as url:
        site = aws_support.clone(tmp_path / "site", url, 9)
        play: dict[str, Any] = {
            "hosts": "control",
            "vars_files": ["vars/secrets.yml"],
            "environment": "{{ retailflow_aws_environment }}",
        }
        secrets = {"ansible.builtin.include_tasks": "tasks/secrets.yml"}
        begin = tasks_of_rotation(
            "Refuse what cannot be rotated", "Keep what is rotated", "Make the new passwords"
        )
        end = tasks_of_rotation(
            "Put them into the Parameter Store", "Let them take their places", "Forget the old secrets"
        )
        for name, tasks in (("own", [secrets]), ("rotate", [*begin, *end])):
            (site.root / f"playbooks/{name}.yml").write_text(json.dumps([{**play, "tasks": tasks}]))
        folder = site.root / ".secrets/aws"

        def run(name: str, state: str = "present") -> aws_support.Run:
            what = {"retailflow_secrets_state": state, "retailflow_rotate": "db_admin metabase_encryption"}
            return site.play(f"playbooks/{name}.yml", "-e", json.dumps(what))

        folder.mkdir(parents=True)
        for user in ("airbyte", "dbt", "metabase"):
            (folder / f"snowflake_{user}.p8").write_text("a key\n")
        assert run("own").ok
        before = {path.name: path.read_text() for path in folder.iterdir()}
        done = run("rotate")
        assert done.ok, done.text
        after = {path.name: path.read_text() for path in folder.iterdir()}
        assert {name for name in after if after[name] != before[name]} == {"db_admin", "metabase_encryption"}
        assert not [text for text in after.values() if len(text) > 9 and text.strip() in done.text]
        again = run("own")
        assert again.ok and again.changed == 0, again.text
        shutil.rmtree(folder)
        assert run("own", "fetched").ok
        assert {path.name: path.read_text() for path in folder.iterdir()} == after
