"""The life of tasks: what is wanted, what runs, what is reported, and what no restart changes."""

from __future__ import annotations

import json
import threading

import pytest

from retailflow_emulators.ecs_agent.agent import MismatchError
from retailflow_emulators.ecs_agent.api import ApiAwayError, ApiRefusedError
from retailflow_emulators.ecs_agent.engine import EngineAwayError
from retailflow_emulators.ecs_agent.tasks import BLOCKED_SECONDS

from .conftest import CLUSTER, IMAGE, KEYS, Host, container, wait_until, wanted


def test_a_task_is_pulled_created_started_and_reported(host: Host) -> None:
    host.run(wanted(1, container(portMappings=[{"containerPort": 5432, "hostPort": 15432}])))
    assert [one for one, _ in host.docker.called("pull", "create", "start")] == ["pull", "create", "start"]
    made = host.made()
    assert made["Name"].startswith("/ecs-db-7-db-")
    labels = made["Config"]["Labels"]
    assert labels["com.amazonaws.ecs.cluster"] == CLUSTER
    assert labels["com.amazonaws.ecs.task-arn"] == host.task().arn
    assert labels["com.amazonaws.ecs.task-definition-version"] == "7"
    [told] = host.api.sent("SubmitTaskStateChange")
    assert (told["status"], told["containers"][0]["runtimeId"]) == ("RUNNING", made["Id"])
    [task] = host.reported()
    assert (task["lastStatus"], task["desiredStatus"]) == ("RUNNING", "RUNNING")
    assert task["taskDefinition"] == wanted(1, container(portMappings=[{"containerPort": 5432, "hostPort": 15432}]))[
        "taskDefinition"
    ]  # fmt: skip
    assert task["definitionDigest"] == "d" * 64
    assert task["containers"][0]["networkBindings"] == [
        {"bindIP": "0.0.0.0", "containerPort": 5432, "hostPort": 15432, "protocol": "tcp"}
    ]
    assert task["containers"][0]["imageDigest"] == "sha256:" + "a" * 64


def test_the_end_of_an_essential_container_ends_the_task(host: Host) -> None:
    host.run(wanted(1, container(), container("side")))
    assert sorted(host.docker.running()) == ["db", "side"]
    host.docker.dies(host.made()["Id"], 3)
    host.run()
    assert host.docker.running() == []
    last = host.api.sent("SubmitTaskStateChange")[-1]
    assert (last["status"], last["reason"]) == ("STOPPED", "Essential container in task exited")
    assert [one.get("exitCode") for one in last["containers"]] == [3, 0]


def test_the_end_of_another_container_is_told_alone(host: Host) -> None:
    host.run(wanted(1, container(), container("side", essential=False)))
    host.docker.dies(host.made("side")["Id"], 1, OOMKilled=True)
    host.run()
    assert host.docker.running() == ["db"]
    last = host.api.sent("SubmitContainerStateChange")[-1]
    assert (last["containerName"], last["status"], last["exitCode"]) == ("side", "STOPPED", 1)
    assert last["reason"].startswith("OutOfMemoryError: ")


def test_a_task_stops_within_its_own_time_when_it_is_told_to(host: Host) -> None:
    host.run(wanted(1, container(stopTimeout=77)))
    host.run(wanted(1, container(stopTimeout=77), desired="STOPPED", stopReason="Scaling activity"))
    assert host.docker.called("stop") == [("stop", f"{IMAGE} 77")]
    last = host.api.sent("SubmitTaskStateChange")[-1]
    assert (last["status"], last["reason"]) == ("STOPPED", "Scaling activity")
    assert len(host.docker.made) == 1, "a stopped container stays until it is cleaned up"


def test_a_task_that_was_never_here_and_must_stop_is_reported_as_stopped(host: Host) -> None:
    host.run(wanted(1, desired="STOPPED", stopReason="Task stopped by user"))
    assert host.docker.made == {}
    assert host.api.sent("SubmitTaskStateChange")[-1]["status"] == "STOPPED"


