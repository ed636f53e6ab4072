"""What agents and the emulated ECS say to each other."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .ecs_support import CLUSTER, Agent, Cloud

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ecs-tasks.amazonaws.com"}}
    ],
}


def described(cloud: Cloud, agent: Agent) -> dict[str, Any]:
    (found,) = cloud.ecs.describe_container_instances(cluster=CLUSTER, containerInstances=[agent.arn])[
        "containerInstances"
    ]
    return dict(found)


def remaining(cloud: Cloud, agent: Agent) -> dict[str, Any]:
    return {
        one["name"]: one["stringSetValue"] if one["type"] == "STRINGSET" else one["integerValue"]
        for one in described(cloud, agent)["remainingResources"]
    }


def test_an_entry_stays_that_of_its_ec2_instance_whoever_registers_it_again(cloud: Cloud) -> None:
    """Or a host could make another's entry its own, and listen for it. What AWS does here is nowhere documented."""
    mine, other = cloud.host(), cloud.host()
    other.register(containerInstanceArn=mine.arn)
    assert other.arn == mine.arn
    (found,) = cloud.ecs.describe_container_instances(cluster=CLUSTER, containerInstances=[mine.arn])[
        "containerInstances"
    ]
    assert found["ec2InstanceId"] == mine.ec2_instance


def test_an_agent_is_connected_while_it_polls_and_a_moment_longer(cloud: Cloud) -> None:
    agent = cloud.host()
    assert described(cloud, agent)["agentConnected"] is True
    cloud.clock.seconds += 14
    assert described(cloud, agent)["agentConnected"] is True
    cloud.clock.seconds += 2
    assert described(cloud, agent)["agentConnected"] is False


def test_an_instance_that_only_registered_gets_no_task(cloud: Cloud) -> None:
    """Until its agent polls nobody knows what runs there."""
    agent = cloud.host()
    agent.register()
    cloud.clock.seconds += 20
    cloud.define()
    cloud.serve()
    assert cloud.arns() == []
    assert 'encountered error "AGENT"' in cloud.events()[0]


def test_an_agent_that_starts_again_keeps_its_entry(cloud: Cloud) -> None:
    agent = cloud.host(role="db")
    before, agent.cpu = agent.arn, 1024
    agent.register(containerInstanceArn=before)
    assert agent.arn == before
    assert remaining(cloud, agent)["CPU"] == 1024
    assert {"name": "role", "value": "db"} in described(cloud, agent)["attributes"]
    assert len(cloud.ecs.list_container_instances(cluster=CLUSTER)["containerInstanceArns"]) == 1


