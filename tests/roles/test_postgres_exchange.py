"""An exchange of PostgreSQL's data, for a restore or an upgrade, that is cut off at any step: it goes on or goes back.

The engine is a stand-in that keeps what runs in a file and starts, as PostgreSQL does, no version on the data of another one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import small_play

DOCKER = """#!/bin/sh
for word; do case $word in volume=*) folder=${word#volume=}; folder=${folder%/data} ;; esac; done
case "$*" in *--all*) echo image:15 ;; *) cat "$folder/running" 2> /dev/null; true ;; esac
"""
START = """
- ansible.builtin.fail: {msg: ECS starts no task}
  when: container_service_backend | default('docker') == 'ecs'
- ansible.builtin.shell: |
    cd "{{ postgres_data_dir }}" && rm -f running
    [ "image:$(cat data/pgdata/PG_VERSION)" = "{{ container_service_image }}" ] && echo "{{ container_service_image }}" > running
"""
STOP = """
- ansible.builtin.file: {path: "{{ postgres_data_dir }}/running", state: absent}
"""


@dataclass
class Case:
    """A host's folder and what is done there."""

    folders: dict[str, str]  # name to version and, behind a blank, whose data it is
    entries: list[str]
    right: Callable[[Case], bool]
    wanted: str = "17"
    running: str = ""
    sparse: dict[str, int] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    path: Path = Path()
    message: str = ""
    plan: dict[str, Any] = field(default_factory=dict)

    def make(self, path: Path) -> None:
        """Make the folders."""
        self.path = path
        for name, content in self.folders.items():
            (path / name / "pgdata").mkdir(parents=True)
            version, whose = content.split()
            (path / name / "pgdata/PG_VERSION").write_text(version + "\n")
            (path / name / "pgdata/whose").write_text(whose)
        for name, size in self.sparse.items():
            (path / name / "pgdata/filling").touch()
            os.truncate(path / name / "pgdata/filling", size)
        path.mkdir(exist_ok=True)
        if self.running:
            (path / "running").write_text(self.running + "\n")

    def found(self) -> dict[str, str]:
        """The folders that there are now, and whose data each has."""
        return {
            str(one.parents[1].relative_to(self.path)): one.read_text()
            for one in self.path.rglob("pgdata/whose")
        }

    def runs(self) -> str:
        """The image that runs."""
        path = self.path / "running"
        return path.read_text().strip() if path.exists() else ""

    def tasks(self) -> list[dict[str, Any]]:
        """Each entry point after the other; what went wrong and the plan are written down."""
        given = {
            "postgres_data_dir": str(self.path),
            "postgres_user_id": os.getuid(),
            "postgres_certificate": "-----BEGIN CERTIFICATE-----",
            "postgres_private_key": "-----BEGIN PRIVATE KEY-----",
            "postgres_version": self.wanted,
            "postgres_container_image": f"image:{self.wanted}",
            "postgres_recovery_wait": 1,
            "postgres_query_delay": 1,
            "postgres_upgrade_from": "15",
        }
        text = "{{ {'message': %s, 'plan': postgres_upgrade | default({})} | to_json }}"
        write, failed = (
            {"copy": {"content": text % message, "dest": f"{self.path}/result.json", "mode": "0600"}}
            for message in ("''", "ansible_failed_result.msg | default('no reason', true)")
        )
        include = [
            {
                "include_role": {"name": "postgres", "tasks_from": entry, "rolespec_validate": False},
                "vars": given | self.given,
            }
            for entry in self.entries
        ]
        return [{"block": [*include, write], "rescue": [failed]}]


def old_runs(one: Case) -> bool:
    """Whether an upgrade can begin again."""
    found = one.found()
    return found["data"] == "old" and "replaced" not in found and one.runs() == "image:15" and one.plan["due"]


