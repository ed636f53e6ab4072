"""The module ecs_workload waits for what ECS makes of a service: scripted answers in the place of a scheduler and an agent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible.module_utils.container_service import deployment
from ansible.module_utils.container_service.errors import UnstableError, WorkloadError
from ansible.module_utils.container_service.workload import Workload, holds

import moto_support
from tests.roles.test_ecs_workload import PARAMS, SERVICES

ARN = "arn:aws:ecs:us-east-1:123456789012"
EXITED = "Essential container in task exited"


def task(name: str, **more: Any) -> dict[str, Any]:
    """A task that runs and is healthy."""
    return {
        "taskArn": f"{ARN}:task/shop/{name}",
        "lastStatus": "RUNNING",
        "desiredStatus": "RUNNING",
        "healthStatus": "HEALTHY",
        "containers": [],
    } | more


def ended(name: str, reason: str = EXITED, **more: Any) -> dict[str, Any]:
    """A task that has stopped."""
    return (
        task(
            name,
            lastStatus="STOPPED",
            desiredStatus="STOPPED",
            stoppedReason=reason,
            stopCode="EssentialContainerExited",
            stoppedAt="2026-11-30T08:00:00Z",
            containers=[{"name": "db", "exitCode": 1}],
        )
        | more
    )


def state(
    rollout: str, *tasks: dict[str, Any], failed: int = 0, older: bool = False, **more: Any
) -> dict[str, Any]:
    """What ECS says of the service at one moment."""
    primary = {"id": "ecs-svc/1", "status": "PRIMARY", "rolloutState": rollout, "failedTasks": failed}
    return {
        "deployments": [primary, {"id": "ecs-svc/0", "status": "ACTIVE"}] if older else [primary],
        "runningCount": sum(one["lastStatus"] == "RUNNING" for one in tasks),
        "tasks": list(tasks),
    } | more


WELL = state("COMPLETED", task("new"))
FAILED = state("FAILED", ended("c"), failed=3)


class Ecs:
    """moto's ECS, of which the moments of a script tell what became of the service; each look is one moment further."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.moments: list[dict[str, Any]] = [WELL]
        self.now = WELL
        self.after_update: list[dict[str, Any]] = []
        self.updates: list[dict[str, Any]] = []
        self.connected = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def describe_services(self, **asked: Any) -> Any:
        found = self.real.describe_services(**asked)
        for one in found["services"]:
            self.now = self.moments.pop(0) if len(self.moments) > 1 else self.moments[0]
            one |= {key: value for key, value in self.now.items() if key != "tasks"}
        return found

    def update_service(self, **given: Any) -> Any:
        self.updates.append(given)
        if self.after_update:
            self.moments, self.after_update = self.after_update, []
        return self.real.update_service(**{key: given[key] for key in given if key != "forceNewDeployment"})

    def list_tasks(self, desiredStatus: str, nextToken: str = "0", **_: Any) -> Any:
        found = [one["taskArn"] for one in self.now["tasks"] if one["desiredStatus"] == desiredStatus]
        begin, end = int(nextToken), int(nextToken) + 100
        return {"taskArns": found[begin:end]} | ({"nextToken": str(end)} if end < len(found) else {})

    def describe_tasks(self, tasks: list[str], **_: Any) -> Any:
        assert len(tasks) <= 100, "Tasks cannot have more than 100 elements"
        return {"tasks": [one for one in self.now["tasks"] if one["taskArn"] in tasks]}

    def list_container_instances(self, **_: Any) -> Any:
        return {"containerInstanceArns": [f"{ARN}:container-instance/shop/i"]}

    def describe_container_instances(self, **_: Any) -> Any:
        return {"containerInstances": [{"agentConnected": self.connected}]}


class Clock:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(deployment, "time", made)
    return made


@pytest.fixture
def clients(clock: Clock) -> Iterator[dict[str, Any]]:
    with moto_support.account(*SERVICES) as made:
        made["ecs"].create_cluster(clusterName="shop")
        yield made | {"ecs": Ecs(made["ecs"])}


Run = Callable[..., Workload]