@pytest.mark.parametrize("threads", [False, True])
def test_a_killed_agent_finds_the_same_containers(host: Host, threads: bool) -> None:
    host.run(wanted())
    before = host.made()["Id"]
    host.restart(threads=threads)
    host.agent.poll(0)
    wait_until(lambda: host.task().status == "RUNNING", "the task runs")
    assert list(host.docker.made) == [before]
    assert len(host.docker.called("create")) == len(host.docker.called("start")) == 1


def test_a_container_that_was_made_just_before_a_kill_is_not_made_twice(host: Host) -> None:
    host.run(wanted())
    kept = host.settings.data / "ecs_agent_data.json"
    state = json.loads(kept.read_text())
    state["tasks"][0]["status"] = state["tasks"][0]["containers"]["db"]["status"] = "PENDING"
    state["tasks"][0]["containers"]["db"]["runtime_id"] = ""
    kept.write_text(json.dumps(state))
    host.restart()
    host.run()
    assert len(host.docker.made) == 1
    assert host.task().status == "RUNNING"


@pytest.mark.parametrize("text", [None, "{", '{"format": 2}'])
def test_without_its_state_the_agent_reads_its_tasks_from_the_containers(
    host: Host, text: str | None
) -> None:
    host.run(wanted(1, definition={"taskRoleArn": KEYS["roleArn"]}))
    identity, kept = host.task().credentials_id, host.settings.data / "ecs_agent_data.json"
    kept.write_text(text) if text is not None else kept.unlink()
    host.restart()
    host.api.tasks = []
    host.run()
    [task] = host.reported()
    assert (task["lastStatus"], task["group"], task["definitionDigest"]) == (
        "RUNNING",
        "service:db",
        "d" * 64,
    )
    assert host.task().credentials_id == identity, "the containers ask by it"
    assert len(host.docker.made) == 1


def test_after_a_restart_of_the_host_the_end_is_reported_with_its_code(host: Host) -> None:
    host.run(wanted())
    host.docker.reboot()
    host.restart()
    host.run()
    last = host.api.sent("SubmitTaskStateChange")[-1]
    assert (last["status"], last["containers"][0]["exitCode"]) == ("STOPPED", 137)
    assert len(host.docker.called("start")) == 1, "the scheduler sends a new task, this one is over"


def test_tasks_that_an_empty_api_does_not_know_go_on_and_are_reported(host: Host) -> None:
    host.run(wanted())
    before, host.api.instances, host.api.tasks = host.agent.known.instance_arn, [], []
    host.run()
    assert host.agent.known.instance_arn != before
    assert "containerInstanceArn" not in host.api.sent("RegisterContainerInstance")[-1]
    assert host.api.sent("Poll")[-1]["reported"][0]["lastStatus"] == "RUNNING"
    assert host.docker.running() == ["db"]
    assert [one["revision"] for one in host.api.sent("Poll")][-3] == 0, "the new instance has new revisions"
    host.run(wanted())  # adopted under the same ARN
    assert len(host.docker.called("start")) == 1


def test_while_the_api_is_away_nothing_stops(host: Host) -> None:
    host.run(wanted())
    host.api.down = True
    with pytest.raises(ApiAwayError):
        host.agent.poll(0)
    host.steps()
    assert host.docker.running() == ["db"]


def test_an_engine_that_is_away_ends_no_task(host: Host) -> None:
    host.run(wanted())
    host.docker.down = True
    with pytest.raises(EngineAwayError):
        host.steps()
    assert host.task().status == "RUNNING"
    host.docker.down = False
    host.run()
    assert host.task().status == "RUNNING"


def test_a_container_that_somebody_removed_is_reported(host: Host) -> None:
    host.run(wanted())
    host.docker.made.clear()
    host.run()
    reason = host.api.sent("SubmitTaskStateChange")[-1]["containers"][0]["reason"]
    assert reason.startswith("CannotInspectContainerError: Error response from daemon: No such container")


