"""A host in memory: an agent with its engine, its API and the services that tasks use, and a clock that stands still."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from docker_engine import DockerEngine

from retailflow_emulators.ecs_agent.agent import Agent
from retailflow_emulators.ecs_agent.api import ApiAwayError, ApiRefusedError, Keys
from retailflow_emulators.ecs_agent.engine import Engine
from retailflow_emulators.ecs_agent.settings import Settings
from retailflow_emulators.ecs_agent.state import State, Task

CLUSTER = "shop"
REGION = "us-east-1"
PREFIX = f"arn:aws:ecs:{REGION}:123456789012"
ROLE = "arn:aws:iam::123456789012:role/shop"
IMAGE = "registry:5000/db:1"
KEYS = {
    "accessKeyId": "ASIA1",
    "secretAccessKey": "secret",
    "sessionToken": "token",
    "roleArn": ROLE,
    "expiration": "2026-11-30T09:00:00Z",
}


def container(name: str = "db", **changes: Any) -> dict[str, Any]:
    """A container definition."""
    return {"name": name, "image": IMAGE, "memory": 128, "essential": True} | changes


def wanted(
    number: int = 1, *containers: dict[str, Any], desired: str = "RUNNING", **changes: Any
) -> dict[str, Any]:
    """A task as `Poll` gives it; fields of its definition are taken from `definition`."""
    definition = {
        "family": "db",
        "revision": 7,
        "networkMode": "bridge",
        "volumes": [],
        "containerDefinitions": list(containers) or [container()],
    } | changes.pop("definition", {})
    return {
        "taskArn": f"{PREFIX}:task/{CLUSTER}/{number:032x}",
        "desiredStatus": desired,
        "group": "service:db",
        "startedBy": "ecs-svc/1",
        "definitionDigest": "d" * 64,
        "taskDefinition": definition,
        "overrides": {},
        "roleCredentials": None,
        "executionRoleCredentials": None,
        "stopReason": None,
    } | changes


class EcsApi:
    """ECS as the agent sees it: `tasks` is the wanted state."""

    def __init__(self) -> None:
        self.tasks: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.instances: list[str] = []
        self.down = False
        self.refuses: dict[str, ApiRefusedError] = {}

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        if self.down:
            raise ApiAwayError("Could not connect")
        self.calls.append((operation, request))
        if operation in self.refuses:
            raise self.refuses[operation]
        known = request.get("containerInstance") or request.get("containerInstanceArn")
        if known and known not in self.instances:
            words = f"Referenced container instance {known} not found."
            raise ApiRefusedError("InvalidParameterException", words)
        if operation == "RegisterContainerInstance":
            arn = known or f"{PREFIX}:container-instance/{CLUSTER}/{len(self.calls):032x}"
            self.instances.append(arn)
            return {"containerInstance": {"containerInstanceArn": arn}}
        return {"revision": len(self.calls), "tasks": self.tasks}

    def sent(self, operation: str) -> list[dict[str, Any]]:
        """The requests of an operation."""
        return [request for name, request in self.calls if name == operation]


class Services:
    """SSM and CloudWatch Logs; `seen` are the access keys of who asked."""

    def __init__(self) -> None:
        self.parameters: dict[str, str] = {}
        self.groups = {"/shop"}
        self.streams: dict[tuple[str, str], list[str]] = {}
        self.seen: list[tuple[str, str]] = []
        self.denied = False
        self.down = False
        self.puts = 0

    def client(self, service: str, keys: Keys | None = None, region: str = "") -> Services:
        self.seen.append((service, keys.access if keys else "instance"))
        return self

    def _refuse(self, code: str, operation: str) -> ClientError:
        told: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        return ClientError(told, operation)

    def get_parameters(self, *, Names: list[str], WithDecryption: bool) -> dict[str, Any]:
        if self.denied:
            raise self._refuse("AccessDeniedException", "GetParameters")
        found = [{"Name": one, "Value": self.parameters[one]} for one in Names if one in self.parameters]
        return {"Parameters": found, "InvalidParameters": sorted(set(Names) - set(self.parameters))}

    def create_log_group(self, *, logGroupName: str) -> None:
        self.groups.add(logGroupName)

    def create_log_stream(self, *, logGroupName: str, logStreamName: str) -> None:
        if logGroupName not in self.groups:
            raise self._refuse("ResourceNotFoundException", "CreateLogStream")
        if (logGroupName, logStreamName) in self.streams:
            raise self._refuse("ResourceAlreadyExistsException", "CreateLogStream")
        self.streams[logGroupName, logStreamName] = []

    def put_log_events(self, *, logGroupName: str, logStreamName: str, logEvents: list[Any]) -> None:
        self.puts += 1
        if self.down:
            raise self._refuse("ServiceUnavailable", "PutLogEvents")
        if (logGroupName, logStreamName) not in self.streams:
            raise self._refuse("ResourceNotFoundException", "PutLogEvents")
        times = [one["timestamp"] for one in logEvents]
        assert times == sorted(times), "PutLogEvents wants them in their order"
        self.streams[logGroupName, logStreamName] += [one["message"] for one in logEvents]


class Host:
    """An agent that makes a step when it is told to; `restart` is the next process on the same disk."""

    def __init__(self, folder: Path) -> None:
        self.docker, self.api, self.services = DockerEngine(), EcsApi(), Services()
        self.docker.registry[IMAGE] = "sha256:" + "a" * 64
        self.settings = Settings(
            cluster=CLUSTER,
            region=REGION,
            endpoint="http://127.0.0.1:9",
            access_key="ec2",
            secret_key="none",
            role_arn=ROLE,
            instance_id="i-0123456789abcdef0",
            logging_drivers=("json-file", "awslogs"),
            task_roles=True,
            logs_by_execution_role=True,
            data=folder,
        )
        self.time = 1000.0
        self.pauses: list[float] = []
        self.restart()

    def restart(self, threads: bool = False, **settings: Any) -> None:
        """Kill the agent and start it again."""
        self.settings = dataclasses.replace(self.settings, **settings)
        services: Any = self.services
        docker: Any = self.docker
        self.agent = Agent(
            self.settings,
            Engine(lambda: docker),
            self.api,
            services,
            State(self.settings.data),
            now=lambda: self.time,
            pause=self.pauses.append,
            threads=threads,
        )
        self.agent.restore()

    def run(self, *tasks: dict[str, Any], rounds: int = 4) -> None:
        """Say what is wanted and make some rounds: poll, a step of each task, tell."""
        if tasks:
            self.api.tasks = list(tasks)
        for _ in range(rounds):
            if not self.agent.known.instance_arn:
                self.agent.register()
            self.agent.poll(0)
            self.steps()
            self.agent.reporter.tell()

    def steps(self) -> None:
        """One step of each task."""
        for worker in list(self.agent.workers.values()):
            if worker.life.step() is None:
                self.agent.workers.pop(worker.life.task.arn)

    def task(self, number: int = 1) -> Task:
        """What the agent knows of a task."""
        return self.agent.known.tasks[f"{PREFIX}:task/{CLUSTER}/{number:032x}"]

    def made(self, name: str = "db") -> dict[str, Any]:
        """The newest container of this name, as the engine has it."""
        label = "com.amazonaws.ecs.container-name"
        return [one for one in self.docker.made.values() if one["Config"]["Labels"][label] == name][-1]

    def reported(self) -> list[dict[str, Any]]:
        """What the last Poll reported."""
        found: list[dict[str, Any]] = self.api.sent("Poll")[-1]["reported"]
        return found


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host with nothing on it."""
    made = Host(tmp_path / "data")
    yield made
    for one in made.docker.hung.values():
        one.set()


def wait_until(condition: Any, what: str) -> None:
    """For tests with threads: wait a moment until a condition holds."""
    tick = threading.Event()
    for _ in range(200):
        if condition():
            return
        tick.wait(0.02)
    raise AssertionError(what)
