"""ECS conducts the running site: its services move from Docker to ECS and back, and survive agent, API and task.

    tools/test faults

The site is on Docker's backend before and afterwards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from .conftest import AWS, STATE, Playbook, wait_for, why
from .ecs import (
    BACKEND,
    CLUSTER,
    ECS,
    connected,
    containers,
    everything,
    host,
    move,
    move_back,
    of_docker,
    service,
    task,
    volumes,
)
from .site import RULE, Rows, docker, heal, pause_generator, say, schedule

Sql = Callable[[str], str]
HOSTS = 4  # each with an agent


@pytest.fixture(scope="module")
def rows(sql: Sql, playbook: Playbook) -> Iterator[Rows]:
    """The orders, with the generator paused, while ECS runs the services; the way there and back keeps every one."""
    heal()
    events = boto3.client("events", **AWS)
    rule = events.describe_rule(Name=RULE)
    pause_generator(sql)
    found, kept = Rows(sql), volumes()
    highest = found.source()[3]
    assert of_docker() == everything()
    try:
        move(playbook)
        assert {name: kept[name] for name in kept} == {name: volumes().get(name) for name in kept}
        pause_generator(sql)  # the proof of `make up` runs it
        assert int(found.source()[3]) >= int(highest)
        found.assert_equal()
        yield found
    finally:
        move_back()
        schedule(rule)
    assert {name: volumes().get(name) for name in kept} == kept
    assert int(found.source()[3]) >= int(highest)


pytestmark = [pytest.mark.timeout(2400), pytest.mark.usefixtures("rows")]


def test_services_are_told_as_ecs_reports_them(playbook: Playbook) -> None:
    done = playbook("playbooks/status.yml", *BACKEND)
    assert done.returncode == 0, why(done)
    told = json.loads((STATE / "status.json").read_text())["ecs"]
    assert told["answers"] and told["agents_away"] == []
    found = {one["name"]: (one["desired"], one["running"], one["rollout"]) for one in told["services"]}
    assert found == dict.fromkeys(everything(), (1, 1, "COMPLETED"))
    assert all(one["tag"] and one["event"] for one in told["services"])
    text = (STATE / "status.txt").read_text()
    assert "Services by ECS" in text and "Exited" not in text


def test_people_find_the_containers_by_the_names_of_the_services() -> None:
    psql = "docker exec -it postgres psql -U postgres -d retailflow_db -XAtc 'select 41 + 1'"
    assert "42" in host("postgres").check_output("script --quiet --return --command %s /dev/null", psql)
    assert "ecs-" in host("postgres").check_output("docker ps --format '{{.Names}}'")
    listed = "docker exec dagster-dbt dagster job list -f dbt_sales_staging.py"
    assert "sales_job" in host("dagster-dbt").check_output(listed)


def test_an_agent_that_is_killed_leaves_its_containers_as_they_are(rows: Rows) -> None:
    before = containers()
    for role in ("postgres", "dagster-dbt", "metabase"):
        pid = host(role).check_output("docker inspect --format '{{.State.Pid}}' ecs-agent").strip()
        host(role).check_output("kill -KILL %s", pid)
    say("the agents were killed")
    assert containers() == before
    wait_for(lambda: connected() == HOSTS, 120, "every agent is connected again")
    assert containers() == before
    rows.assert_equal()


def test_an_api_that_has_forgotten_everything_adopts_what_runs(rows: Rows, playbook: Playbook) -> None:
    before = containers()
    docker("restart", "--time", "1", "retailflow-aws")
    say("the emulated API is empty")
    move(playbook)
    assert containers() == before
    assert service("postgres")["runningCount"] == 1
    rows.assert_equal()


def test_a_second_run_changes_nothing(playbook: Playbook) -> None:
    before = containers()
    recap = move(playbook).rpartition("PLAY RECAP")[2]
    assert containers() == before
    assert set(re.findall(r"changed=(\d+)", recap)) == {"0"}, recap


def test_a_task_that_is_stopped_is_replaced(rows: Rows) -> None:
    before, arn = containers(), task("metabase")
    ECS.stop_task(cluster=CLUSTER, task=arn, reason="a test")

    def replaced() -> bool:
        now = containers()
        return "metabase" in now and now["metabase"] != before["metabase"]

    wait_for(replaced, 120, "another task runs")
    wait_for(lambda: service("metabase")["runningCount"] == 1, 60, "ECS counts it")
    (ended,) = ECS.describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"]
    assert ended["lastStatus"] == "STOPPED" and ended["stoppedReason"] == "a test"
    assert {name: key for name, key in containers().items() if name != "metabase"} == {
        name: key for name, key in before.items() if name != "metabase"
    }


def test_a_server_that_crashes_comes_back_with_its_data(rows: Rows, sql: Sql) -> None:
    before, known = containers(), rows.source()
    pid = host("postgres").check_output("docker inspect --format '{{.State.Pid}}' postgres").strip()
    host("postgres").check_output("kill -KILL %s", pid)

    def back() -> Any:
        found = containers().get("postgres")
        return (
            found
            and found != before["postgres"]
            and host("postgres").run("docker exec postgres pg_isready").rc == 0
        )

    wait_for(back, 120, "PostgreSQL runs again")
    assert rows.source() == known