def test_two_tasks_of_a_group_never_run_together_when_one_must_stop(host: Host) -> None:
    host.run(wanted(1))
    old = host.agent.workers.pop(host.task(1).arn)  # its stop hangs: no step of it is made
    host.run(wanted(1, desired="STOPPED"), wanted(2))
    assert host.docker.running() == ["db"] and len(host.docker.made) == 1
    assert host.task(2).status == "PENDING"
    assert host.agent.workers[host.task(2).arn].life.step() == BLOCKED_SECONDS
    host.restart()  # the agent dies meanwhile, and the API is away
    host.agent.workers.pop(host.task(1).arn)
    host.steps()
    assert len(host.docker.made) == 1
    assert old.life.step() is None
    host.task(1).status = "STOPPED"
    host.run()
    assert host.task(2).status == "RUNNING" and host.docker.running() == ["db"]


def test_another_group_does_not_wait(host: Host) -> None:
    host.run(wanted(1))
    host.agent.workers.clear()
    host.run(wanted(1, desired="STOPPED"), wanted(2, group="family:db"))
    assert host.task(2).status == "RUNNING"


def test_a_hung_stop_holds_no_other_task(host: Host) -> None:
    host.restart(threads=True)
    host.agent.register()
    host.docker.registry["registry:5000/other:1"] = host.docker.registry[IMAGE]
    host.docker.hung[IMAGE] = threading.Event()
    host.api.tasks = [wanted(1)]
    host.agent.poll(0)
    wait_until(lambda: host.task(1).status == "RUNNING", "the first runs")
    other = wanted(2, container(image="registry:5000/other:1"), group="service:other")
    host.api.tasks = [wanted(1, desired="STOPPED"), other, wanted(3)]
    host.agent.poll(0)
    wait_until(lambda: host.task(2).status == "RUNNING", "the other runs")
    wait_until(lambda: host.task(1).status == "STOPPING", "the first is told to stop")
    assert host.task(3).status == "PENDING"
    host.docker.hung[IMAGE].set()
    wait_until(lambda: host.task(1).status == "STOPPED", "the first has ended")
    wait_until(lambda: host.task(3).status == "RUNNING", "its successor runs")


def test_a_stop_that_the_engine_refuses_is_tried_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run(wanted())
    with monkeypatch.context() as patch:
        patch.setattr(host.docker, "stop", lambda *_, **__: None)
        host.run(wanted(desired="STOPPED"))
        assert host.task().status == "STOPPING", "it is not over before the container is"
    host.run()
    assert host.task().status == "STOPPED"


@pytest.mark.parametrize("seen", ["event", "sweep", "restart"])
def test_a_container_that_somebody_starts_again_ends_before_another_task_begins(
    host: Host, seen: str
) -> None:
    host.run(wanted(1))
    first = host.made()["Id"]
    host.docker.dies(first, 0)  # `docker restart` is a stop and a start
    host.run()
    assert host.task(1).status == "STOPPED"
    host.docker.start(first)
    {"event": lambda: host.agent.wake(first), "sweep": host.agent.sweep, "restart": host.restart}[seen]()
    host.api.tasks = [wanted(2)]
    host.agent.poll(0)
    assert host.reported()[0]["lastStatus"] == "STOPPING"
    assert host.agent.workers[host.task(2).arn].life.step() == BLOCKED_SECONDS
    host.run()
    assert host.docker.made[first]["State"]["Status"] == "exited"
    assert (host.task(1).status, host.task(2).status) == ("STOPPED", "RUNNING")


def test_old_containers_are_removed_but_for_the_last_of_a_family(host: Host) -> None:
    for number in (1, 2):
        host.time += 10
        host.run(wanted(number))
        host.run(wanted(number, desired="STOPPED"))
    host.api.tasks = []
    host.run()
    assert host.reported() == [], "what the API has understood is not repeated"
    host.agent.sweep()
    assert len(host.docker.made) == 2, "3 hours, as Amazon's"
    host.time += 3 * 3600 + 11
    host.agent.sweep()
    assert [
        one["Config"]["Labels"]["com.amazonaws.ecs.task-arn"][-1] for one in host.docker.made.values()
    ] == ["2"]
    assert list(host.agent.known.tasks) == [host.task(2).arn]