@pytest.fixture
def run(clients: dict[str, Any]) -> Run:
    """Bring the service to what is wanted; the script of ECS is given."""

    def run(*moments: dict[str, Any], **changes: Any) -> Workload:
        clients["ecs"].moments = list(moments) or [WELL]
        made = Workload(clients, PARAMS | {"wait": 60} | changes, "us-east-1", False)
        made.ensure()
        return made

    return run


@pytest.fixture
def stands(run: Run, clients: dict[str, Any]) -> Ecs:
    """A service that is there already."""
    run()
    clients["ecs"].updates.clear()
    ecs: Ecs = clients["ecs"]
    return ecs


def test_a_healthy_task_of_the_newest_deployment_is_waited_for(run: Run, clock: Clock) -> None:
    young = task("new", healthStatus="UNKNOWN")
    run(
        state("IN_PROGRESS", older=True),
        state("IN_PROGRESS", task("old"), older=True),
        state("IN_PROGRESS", task("new", lastStatus="PENDING")),
        state("IN_PROGRESS", young),
        state("IN_PROGRESS", task("new")),
        state("IN_PROGRESS", task("never looked at", healthStatus="UNHEALTHY")),
    )
    assert clock.seconds == 4 * deployment.PAUSE


def test_without_a_health_check_the_rollout_is_waited_for(run: Run, clock: Clock) -> None:
    unknown = task("new", healthStatus="UNKNOWN")
    spec = {"image": "db:1", "memory": "64m"}
    run(state("IN_PROGRESS", unknown), state("COMPLETED", unknown), spec=spec)
    assert clock.seconds == deployment.PAUSE


def test_three_failed_tasks_end_the_wait_with_reason_and_log(
    run: Run, clients: dict[str, Any], clock: Clock
) -> None:
    logs, stream = clients["logs"], {"logGroupName": "/shop/db/db", "logStreamName": "db/db/c"}
    logs.create_log_group(logGroupName="/shop/db/db")
    logs.create_log_stream(**stream)
    now = int(time.time() * 1000)  # others are refused
    lines = [{"timestamp": now + n, "message": f"line {n}"} for n in range(30)]
    logs.put_log_events(**stream, logEvents=lines)
    scaled = ended("old", "Scaling activity initiated by (deployment ecs-svc/1)", stoppedAt="2026-12-01")
    events = [{"message": "(service db) deployment failed: tasks failed to start."}]
    tried = state("IN_PROGRESS", ended("c"), scaled, failed=3, events=events)
    with pytest.raises(UnstableError) as caught:
        run(state("IN_PROGRESS"), state("IN_PROGRESS", failed=2), tried)
    told = str(caught.value).splitlines()
    assert told[0] == (
        "The service db (postgres:15) in the ECS cluster shop is not healthy: 3 tasks failed one after the other, and ECS "
        "starts no more."
    )
    assert told[1] == f"Its last task ended: {EXITED} (EssentialContainerExited); db: exit code 1"
    assert told[2] == "The last event of ECS: (service db) deployment failed: tasks failed to start."
    assert told[-1] == "line 29" and "line 9" not in told
    assert clock.seconds < 60
    assert clients["ecs"].updates == [], "what this run has made is not tried again"


def test_what_does_not_become_stable_in_time_is_told_with_the_last_event(
    run: Run, clients: dict[str, Any]
) -> None:
    clients["ecs"].connected = False
    event = (
        "(service db) was unable to place a task because no container instance met all of its requirements."
    )
    with pytest.raises(UnstableError) as caught:
        run(state("IN_PROGRESS", events=[{"message": event}, {"message": "older"}]))
    told = str(caught.value)
    assert "did not become stable within 60 s" in told and event in told and "older" not in told
    assert "agent of the instance that is attribute:role == db is not connected" in told


def test_a_log_that_is_not_there_hides_no_reason(run: Run) -> None:
    with pytest.raises(UnstableError, match="CannotPull(.|\n)*never started(.|\n)*ResourceNotFoundException"):
        run(
            state(
                "FAILED",
                ended("c", "CannotPullContainerError: no such image", containers=[{"name": "db"}]),
                failed=3,
            )
        )


def test_a_deployment_that_ecs_gave_up_before_is_tried_once_more(run: Run, stands: Ecs) -> None:
    stands.after_update = [state("IN_PROGRESS"), WELL]
    made = run(FAILED)
    assert made.actions == ["deploy db again, which was stuck"]
    assert [one["forceNewDeployment"] for one in stands.updates] == [True]


