"""The scheduler: one pass over everything, from what is wanted to what is done. A thread runs it, and so may a test."""

from __future__ import annotations

import logging
import threading

from . import credentials, reports, store, timing, words
from .rollout import Rollout
from .store import CHANGED, LOCK, WAKE, Backend

log = logging.getLogger("retailflow.ecs")


def run_pass(backend: Backend) -> None:
    """Bring all services of an account and region one step further."""
    with LOCK:
        now = timing.CLOCK.now()
        for cluster in list(backend.clusters):
            _look_at_instances(backend, cluster, now)
            for service in store.services(backend, cluster):
                try:
                    Rollout(backend, service, now).step()
                except Exception:
                    # The others go on: a pass is also part of each poll of an agent.
                    log.exception("the service %s is left as it is", service.arn)
            _look_at_tasks(backend, cluster, now)
        tell(backend)


def tell(backend: Backend) -> None:
    """Wake the polls of those instances whose wanted state changed."""
    changed = False
    for cluster in list(backend.container_instances):
        for instance in store.instances(backend, cluster):
            wanted = [one.wanted() for one in reports.wanted(backend, instance)]
            changed = instance.note_wanted(wanted) or changed
    if changed:
        CHANGED.notify_all()


def _look_at_instances(backend: Backend, cluster: str, now: float) -> None:
    for instance in store.instances(backend, cluster):
        if not instance.is_connected:
            if instance.is_ec2_terminated:
                deregister(
                    backend, cluster, instance.id, words.TERMINATED, words.host_gone(instance.ec2_instance_id)
                )
                continue
            for task in store.live_on(backend, instance):
                if task.given is None and task.is_wanted:
                    task.finish(now, words.FAILED_TO_START, words.AGENT_AWAY)
                    task.is_counted = True  # no fault of the task


def deregister(backend: Backend, cluster: str, reference: str, code: str, reason: str) -> None:
    """Take an instance out of its cluster; its tasks count as gone from here on."""
    instance = store.instance_of(backend, cluster, reference)
    now = timing.CLOCK.now()
    for task in store.live_on(backend, instance):
        task.finish(now, code, reason)
        task.is_counted = True
    instance.status = "INACTIVE"
    instance.agent_connected = False
    CHANGED.notify_all()


def _look_at_tasks(backend: Backend, cluster: str, now: float) -> None:
    for task in store.tasks(backend, cluster):
        if task.is_live:
            if task.is_wanted and not task.is_orphan:
                try:
                    credentials.renew(backend, task, now)
                except credentials.CannotAssumeError as error:
                    log.warning("the credentials of %s are not renewed: %s", task.task_arn, error)
        elif now - (task.stopped_at or now) > timing.KEEP_STOPPED_SECONDS:
            backend.tasks[cluster].pop(task.task_arn, None)


def _run_for_ever() -> None:
    while True:
        WAKE.wait(timing.PASS_SECONDS)
        WAKE.clear()
        try:
            for backend in store.backends():
                run_pass(backend)
        except Exception:
            log.exception("a pass of the scheduler failed")


def start() -> None:
    """Run passes in a thread from now on. ValueError for a time scale that is none."""
    if not 0 < timing.SCALE <= 1:
        raise ValueError("EMULATED_ECS_TIME_SCALE must be more than 0 and at most 1")
    threading.Thread(target=_run_for_ever, daemon=True, name="ecs scheduler").start()
