"""The module ecs_registry against moto's ECS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

import ecs_registry
import moto_support


@pytest.fixture
def ecs() -> Iterator[Any]:
    with moto_support.account("ecs") as clients:
        yield clients["ecs"]


def run(ecs: Any, method: str, *arguments: Any, check: bool = False) -> list[str]:
    tags, arguments = (arguments[0], ()) if method.endswith("cluster") else ({}, arguments)
    registry = ecs_registry.Registry(ecs, "shop", tags, check)
    getattr(registry, method)(*arguments)
    return list(registry.actions)


def instance_id() -> str:
    ec2 = boto3.client("ec2", region_name="us-east-1")
    image = ec2.register_image(Name="an image of ours")["ImageId"]  # reading moto's own list takes seconds
    return str(ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"])


def joined(ecs: Any) -> str:
    """A host whose agent has registered it."""
    host = instance_id()
    ecs.register_container_instance(cluster="shop", instanceIdentityDocument=json.dumps({"instanceId": host}))
    return host


def test_a_cluster_is_made_once_and_keeps_foreign_tags(ecs: Any) -> None:
    assert run(ecs, "ensure_cluster", {"Project": "shop"}, check=True) == ["create cluster shop"]
    assert ecs.list_clusters()["clusterArns"] == []
    assert run(ecs, "ensure_cluster", {"Project": "shop"}) == ["create cluster shop"]
    assert run(ecs, "ensure_cluster", {"Project": "shop"}) == []
    arn = ecs.list_clusters()["clusterArns"][0]
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "Team", "value": "data"}])
    for check in (True, False):
        with pytest.raises(ecs_registry.ForeignError, match="exists and lacks the tag Project=other"):
            run(ecs, "ensure_cluster", {"Project": "other"}, check=check)
    tags = {tag["key"]: tag["value"] for tag in ecs.list_tags_for_resource(resourceArn=arn)["tags"]}
    assert tags == {"Project": "shop", "Team": "data"}


def test_removal_works_twice_and_removes_instances_too(ecs: Any) -> None:
    run(ecs, "ensure_cluster", {"Project": "shop"})
    first, second = joined(ecs), joined(ecs)
    assert run(ecs, "remove_instance", first, check=True) == [f"deregister {first}"]
    assert run(ecs, "remove_instance", first) == [f"deregister {first}"]
    assert run(ecs, "remove_instance", first) == []
    mine = {"Project": "shop"}
    assert run(ecs, "remove_cluster", mine) == [f"deregister {second}", "delete cluster shop"]
    assert run(ecs, "remove_cluster", mine) == []
    assert run(ecs, "remove_instance", second) == []
    assert run(ecs, "drain_instance", second) == []


def test_every_entry_of_an_instance_is_removed(ecs: Any) -> None:
    """An agent that lost what it knew registers its host a second time; ECS keeps both entries."""
    run(ecs, "ensure_cluster", {})
    host = joined(ecs)
    ecs.register_container_instance(cluster="shop", instanceIdentityDocument=json.dumps({"instanceId": host}))
    assert run(ecs, "remove_instance", host) == [f"deregister {host}"] * 2
    assert run(ecs, "remove_instance", host) == []


@pytest.mark.parametrize(
    ("old", "new", "gone"),
    [
        ({"agentConnected": False}, {"agentConnected": True}, True),
        ({"agentConnected": False}, {"agentConnected": False}, False),
        ({"agentConnected": True}, {"agentConnected": True}, False),
        ({"agentConnected": False, "runningTasksCount": 1}, {"agentConnected": True}, False),
        ({"agentConnected": False, "pendingTasksCount": 1}, {"agentConnected": True}, False),
        ({"agentConnected": False}, {"agentConnected": True, "ec2InstanceId": "i-2"}, False),
    ],
)
def test_what_a_host_left_that_lost_its_data_goes_when_it_is_back(
    old: dict[str, Any], new: dict[str, Any], gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = ecs_registry.Registry(None, "shop", {}, True)
    entries = [
        {"containerInstanceArn": arn, "ec2InstanceId": "i-1", "status": "ACTIVE"} | told
        for arn, told in (("old", old), ("new", new))
    ]
    monkeypatch.setattr(registry, "active", lambda: {"status": "ACTIVE"})
    monkeypatch.setattr(registry, "instances", lambda: entries)
    monkeypatch.setattr(registry, "tasks", lambda **_: [])
    registry.client = type("Ecs", (), {"deregister_container_instance": None})()
    registry.remove_replaced()
    assert registry.actions == (["deregister i-1"] if gone else [])


def service(ecs: Any) -> None:
    """Make a service with one task, which moto runs where it is put."""
    ecs.register_task_definition(
        family="web", containerDefinitions=[{"name": "web", "image": "web", "memory": 64, "cpu": 1}]
    )
    ecs.create_service(cluster="shop", serviceName="web", taskDefinition="web", desiredCount=1)


def test_services_are_drained_before_they_are_deleted(ecs: Any) -> None:
    run(ecs, "ensure_cluster", {"Project": "shop"})
    service(ecs)
    expected = ["drain service web", "delete service web", "delete cluster shop"]
    assert run(ecs, "remove_cluster", {"Project": "shop"}, check=True) == expected
    assert len(ecs.list_services(cluster="shop")["serviceArns"]) == 1, "check mode removes nothing"
    assert run(ecs, "remove_cluster", {"Project": "shop"}) == expected
    (left,) = ecs.describe_services(cluster="shop", services=["web"])["services"]
    assert (left["status"], left["desiredCount"]) == ("INACTIVE", 0)
    assert [one["status"] for one in ecs.describe_clusters(clusters=["shop"])["clusters"]] != ["ACTIVE"]


def test_an_instance_that_runs_tasks_is_drained_before_it_leaves(
    ecs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(ecs, "ensure_cluster", {})
    host = joined(ecs)
    running = [["task"], ["task"], []]
    monkeypatch.setattr(ecs_registry.Registry, "tasks", lambda self, **where: running.pop(0))
    monkeypatch.setattr(ecs_registry, "PAUSE", 0)
    assert run(ecs, "remove_instance", host) == [f"drain {host}", f"deregister {host}"]
    assert running == [], "it waited until the task had ended"


def test_a_drained_instance_stays_and_is_drained_once(ecs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run(ecs, "ensure_cluster", {})
    host = joined(ecs)
    monkeypatch.setattr(ecs_registry, "PAUSE", 0)
    assert run(ecs, "drain_instance", host, check=True) == [f"drain {host}"]
    assert run(ecs, "drain_instance", host) == [f"drain {host}"]
    assert run(ecs, "drain_instance", host) == []
    (arn,) = ecs.list_container_instances(cluster="shop", status="DRAINING")["containerInstanceArns"]
    assert ecs.describe_container_instances(cluster="shop", containerInstances=[arn])["failures"] == []


def test_a_host_whose_agent_is_away_is_not_waited_for(ecs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run(ecs, "ensure_cluster", {})
    host = joined(ecs)
    (entry,) = ecs_registry.Registry(ecs, "shop", {}, False).find(host)
    monkeypatch.setattr(ecs_registry.Registry, "find", lambda self, _: [entry | {"agentConnected": False}])
    monkeypatch.setattr(ecs_registry.Registry, "tasks", lambda self, **where: ["task"])
    assert run(ecs, "remove_instance", host) == [f"deregister {host}"]


class Tasks:
    """A cluster of three tasks by the state that they are in: one is to run, the others are to stop."""

    LAST = {"one": "PENDING", "two": "STOPPING", "three": "STOPPED"}

    def get_paginator(self, operation: str) -> Any:
        assert operation == "list_tasks"
        return self

    def paginate(self, *, cluster: str, desiredStatus: str) -> list[dict[str, Any]]:
        listed = {"RUNNING": [["one"]], "STOPPED": [["two"], ["three"]]}
        return [{"taskArns": page} for page in listed[desiredStatus]]

    def describe_tasks(self, *, cluster: str, tasks: list[str]) -> dict[str, Any]:
        return {"tasks": [{"taskArn": name, "lastStatus": self.LAST[name]} for name in tasks]}


def test_a_task_that_is_still_ending_counts_and_one_that_has_ended_does_not() -> None:
    assert ecs_registry.Registry(Tasks(), "shop", {}, False).tasks() == ["one", "two"]


def test_a_cluster_that_is_not_ours_is_left_alone(ecs: Any) -> None:
    run(ecs, "ensure_cluster", {"Project": "other"})
    service(ecs)
    with pytest.raises(ecs_registry.ForeignError, match="lacks the tag Project=shop"):
        run(ecs, "remove_cluster", {"Project": "shop"})
    assert len(ecs.list_services(cluster="shop")["serviceArns"]) == 1