BEGIN = ["upgrade_plan", "upgrade_resume"]
NEW = {"postgres_new_data_dir": "{{ postgres_data_dir }}/new"}
HUGE = 1 << 42  # more than this disk has free
CASES = {
    # An upgrade, cut off at each of its steps and begun again.
    "while the data were copied": Case(
        {"data": "15 old", "upgrade/data": "17 half"},
        BEGIN,
        old_runs,
        running="image:15",
        sparse={"data": HUGE, "upgrade/data": 2 * HUGE},  # the half copy does not count as a lack of space
    ),
    "after the stop": Case({"data": "15 old", "upgrade/data": "17 copy"}, BEGIN, old_runs),
    "between the two moves": Case({"replaced": "15 old", "upgrade/data": "17 copy"}, BEGIN, old_runs),
    "after the exchange": Case(
        {"data": "17 copy", "replaced": "15 old"},
        ["upgrade_plan"],
        lambda one: one.plan["unfinished"] and not one.plan["due"] and one.plan["from"] == "15",
    ),
    # A restore to an earlier version.
    "back to an earlier version": Case(
        {"data": "17 copy", "new": "15 restored"},
        ["replace"],
        lambda one: one.found() == {"data": "restored", "replaced": "copy"} and one.runs() == "image:15",
        wanted="15",
        running="image:17",
        given=NEW,
    ),
    "no upgrade leads there": Case(
        {"data": "17 copy"},
        ["upgrade_plan"],
        lambda one: "Nothing was changed." in one.message and "make restore AT=" in one.message,
        wanted="15",
    ),
    "nor is it an upgrade that was cut off": Case(
        {"data": "15 restored", "replaced": "17 copy"},
        ["upgrade_plan"],
        lambda one: not (one.plan["unfinished"] or one.plan["due"] or one.message),
        wanted="15",
    ),
    # A restore that was cut off at the exchange and is run again.
    "again after the exchange": Case(
        {"data": "17 first", "replaced": "17 old", "new": "17 second"},
        ["replace"],
        lambda one: (
            one.found() == {"data": "second", "replaced": "first", "old-17": "old"}
            and one.runs() == "image:17"
        ),
        given=NEW,
    ),
    "again between the two moves": Case(
        {"replaced": "17 old", "new": "17 second"},
        ["replace"],
        lambda one: one.found() == {"data": "second", "replaced": "old"} and one.runs() == "image:17",
        given=NEW,
    ),
    "again, and it does not come up": Case(
        {"data": "15 first", "replaced": "17 old", "new": "17 second"},
        ["replace"],
        lambda one: (
            one.found() == {"data": "first", "new": "second", "old-17": "old"} and one.runs() == "image:15"
        ),
        given=NEW | {"postgres_container_image": "image:16"},
    ),
    "ECS does not take the server over": Case(
        {"data": "15 old", "new": "15 restored"},
        ["replace"],
        lambda one: (
            one.found() == {"data": "old", "new": "restored"}
            and one.runs() == "image:15"
            and "ECS starts no task" in one.message
        ),
        wanted="15",
        running="image:15",
        given=NEW | {"container_service_backend": "ecs"},
    ),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Every case, in one play."""
    folder = tmp_path_factory.mktemp("exchange")
    engine = folder / "roles/container-service/tasks"
    engine.mkdir(parents=True)
    for name, text in (("main", START), ("stop", STOP), ("uninstall", STOP)):
        (engine / f"{name}.yml").write_text(text)
    (folder / "bin").mkdir()
    answers = "#!/bin/sh\necho true\n"
    for name, text in (("docker", DOCKER), ("psql", answers), ("pg_isready", answers)):
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    tasks = []
    for number, one in enumerate(CASES.values()):
        one.make(folder / f"case-{number}")
        tasks += one.tasks()
    small_play.run(folder, tasks, {"PATH": f"{folder}/bin:{os.environ['PATH']}"})
    for one in CASES.values():
        found = json.loads((one.path / "result.json").read_text())
        one.message, one.plan = found["message"], found["plan"]
    return CASES


@pytest.mark.parametrize("name", CASES)
def test_what_was_cut_off_goes_on_or_goes_back(cases: dict[str, Case], name: str) -> None:
    one = cases[name]
    assert one.right(one), (one.found(), one.runs(), one.plan, one.message)
