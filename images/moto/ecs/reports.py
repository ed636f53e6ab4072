"""What agents report: the state of their tasks, tasks that nobody here knows (orphans), and health.

An API that restarted is empty, and containers went on. Their agent registers again and reports them. A task that is unknown is
kept as an orphan: it holds its memory and ports, goes on running, and is adopted or ended by its service (rollout.py).
"""

from __future__ import annotations

import logging
from typing import Any

from . import words
from .instances import Instance
from .store import Backend, find_task, instances, keep, live_on
from .tasks import Task

log = logging.getLogger("retailflow.ecs")


def take(
    backend: Backend, instance: Instance, reported: list[dict[str, Any]], revision: int, now: float
) -> None:
    """Take the list of all tasks that an agent has; `revision` is the wanted state that it had seen by then."""
    _inherit(backend, instance)
    seen = set()
    for one in reported:
        arn = str(one.get("taskArn") or "")
        seen.add(arn)
        task = find_task(backend, instance.cluster_name, arn)
        if task is None:
            if one.get("lastStatus") != "STOPPED":
                task = orphan(instance, one, now)
                keep(backend, instance.cluster_name, task)
                log.warning("%s is an orphan of %s", arn, instance.id)
            continue
        if task.instance is not instance:
            if task.instance.ec2_instance_id != instance.ec2_instance_id:
                log.error("%s reports %s, which is on %s", instance.id, arn, task.instance.id)
                continue
            task.instance = instance  # the agent lost what it knew and registered again
        if task.given is None:
            task.given = instance.revision
        task.take(one, now)
    for task in live_on(backend, instance):
        if task.task_arn not in seen:
            _missing(task, revision, now)


def _inherit(backend: Backend, instance: Instance) -> None:
    """Take over the tasks of a host's older entries, whose agent lost what it knew: this one sees all of the host."""
    for other in instances(backend, instance.cluster_name):
        if other is instance or other.ec2_instance_id != instance.ec2_instance_id or other.is_connected:
            continue
        for task in live_on(backend, other):
            task.instance, task.stop_given = instance, None


def _missing(task: Task, revision: int, now: float) -> None:
    """An agent that has seen the wanted state does not have the task (any more)."""
    if task.desired_status == "STOPPED":
        if task.stop_given is not None and revision >= task.stop_given:
            task.finish(now)
    elif task.is_reported:
        task.finish(now, words.EXITED, words.CONTAINERS_GONE)


def orphan(instance: Instance, report: dict[str, Any], now: float) -> Task:
    """A task that only its agent knows."""
    task = Task(
        task_arn=str(report["taskArn"]),
        cluster_arn=instance.container_instance_arn.replace(":container-instance/", ":cluster/").rsplit(
            "/", 1
        )[0],
        definition=dict(report.get("taskDefinition") or {}),
        digest=str(report.get("definitionDigest") or ""),
        group=str(report.get("group") or ""),
        instance=instance,
        overrides=dict(report.get("overrides") or {}),
        started_by=str(report.get("startedBy") or ""),
        created_at=now,
        given=instance.revision,
        is_orphan=True,
    )
    task.take(report, now)
    return task


def health(backend: Backend, instance: Instance, listed: list[dict[str, Any]]) -> None:
    """Take what health checks say."""
    for one in listed:
        task = find_task(backend, instance.cluster_name, str(one.get("taskArn") or ""))
        if task is None or task.instance is not instance:
            continue
        by_name = {container.name: container for container in task.containers}
        for report in one.get("containers") or []:
            if container := by_name.get(str(report.get("containerName") or report.get("name"))):
                container.take({"healthStatus": report.get("healthStatus")})


def wanted(backend: Backend, instance: Instance) -> list[Task]:
    """What an agent is told: all live tasks, of the orphans those that are to end."""
    return [task for task in live_on(backend, instance) if not (task.is_orphan and task.is_wanted)]


def mark_given(tasks: list[Task], revision: int) -> None:
    """Note that a wanted state is sent: from here on a task may run until its agent says that it ended."""
    for task in tasks:
        if task.given is None:
            task.given = revision
        if task.desired_status == "STOPPED" and task.stop_given is None:
            task.stop_given = revision
