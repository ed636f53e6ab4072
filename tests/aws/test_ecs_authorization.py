"""What requests to ECS are about, as IAM sees them; no server decides here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from .ecs_support import ACCOUNT, REGION, Cloud
from .policy_lint import actions

BASE = f"arn:aws:ecs:{REGION}:{ACCOUNT}"
ROLES = f"arn:aws:iam::{ACCOUNT}:role"


@pytest.fixture
def module(cloud: Cloud) -> Iterator[ModuleType]:
    yield importlib.import_module("authorization_ecs")


def call(name: str, **parameters: Any) -> Any:
    def arn(service: str, end: str) -> str:
        return end if end.startswith("arn:") else f"arn:aws:{service}:{REGION}:{ACCOUNT}:{end}"

    return SimpleNamespace(name=name, parameters=parameters, account=ACCOUNT, region=REGION, arn=arn)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (call("Poll", cluster="shop", containerInstance="i"), ["container-instance/shop/i"]),
        (
            call(
                "StartTelemetrySession", cluster="shop", containerInstance=f"{BASE}:container-instance/shop/i"
            ),
            ["container-instance/shop/i"],
        ),
        (call("RegisterContainerInstance", cluster="shop"), ["cluster/shop"]),
        (call("SubmitTaskStateChange", cluster="shop", task="t"), ["cluster/shop"]),
        (call("DeregisterContainerInstance", cluster="shop", containerInstance="i"), ["cluster/shop"]),
        (call("CreateService", cluster="shop", serviceName="a", taskDefinition="d"), ["service/shop/a"]),
        (call("DescribeServices", cluster="shop", services=["a", "b"]), ["service/shop/a", "service/shop/b"]),
        (call("RunTask", cluster="shop", taskDefinition="db"), ["task-definition/db:1"]),
        (call("RunTask", cluster="shop", taskDefinition="db:7"), ["task-definition/db:7"]),
        (call("RegisterTaskDefinition", family="db"), ["task-definition/db:*"]),
        (call("StopTask", cluster="shop", task="t"), ["task/shop/t"]),
        (call("ListTasks", cluster="shop"), ["container-instance/shop/*"]),
        (call("DescribeClusters"), ["cluster/default"]),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_resources(cloud: Cloud, module: ModuleType, request_: Any, expected: list[str]) -> None:
    cloud.define()
    assert [one.arn for one in module.resources(request_)] == [f"{BASE}:{end}" for end in expected]


def test_an_action_without_resources_needs_a_statement_about_all(module: ModuleType) -> None:
    for name in ("DiscoverPollEndpoint", "DescribeTaskDefinition", "ListServices"):
        assert [one.arn for one in module.resources(call(name))] == ["*"]


def test_the_table_is_that_of_aws(module: ModuleType) -> None:
    """As far as our excerpt of it goes."""
    for action, kinds in actions().items():
        service, name = action.split(":")
        if service != "ecs" or name in module._TAGGED:
            continue
        listed = {kind.rstrip("*") for kind in kinds if kind}
        assert listed == ({module._ABOUT[name][0]} if name in module._ABOUT else set()), action


def test_conditions_may_ask_for_the_cluster(module: ModuleType) -> None:
    (found,) = module.resources(call("Poll", cluster="shop", containerInstance="i"))
    assert found.keys == {"ecs:cluster": [f"{BASE}:cluster/shop"]}
    (found,) = module.resources(
        call("StartTask", cluster="shop", taskDefinition="d:1", containerInstances=["i"])
    )
    assert found.keys["ecs:container-instances"] == [f"{BASE}:container-instance/shop/i"]


def test_who_runs_a_task_hands_over_its_roles(cloud: Cloud, module: ModuleType) -> None:
    cloud.define(whole={"taskRoleArn": f"{ROLES}/work", "executionRoleArn": f"{ROLES}/start"})
    passed = [one.arn for one in module.passed(call("RunTask", taskDefinition="db"))]
    assert passed == [f"{ROLES}/work", f"{ROLES}/start"]
    other = {"taskRoleArn": f"{ROLES}/other"}
    passed = [one.arn for one in module.passed(call("RunTask", taskDefinition="db", overrides=other))]
    assert passed == [f"{ROLES}/other", f"{ROLES}/start"]
    (found,) = module.passed(call("RegisterTaskDefinition", taskRoleArn=f"{ROLES}/work"))
    assert found.keys == {"iam:PassedToService": ["ecs-tasks.amazonaws.com"]}
    assert list(module.passed(call("UpdateService", taskDefinition="db"))) == []


def test_tags_are_set_on_what_is_made(module: ModuleType) -> None:
    (found,) = module.tagged(call("RunTask", cluster="shop", taskDefinition="db:1"))
    assert (found.arn, found.keys) == (f"{BASE}:task/shop/*", {"ecs:CreateAction": ["RunTask"]})
