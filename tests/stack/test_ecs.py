"""ECS conducts the running site: its services are told as they are, and outlive an agent, a task, a crash."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from .conftest import AWS, STATE, Playbook, wait_for, why
from .ecs import CLUSTER, ECS, connected, containers, everything, host, service, task
from .site import RULE, Rows, heal, pause_generator, say, schedule

Sql = Callable[[str], str]
HOSTS = 4  # each with an agent


@pytest.fixture(scope="module")
def rows(sql: Sql) -> Iterator[Rows]:
    """The orders, with the generator paused: none is lost."""
    rule = boto3.client("events", **AWS).describe_rule(Name=RULE)
    pause_generator(sql)
    found = Rows(sql)
    try:
        yield found
        assert heal() == "by itself"
        found.assert_equal(cycle=False)
    finally:
        schedule(rule)


def test_services_are_told_as_ecs_reports_them(playbook: Playbook) -> None:
    done = playbook("playbooks/status.yml")
    assert done.returncode == 0, why(done)
    told = json.loads((STATE / "status.json").read_text())["ecs"]
    assert told["answers"] and told["agents_away"] == []
    found = {one["name"]: (one["desired"], one["running"], one["rollout"]) for one in told["services"]}
    assert found == dict.fromkeys(everything(), (1, 1, "COMPLETED"))
    assert all(one["tag"] and one["event"] for one in told["services"])
    text = (STATE / "status.txt").read_text()
    assert "Services by ECS" in text and "Exited" not in text


def test_people_find_the_containers_by_the_names_of_the_services() -> None:
    psql = "docker exec -it postgres psql -P pager=off -U postgres -d retailflow_db -XAtc 'select 41 + 1'"
    assert "42" in host("postgres").check_output("script --quiet --return --command %s /dev/null", psql)
    assert "ecs-" in host("postgres").check_output("docker ps --format '{{.Names}}'")
    listed = "docker exec dagster-dbt dagster job list -f dbt_sales_staging.py"
    assert "sales_job" in host("dagster-dbt").check_output(listed)


def test_an_agent_that_is_killed_leaves_its_containers_as_they_are(rows: Rows) -> None:
    before, known = containers(), rows.source()
    for role in ("postgres", "dagster-dbt", "metabase"):
        pid = host(role).check_output("docker inspect --format '{{.State.Pid}}' ecs-agent").strip()
        host(role).check_output("kill -KILL %s", pid)
    say("the agents were killed")
    assert containers() == before
    wait_for(lambda: connected() == HOSTS, 120, "every agent is connected again")
    assert containers() == before
    assert rows.source() == known


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