def test_a_stopped_task_that_is_still_wanted_is_reported_until_it_is_understood(host: Host) -> None:
    host.run(wanted())
    host.docker.dies(host.made()["Id"], 1)
    host.run()
    assert host.reported()[0]["lastStatus"] == "STOPPED"
    assert host.reported()[0]["stoppedReason"] == "Essential container in task exited"
    assert len(host.docker.made) == 1


def test_health_is_told_when_it_changes_and_again_after_a_while(host: Host) -> None:
    host.run(wanted(1, container(healthCheck={"command": ["CMD", "true"]}), container("side")))
    host.made()["State"]["Health"] = {"Status": "starting"}
    host.run()
    assert len(host.api.sent("StartTelemetrySession")) == 1
    host.time += 5
    host.made()["State"]["Health"] = host.made("side")["State"]["Health"] = {"Status": "unhealthy"}
    host.run()
    last = host.api.sent("StartTelemetrySession")[-1]["health"]
    assert last[0]["containers"] == [
        {"containerName": "db", "healthStatus": "UNHEALTHY", "statusSince": 1005.0}
    ], "the check of an image is none of ECS's"
    host.agent.reporter.tell(again=True)
    assert len(host.api.sent("StartTelemetrySession")) == 3
    assert host.docker.running() == ["db", "side"], "the scheduler decides about unhealthy tasks"


def test_a_change_that_is_refused_or_lost_is_in_the_next_poll(host: Host) -> None:
    host.api.refuses["SubmitTaskStateChange"] = ApiRefusedError("ClientException", "no")
    host.run(wanted())
    assert host.reported()[0]["lastStatus"] == "RUNNING"
    host.docker.dies(host.made()["Id"], 1)
    del host.api.refuses["SubmitTaskStateChange"]
    host.steps()
    host.api.down = True
    with pytest.raises(ApiAwayError):
        host.agent.reporter.tell()
    host.api.down = False
    host.agent.reporter.tell()
    assert host.api.sent("SubmitTaskStateChange")[-1]["status"] == "STOPPED"


def test_another_cluster_than_the_kept_one_is_refused(host: Host) -> None:
    with pytest.raises(MismatchError, match="saved cluster 'shop' does not match configured cluster 'other'"):
        host.restart(cluster="other")


def test_another_instance_on_the_same_disk_is_registered_as_a_new_one(host: Host) -> None:
    host.run(wanted())
    host.restart(instance_id="i-0fedcba9876543210")
    assert host.agent.known.instance_arn == ""
    host.run()
    assert "containerInstanceArn" not in host.api.sent("RegisterContainerInstance")[-1]


def test_what_the_host_has_is_registered(host: Host) -> None:
    host.restart(instance_memory=1024, reserved_memory=256, attributes={"role": "postgres"}, tags={"a": "b"})
    host.run()
    [sent] = host.api.sent("RegisterContainerInstance")
    values = {
        one["name"]: one.get("integerValue", one.get("stringSetValue")) for one in sent["totalResources"]
    }
    assert values == {
        "CPU": 2048,
        "MEMORY": 768,
        "PORTS": ["22", "2375", "2376", "51678", "51679"],
        "PORTS_UDP": [],
    }
    attributes = {one["name"]: one.get("value") for one in sent["attributes"]}
    assert attributes["role"] == "postgres" and attributes["ecs.os-type"] == "linux"
    assert "com.amazonaws.ecs.capability.docker-remote-api.1.41" in attributes
    assert "com.amazonaws.ecs.capability.docker-remote-api.1.42" not in attributes
    assert "com.amazonaws.ecs.capability.logging-driver.awslogs" in attributes
    assert "com.amazonaws.ecs.capability.privileged-container" not in attributes
    document = json.loads(sent["instanceIdentityDocument"])
    assert document == {
        "instanceId": "i-0123456789abcdef0",
        "region": "us-east-1",
        "accountId": "123456789012",
    }
    host.restart()
    host.agent.register()
    again = host.api.sent("RegisterContainerInstance")[-1]
    assert again["containerInstanceArn"] == host.agent.known.instance_arn
    assert host.api.instances.count(host.agent.known.instance_arn) == 2
