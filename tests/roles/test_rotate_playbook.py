"""The playbook of `make rotate`, with stand-ins for roles and for the other playbooks: its order, and what a second run does.

The files of secrets and the modules that move them are real.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

import clone as clones
import warm_python

ROOT = Path(__file__).parents[2]
ROLES = ("postgres", "airbyte", "dagster_dbt", "metabase")
PLAYBOOKS = ("configure.yml", "wire.yml", "verify.yml", "stop_writers.yml")
TABLE: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "playbooks/vars/secrets.yml").read_text())[
    "retailflow_secrets"
]
# All but ssh: it would change who logs in to this machine.
WHAT = " ".join(name for name, one in TABLE.items() if name != "ssh" and not one.get("fixed"))


@dataclass
class Site:
    """A clone with stand-ins, and what they wrote down."""

    root: Path
    secrets: Path = field(init=False)

    def __post_init__(self) -> None:
        self.secrets = self.root / ".secrets/local"

    def rotate(self, what: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        given = {
            "ansible_become": False,
            "ansible_connection": "local",
            "retailflow_instances": {"instances": []},
            "retailflow_rotate": what,
            **variables,
        }
        return subprocess.run(
            [
                "tools/clean-env",
                *warm_python.playbook(),
                "-i",
                "hosts.json",
                "-i",
                "inventory/local.yml",
                "playbooks/rotate.yml",
                "-e",
                json.dumps(given),
            ],
            cwd=self.root,
            env={"PATH": f"{self.root}/bin:{os.environ['PATH']}", "HOME": str(self.root)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def calls(self) -> list[str]:
        """What was called since the last look, in order, each once."""
        log = self.root / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.write_text("")
        return list(dict.fromkeys(lines))

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.secrets.iterdir() if path.is_file()}


def note(root: Path, line: str) -> dict[str, Any]:
    """A task that writes a line down."""
    return {"ansible.builtin.shell": f"echo {line} >> {root}/calls", "changed_when": False}


def made(*names: str) -> dict[str, Any]:
    """A task that makes files that are not there."""
    return {
        "ansible.builtin.copy": {"content": "new {{ item }}\n", "dest": "{{ item }}", "force": False},
        "loop": list(names),
    }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    root = clones.make(tmp_path / "clone")
    (root / "roles").unlink()
    for real in (ROOT / "roles").iterdir():
        for path in (real / "tasks").glob("*.yml"):
            tasks = root / "roles" / real.name / "tasks"
            tasks.mkdir(parents=True, exist_ok=True)
            (tasks / path.name).write_text(json.dumps([note(root, f"{real.name}/{path.stem}")]))
    keys = made(
        "{{ snowflake_key_dir }}/snowflake_{{ one }}.p8", "{{ snowflake_key_dir }}/snowflake_{{ one }}.pub"
    )
    del keys["loop"]
    keys["ansible.builtin.copy"] |= {
        "content": "new {{ item }}\n",
        "dest": "{{ snowflake_key_dir }}/snowflake_{{ item }}",
    }
    keys["loop"] = "{{ snowflake_users | product(['.p8', '.pub']) | map('join') }}"
    authority = made("{{ certificates_authority_key }}", "{{ certificates_authority_certificate }}")
    for role, entry, task in (("snowflake", "main", keys), ("certificates", "authority", authority)):
        path = root / "roles" / role / "tasks" / f"{entry}.yml"
        path.write_text(json.dumps([note(root, f"{role}/{entry}"), task]))
    for name in PLAYBOOKS:
        (root / "playbooks" / name).write_text(
            json.dumps([{"name": name, "hosts": "control", "tasks": [note(root, name)]}])
        )
    hosts = {
        f"retailflow-{role.replace('_', '-')}": {
            "private_dns_name": f"{role}.internal",
            "private_ip_address": f"10.86.1.{number}",
            "retailflow_role": role,
            "ec2_instance_id": f"i-{number}",
            "ec2_tags": {"Role": role},
        }
        for number, role in enumerate(ROLES)
    }
    groups = {role: {"hosts": {f"retailflow-{role.replace('_', '-')}": None}} for role in ROLES}
    inventory = {
        "all": {"children": {"hosts": {"hosts": hosts}, "local": {"children": {"hosts": None}}, **groups}}
    }
    (root / "hosts.json").write_text(json.dumps(inventory))
    clones.program(
        root / "bin/make", 'echo "$*" >> calls; [ ! -e ill ] || { echo "NOT WELL: Dagster"; exit 2; }'
    )
    made_site = Site(root)
    made_site.secrets.mkdir(parents=True)
    for one in TABLE.values():
        for file in one["files"]:
            (made_site.secrets / file).write_text(f"old{file}\n")
    return made_site


ORDER = [
    "--silent status TARGET=local",
    "snowflake/main",
    "certificates/authority",
    "stop_writers.yml",
    "metabase/rotate",
    "certificates/uninstall",
    "certificates/main",
    "local-cloud/main",
    "airbyte-bash-installer/rotate",
    "postgres/main",
    "configure.yml",
    "wire.yml",
    "verify.yml",
    "snowflake/retire",
]


def test_every_step_comes_in_its_order_and_every_file_is_new(site: Site) -> None:
    before = site.files()
    done = site.rotate(WHAT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.calls() == ORDER
    after = site.files()
    assert len([name for name in set(after) - set(before) if name.startswith("backup_key.")]) == 1
    same = {name for name in before if after[name] == before[name]}
    assert same == {"id_ed25519", "id_ed25519.pub"}
    assert not (site.secrets / "next").exists() and not (site.secrets / "old").exists()
    shown = [text.strip() for name, text in after.items() if name.startswith(("db_", "metabase_"))]
    assert len(shown) == 8 and not [text for text in shown if text in done.stdout + done.stderr]


def test_runs_that_were_cut_off_are_ended_by_the_last_one(site: Site) -> None:
    """What was begun is seen; the site need not be well then, and no secret is made a second time."""
    cut = {"ansible.builtin.fail": {"msg": "cut off here"}}
    waiting: dict[str, str] = {}
    for number, moment in enumerate(
        ("playbooks/stop_writers.yml", "roles/metabase/tasks/rotate.yml", "roles/postgres/tasks/main.yml")
    ):
        whole = (site.root / moment).read_text()
        broken = [cut] if moment.startswith("roles") else [{"hosts": "control", "tasks": [cut]}]
        (site.root / moment).write_text(json.dumps(broken))
        done = site.rotate(WHAT)
        assert done.returncode != 0 and "cut off here" in done.stdout
        (site.root / moment).write_text(whole)
        assert (ORDER[0] in site.calls()) is (number == 0), "Dagster is stopped by the run before"
        (site.root / "ill").touch()
        for path in (site.secrets / "next").iterdir():
            if path.name not in waiting:
                waiting[path.name] = path.read_text()
    last = site.rotate(WHAT)
    assert last.returncode == 0, last.stdout + last.stderr
    assert "Going on with" in last.stdout
    calls = site.calls()
    assert "stop_writers.yml" in calls and calls[-5:] == ORDER[-5:] and "metabase/rotate" not in calls
    after = site.files()
    for one in TABLE.values():
        if one.get("length"):
            assert after[one["files"][0]] == waiting[one["files"][0]]
    assert not (site.secrets / "next").exists() and not (site.secrets / "old").exists()


def test_what_pauses_nobody_stops_nothing(site: Site) -> None:
    done = site.rotate("snowflake_observer backup")
    assert done.returncode == 0, done.stdout + done.stderr
    calls = site.calls()
    assert "stop_writers.yml" not in calls and "postgres/main" not in calls and "metabase/rotate" not in calls
    assert "snowflake/retire" in calls


def test_a_site_that_is_not_well_or_paused_is_refused(site: Site) -> None:
    before = site.files()
    (site.root / "ill").touch()
    ill = site.rotate("db_dagster")
    assert ill.returncode != 0 and "The site is not well: run make up first." in ill.stdout
    assert "NOT WELL: Dagster" in ill.stdout
    (site.root / "ill").unlink()
    (site.root / ".state/local").mkdir(parents=True, exist_ok=True)
    (site.root / ".state/local/paused").touch()
    paused = site.rotate("db_dagster")
    assert paused.returncode != 0 and "The site is paused: run make resume first." in paused.stdout
    assert site.files() == before and not (site.secrets / "next").exists()


def test_a_password_of_the_operators_own_variables_is_left_alone_and_named(site: Site) -> None:
    own = {"retailflow_db_dagster_password": "from-a-vault"}
    refused = site.rotate("db_dagster", **own)
    assert refused.returncode != 0
    text = " ".join(refused.stdout.split())
    assert "db_dagster is given by your own variables" in text and "from-a-vault" not in text
    done = site.rotate("postgres", **own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Left alone, because your own variables give them: db_dagster" in " ".join(done.stdout.split())
    assert site.files()["db_dagster"] == "olddb_dagster\n"
