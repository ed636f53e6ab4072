"""Services and their deployments: what they are told, and how the API shows them."""

from __future__ import annotations

import math
import random
import uuid
from dataclasses import dataclass
from typing import Any

from moto.ecs.models import Cluster, EC2ContainerServiceBackend
from moto.ecs.models import Service as MotoService

from . import timing
from .tasks import Task

SHOWN_EVENTS = 100
# DeploymentCircuitBreaker: half of the desired count, at least 3 and at most 200 ("How the Amazon ECS deployment circuit
# breaker detects failures", developer guide).
_SHARE, _LOWEST, _HIGHEST = 0.5, 3, 200
CONFIGURATION = {
    "deploymentCircuitBreaker": {"enable": False, "rollback": False},
    "maximumPercent": 200,
    "minimumHealthyPercent": 100,
    "strategy": "ROLLING",
    "bakeTimeInMinutes": 0,
}


@dataclass(eq=False)
class Deployment:
    """One roll-out of a task definition; `id` is what its tasks are started by."""

    id: str
    definition: dict[str, Any]
    digest: str
    desired: int
    created_at: float
    updated_at: float
    status: str = "PRIMARY"
    failed: int = 0
    state: str = "IN_PROGRESS"
    reason: str = ""
    is_rollback: bool = False

    @classmethod
    def new(cls, definition: dict[str, Any], digest: str, desired: int) -> Deployment:
        """A deployment that begins now."""
        name, now = f"ecs-svc/{random.randrange(10**18, 10**19)}", timing.CLOCK.now()
        reason = f"ECS deployment {name} in progress."
        return cls(name, definition, digest, desired, now, now, reason=reason)

    def describe(self, tasks: list[Task]) -> dict[str, Any]:
        """The deployment as the API shows it; tasks of the whole service are given."""
        own = [task for task in tasks if task.started_by == self.id]
        return {
            "id": self.id,
            "status": self.status,
            "taskDefinition": self.definition["taskDefinitionArn"],
            "desiredCount": self.desired if self.status == "PRIMARY" else 0,
            "pendingCount": sum(task.is_wanted and task.last_status != "RUNNING" for task in own),
            "runningCount": sum(task.last_status == "RUNNING" for task in own),
            "failedTasks": self.failed,
            "createdAt": timing.moment(self.created_at),
            "updatedAt": timing.moment(self.updated_at),
            "launchType": "EC2",
            "rolloutState": self.state,
            "rolloutStateReason": self.reason,
        }


class Service(MotoService):
    """An entry of moto's store. `deployments` has the PRIMARY one first."""

    deployments: list[Deployment]  # type: ignore[assignment]

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        desired: int,
        backend: EC2ContainerServiceBackend,
        settings: dict[str, Any],
    ) -> None:
        super().__init__(cluster, name, desired, backend, launch_type="EC2", tags=settings.get("tags") or [])
        self.settings = settings
        self.deployments = []
        self.messages: list[dict[str, Any]] = []
        self.created_seconds = timing.CLOCK.now()
        self.completed: Deployment | None = None
        self.failures = 0
        self.next_start = 0.0
        self.is_steady = False
        self._said: dict[str, float] = {}

    @property
    def group(self) -> str:
        """The group of its tasks."""
        return f"service:{self.name}"

    @property
    def primary(self) -> Deployment:
        """The newest deployment."""
        return self.deployments[0]

    @property
    def configuration(self) -> dict[str, Any]:
        """How it may be deployed."""
        return CONFIGURATION | (self.settings.get("deploymentConfiguration") or {})

    @property
    def lowest(self) -> int:
        """How many healthy tasks must stay."""
        return math.ceil(self.desired_count * int(self.configuration["minimumHealthyPercent"]) / 100)

    @property
    def highest(self) -> int:
        """How many tasks there may be, whatever their state."""
        return int(self.desired_count * int(self.configuration["maximumPercent"]) / 100)

    @property
    def tolerated(self) -> int | None:
        """At how many failed tasks the circuit breaker ends a deployment; None without one."""
        if not (self.configuration.get("deploymentCircuitBreaker") or {}).get("enable"):
            return None
        return min(max(math.ceil(self.desired_count * _SHARE), _LOWEST), _HIGHEST)

    @property
    def rolls_back(self) -> bool:
        """Whether a failed deployment is undone."""
        return bool((self.configuration.get("deploymentCircuitBreaker") or {}).get("rollback"))

    def deploy(self, definition: dict[str, Any], digest: str) -> None:
        """Begin a new deployment."""
        for one in self.deployments:
            one.status = "ACTIVE"
        self.deployments.insert(0, Deployment.new(definition, digest, self.desired_count))
        self.task_definition = definition["taskDefinitionArn"]
        self.failures, self.next_start, self.is_steady = 0, 0.0, False
        self._said.clear()

    def say(self, message: str, now: float, *, once: bool = False) -> None:
        """Write an event; with `once` not again before its cause is gone or hours have passed."""
        if once:
            if now - self._said.get(message, -math.inf) < timing.REPEAT_EVENT_SECONDS:
                return
            self._said[message] = now
        self.messages.insert(
            0, {"id": str(uuid.uuid4()), "createdAt": timing.moment(now), "message": message}
        )
        del self.messages[SHOWN_EVENTS:]

    def forget(self, beginning: str) -> None:
        """The cause of such events is gone: write them again when it comes back."""
        self._said = {text: when for text, when in self._said.items() if not text.startswith(beginning)}

    def describe(self, tasks: list[Task], with_tags: bool = False) -> dict[str, Any]:
        """The service as the API shows it; its tasks are given."""
        found: dict[str, Any] = {
            "serviceArn": self.arn,
            "serviceName": self.name,
            "clusterArn": self.cluster_arn,
            "loadBalancers": [],
            "serviceRegistries": [],
            "status": self.status,
            "desiredCount": self.desired_count,
            "runningCount": sum(task.last_status == "RUNNING" for task in tasks),
            "pendingCount": sum(task.is_wanted and task.last_status != "RUNNING" for task in tasks),
            "launchType": "EC2",
            "taskDefinition": self.task_definition,
            "deploymentConfiguration": self.configuration,
            "deployments": [one.describe(tasks) for one in self.deployments],
            "events": self.messages,
            "createdAt": timing.moment(self.created_seconds),
            "placementConstraints": self.settings.get("placementConstraints") or [],
            "placementStrategy": self.settings.get("placementStrategy") or [],
            "schedulingStrategy": "REPLICA",
            "deploymentController": {"type": "ECS"},
            "enableECSManagedTags": bool(self.settings.get("enableECSManagedTags")),
            "propagateTags": self.settings.get("propagateTags") or "NONE",
            "enableExecuteCommand": False,
            "availabilityZoneRebalancing": "DISABLED",
        }
        return found | ({"tags": self.tags} if with_tags else {})
