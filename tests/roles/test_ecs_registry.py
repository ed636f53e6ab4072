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
def clients() -> Iterator[dict[str, Any]]:
    with moto_support.account("ecs", "ec2", "iam") as found:
        yield found


@pytest.fixture
def ecs(clients: dict[str, Any]) -> Any:
    return clients["ecs"]


def run(ecs: Any, method: str, *arguments: Any, check: bool = False) -> list[str]:
    tags, arguments = (arguments[0], ()) if method.endswith("cluster") else ({}, arguments)
    registry = ecs_registry.Registry(ecs, "shop", tags, check)
    getattr(registry, method)(*arguments)
    return list(registry.actions)


def instance_id(role: str = "") -> str:
    ec2 = boto3.client("ec2", region_name="us-east-1")
    image = ec2.register_image(Name="an image of ours")["ImageId"]  # reading moto's own list takes seconds
    given: dict[str, Any] = {"IamInstanceProfile": {"Name": role}} if role else {}
    return str(
        ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, **given)["Instances"][0]["InstanceId"]
    )


def joined(ecs: Any, role: str = "") -> str:
    """A host whose agent has registered it."""
    host = instance_id(role)
    register(ecs, host)
    return host


def register(ecs: Any, host: str) -> str:
    """Add an entry of a host; return its ARN."""
    document = json.dumps({"instanceId": host})
    answer = ecs.register_container_instance(cluster="shop", instanceIdentityDocument=document)
    return str(answer["containerInstance"]["containerInstanceArn"])


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
    register(ecs, host)
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


@pytest.fixture
def roles(clients: dict[str, Any]) -> list[str]:
    """Two roles of hosts, each with an instance profile of its name."""
    iam = clients["iam"]
    for name in ("shop-db", "shop-web"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    run(clients["ecs"], "ensure_cluster", {})
    return ["shop-db", "shop-web"]


def narrow(clients: dict[str, Any], host: str = "", check: bool = False) -> list[str]:
    """Narrow what roles may listen for, as the module does; return what was done."""
    listening = ecs_registry.Listening(clients["ec2"], clients["iam"], "listen", check)
    listening.narrow(ecs_registry.Registry(clients["ecs"], "shop", {}, check).instances(), host)
    return [action.partition(" listen for ")[0] for action in listening.actions]


def listened(clients: dict[str, Any], role: str) -> list[str] | None:
    """The container instances that a role may listen for; None where nothing says so."""
    try:
        document = clients["iam"].get_role_policy(RoleName=role, PolicyName="listen")["PolicyDocument"]
    except clients["iam"].exceptions.NoSuchEntityException:
        return None
    (statement,) = document["Statement"]
    assert statement["Action"] == ["ecs:Poll", "ecs:StartTelemetrySession"]
    return list(statement["Resource"])


def entries(ecs: Any, host: str) -> list[str]:
    found = ecs_registry.Registry(ecs, "shop", {}, False).find(host)
    return sorted(one["containerInstanceArn"] for one in found)


def test_a_role_listens_for_the_entries_of_its_own_instance_alone(
    clients: dict[str, Any], roles: list[str]
) -> None:
    ecs = clients["ecs"]
    hosts = [joined(ecs, role) for role in roles]
    joined(ecs)  # a host without a role is nobody's
    assert narrow(clients, check=True) == ["let shop-db", "let shop-web"]
    assert listened(clients, "shop-db") is None, "check mode changes nothing"
    assert narrow(clients) == ["let shop-db", "let shop-web"]
    assert narrow(clients) == []
    for role, host in zip(roles, hosts, strict=True):
        assert listened(clients, role) == entries(ecs, host)
    other = listened(clients, "shop-web")
    register(ecs, hosts[0])
    register(ecs, hosts[1])
    assert narrow(clients, hosts[0]) == ["let shop-db"], "of one host alone"
    assert listened(clients, "shop-db") == entries(ecs, hosts[0]) and len(entries(ecs, hosts[0])) == 2
    assert listened(clients, "shop-web") == other


def test_what_is_wider_is_narrowed_and_an_entry_that_is_gone_is_forgotten(
    clients: dict[str, Any], roles: list[str]
) -> None:
    ecs, iam = clients["ecs"], clients["iam"]
    host = joined(ecs, "shop-db")
    wide = {"Effect": "Allow", "Action": ["ecs:Poll", "ecs:StartTelemetrySession"], "Resource": ["*"]}
    document = json.dumps({"Version": "2012-10-17", "Statement": [wide]})
    iam.put_role_policy(RoleName="shop-db", PolicyName="listen", PolicyDocument=document)
    narrow(clients)
    assert listened(clients, "shop-db") == entries(ecs, host)
    (old,) = entries(ecs, host)
    new = register(ecs, host)
    ecs.deregister_container_instance(cluster="shop", containerInstance=old, force=True)
    narrow(clients)
    assert listened(clients, "shop-db") == [new]


def test_a_host_that_was_made_again_takes_over_from_the_one_that_ended(
    clients: dict[str, Any], roles: list[str]
) -> None:
    ecs, ec2 = clients["ecs"], clients["ec2"]
    first = joined(ecs, "shop-db")
    narrow(clients)
    ec2.terminate_instances(InstanceIds=[first])
    before = listened(clients, "shop-db")
    assert narrow(clients) == [] and listened(clients, "shop-db") == before
    second = joined(ecs, "shop-db")
    assert narrow(clients, second) == ["let shop-db"]
    assert listened(clients, "shop-db") == entries(ecs, second)


def test_a_host_is_waited_for_until_its_agent_has_registered_it(
    clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(clients["ecs"], "ensure_cluster", {})
    host = instance_id()
    with pytest.raises(ecs_registry.UnknownHostError, match=f"no container instance of {host}. Its agent"):
        run(clients["ecs"], "await_instance", host, 0)
    assert run(clients["ecs"], "await_instance", host, 0, check=True) == []
    monkeypatch.setattr(ecs_registry.time, "sleep", lambda _: register(clients["ecs"], host))
    assert run(clients["ecs"], "await_instance", host, 60) == []
    assert len(entries(clients["ecs"], host)) == 1
