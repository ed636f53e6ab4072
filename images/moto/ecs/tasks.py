"""One task: what it needs, what its agent says of it, how it ends."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import Any

from moto.utilities.utils import get_partition

from . import timing, words
from .instances import Instance

#: "Amazon ECS task lifecycle", developer guide, in its order.
STATUSES = (
    "PROVISIONING",
    "PENDING",
    "ACTIVATING",
    "RUNNING",
    "DEACTIVATING",
    "STOPPING",
    "DEPROVISIONING",
    "STOPPED",
)
HEALTH = ("HEALTHY", "UNHEALTHY", "UNKNOWN")
# These stand as the reason of the whole task; with others ECS says only that it failed to start.
_WHOLE = (
    "CannotPull",
    "ResourceInitializationError",
    "ContainerRuntimeTimeoutError",
    "CannotCreateVolumeError",
)
# Amazon's agent begins the reason of a container that did not start with the name of an error.
_ERROR = re.compile(r"\w+Error\b")


@dataclass(frozen=True)
class Needs:
    """What a task takes from its instance: CPU units, MiB, host ports."""

    cpu: int
    memory: int
    tcp: set[str]
    udp: set[str]


def needs_of(definition: dict[str, Any], overrides: dict[str, Any]) -> Needs:
    """Add up what the containers ask for; of memory what is reserved, or else the limit ("Memory", developer guide)."""
    changed = {one.get("name"): one for one in overrides.get("containerOverrides") or []}
    cpu = memory = 0
    ports: dict[str, set[str]] = {"tcp": set(), "udp": set()}
    for base in definition.get("containerDefinitions") or []:
        one = base | {key: value for key, value in changed.get(base.get("name"), {}).items() if value}
        cpu += int(one.get("cpu") or 0)
        memory += int(one.get("memoryReservation") or one.get("memory") or 0)
        for port in one.get("portMappings") or []:
            number = port.get("hostPort")
            if number is None and definition.get("networkMode") == "host":
                number = port.get("containerPort")
            if number:
                ports[port.get("protocol") or "tcp"].add(str(number))
    whole_cpu = overrides.get("cpu") or definition.get("cpu")
    whole_memory = overrides.get("memory") or definition.get("memory")
    return Needs(int(whole_cpu or cpu), int(whole_memory or memory), ports["tcp"], ports["udp"])


@dataclass(eq=False)
class Container:
    """One container of a task, as its agent reports it."""

    arn: str
    definition: dict[str, Any]
    last_status: str = "PENDING"
    runtime_id: str = ""
    exit_code: int | None = None
    reason: str = ""
    health: str = "UNKNOWN"
    bindings: list[dict[str, Any]] = field(default_factory=list)
    image_digest: str = ""

    @property
    def name(self) -> str:
        """Its name in the definition."""
        return str(self.definition.get("name"))

    @property
    def is_essential(self) -> bool:
        """Whether the task ends with it."""
        return bool(self.definition.get("essential", True))

    @property
    def is_checked(self) -> bool:
        """Whether it has a health check."""
        return bool((self.definition.get("healthCheck") or {}).get("command", ["NONE"])[0] != "NONE")

    def take(self, report: dict[str, Any]) -> None:
        """Take what an agent says."""
        status = report.get("status") or report.get("lastStatus")
        if status in STATUSES:
            self.last_status = status
        self.runtime_id = report.get("runtimeId") or self.runtime_id
        if report.get("exitCode") is not None:
            self.exit_code = int(report["exitCode"])
        self.reason = report.get("reason") or self.reason
        if report.get("healthStatus") in HEALTH:
            self.health = report["healthStatus"]
        if report.get("networkBindings") is not None:
            self.bindings = list(report["networkBindings"])
        self.image_digest = report.get("imageDigest") or self.image_digest

    def describe(self, task: Task) -> dict[str, Any]:
        """The container as the API shows it."""
        one = self.definition
        found = {
            "containerArn": self.arn,
            "taskArn": task.task_arn,
            "name": self.name,
            "image": one.get("image"),
            "imageDigest": self.image_digest or None,
            "runtimeId": self.runtime_id or None,
            "lastStatus": self.last_status,
            "exitCode": self.exit_code,
            "reason": self.reason or None,
            "networkBindings": self.bindings,
            "networkInterfaces": [],
            "healthStatus": self.health if self.is_checked else "UNKNOWN",
            "cpu": str(one.get("cpu") or 0),
            "memory": str(one["memory"]) if one.get("memory") else None,
            "memoryReservation": str(one["memoryReservation"]) if one.get("memoryReservation") else None,
        }
        return {key: value for key, value in found.items() if value is not None}


@dataclass(eq=False)
class Task:
    """A task of a cluster; `instance` is where it was placed.

    `given` is the first revision of the instance's wanted state that was sent with it, `stop_given` the first that told it to
    stop. A task that was never given to an agent runs nowhere, so it can end at once.
    """

    task_arn: str
    cluster_arn: str
    definition: dict[str, Any]
    digest: str
    group: str
    instance: Instance
    overrides: dict[str, Any] = field(default_factory=dict)
    started_by: str = ""
    tags: list[dict[str, str]] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)
    created_at: float = 0.0
    last_status: str = "PENDING"
    desired_status: str = "RUNNING"
    started_at: float | None = None
    stopping_at: float | None = None
    stopped_at: float | None = None
    stop_code: str = ""
    stopped_reason: str = ""
    version: int = 1
    given: int | None = None
    stop_given: int | None = None
    is_reported: bool = False
    is_orphan: bool = False
    was_healthy: bool = False
    #: Whether the scheduler has counted its end.
    is_counted: bool = False
    #: By "roleCredentials" and "executionRoleCredentials", with what they say and when they end.
    credentials: dict[str, tuple[dict[str, str], float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.needs = needs_of(self.definition, self.overrides)
        if not self.containers:
            base = self.task_arn.replace(":task/", ":container/")
            self.containers = [
                Container(f"{base}/{uuid.uuid4()}", one)
                for one in self.definition.get("containerDefinitions") or []
            ]

    @property
    def id(self) -> str:
        """The last part of its ARN."""
        return self.task_arn.rsplit("/", 1)[-1]

    @property
    def is_live(self) -> bool:
        """Whether it may still run somewhere."""
        return self.last_status != "STOPPED"

    @property
    def is_wanted(self) -> bool:
        """Whether it is to run."""
        return self.is_live and self.desired_status == "RUNNING"

    @property
    def health(self) -> str:
        """What its health checks say together (Task, API reference)."""
        checked = [one.health for one in self.containers if one.is_essential and one.is_checked]
        if "UNHEALTHY" in checked:
            return "UNHEALTHY"
        return "HEALTHY" if checked and set(checked) == {"HEALTHY"} else "UNKNOWN"

    def is_healthy(self, now: float) -> bool:
        """Whether it counts for a deployment (DeploymentConfiguration, API reference)."""
        if self.last_status != "RUNNING":
            return False
        if any(one.is_essential and one.is_checked for one in self.containers):
            return self.health == "HEALTHY"
        return now - (self.started_at or now) >= timing.HEALTHY_SECONDS

    def bound(self, protocol: str) -> set[str]:
        """The host ports that its containers got."""
        return {
            str(binding["hostPort"])
            for one in self.containers
            for binding in one.bindings
            if binding.get("hostPort") and (binding.get("protocol") or "tcp") == protocol
        }

    def stop(self, code: str, reason: str, now: float) -> None:
        """Want it stopped; who was first to say so says why."""
        if self.desired_status == "STOPPED" or not self.is_live:
            return
        self.desired_status = "STOPPED"
        self.stop_code, self.stopped_reason = code, reason
        self.stopping_at = now
        self.version += 1
        if self.given is None:
            self.finish(now)

    def finish(self, now: float, code: str = "", reason: str = "") -> None:
        """It runs nowhere any more."""
        if self.desired_status != "STOPPED":
            self.stop_code, self.stopped_reason = code, reason
        self.desired_status = self.last_status = "STOPPED"
        self.stopping_at = self.stopping_at or now
        self.stopped_at = now
        self.version += 1
        for one in self.containers:
            one.last_status = "STOPPED"

    def take(self, report: dict[str, Any], now: float, *, is_whole: bool = True) -> None:
        """Take what the agent says; `is_whole` marks the list of all tasks, which outweighs what was said before."""
        status = report.get("lastStatus") or report.get("status")
        if not self.is_live and (not is_whole or status == "STOPPED"):
            return
        self.is_reported = True
        by_name = {one.name: one for one in self.containers}
        for one in report.get("containers") or []:
            if found := by_name.get(str(one.get("name") or one.get("containerName"))):
                found.take(one)
        if status == "STOPPED":
            self._ended(report, now)
        elif status in STATUSES:
            if not self.is_live:  # counted as gone, and it is not
                self.desired_status, self.stopped_at = "STOPPED", None
            self.version += status != self.last_status
            self.last_status = status
            if status == "RUNNING" and self.started_at is None:
                self.started_at = timing.seconds_of(report.get("startedAt")) or now

    def _ended(self, report: dict[str, Any], now: float) -> None:
        said = str(report.get("stoppedReason") or report.get("reason") or "")
        causes = [one.reason for one in self.containers if one.reason]
        began = timing.seconds_of(report.get("startedAt"))
        if self.started_at is None and began is not None:
            self.started_at = began
        ran = any(one.exit_code is not None for one in self.containers) and not any(map(_ERROR.match, causes))
        if self.started_at is None and not ran:
            whole = next((one for one in [said, *causes] if one.startswith(_WHOLE)), "")
            self.finish(now, words.FAILED_TO_START, whole or said or words.NOT_STARTED)
        else:
            self.finish(now, words.EXITED, said or words.ESSENTIAL_EXITED)

    def describe(self, with_tags: bool = False) -> dict[str, Any]:
        """The task as the API shows it."""
        overrides = {"containerOverrides": [{"name": one.name} for one in self.containers]} | self.overrides
        found: dict[str, Any] = {
            "taskArn": self.task_arn,
            "clusterArn": self.cluster_arn,
            "taskDefinitionArn": self.definition.get("taskDefinitionArn"),
            "containerInstanceArn": self.instance.container_instance_arn,
            "availabilityZone": self.instance.attributes.get("ecs.availability-zone"),
            "attachments": [],
            "attributes": [],
            "connectivity": "CONNECTED" if self.instance.is_connected else "DISCONNECTED",
            "containers": [one.describe(self) for one in self.containers],
            "cpu": str(self.needs.cpu),
            "memory": str(self.needs.memory),
            "createdAt": timing.moment(self.created_at),
            "desiredStatus": self.desired_status,
            "enableExecuteCommand": False,
            "executionStoppedAt": timing.moment(self.stopped_at),
            "group": self.group,
            "healthStatus": self.health,
            "lastStatus": self.last_status,
            "launchType": "EC2",
            "overrides": overrides,
            "startedAt": timing.moment(self.started_at),
            "startedBy": self.started_by or None,
            "stopCode": self.stop_code or None,
            "stoppedAt": timing.moment(self.stopped_at),
            "stoppedReason": self.stopped_reason or None,
            "stoppingAt": timing.moment(self.stopping_at),
            "version": self.version,
        }
        return {key: value for key, value in found.items() if value is not None} | (
            {"tags": self.tags} if with_tags else {}
        )

    def wanted(self) -> dict[str, Any]:
        """The task as its agent is told."""
        return {
            "taskArn": self.task_arn,
            "desiredStatus": self.desired_status,
            "group": self.group,
            "startedBy": self.started_by,
            "definitionDigest": self.digest,
            "taskDefinition": self.definition,
            "overrides": self.overrides,
            "roleCredentials": self.credentials.get("roleCredentials", (None, 0.0))[0],
            "executionRoleCredentials": self.credentials.get("executionRoleCredentials", (None, 0.0))[0],
            "stopReason": self.stopped_reason or None,
        }


def new_arn(cluster: str, account: str, region: str) -> str:
    """An ARN for a new task."""
    return f"arn:{get_partition(region)}:ecs:{region}:{account}:task/{cluster}/{uuid.uuid4().hex}"
