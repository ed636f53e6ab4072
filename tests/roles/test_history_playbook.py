"""Who gets a history: a new shop, once, before its schedule starts. Roles are stand-ins, but for the question to PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml

import clone as clones
import warm_python
from bench import postgres

ROOT = Path(__file__).parents[2]
HOST = "retailflow-postgres"
NEW = {"empty": True, "begun_days": None}
BEGUN = {"empty": False, "begun_days": 180}
SOLD = {"empty": False, "begun_days": None}
GENERATED = ["generator, schedule False", "history of 180 (int) days as history"]


def play(root: Path, *arguments: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    given = {"ansible_become": False, "ansible_connection": "local", **variables}
    command = ["tools/clean-env", *warm_python.playbook(), "-i", "hosts.json", "-i", "inventory/local.yml"]
    return subprocess.run(
        [*command, "playbooks/history.yml", "-e", json.dumps(given), *arguments],
        cwd=root,
        env={"PATH": os.environ["PATH"], "HOME": str(root)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A clone whose roles write down what they are asked."""
    root = clones.make(tmp_path / "clone")
    (root / "roles").unlink()

    def note(line: str) -> dict[str, Any]:
        return {"shell": f"echo '{line}' >> {root}/calls", "changed_when": False, "check_mode": False}

    days = "{{ lambda_generator_payload.days }} ({{ lambda_generator_payload.days | type_debug }})"
    name = "{{ lambda_generator_payload.batch_id }}"
    result = {"days": "{{ lambda_generator_payload.days }}", "rows": 5}
    enabled = "generator, schedule {{ lambda_generator_schedule_enabled }}"
    question = {"set_fact": {"postgres_query_answer": "{{ answer }}"}}
    for path, tasks in {
        "postgres/tasks/query": [note("question"), question],
        "snowflake/tasks/query": [note("RAW"), {"set_fact": {"snowflake_rows": ["{{ tables }}"]}}],
        "lambda-generator/tasks/main": [note(enabled)],
        "lambda-generator/tasks/invoke": [
            note(f"history of {days} days as {name}"),
            {"set_fact": {"lambda_generator_invocation": result}},
        ],
        "lambda-generator/defaults/main": {"lambda_generator_schedule_enabled": True},
    }.items():
        (root / f"roles/{path}.yml").parent.mkdir(parents=True, exist_ok=True)
        (root / f"roles/{path}.yml").write_text(json.dumps(tasks))
    groups = {"postgres": {"hosts": {HOST: None}}, "local": {"hosts": {HOST: None}}}
    (root / "hosts.json").write_text(json.dumps({"all": {"children": groups}}))
    return root


def calls(root: Path) -> list[str]:
    return (root / "calls").read_text().splitlines() if (root / "calls").exists() else []


ANSWERS = [
    pytest.param(NEW, [], 180, ["question", "RAW", *GENERATED], id="a new shop"),
    pytest.param(NEW, [{"name": "CUSTOMERS"}], 180, ["question", "RAW", *GENERATED], id="another table"),
    pytest.param(BEGUN, [], 90, ["question", *GENERATED], id="cut short: as it was begun"),
    pytest.param(SOLD, [], 180, ["question"], id="has sold something"),
    pytest.param(NEW, [{"name": "SALES"}], 180, ["question", "RAW"], id="RAW has an earlier shop"),
    pytest.param(NEW, [], 0, [], id="not wanted"),
    pytest.param(BEGUN, [], "0", [], id="not wanted any more"),
]


@pytest.mark.parametrize(("answer", "tables", "days", "wanted"), ANSWERS)
def test_only_a_new_shop_gets_a_history(
    site: Path, answer: Any, tables: Any, days: Any, wanted: list[str]
) -> None:
    done = play(site, answer=answer, tables=tables, retailflow_history_days=days)
    assert done.returncode == 0, done.stdout + done.stderr
    assert calls(site) == wanted
    assert set(re.findall(r"changed=(\d+)", done.stdout)) == {"0"}
    told = " ".join(done.stdout.split())
    assert ("RAW has the table of an earlier shop" in told) == (tables == [{"name": "SALES"}])


