"""Dagster's runs as ECS tasks of the running site: ten at once, spread over the hosts that take runs, one killed, all with logs.

    tools/test faults

Runs are beside the code server before and afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest

from .conftest import ADMINISTRATOR, NAME, Playbook, wait_for
from .ecs import CLUSTER, ECS, converge
from .site import ENDED, ended, graphql, heal, launch, say, state

LAUNCHER = ("-e", "retailflow_run_launcher=ecs")
GROUP = f"/{NAME}/dagster_dbt/dagster-run"
OTHERS = 9
TAGS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { tags { key value } } } }"
RETRY = """query ($id: String!) { runsOrError(filter: {tags: [{key: "dagster/parent_run_id", value: $id}]}) {
  ... on Runs { results { runId status } } } }"""
UNFINISHED = """{ runsOrError(filter: {statuses: [QUEUED, STARTING, STARTED, CANCELING]}) {
  ... on Runs { results { runId } } } }"""
LOGS: Any = boto3.client("logs", **ADMINISTRATOR)


@pytest.fixture(scope="module", autouse=True)
def site(playbook: Playbook) -> Iterator[None]:
    heal()
    try:
        converge(playbook, *LAUNCHER)
        yield
    finally:
        converge(playbook)


def tags(run: str) -> dict[str, str]:
    return {one["key"]: one["value"] for one in graphql(TAGS, id=run)["runOrError"]["tags"]}


def task_of(run: str) -> str:
    arn: str = wait_for(lambda: tags(run).get("ecs/task_arn"), 120, f"the run {run} has a task")
    return arn


@pytest.mark.timeout(2400)
def test_ten_runs_at_once_are_tasks_on_several_hosts_and_a_lost_one_is_started_again() -> None:
    wait_for(lambda: graphql(UNFINISHED)["runsOrError"]["results"] == [], 400, "no run is under way")
    cycle, *others = [launch("sales_job"), *(launch("prune_runs_job") for _ in range(OTHERS))]
    arns = {run: task_of(run) for run in (cycle, *others)}
    assert len(set(arns.values())) == OTHERS + 1
    say("ten tasks were started")

    # The cycle is the one that is killed: the others may have ended by then.
    wait_for(lambda: state(cycle) == "STARTED", 240, "the cycle runs")
    ECS.stop_task(cluster=CLUSTER, task=arns[cycle], reason="a test")
    say("the task of the cycle was stopped")
    for run in others:
        assert ended(run, 600) == "SUCCESS"

    found = ECS.describe_tasks(cluster=CLUSTER, tasks=list(arns.values()))["tasks"]
    assert {one["taskDefinitionArn"].rpartition("/")[2].partition(":")[0] for one in found} == {
        f"{NAME}-dagster-run"
    }
    hosts = {one["containerInstanceArn"] for one in found}
    say(f"they ran on {len(hosts)} hosts")
    assert len(hosts) > 1
    last = max(one["createdAt"] for one in found)
    assert all(one["stoppedAt"] > last - timedelta(seconds=5) for one in found if "stoppedAt" in one), (
        "all at once"
    )

    assert ended(cycle, 300) == "FAILURE"
    (again,) = wait_for(
        lambda: graphql(RETRY, id=cycle)["runsOrError"]["results"], 120, "it is started again"
    )
    assert ended(again["runId"], 600) == "SUCCESS"
    assert task_of(again["runId"]) != arns[cycle]

    for run, arn in arns.items():
        stream = f"dagster-run/dagster-run/{arn.rpartition('/')[2]}"
        lines = [
            one["message"] for one in LOGS.get_log_events(logGroupName=GROUP, logStreamName=stream)["events"]
        ]
        assert any(run in line for line in lines), f"{stream} holds {lines[-5:]}"


@pytest.mark.timeout(900)
def test_a_run_that_is_cancelled_ends_with_its_task() -> None:
    run = launch("sales_job")
    wait_for(lambda: state(run) == "STARTED", 240, "the cycle runs")
    arn = task_of(run)
    query = "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"
    assert graphql(query, id=run)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    deadline = time.monotonic() + 300
    while state(run) not in ENDED:
        assert time.monotonic() < deadline
        time.sleep(2)
    (found,) = ECS.describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"]
    assert found["desiredStatus"] == "STOPPED"
