"""A pause and what follows it: every host stopped, what was under way ended first, every row kept, lost secrets made again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
import yaml

from .conftest import AWS, NAME, PREFIX, ROOT, STATE, Playbook, wait_for, why
from .secrets import SECRETS, files, fits
from .site import NEVER, QUIET_SECONDS, RULE, graphql, launch, may_be_tried_again, warehouse

HOSTS = {f"{NAME}-{role}" for role in ("postgres", "airbyte", "dagster-dbt", "metabase")}
# What site.yml does: hosts and services first, then what makes rows.
STEPS = [play["import_playbook"] for play in yaml.safe_load((ROOT / "site.yml").read_text())]
# A password and a key whose files are lost while the site is paused.
LOST = ["db_auditor", "snowflake_observer.p8"]
WIRE = STEPS.index("playbooks/wire.yml")


def running(image: str = "") -> set[str]:
    command = [
        "docker",
        "ps",
        "--format",
        "{{.Names}}",
        *(["--filter", f"ancestor={image}"] if image else []),
    ]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def instances() -> dict[str, str]:
    """Name to state, as the EC2 API says."""
    known = [{"Name": "tag:Project", "Values": [NAME]}]
    known += [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    found = {}
    for reservation in boto3.client("ec2", **AWS).describe_instances(Filters=known)["Reservations"]:
        for instance in reservation["Instances"]:
            name = next(tag["Value"] for tag in instance["Tags"] if tag["Key"] == "Name")
            found[name] = instance["State"]["Name"]
    return found


def raw() -> tuple[int, int]:
    """Rows of RAW and the highest order in it. Deleted orders stay there, marked."""
    with warehouse("observer") as session:
        cursor = session.cursor().execute(f"select count(*), max(order_id) from {PREFIX}RAW.RETAIL.SALES")
        assert cursor
        rows, last = cursor.fetchall()[0]
    return int(rows), int(last)


@pytest.fixture
def quiet(sql: Callable[[str], str], playbook: Playbook) -> Iterator[dict[str, Any]]:
    """The rule is enabled but not due this year, no batch is under way or may be tried again; the site is up afterwards.

    Yields the rule as it was.
    """
    events = boto3.client("events", **AWS)
    rule = events.describe_rule(Name=RULE)
    functions = json.loads((STATE / "cloud-images.json").read_text())["lambda-runtime"]
    looks = 0

    def nothing_under_way() -> bool:
        nonlocal looks
        busy = running(functions) or sql("select 1 from pg_stat_activity where usename = 'generator' limit 1")
        looks = 0 if busy or may_be_tried_again() else looks + 1
        return looks == 3  # an invocation needs a second until there is something to see

    try:
        events.put_rule(Name=RULE, ScheduleExpression=NEVER, State="ENABLED")
        wait_for(nothing_under_way, QUIET_SECONDS, "the generator's last batch has ended")
        yield rule
    finally:
        if events.describe_rule(Name=RULE)["ScheduleExpression"] != rule["ScheduleExpression"] or not (
            running() >= HOSTS
        ):
            playbook("site.yml")


def test_a_pause_waits_for_runs_loses_no_row_and_ends_with_new_secrets_for_lost_ones(
    quiet: dict[str, Any], sql: Callable[[str], str], playbook: Playbook
) -> None:
    everything = "select count(*), sum(hashtextextended(sales::text, 0)::numeric), max(order_id) from sales where order_id <= {}"
    last = int(sql("select max(order_id) from sales"))
    orders, loaded = sql(everything.format(last)), raw()
    assert instances() == dict.fromkeys(HOSTS, "running")
    run_id = launch("transform_job")  # it takes a while and needs no new rows

    paused = playbook("playbooks/pause.yml")
    assert paused.returncode == 0, why(paused)
    assert not running() & HOSTS
    assert instances() == dict.fromkeys(HOSTS, "stopped")
    assert boto3.client("events", **AWS).describe_rule(Name=RULE)["State"] == "DISABLED"

    told = playbook("playbooks/status.yml")
    assert told.returncode == 0, why(told)
    lines = (STATE / "status.txt").read_text().splitlines()
    for host in HOSTS:
        (line,) = [line for line in lines if line.split()[:1] == [host]]
        assert "PAUSED" in line and "make resume" in line
    assert not any(
        host["reachable"] for host in json.loads((STATE / "status.json").read_text())["hosts"].values()
    )

    # Here, because it needs a `make up`, which takes minutes.
    secrets = files()
    for name in LOST:
        (SECRETS / name).unlink()

    # In two steps, so that orders are compared before the generator moves some on and deletes some.
    up = playbook(*STEPS[:WIRE])
    assert up.returncode == 0, why(up)
    assert instances() == dict.fromkeys(HOSTS, "running")
    assert sql("select max(order_id) from sales") == str(last), "nothing is generated before the wiring"
    assert sql(everything.format(last)) == orders
    run = graphql("query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id)[
        "runOrError"
    ]
    assert run["status"] == "SUCCESS", "the pause did not wait for it"

    proven = playbook(*STEPS[WIRE:])
    assert proven.returncode == 0, why(proven)
    rule = boto3.client("events", **AWS).describe_rule(Name=RULE)
    assert (rule["State"], rule["ScheduleExpression"]) == ("ENABLED", quiet["ScheduleExpression"])
    rows, newest = raw()
    assert rows > loaded[0] and newest > last >= loaded[1]

    again = files()
    assert again.keys() == secrets.keys()
    changed = {name for name in again if again[name] != secrets[name]}
    assert changed == {*LOST, "snowflake_observer.pub"}
    verifier = sql("select rolpassword from pg_authid where rolname = 'auditor'")
    assert fits(again["db_auditor"].strip(), verifier)
