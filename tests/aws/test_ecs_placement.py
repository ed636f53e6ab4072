"""Where the emulated ECS puts tasks, and what it says where it cannot."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .ecs_support import CLUSTER, Agent, Cloud, conducted

FACTS = {
    "attribute:role": "db",
    "attribute:ecs.instance-type": "t3.medium",
    "attribute:size": "3",
    "ec2InstanceId": "i-1",
    "runningTasksCount": 2,
    "task:group": ["service:web", "family:run"],
}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("attribute:role == db", True),
        ("attribute:role != db", False),
        ('attribute:role == "db"', True),
        ("attribute:role in [web, db]", True),
        ("attribute:role not_in [web, db]", False),
        ("attribute:role !in [web]", True),
        ("attribute:role exists", True),
        ("attribute:other !exists", True),
        ("attribute:other == db", False),
        ("attribute:ecs.instance-type =~ t3.*", True),
        ("attribute:ecs.instance-type !~ t3.*", False),
        ("attribute:size > 2", True),
        ("attribute:size <= 2", False),
        ("attribute:role == db and attribute:size > 5", False),
        ("attribute:role == db or attribute:size > 5", True),
        ("not (attribute:role == web)", True),
        ("!(attribute:role == db) || attribute:size == 3 && ec2InstanceId == i-1", True),
        ("runningTasksCount < 3", True),
        ("task:group == service:web", True),
        ("task:group != service:db", True),
    ],
)
def test_expressions(expression: str, holds: bool) -> None:
    with conducted():
        query = importlib.import_module("ecs.query")
        assert query.compile_query(expression)(FACTS) is holds


@pytest.mark.parametrize(
    "expression",
    ["", "role == db", "attribute:role", "attribute:role == ", "attribute:role in db", "(attribute:a exists"],
)
def test_what_is_no_expression_is_refused(cloud: Cloud, expression: str) -> None:
    cloud.host()
    cloud.define()
    with pytest.raises(ClientError, match="InvalidParameterException.*Invalid expression"):
        cloud.serve(placementConstraints=[{"type": "memberOf", "expression": expression}])


def placed(*agents: Agent) -> list[int]:
    for agent in agents:
        agent.work()
    return [len(agent.running) for agent in agents]


def test_an_attribute_pins_a_service_to_its_host(cloud: Cloud) -> None:
    first, second = cloud.host(role="web"), cloud.host(role="db")
    cloud.define(whole={"placementConstraints": [{"type": "memberOf", "expression": "attribute:role == db"}]})
    cloud.serve(count=2)
    assert placed(first, second) == [0, 2]


def test_distinct_instances_take_one_task_each(cloud: Cloud) -> None:
    agents = cloud.host(), cloud.host()
    cloud.define()
    cloud.serve(count=3, placementConstraints=[{"type": "distinctInstance"}])
    assert placed(*agents) == [1, 1]
    assert "Reason: DistinctInstance placement constraint unsatisfied." in cloud.events()[1]


@pytest.mark.parametrize(
    ("strategy", "shares"),
    [
        ([{"type": "spread", "field": "instanceId"}], {2: 2}),
        ([{"type": "spread", "field": "attribute:zone"}], {2: 2}),
        ([{"type": "binpack", "field": "memory"}], {4: 1, 0: 1}),
        ([], {2: 2}),
    ],
)
def test_strategies(cloud: Cloud, strategy: list[dict[str, str]], shares: dict[int, int]) -> None:
    agents = cloud.host(zone="a"), cloud.host(zone="b")
    cloud.define()
    cloud.serve(count=4, placementStrategy=strategy)
    assert Counter(placed(*agents)) == shares


def test_at_random_all_are_placed(cloud: Cloud) -> None:
    agents = cloud.host(), cloud.host()
    cloud.define()
    cloud.serve(count=4, placementStrategy=[{"type": "random"}])
    assert sum(placed(*agents)) == 4


@pytest.mark.parametrize(
    ("container", "reason", "words"),
    [
        ({"memory": 5000}, "RESOURCE:MEMORY", "has insufficient memory available"),
        ({"cpu": 5000}, "RESOURCE:CPU", "has insufficient CPU units available"),
        (
            {"portMappings": [{"containerPort": 80, "hostPort": 22}]},
            "RESOURCE:PORTS",
            "is already using a port required by your task",
        ),
    ],
    ids=["memory", "cpu", "ports"],
)
def test_why_there_is_no_place(cloud: Cloud, container: dict[str, Any], reason: str, words: str) -> None:
    agent = cloud.host()
    cloud.define(**container)
    answer = cloud.ecs.run_task(cluster=CLUSTER, taskDefinition="db")
    assert (answer["tasks"], answer["failures"]) == ([], [{"arn": agent.arn, "reason": reason}])
    started = cloud.ecs.start_task(
        cluster=CLUSTER, taskDefinition="db", containerInstances=[agent.arn, "none"]
    )
    assert [one["reason"] for one in started["failures"]] == [reason, "MISSING"]
    cloud.serve()
    instance = agent.arn.rsplit("/", 1)[1]
    assert cloud.events() == [
        "(service db) was unable to place a task because no container instance met all of its requirements. The closest "
        f"matching (container-instance {instance}) {words}. For more information, see the Troubleshooting section of the "
        "Amazon ECS Developer Guide."
    ]


def test_two_services_do_not_get_one_port(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define(portMappings=[{"containerPort": 80, "hostPort": 80}])
    cloud.serve("one")
    cloud.serve("two")
    agent.work()
    assert len(agent.running) == 1
    assert "is already using a port" in cloud.events("two")[0]


def test_tasks_that_are_run(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define("run")
    overrides = {
        "containerOverrides": [{"name": "run", "command": ["x"], "memory": 900, "environment": []}],
    }
    answer = cloud.ecs.run_task(
        cluster=CLUSTER,
        taskDefinition="run",
        count=3,
        startedBy="me",
        overrides=overrides,
        tags=[{"key": "Run", "value": "1"}],
    )
    assert [one["lastStatus"] for one in answer["tasks"]] == ["PENDING"] * 3 and answer["failures"] == []
    arns = sorted(one["taskArn"] for one in answer["tasks"])
    assert sorted(cloud.arns(startedBy="me")) == sorted(cloud.arns(family="run")) == arns
    assert sorted(cloud.arns(containerInstance=agent.arn)) == arns
    agent.work()
    assert agent.wanted[0]["overrides"]["containerOverrides"][0]["command"] == ["x"]
    assert (agent.wanted[0]["group"], agent.wanted[0]["startedBy"]) == ("family:run", "me")
    agent.end(arns[0], 0)
    agent.poll()
    found = cloud.task(arns[0])
    assert (found["stopCode"], found["containers"][0]["exitCode"]) == ("EssentialContainerExited", 0)
    assert len(cloud.arns()) == 2, "nobody replaces it"
    answer = cloud.ecs.run_task(cluster=CLUSTER, taskDefinition="run", count=9)
    assert (len(answer["tasks"]), answer["failures"][0]["reason"]) == (4, "RESOURCE:MEMORY"), "as many as fit"


def test_a_token_runs_a_task_once(cloud: Cloud) -> None:
    cloud.host()
    cloud.define("run")
    run = {"cluster": CLUSTER, "taskDefinition": "run", "clientToken": "t"}
    first, second = cloud.ecs.run_task(**run)["tasks"], cloud.ecs.run_task(**run)["tasks"]
    assert first[0]["taskArn"] == second[0]["taskArn"] and len(cloud.arns()) == 1


def test_instances_are_listed_by_expressions(cloud: Cloud) -> None:
    agent, _ = cloud.host(role="db"), cloud.host(role="web")
    found = cloud.ecs.list_container_instances(cluster=CLUSTER, filter="attribute:role == db")
    assert found["containerInstanceArns"] == [agent.arn]
    cloud.ecs.put_attributes(
        cluster=CLUSTER, attributes=[{"name": "role", "value": "web", "targetId": agent.arn}]
    )
    found = cloud.ecs.list_container_instances(cluster=CLUSTER, filter="attribute:role == web")
    assert len(found["containerInstanceArns"]) == 2


ERRORS: dict[str, tuple[Callable[[Cloud], Any], str]] = {
    "no instance": (
        lambda cloud: cloud.ecs.run_task(cluster=CLUSTER, taskDefinition="db"),
        "InvalidParameterException.*No Container Instances were found in your cluster",
    ),
    "fargate": (
        lambda cloud: cloud.ecs.run_task(cluster=CLUSTER, taskDefinition="db", launchType="FARGATE"),
        "not emulated: launch type FARGATE",
    ),
    "too many": (lambda cloud: cloud.ecs.run_task(cluster=CLUSTER, taskDefinition="db", count=11), "count"),
    "group": (
        lambda cloud: cloud.ecs.run_task(cluster=CLUSTER, taskDefinition="db", group="service:db"),
        "must not begin with service:",
    ),
    "container": (
        lambda cloud: cloud.ecs.run_task(
            cluster=CLUSTER, taskDefinition="db", overrides={"containerOverrides": [{"name": "other"}]}
        ),
        "Override for container named other is not a container in the TaskDefinition",
    ),
    "network": (
        lambda cloud: cloud.ecs.run_task(
            cluster=CLUSTER,
            taskDefinition="db",
            networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        ),
        "not emulated: networkConfiguration",
    ),
    "task": (
        lambda cloud: cloud.ecs.stop_task(cluster=CLUSTER, task="none"),
        "referenced task was not found",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_of_tasks(cloud: Cloud, name: str) -> None:
    cloud.define()
    call, match = ERRORS[name]
    with pytest.raises(ClientError, match=match):
        call(cloud)