def test_an_unknown_instance_is_told_to_register_again(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.forget()
    with pytest.raises(
        ClientError, match=r"InvalidParameterException.*Referenced container instance .* not found"
    ):
        agent.poll()
    with pytest.raises(ClientError, match="InvalidParameterException"):
        agent.register(containerInstanceArn=agent.arn)
    agent.register()
    assert agent.poll() == []


def test_a_deregistered_instance_is_told_so(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.ecs.deregister_container_instance(cluster=CLUSTER, containerInstance=agent.arn)
    with pytest.raises(ClientError, match="InactiveInstanceException"):
        agent.poll()


def test_a_task_takes_its_resources_from_the_instance(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define(
        memory=1000,
        memoryReservation=600,
        cpu=100,
        portMappings=[{"containerPort": 5432, "hostPort": 5432}, {"containerPort": 53, "protocol": "udp"}],
    )
    cloud.serve()
    assert remaining(cloud, agent) == {
        "CPU": 1948,
        "MEMORY": 3496,
        "PORTS": ["22", "5432", "51678"],
        "PORTS_UDP": [],
    }
    agent.work()
    found = described(cloud, agent)
    assert (found["runningTasksCount"], found["pendingTasksCount"]) == (1, 0)
    cloud.update(desiredCount=0)
    assert remaining(cloud, agent)["MEMORY"] == 3496, "until its end is reported"
    agent.work()
    assert remaining(cloud, agent)["MEMORY"] == 4096


def test_the_wanted_state_is_whole_and_its_revision_changes_with_it(cloud: Cloud) -> None:
    agent = cloud.host()
    first = agent.revision
    cloud.define()
    cloud.serve()
    (task,) = agent.poll()
    assert agent.revision > first
    assert (task["desiredStatus"], task["group"]) == ("RUNNING", "service:db")
    assert task["taskDefinition"]["containerDefinitions"][0]["image"] == "db:1"
    assert task["roleCredentials"] is None and len(task["definitionDigest"]) == 64
    second = agent.revision
    assert agent.poll() == [task] and agent.revision == second
    agent.act()
    agent.poll()
    agent.call("Poll", revision=0, waitSeconds=20, reported=[one.report() for one in agent.tasks.values()])


def test_a_poll_waits_until_there_is_something_to_do(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define()
    answers: list[Any] = []
    waiting = threading.Thread(
        target=lambda: answers.append(
            agent.call("Poll", revision=agent.revision, waitSeconds=20, reported=[])
        )
    )
    waiting.start()
    began = time.monotonic()
    while not any(one.open_polls for one in cloud.package.store.instances(cloud.backend, CLUSTER)):
        assert time.monotonic() - began < 10
        time.sleep(0.01)
    cloud.clock.seconds += 100
    assert described(cloud, agent)["agentConnected"] is True
    cloud.serve()
    waiting.join(10)
    assert [one["desiredStatus"] for one in answers[0]["tasks"]] == ["RUNNING"]


def test_health_comes_by_telemetry(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define(healthCheck={"command": ["CMD-SHELL", "true"]})
    cloud.serve()
    agent.work(health="UNKNOWN")
    (arn,) = agent.running
    cloud.tick(60)
    assert cloud.task(arn)["healthStatus"] == "UNKNOWN"
    assert cloud.service()["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    report = {"taskArn": arn, "containers": [{"containerName": "db", "healthStatus": "HEALTHY"}]}
    assert agent.call("StartTelemetrySession", health=[report]) == {}
    cloud.tick()
    assert cloud.task(arn)["healthStatus"] == "HEALTHY"
    assert cloud.service()["deployments"][0]["rolloutState"] == "COMPLETED"


def test_a_change_of_state_counts_before_the_next_poll(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define()
    cloud.serve()
    agent.poll()
    (arn,) = agent.tasks
    binding = {"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 32768, "protocol": "tcp"}
    cloud.ecs.submit_container_state_change(
        cluster=CLUSTER, task=arn, containerName="db", status="RUNNING", networkBindings=[binding]
    )
    cloud.ecs.submit_task_state_change(cluster=CLUSTER, task=arn, status="RUNNING")
    found = cloud.task(arn)
    assert (found["lastStatus"], found["containers"][0]["networkBindings"]) == ("RUNNING", [binding])
    cloud.ecs.submit_task_state_change(
        cluster=CLUSTER, task=arn, status="STOPPED", containers=[{"containerName": "db", "exitCode": 3}]
    )
    found = cloud.task(arn)
    assert (found["stopCode"], found["stoppedReason"], found["containers"][0]["exitCode"]) == (
        "EssentialContainerExited",
        "Essential container in task exited",
        3,
    )
    cloud.ecs.submit_task_state_change(cluster=CLUSTER, task=arn, status="RUNNING")
    assert cloud.task(arn)["lastStatus"] == "STOPPED", "an answer that comes late"


def test_a_task_whose_containers_are_gone_has_ended(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define()
    cloud.serve()
    agent.work()
    (arn,) = agent.running
    agent.tasks.clear()
    agent.poll()
    found = cloud.task(arn)
    assert (found["lastStatus"], found["stopCode"]) == ("STOPPED", "EssentialContainerExited")


def test_a_task_that_no_agent_was_given_ends_at_once(cloud: Cloud) -> None:
    cloud.host()
    cloud.define()
    cloud.serve()
    (arn,) = cloud.arns()
    cloud.ecs.stop_task(cluster=CLUSTER, task=arn)
    assert cloud.task(arn)["lastStatus"] == "STOPPED"


def test_a_task_that_ended_before_its_agent_began_is_forgotten(cloud: Cloud) -> None:
    """The agent was given the task and told to stop it before it made a container, so it reports nothing."""
    agent = cloud.host()
    cloud.define()
    cloud.serve()
    agent.poll()
    (arn,) = agent.tasks
    agent.tasks.clear()
    cloud.update(desiredCount=0)
    agent.poll()
    assert cloud.task(arn)["lastStatus"] == "PENDING", "the agent has not seen that it is to stop"
    agent.tasks.clear()
    agent.poll()
    assert cloud.task(arn)["lastStatus"] == "STOPPED"


def test_a_task_gets_credentials_of_its_roles_and_new_ones_in_time(cloud: Cloud) -> None:
    arns = {
        name: cloud.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        for name in ("work", "start")
    }
    agent = cloud.host()
    cloud.define(whole={"taskRoleArn": arns["work"], "executionRoleArn": arns["start"]})
    cloud.serve()
    agent.work()
    (task,) = agent.wanted
    assert task["roleCredentials"]["roleArn"] == arns["work"]
    assert task["executionRoleCredentials"]["roleArn"] == arns["start"]
    assert task["roleCredentials"]["expiration"].endswith("Z") and task["roleCredentials"]["sessionToken"]
    before, revision = task["roleCredentials"]["accessKeyId"], agent.revision
    cloud.tick(3 * 3600 + 1)
    (task,) = agent.poll()
    assert task["roleCredentials"]["accessKeyId"] != before and agent.revision > revision


def test_a_role_that_does_not_trust_ecs_is_named(cloud: Cloud) -> None:
    cloud.host()
    cloud.define(whole={"taskRoleArn": "arn:aws:iam::123456789012:role/none"})
    cloud.serve()
    assert cloud.arns() == []
    assert "ECS was unable to assume the role 'arn:aws:iam::123456789012:role/none'" in cloud.events()[0]
    with pytest.raises(ClientError, match="ClientException.*unable to assume the role"):
        cloud.ecs.run_task(cluster=CLUSTER, taskDefinition="db")


def test_a_terminated_host_leaves_the_cluster(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define()
    cloud.serve()
    agent.work()
    (arn,) = agent.running
    cloud.ec2.terminate_instances(InstanceIds=[agent.ec2_instance])
    cloud.tick(20)
    assert cloud.ecs.list_container_instances(cluster=CLUSTER)["containerInstanceArns"] == []
    found = cloud.task(arn)
    assert (found["lastStatus"], found["stoppedReason"]) == (
        "STOPPED",
        f"Host EC2 (instance {agent.ec2_instance}) terminated.",
    )
    other = cloud.host()
    cloud.tick()
    other.work()
    assert len(other.running) == 1
