"""Services of the emulated ECS: deployed within their percentages, replaced, drained, deleted."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .ecs_support import CLUSTER, ONE_AT_MOST, Agent, Cloud

ROLLING = {"maximumPercent": 200, "minimumHealthyPercent": 100}
BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
CHECK = {"command": ["CMD-SHELL", "true"]}


def deployments(cloud: Cloud, name: str = "db") -> list[tuple[str, str, str]]:
    """Status, roll-out and revision of each deployment."""
    return [
        (one["status"], one["rolloutState"], one["taskDefinition"].rsplit(":", 1)[1])
        for one in cloud.service(name)["deployments"]
    ]


def stable(cloud: Cloud, agent: Agent, **options: Any) -> None:
    """A service that runs and is complete."""
    cloud.define()
    cloud.serve(**options)
    agent.work()
    cloud.tick(40)
    agent.poll()


def revision(agent: Agent, arn: str) -> int:
    return int(agent.tasks[arn].wanted["taskDefinition"]["revision"])


def test_a_service_is_complete_when_its_task_has_run_for_a_while(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define()
    cloud.serve()
    agent.work()
    cloud.tick(39)
    assert deployments(cloud) == [("PRIMARY", "IN_PROGRESS", "1")]
    cloud.tick(1)
    found = cloud.service()
    assert deployments(cloud) == [("PRIMARY", "COMPLETED", "1")]
    assert (found["runningCount"], found["pendingCount"], found["desiredCount"]) == (1, 0, 1)
    name, task = found["deployments"][0]["id"], agent.running[0].rsplit("/", 1)[1]
    assert found["deployments"][0]["rolloutStateReason"] == f"ECS deployment {name} completed."
    assert [one["message"] for one in found["events"]] == [
        "(service db) has reached a steady state.",
        f"(service db) (deployment {name}) deployment completed.",
        f"(service db) has started 1 tasks: (task {task}).",
    ]
    assert len({one["id"] for one in found["events"]}) == 3
    assert cloud.task(agent.running[0])["startedBy"] == name


def test_boto3_waits_for_services_and_tasks(cloud: Cloud) -> None:
    agent = cloud.host()
    stable(cloud, agent)
    at_once = {"Delay": 0, "MaxAttempts": 1}
    (arn,) = cloud.arns(serviceName="db")
    service = {"cluster": CLUSTER, "services": ["db"]}
    cloud.ecs.get_waiter("services_stable").wait(**service, WaiterConfig=at_once)
    cloud.ecs.get_waiter("tasks_running").wait(cluster=CLUSTER, tasks=[arn], WaiterConfig=at_once)
    cloud.ecs.delete_service(cluster=CLUSTER, service="db", force=True)
    assert cloud.service()["status"] == "DRAINING"
    with pytest.raises(ClientError, match="Unable to Start a service that is still Draining"):
        cloud.serve()
    cloud.tick()
    agent.work()
    cloud.ecs.get_waiter("services_inactive").wait(**service, WaiterConfig=at_once)
    cloud.ecs.get_waiter("tasks_stopped").wait(cluster=CLUSTER, tasks=[arn], WaiterConfig=at_once)
    assert cloud.ecs.list_services(cluster=CLUSTER)["serviceArns"] == []
    assert cloud.serve()["status"] == "ACTIVE", "another may have its name"


@pytest.mark.parametrize("is_hung", [False, True])
def test_with_one_task_at_most_the_old_one_ends_before_the_new_one_is_given_out(
    cloud: Cloud, is_hung: bool
) -> None:
    agent = cloud.host()
    stable(cloud, agent)
    (old,) = agent.running
    if is_hung:
        agent.hung.add(old)
    cloud.define(image="db:2")
    cloud.update(taskDefinition="db")
    agent.work()
    assert cloud.task(old)["stoppedReason"].startswith("Scaling activity initiated by (deployment ecs-svc/")
    assert cloud.task(old)["stopCode"] == "ServiceSchedulerInitiated"
    if is_hung:
        cloud.tick(3600)
        agent.work()
        assert (agent.running, len(agent.wanted)) == ([old], 1)
        assert deployments(cloud) == [("PRIMARY", "IN_PROGRESS", "2"), ("ACTIVE", "COMPLETED", "1")]
        agent.hung.clear()
        agent.work()
    (new,) = agent.running
    assert new != old and revision(agent, new) == 2
    cloud.tick(40)
    assert deployments(cloud) == [("PRIMARY", "COMPLETED", "2")]


def test_an_agent_that_is_away_may_still_run_the_old_task(cloud: Cloud) -> None:
    first = cloud.host()
    stable(cloud, first)
    second = cloud.host()
    cloud.tick(20)  # the first is away from here on
    second.poll()
    cloud.update(forceNewDeployment=True)
    for _ in range(3):
        cloud.tick(600)
        second.work()
    assert second.running == [] and cloud.service()["runningCount"] == 1
    first.work()
    second.work()
    assert (len(first.running), len(second.running)) in ((1, 0), (0, 1))


def test_tasks_of_a_deregistered_instance_count_as_gone(cloud: Cloud) -> None:
    first = cloud.host()
    stable(cloud, first)
    second = cloud.host()
    with pytest.raises(ClientError, match="Found running tasks on the instance"):
        cloud.ecs.deregister_container_instance(cluster=CLUSTER, containerInstance=first.arn)
    cloud.ecs.deregister_container_instance(cluster=CLUSTER, containerInstance=first.arn, force=True)
    cloud.tick()
    second.work()
    assert len(second.running) == 1


def test_a_rolling_deployment_keeps_enough_healthy_tasks(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define(healthCheck=CHECK)
    cloud.serve(count=2, deploymentConfiguration=ROLLING)
    agent.work()
    cloud.tick()
    cloud.define(image="db:2", healthCheck=CHECK)
    cloud.update(taskDefinition="db")
    agent.work(health="UNKNOWN")
    assert [revision(agent, one) for one in agent.running] == [1, 1, 2, 2], (
        "none of the new ones is healthy yet"
    )
    for one in agent.tasks.values():
        one.health = "HEALTHY"
    agent.work()
    assert [revision(agent, one) for one in agent.running] == [2, 2]
    cloud.tick()
    assert deployments(cloud) == [("PRIMARY", "COMPLETED", "2")]


def test_a_percentage_below_stops_some_before_others_start(cloud: Cloud) -> None:
    agent = cloud.host()
    half = {"maximumPercent": 100, "minimumHealthyPercent": 50}
    stable(cloud, agent, count=4, deploymentConfiguration=half)
    cloud.update(forceNewDeployment=True)
    agent.poll()
    wanted = [one["desiredStatus"] for one in agent.wanted]
    assert (wanted.count("RUNNING"), wanted.count("STOPPED")) == (2, 2)
    agent.work()
    cloud.tick(40)
    agent.work()
    cloud.tick(40)
    assert len(agent.running) == 4
    assert deployments(cloud) == [("PRIMARY", "COMPLETED", "1")]


def test_a_deployment_that_may_do_nothing_says_so(cloud: Cloud) -> None:
    agent = cloud.host()
    stable(cloud, agent, deploymentConfiguration={"maximumPercent": 100, "minimumHealthyPercent": 100})
    cloud.update(forceNewDeployment=True)
    assert "was unable to stop or start tasks during a deployment" in cloud.events()[0]
    assert len(agent.running) == 1


def test_a_task_that_dies_is_replaced_at_once_where_it_had_been_healthy(cloud: Cloud) -> None:
    agent = cloud.host()
    stable(cloud, agent)
    (old,) = agent.running
    agent.end(old, 137)
    agent.work()
    (new,) = agent.running
    assert new != old and cloud.service()["deployments"][0]["failedTasks"] == 0
    cloud.tick(40)
    assert deployments(cloud) == [("PRIMARY", "COMPLETED", "1")]
    assert cloud.events()[0] == "(service db) has reached a steady state."


def test_a_task_that_is_stopped_by_a_person_is_replaced(cloud: Cloud) -> None:
    agent = cloud.host()
    stable(cloud, agent)
    (old,) = agent.running
    cloud.ecs.stop_task(cluster=CLUSTER, task=old, reason="I say so")
    agent.work()
    assert agent.running != [old] and len(agent.running) == 1
    found = cloud.task(old)
    assert (found["stopCode"], found["stoppedReason"]) == ("UserInitiated", "I say so")
    assert cloud.arns(desiredStatus="STOPPED") == [old]


def test_tasks_that_fail_are_tried_again_after_ever_longer_pauses(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define()
    cloud.serve()
    tries = []
    for second in range(90):
        agent.fail_to_start("CannotPullContainerError: manifest unknown")
        if len(agent.tasks) > len(tries):
            tries.append(second)
        cloud.tick(1)
    assert [later - earlier for earlier, later in itertools.pairwise(tries)] == [5, 10, 20, 40]
    found = cloud.service()
    assert found["deployments"][0]["failedTasks"] == 5
    assert sum("unable to consistently start tasks successfully" in one for one in cloud.events()) == 1
    task = cloud.task(cloud.arns(desiredStatus="STOPPED")[0])
    assert (task["stopCode"], task["stoppedReason"]) == (
        "TaskFailedToStart",
        "CannotPullContainerError: manifest unknown",
    )


def test_the_circuit_breaker_goes_back_to_what_worked(cloud: Cloud) -> None:
    agent = cloud.host()
    stable(cloud, agent, deploymentConfiguration=ONE_AT_MOST | BREAKER)
    good = cloud.service()["deployments"][0]["id"]
    cloud.define(image="db:broken")
    cloud.update(taskDefinition="db")
    agent.work(rounds=1)
    while deployments(cloud)[0][2] == "2":
        agent.fail_to_start("CannotStartContainerError: no such file")
        cloud.tick(1)
    assert any("deployment failed: tasks failed to start." in one for one in cloud.events())
    assert f"(service db) rolling back to deployment {good}." in cloud.events()
    agent.work()
    cloud.tick(40)
    found = cloud.service()
    assert deployments(cloud) == [("PRIMARY", "COMPLETED", "1")]
    assert found["deployments"][0]["id"] == good and found["taskDefinition"].endswith(":1")
    assert len(agent.running) == 1 and revision(agent, agent.running[0]) == 1


def test_without_rollback_a_failed_deployment_starts_no_more_tasks(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define()
    cloud.serve(
        deploymentConfiguration=ONE_AT_MOST
        | {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    )
    for _ in range(60):
        agent.fail_to_start("ResourceInitializationError: unable to pull secrets or registry auth")
        cloud.tick(1)
    (found,) = cloud.service()["deployments"]
    assert (found["rolloutState"], found["failedTasks"]) == ("FAILED", 3)
    assert found["rolloutStateReason"] == "ECS deployment circuit breaker: tasks failed to start."
    assert len(agent.tasks) == 3
    cloud.define(image="db:2")
    cloud.update(taskDefinition="db")
    agent.work()
    cloud.tick(40)
    assert deployments(cloud) == [("PRIMARY", "COMPLETED", "2")]


def test_a_task_that_is_healthy_ends_the_count_of_failures(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define()
    cloud.serve()
    agent.fail_to_start("CannotPullContainerError: no")
    assert cloud.service()["deployments"][0]["failedTasks"] == 1
    cloud.tick(5)
    agent.work()
    cloud.tick(40)
    assert cloud.service()["deployments"][0]["failedTasks"] == 0


def test_an_unhealthy_task_is_replaced(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define(healthCheck=CHECK)
    cloud.serve()
    agent.work()
    cloud.tick()
    (old,) = agent.running
    agent.tasks[old].health = "UNHEALTHY"
    agent.work()
    assert old not in agent.running and len(agent.running) == 1
    assert cloud.task(old)["stoppedReason"] == "Task failed container health checks"
    assert any(one.endswith("failed container health checks.") for one in cloud.events())


def test_an_unhealthy_task_stays_until_its_replacement_is_healthy_where_there_is_room(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define(healthCheck=CHECK)
    cloud.serve(deploymentConfiguration=ROLLING)
    agent.work()
    (old,) = agent.running
    agent.tasks[old].health = "UNHEALTHY"
    agent.work(health="UNKNOWN")
    assert old in agent.running and len(agent.running) == 2
    for arn in agent.running:
        agent.tasks[arn].health = "UNHEALTHY" if arn == old else "HEALTHY"
    agent.work()
    assert old not in agent.running and len(agent.running) == 1


@pytest.mark.parametrize("configuration", [ONE_AT_MOST, ROLLING], ids=["one at most", "rolling"])
def test_draining_moves_the_tasks_of_services_and_leaves_others(
    cloud: Cloud, configuration: dict[str, Any]
) -> None:
    first = cloud.host()
    stable(cloud, first, deploymentConfiguration=configuration)
    cloud.ecs.run_task(cluster=CLUSTER, taskDefinition="db")
    first.work()
    second = cloud.host()
    first.poll()
    cloud.ecs.update_container_instances_state(
        cluster=CLUSTER, containerInstances=[first.arn], status="DRAINING"
    )
    cloud.tick()
    for _ in range(3):
        first.work()
        second.work()
        cloud.tick(40)
        first.poll()
        second.poll()
    first.work()
    assert (len(first.running), len(second.running)) == (1, 1)
    assert cloud.task(first.running[0])["group"] == "family:db"
    cloud.ecs.update_container_instances_state(
        cluster=CLUSTER, containerInstances=[first.arn], status="ACTIVE"
    )
    cloud.tick()
    assert cloud.service()["runningCount"] == 1


def test_a_service_without_an_agent_says_why(cloud: Cloud) -> None:
    cloud.define()
    cloud.serve()
    cloud.tick(1)
    assert cloud.events() == [
        "(service db) was unable to place a task because no container instance met all of its requirements. Reason: No "
        "Container Instances were found in your cluster. For more information, see the Troubleshooting section of the Amazon "
        "ECS Developer Guide."
    ]
    assert cloud.service()["runningCount"] == cloud.service()["pendingCount"] == 0
    cloud.tick(6 * 3600)
    assert len(cloud.events()) == 2, "said again after hours"


def test_scaling_makes_no_deployment(cloud: Cloud) -> None:
    agent = cloud.host()
    stable(cloud, agent)
    name = cloud.service()["deployments"][0]["id"]
    cloud.update(desiredCount=3)
    agent.work()
    cloud.tick(40)
    assert len(agent.running) == 3
    cloud.update(desiredCount=1)
    agent.work()
    cloud.tick()
    found = cloud.service()
    assert len(agent.running) == 1 and found["deployments"][0]["id"] == name
    assert found["deployments"][0]["desiredCount"] == 1
    cloud.update(desiredCount=0)
    agent.work()
    assert agent.running == []
    cloud.ecs.delete_service(cluster=CLUSTER, service="db")
    assert cloud.service()["status"] == "INACTIVE"


def test_a_service_goes_on_with_a_definition_that_is_deregistered(cloud: Cloud) -> None:
    agent = cloud.host()
    arn = cloud.define(tags=[{"key": "part", "value": "db"}])
    cloud.serve(propagateTags="TASK_DEFINITION")
    agent.work()
    (first,) = agent.running
    cloud.ecs.deregister_task_definition(taskDefinition=arn)
    agent.end(first)
    agent.poll()
    cloud.tick(60)
    agent.work()
    (second,) = agent.running
    (found,) = cloud.ecs.describe_tasks(cluster=CLUSTER, tasks=[second], include=["TAGS"])["tasks"]
    assert found["tags"] == [{"key": "part", "value": "db"}]


def test_a_service_that_cannot_be_looked_at_leaves_the_others_running(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rollout = cloud.package.scheduler.Rollout
    step = rollout.step

    def fails(self: Any) -> None:
        if self.service.name == "db":
            raise RuntimeError("a fault of ours")
        step(self)

    monkeypatch.setattr(rollout, "step", fails)
    agent = cloud.host()
    cloud.define()
    cloud.serve()
    cloud.serve("other")
    agent.work()
    assert [agent.tasks[arn].wanted["group"] for arn in agent.running] == ["service:other"]
    assert "is left as it is" in caplog.text and "a fault of ours" in caplog.text
