"""The API restarted and is empty, the containers went on: what becomes of them when services are made again."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from .ecs_support import CLUSTER, Agent, Cloud

PINNED = [{"type": "memberOf", "expression": "attribute:role == db"}]
SQL = [{"containerPort": 5432, "hostPort": 5432}]


def before(cloud: Cloud) -> tuple[Agent, str]:
    """A host with a running task of the service db, of whose entries the API has forgotten all."""
    agent = cloud.host(role="db")
    cloud.define(image="db:0")
    cloud.define(portMappings=SQL)
    cloud.serve(placementConstraints=PINNED)
    agent.work()
    (arn,) = agent.running
    cloud.forget()
    return agent, arn


def back(agent: Agent) -> None:
    """The agent finds itself unknown and registers again."""
    with pytest.raises(ClientError, match="not found"):
        agent.poll()
    agent.register()
    agent.work()


@pytest.mark.parametrize("service_first", [False, True])
def test_a_task_is_adopted_as_it_runs(cloud: Cloud, service_first: bool) -> None:
    agent, arn = before(cloud)
    if not service_first:
        back(agent)
    cloud.define(portMappings=SQL)
    cloud.serve(placementConstraints=PINNED)
    if service_first:
        assert cloud.arns() == [], "nobody knows what runs there"
        back(agent)
    agent.work()
    cloud.tick(40)
    assert agent.running == [arn] and len(agent.tasks) == 1
    found = cloud.task(arn)
    (deployment,) = cloud.service()["deployments"]
    assert (deployment["rolloutState"], deployment["runningCount"]) == ("COMPLETED", 1)
    assert found["startedBy"] == deployment["id"]
    assert found["taskDefinitionArn"].endswith("/db:1"), "by the revision that it has now"
    assert cloud.arns(serviceName="db") == [arn]


def test_a_task_that_is_another_than_the_service_wants_ends_first(cloud: Cloud) -> None:
    agent, arn = before(cloud)
    back(agent)
    cloud.define(image="db:3")
    cloud.serve(placementConstraints=PINNED)
    agent.hung.add(arn)
    agent.work()
    assert agent.running == [arn]
    assert [(one["taskArn"], one["desiredStatus"]) for one in agent.wanted] == [(arn, "STOPPED")]
    assert cloud.arns(serviceName="db") == []
    assert cloud.arns(serviceName="db", desiredStatus="STOPPED") == [arn], "who waits for the end sees it"
    assert cloud.service()["runningCount"] == 1
    agent.hung.clear()
    agent.work()
    assert arn not in agent.running and len(agent.running) == 1


def test_a_deleted_service_drains_until_its_orphan_has_ended(cloud: Cloud) -> None:
    agent, arn = before(cloud)
    back(agent)
    cloud.define(image="db:3")
    cloud.serve(placementConstraints=PINNED)
    agent.hung.add(arn)
    agent.work()
    cloud.ecs.delete_service(cluster=CLUSTER, service="db", force=True)
    cloud.tick()
    assert cloud.service()["status"] == "DRAINING"
    agent.hung.clear()
    agent.work()
    assert cloud.service()["status"] == "INACTIVE"


def test_an_orphan_without_a_service_goes_on_and_holds_what_it_has(cloud: Cloud) -> None:
    agent, arn = before(cloud)
    back(agent)
    cloud.tick(10)
    agent.work()
    assert agent.running == [arn] and agent.wanted == []
    found = cloud.task(arn)
    assert (found["lastStatus"], found["group"]) == ("RUNNING", "service:db")
    cloud.define("other", portMappings=SQL)
    cloud.serve("other", "other")
    assert "is already using a port required by your task" in cloud.events("other")[0]
    with pytest.raises(ClientError, match="Found running tasks"):
        cloud.ecs.deregister_container_instance(cluster=CLUSTER, containerInstance=agent.arn)
    agent.end(arn, 0)
    agent.poll()
    cloud.tick()
    assert len(cloud.arns(serviceName="other")) == 1


def test_a_person_may_stop_an_orphan(cloud: Cloud) -> None:
    agent, arn = before(cloud)
    back(agent)
    cloud.ecs.stop_task(cluster=CLUSTER, task=arn)
    agent.work()
    assert agent.running == []


def test_a_service_that_is_to_run_nothing_ends_its_orphan(cloud: Cloud) -> None:
    agent, _ = before(cloud)
    back(agent)
    cloud.define(portMappings=SQL)
    cloud.serve(count=0)
    agent.work()
    assert agent.running == []


def test_an_agent_that_lost_its_entry_keeps_its_tasks(cloud: Cloud) -> None:
    """It registers again while the API still knows the old entry; the task is the same, so no second one starts."""
    agent = cloud.host(role="db")
    cloud.define()
    cloud.serve()
    agent.work()
    (arn,) = agent.running
    agent.register()
    agent.work()
    cloud.tick(5)
    agent.work()
    assert agent.running == [arn] and cloud.task(arn)["containerInstanceArn"] == agent.arn
    assert cloud.service()["runningCount"] == 1


def test_a_task_that_only_the_lost_entry_was_given_is_no_obstacle(cloud: Cloud) -> None:
    """The agent never got the answer that gave it the task, and registers again: its host runs nothing."""
    agent = cloud.host(role="db")
    cloud.define()
    cloud.serve()
    agent.call("Poll", revision=agent.revision, waitSeconds=0, reported=[])
    cloud.ecs.stop_task(cluster=CLUSTER, task=cloud.arns()[0])
    cloud.tick(20)
    agent.register()
    agent.work(rounds=4)
    assert len(agent.running) == 1


def test_a_task_that_ended_while_the_api_was_away_is_no_orphan(cloud: Cloud) -> None:
    agent, arn = before(cloud)
    agent.end(arn)
    back(agent)
    cloud.define(portMappings=SQL)
    cloud.serve(placementConstraints=PINNED)
    agent.work()
    assert len(agent.running) == 1 and agent.running != [arn]


def test_the_digest_is_the_same_for_the_same_definition_only(cloud: Cloud) -> None:
    agent = cloud.host()
    digests = []
    for image, tags in (("a", []), ("a", [{"key": "k", "value": "v"}]), ("b", [])):
        cloud.define("work", image=image, tags=tags)
        cloud.ecs.run_task(cluster=CLUSTER, taskDefinition="work")
        digests.append(agent.poll()[-1]["definitionDigest"])
    assert digests[0] == digests[1] != digests[2]
