"""The emulated ECS in this process: moto without a socket, a clock that stands still, an agent that does as it is told."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

import moto_support
from server_support import ROOT

CLUSTER, REGION, ACCOUNT = "shop", "eu-central-1", "123456789012"
#: One task at most, and none for a moment: how services with a volume are deployed.
ONE_AT_MOST = {"maximumPercent": 100, "minimumHealthyPercent": 0}


@contextlib.contextmanager
def conducted() -> Iterator[ModuleType]:
    """moto with the package `ecs` of the image put into it; undone at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "images/moto"))
        package = importlib.import_module("ecs")
        package.install(
            lambda where, name, value: patch.setattr(where, name, value, raising=False), run=False
        )
        yield package


@dataclass
class Clock:
    """Seconds that pass only when a test says so."""

    seconds: float = 1_800_000_000.0

    def now(self) -> float:
        return self.seconds


class Cloud:
    """An empty ECS with one cluster; `ecs`, `ec2` and `iam` are boto3's clients."""

    def __init__(self, clients: dict[str, Any], package: ModuleType, clock: Clock) -> None:
        self.ecs, self.ec2, self.iam = clients["ecs"], clients["ec2"], clients["iam"]
        self.package, self.clock = package, clock
        self.ecs.create_cluster(clusterName=CLUSTER)

    @property
    def backend(self) -> Any:
        return self.package.store.ecs_backends[ACCOUNT][REGION]

    def tick(self, seconds: float = 0) -> None:
        """Let time pass, then the scheduler look once at everything."""
        self.clock.seconds += seconds
        self.package.scheduler.run_pass(self.backend)

    def host(self, **attributes: str) -> Agent:
        """A new EC2 instance whose agent registers and polls."""
        made = self.ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
        agent = Agent(self, str(made), attributes)
        agent.register()
        agent.poll()
        return agent

    def define(self, family: str = "db", *, memory: int = 512, tags: Any = (), **container: Any) -> str:
        """Register a task definition; what `whole` holds belongs to the definition itself."""
        whole = container.pop("whole", {})
        one = {"name": family, "image": f"{family}:1", "memory": memory} | container
        answer = self.ecs.register_task_definition(
            family=family, containerDefinitions=[one], tags=list(tags), **whole
        )
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    def serve(
        self, name: str = "db", definition: str = "db", count: int = 1, **options: Any
    ) -> dict[str, Any]:
        """Create a service, by default with at most one task per task that is wanted."""
        settings = {"deploymentConfiguration": ONE_AT_MOST} | options
        answer = self.ecs.create_service(
            cluster=CLUSTER, serviceName=name, taskDefinition=definition, desiredCount=count, **settings
        )
        self.tick()
        return dict(answer["service"])

    def update(self, name: str = "db", **changes: Any) -> None:
        self.ecs.update_service(cluster=CLUSTER, service=name, **changes)
        self.tick()

    def service(self, name: str = "db") -> dict[str, Any]:
        (found,) = self.ecs.describe_services(cluster=CLUSTER, services=[name])["services"]
        return dict(found)

    def events(self, name: str = "db") -> list[str]:
        """The messages of a service's events, the newest first."""
        return [one["message"] for one in self.service(name)["events"]]

    def arns(self, **where: str) -> list[str]:
        return list(self.ecs.list_tasks(cluster=CLUSTER, **where)["taskArns"])

    def task(self, arn: str) -> dict[str, Any]:
        (found,) = self.ecs.describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"]
        return dict(found)

    def forget(self) -> None:
        """What a restart of the API does: everything is gone, only EC2's and IAM's entries are made again."""
        self.backend.reset()
        self.ecs.create_cluster(clusterName=CLUSTER)


@contextlib.contextmanager
def new_cloud() -> Iterator[Cloud]:
    """An empty ECS with one cluster."""
    with conducted() as package, moto_support.account("ecs", "ec2", "iam", region=REGION) as clients:
        timing = importlib.import_module("ecs.timing")
        clock = Clock()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(timing.CLOCK, "now", clock.now, raising=False)
            yield Cloud(clients, package, clock)


@dataclass
class Running:
    """A task on a host, as its containers are."""

    wanted: dict[str, Any]
    status: str = "PENDING"
    exit_code: int | None = None
    reason: str = ""
    health: str = "UNKNOWN"

    def report(self) -> dict[str, Any]:
        one = self.wanted
        return {
            "taskArn": one["taskArn"],
            "group": one["group"],
            "startedBy": one["startedBy"],
            "definitionDigest": one["definitionDigest"],
            "taskDefinition": one["taskDefinition"],
            "lastStatus": self.status,
            "desiredStatus": one["desiredStatus"],
            "containers": [
                {
                    "name": container["name"],
                    "runtimeId": f"{one['taskArn'][-8:]}-{container['name']}",
                    "status": self.status,
                    "exitCode": self.exit_code,
                    "reason": self.reason,
                    "healthStatus": self.health,
                    "networkBindings": [],
                    "image": container["image"],
                    "imageDigest": "sha256:0",
                }
                for container in one["taskDefinition"]["containerDefinitions"]
            ],
        }