def test_it_is_tried_once_and_not_for_ever(run: Run, stands: Ecs) -> None:
    stands.after_update = [state("IN_PROGRESS"), FAILED]
    with pytest.raises(UnstableError, match="3 tasks failed"):
        run(FAILED)
    assert len(stands.updates) == 1


def test_a_service_that_hangs_since_before_is_deployed_again(run: Run, stands: Ecs, clock: Clock) -> None:
    stands.after_update = [WELL]
    made = run(state("COMPLETED", task("new", healthStatus="UNHEALTHY")))
    assert made.actions == ["deploy db again, which was stuck"]
    assert clock.seconds >= 60


def test_a_role_that_ecs_does_not_know_yet_is_given_time(run: Run, clients: dict[str, Any]) -> None:
    refused = ended("c", "ECS was unable to assume the role 'arn:aws:iam::1:role/shop-db-secrets'")
    clients["ecs"].after_update = [WELL]
    made = run(state("FAILED", refused, failed=3))
    assert made.actions[-1] == "deploy db again, which was stuck"
    with pytest.raises(UnstableError):  # a role that was there before is wrong
        run(WELL, state("FAILED", refused, failed=3), spec=PARAMS["spec"] | {"image": "postgres:16"})


def test_a_second_run_of_a_service_that_is_well_changes_nothing(run: Run, stands: Ecs) -> None:
    assert run().actions == [] and stands.updates == []


def test_a_stop_waits_until_the_task_has_ended(clients: dict[str, Any], stands: Ecs, clock: Clock) -> None:
    stopping = ended("new", lastStatus="DEACTIVATING")
    stands.moments = [WELL]
    one = Workload(clients, PARAMS | {"drain_timeout": 30}, "us-east-1")
    moments = [WELL["tasks"], [stopping], [stopping], [ended("new")]]

    def tasks(desired: str) -> list[dict[str, Any]]:
        found = moments[0] if desired == "RUNNING" or len(moments) == 1 else moments.pop(0)
        return [task for task in found if task["desiredStatus"] == desired]

    one.tasks = tasks  # type: ignore[method-assign]
    one.stop()
    assert one.actions == ["stop the service db"] and clock.seconds == 3 * deployment.PAUSE
    again = Workload(clients, PARAMS, "us-east-1")
    again.tasks = lambda desired: []  # type: ignore[method-assign]
    again.stop()
    assert again.actions == []


def test_a_task_that_does_not_end_keeps_its_service(clients: dict[str, Any], stands: Ecs) -> None:
    stands.moments, stands.connected = [WELL], False
    one = Workload(clients, PARAMS | {"drain_timeout": 30}, "us-east-1")
    with pytest.raises(
        WorkloadError, match="has not ended after 30 s. Nothing else was started .* not connected"
    ):
        one.remove()
    assert one.names() == ["db"] and one.actions == ["stop the service db"]


def test_a_stop_finds_the_task_that_runs_behind_many_that_have_ended(
    clients: dict[str, Any], stands: Ecs, clock: Clock
) -> None:
    left = [ended(str(number)) for number in range(150)]
    stands.moments = [state("COMPLETED", *left, task("last", desiredStatus="STOPPED"))]
    with pytest.raises(WorkloadError, match="its task last has not ended"):
        Workload(clients, PARAMS | {"drain_timeout": 4}, "us-east-1", False).stop()


def test_a_move_waits_for_the_agent_before_anything_stops(clients: dict[str, Any], clock: Clock) -> None:
    clients["ecs"].connected = False
    params = PARAMS | {"wait": 60}
    with pytest.raises(WorkloadError, match="Nothing was stopped or started"):
        Workload(clients, params, "us-east-1").define()
    assert clock.seconds >= 60
    clients["ecs"].connected = True
    Workload(clients, params, "us-east-1").define()


def test_what_ecs_adds_to_a_setting_is_no_difference() -> None:
    wanted = {"maximumPercent": 100, "deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    assert holds(wanted | {"alarms": {}}, wanted)
    assert not holds(wanted | {"deploymentCircuitBreaker": {"enable": False, "rollback": False}}, wanted)
    assert not holds({"maximumPercent": 100}, wanted)
