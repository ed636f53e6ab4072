"""Tells the API at once what changed, between two Polls, in which the whole is told.

A change is sent as Amazon's agent sends it: SubmitTaskStateChange when a task runs or has stopped, SubmitContainerStateChange
when only a container has. Each is sent until the API answers; what it refuses is left to the next Poll.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from .api import ApiAwayError, ApiRefusedError, Ecs
from .state import RUNNING, STOPPED, Container, Known, Task

log = logging.getLogger("retailflow.ecs_agent")

HEALTH_SECONDS = 20.0
AWAY_SECONDS = 2.0


class Reporter:
    """What was told of each task, and what is not yet."""

    def __init__(self, api: Ecs, cluster: str, known: Callable[[], Known]) -> None:
        self._api, self._cluster, self._known = api, cluster, known
        self._changed: dict[str, None] = {}  # in their order
        self._lock = threading.Condition()
        self._told: dict[str, tuple[str, dict[str, tuple[str, int | None]]]] = {}
        self._health: list[dict[str, Any]] = []

    def changed(self, arn: str) -> None:
        """A task is another than before."""
        with self._lock:
            self._changed[arn] = None
            self._lock.notify_all()

    def run(self) -> None:
        """Tell for ever."""
        while True:
            with self._lock:
                if not self._changed:
                    self._lock.wait(HEALTH_SECONDS)
                waiting = not self._changed
            if not self._known().instance_arn:
                time.sleep(AWAY_SECONDS)
                continue
            try:
                self.tell(again=waiting)
            except ApiAwayError:
                time.sleep(AWAY_SECONDS)  # Poll says what is wrong

    def tell(self, again: bool = False) -> None:
        """Tell what changed; with `again`, also the health that is as before. ApiAwayError keeps the rest."""
        while True:
            with self._lock:
                arn = next(iter(self._changed), None)
                if arn is None:
                    break
                del self._changed[arn]
            task = self._known().tasks.get(arn)
            if task is None:
                self._told.pop(arn, None)
                continue
            try:
                self._submit(task)
            except ApiRefusedError as error:
                log.info("a change of task %s is left to the next Poll: %s", task.identity, error)
            except ApiAwayError:
                self.changed(arn)
                raise
        self._tell_health(again)

    def _submit(self, task: Task) -> None:
        status, before = self._told.get(task.arn, ("", {}))
        now = {one.name: (one.status, one.exit_code) for one in task.containers.values()}
        told = task.status
        if told in (RUNNING, STOPPED) and told != status:
            request: dict[str, Any] = {
                "task": task.arn,
                "status": told,
                "containers": [_change(one) for one in task.containers.values()],
            }
            if task.reason:
                request["reason"] = task.reason
            if task.stopped_at:
                request["executionStoppedAt"] = task.stopped_at
            self._api.call("SubmitTaskStateChange", cluster=self._cluster, **request)
            status = told
        else:
            for one in list(task.containers.values()):
                if one.status in (RUNNING, STOPPED) and now[one.name] != before.get(one.name):
                    change = _change(one) | {"task": task.arn}
                    change.pop("imageDigest", None)
                    self._api.call("SubmitContainerStateChange", cluster=self._cluster, **change)
        self._told[task.arn] = (status, now)

    def _tell_health(self, again: bool) -> None:
        found = [
            {
                "taskArn": task.arn,
                "containers": [
                    {"containerName": one.name, "healthStatus": one.health, "statusSince": one.health_since}
                    for one in task.containers.values()
                    if one.watched
                ],
            }
            for task in list(self._known().tasks.values())
            if task.status == RUNNING and any(one.watched for one in task.containers.values())
        ]
        arn = self._known().instance_arn
        if not arn or not (found or self._health) or (found == self._health and not again):
            return
        try:
            self._api.call(
                "StartTelemetrySession", cluster=self._cluster, containerInstance=arn, health=found
            )
            self._health = found
        except ApiRefusedError as error:
            log.info("the health of the tasks is left to the next Poll: %s", error)


def _change(container: Container) -> dict[str, Any]:
    found: dict[str, Any] = {"containerName": container.name, "status": container.status}
    optional = {
        "runtimeId": container.runtime_id,
        "reason": container.reason,
        "imageDigest": container.image_digest,
        "networkBindings": container.bindings,
    }
    found |= {name: value for name, value in optional.items() if value}
    return found if container.exit_code is None else found | {"exitCode": container.exit_code}