@pytest.mark.parametrize(("answer", "tables", "days", "wanted"), [ANSWERS[0], ANSWERS[3]])
def test_check_mode_goes_the_same_way(
    site: Path, answer: Any, tables: Any, days: Any, wanted: list[str]
) -> None:
    done = play(site, "--check", answer=answer, tables=tables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert calls(site) == wanted


def test_check_mode_takes_a_database_that_is_not_there_yet(site: Path) -> None:
    done = play(site, "--check", answer=None, tables=[])
    assert done.returncode == 0, done.stdout + done.stderr
    assert calls(site) == ["question"]


QUERIES = yaml.safe_load((ROOT / "playbooks/vars/queries.yml").read_text())
BATCH = QUERIES["retailflow_history_batch"]


def test_the_question_tells_a_new_shop_from_one_that_was_begun_and_from_one_that_sells() -> None:
    """The real generator writes what the real question reads."""
    question = QUERIES["retailflow_query_shop"].replace("{{ retailflow_history_batch }}", BATCH)
    assert "{{" not in question
    with postgres.server("generator", "airbyte", "auditor") as port:
        connection = psycopg2.connect(host="127.0.0.1", port=port, user=postgres.ADMIN, dbname="postgres")
        connection.autocommit = True
        cursor = connection.cursor()

        def ask() -> Any:
            cursor.execute(question)
            return cursor.fetchone()[0]

        def generate(*options: str) -> None:
            environment = {
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT / "lambda/src"),
                "DB_HOST": "127.0.0.1",
                "DB_PORT": str(port),
                "DB_NAME": "postgres",
                "DB_USER": "generator",
                "DB_PASSWORD": "unused",
            }
            command = [sys.executable, "-m", "retailflow_generator", *options]
            subprocess.run(command, env=environment, check=True, capture_output=True)

        cursor.execute((ROOT / "lambda/schema/sales.sql").read_text())
        assert ask() == NEW
        generate("backfill", "--days", "4", "--batch-id", BATCH)
        assert ask() == {"empty": False, "begun_days": 4}
        # Cut short two days ago: what is missing is counted from its first day to today.
        cursor.execute(
            "delete from generator_batches where batch_id > (select min(batch_id) from generator_batches)"
        )
        assert ask() == {"empty": False, "begun_days": 4}
        generate("--rows", "1", "--batch-id", "e7c1")
        assert ask() == SOLD, "the schedule runs: a history would come behind its back"
        cursor.execute("delete from sales")
        assert ask() == SOLD, "it has sold something, whatever was deleted since"
        cursor.execute("delete from generator_batches")
        assert ask() == NEW
        connection.close()


def test_a_history_comes_after_the_schema_and_before_everything_that_reads_it() -> None:
    steps = [step["import_playbook"] for step in yaml.safe_load((ROOT / "site.yml").read_text())]
    here = steps.index("playbooks/history.yml")
    assert steps[here - 1 : here + 2] == [
        "playbooks/configure.yml",
        "playbooks/history.yml",
        "playbooks/wire.yml",
    ]


def test_nothing_but_a_whole_site_gives_a_history() -> None:
    """Restores, upgrades and rotations configure and wire a site too."""
    users = [
        path.name
        for path in [ROOT / "site.yml", *(ROOT / "playbooks").rglob("*.yml")]
        if "history.yml" in path.read_text()
    ]
    assert users == ["site.yml"]


@pytest.mark.parametrize("days", ["-1", "1.5", "3661", ""])
def test_days_that_are_none_are_refused_before_anything_changes(tmp_path: Path, days: str) -> None:
    root = clones.make(tmp_path / "clone")
    command = [
        "tools/clean-env",
        *warm_python.playbook(),
        "-i",
        "inventory/local.yml",
        "playbooks/preflight.yml",
    ]
    done = subprocess.run(
        [*command, "-e", json.dumps({"retailflow_history_days": days})],
        cwd=root,
        env={"PATH": os.environ["PATH"], "HOME": str(root)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert "Nothing was changed. retailflow_history_days (HISTORY of make up) is" in " ".join(
        done.stderr.split()
    )