@dataclass
class Agent:
    """A scripted agent. `poll` reports and takes what is wanted; `work` does it at once."""

    cloud: Cloud
    ec2_instance: str
    attributes: dict[str, str] = field(default_factory=dict)
    arn: str = ""
    revision: int = 0
    tasks: dict[str, Running] = field(default_factory=dict)
    wanted: list[dict[str, Any]] = field(default_factory=list)
    #: Tasks that do not end although they are told to.
    hung: set[str] = field(default_factory=set)
    cpu: int = 2048
    memory: int = 4096

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Send an operation that boto3 does not know; ClientError as boto3 raises it."""
        client = self.cloud.ecs
        body = json.dumps({"cluster": CLUSTER, "containerInstance": self.arn} | parameters)
        headers = {
            "X-Amz-Target": f"AmazonEC2ContainerServiceV20141113.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
        }
        request = AWSRequest("POST", f"{client.meta.endpoint_url}/", headers=headers, data=body)
        client._request_signer.sign(operation, request)
        answer = send(client, request)
        found = json.loads(answer.content or b"{}")
        if answer.status_code != 200:
            error = {"Code": found["__type"].rsplit("#", 1)[-1], "Message": found.get("message", "")}
            raise ClientError({"Error": error}, operation)
        return dict(found)

    def register(self, **more: Any) -> None:
        listed = [
            {"name": "CPU", "type": "INTEGER", "integerValue": self.cpu},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": self.memory},
            {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "51678"]},
            {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []},
        ]
        document = {"instanceId": self.ec2_instance, "region": REGION, "accountId": ACCOUNT}
        answer = self.cloud.ecs.register_container_instance(
            cluster=CLUSTER,
            instanceIdentityDocument=json.dumps(document),
            totalResources=listed,
            versionInfo={"agentVersion": "1.0.0", "agentHash": "0", "dockerVersion": "DockerVersion: 27"},
            attributes=[{"name": name, "value": value} for name, value in self.attributes.items()],
            **more,
        )
        self.arn = answer["containerInstance"]["containerInstanceArn"]
        self.revision = 0

    def poll(self) -> list[dict[str, Any]]:
        """Report everything and take the wanted state."""
        reported = [one.report() for one in self.tasks.values()]
        answer = self.call("Poll", revision=self.revision, waitSeconds=0, reported=reported)
        self.revision, self.wanted = answer["revision"], answer["tasks"]
        for one in self.wanted:
            if one["taskArn"] in self.tasks:
                self.tasks[one["taskArn"]].wanted = one
            elif one["desiredStatus"] == "RUNNING":
                self.tasks[one["taskArn"]] = Running(one)
        return self.wanted

    def act(self, *, health: str = "HEALTHY") -> None:
        """Start and stop what is wanted, without telling anyone yet."""
        for arn, task in self.tasks.items():
            if task.wanted["desiredStatus"] == "STOPPED" and arn not in self.hung:
                task.status = "STOPPED"
            elif task.status == "PENDING":
                task.status, task.health = "RUNNING", health

    def work(self, *, rounds: int = 3, health: str = "HEALTHY") -> None:
        """Poll and do what is wanted until nothing is left to do."""
        for _ in range(rounds):
            self.poll()
            self.act(health=health)
        self.poll()

    def end(self, arn: str, code: int = 1, reason: str = "") -> None:
        """A task's container ends by itself."""
        task = self.tasks[arn]
        task.status, task.exit_code, task.reason = "STOPPED", code, reason

    def fail_to_start(self, reason: str) -> None:
        """Every task that is to start does not."""
        self.poll()
        for task in self.tasks.values():
            if task.status == "PENDING":
                task.status, task.reason = "STOPPED", reason
        self.poll()

    @property
    def running(self) -> list[str]:
        """The tasks whose containers run."""
        return [arn for arn, one in self.tasks.items() if one.status == "RUNNING"]


def send(client: Any, request: AWSRequest) -> Any:
    """Give a signed request to moto in this process, as boto3 does with its own."""
    prepared = request.prepare()
    answers = client.meta.events.emit("before-send.ecs.Private", request=prepared)
    return next(answer for _, answer in answers if answer is not None)
