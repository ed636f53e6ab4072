"""One service, one step: from what it has towards what it wants, within its deployment's percentages.

Whatever may still run counts against maximumPercent: a task that was told to stop until its end is reported, an orphan of the
same name, a task whose agent is away. So a service with maximumPercent 100 never runs one task more than it wants.
"""

from __future__ import annotations

from . import credentials, placement, store, timing, words
from .services import Deployment, Service
from .store import Backend
from .tasks import Task, needs_of, new_arn

#: From this failure in a row on ECS writes that tasks do not start.
_CONSISTENTLY = 2


class Rollout:
    """A step of one service at one moment."""

    def __init__(self, backend: Backend, service: Service, now: float) -> None:
        self.backend, self.service, self.now = backend, service, now
        self.cluster = service.cluster_name

    def tasks(self) -> list[Task]:
        """All tasks of the service, also those that ended."""
        return [one for one in store.tasks(self.backend, self.cluster) if one.group == self.service.group]

    def live(self) -> list[Task]:
        """Whatever may still run."""
        return [one for one in self.tasks() if one.is_live]

    def step(self) -> None:
        """Bring the service one step further."""
        if self.service.status == "DRAINING":
            self._end()
        elif self.service.status == "ACTIVE":
            self._count_ends()
            self._note_health()
            self._break()
            self._adopt()
            self._remove()
            self._start()
            self._complete()

    def _end(self) -> None:
        """A deleted service: stop everything; it is inactive when nothing runs any more."""
        self._stop(
            self.live(), words.scaling(self.service.deployments[0].id) if self.service.deployments else ""
        )
        if not self.live():
            self.service.status = "INACTIVE"
            self.service.deployments = []

    def _deployment_of(self, task: Task) -> Deployment | None:
        return next((one for one in self.service.deployments if one.id == task.started_by), None)

    def _count_ends(self) -> None:
        """Count tasks that ended by themselves before they were healthy."""
        for task in self.tasks():
            if task.is_live or task.is_counted:
                continue
            task.is_counted = True
            failed = task.stop_code in (words.FAILED_TO_START, words.EXITED) or (
                task.stop_code == words.BY_SCHEDULER and task.stopped_reason == words.UNHEALTHY
            )
            if failed and not task.was_healthy and self._deployment_of(task):
                self._failed(self._deployment_of(task), task.stopped_at or self.now)

    def _failed(self, deployment: Deployment | None, when: float) -> None:
        if deployment is None or deployment is not self.service.primary:
            return
        deployment.failed += 1
        deployment.updated_at = when
        self.service.failures += 1
        self.service.next_start = when + timing.pause(self.service.failures)
        if self.service.failures >= _CONSISTENTLY:
            self.service.say(words.throttled(self.service.name), self.now, once=True)

    def _note_health(self) -> None:
        """A task that becomes healthy ends the count of failures (resetOnHealthyTask, API reference)."""
        for task in self.live():
            if not task.was_healthy and task.is_healthy(self.now):
                task.was_healthy = True
                if (deployment := self._deployment_of(task)) is self.service.primary:
                    self.service.failures, self.service.next_start = 0, 0.0
                    self.service.forget(words.throttled(self.service.name))
                    if deployment.state == "IN_PROGRESS":
                        deployment.failed = 0

    def _break(self) -> None:
        """The circuit breaker: end a deployment whose tasks fail, and go back to the last complete one."""
        service, primary = self.service, self.service.primary
        limit = service.tolerated
        if limit is None or primary.state != "IN_PROGRESS" or primary.failed < limit:
            return
        primary.state = "FAILED"
        primary.reason = "ECS deployment circuit breaker: tasks failed to start."
        primary.updated_at = self.now
        service.say(words.failed(service.name, primary.id), self.now)
        back = service.completed
        if not service.rolls_back or back is None or back is primary or primary.is_rollback:
            return
        service.deployments = [back, *(one for one in service.deployments if one is not back)]
        for one in service.deployments:
            one.status = "ACTIVE"
        back.status, back.state, back.is_rollback = "PRIMARY", "IN_PROGRESS", True
        back.reason = f"ECS deployment circuit breaker: rolling back to deploymentId {back.id}."
        back.failed, back.updated_at, back.desired = 0, self.now, service.desired_count
        service.task_definition = back.definition["taskDefinitionArn"]
        service.failures, service.next_start = 0, 0.0
        service.say(words.rolling_back(service.name, back.id), self.now)

    def _adopt(self) -> None:
        """Take over the service's orphans that are what it wants; the others end."""
        primary = self.service.primary
        for task in self.live():
            if not task.is_orphan or not task.is_wanted:
                continue
            fits = task.digest == primary.digest and task.instance.status == "ACTIVE"
            if fits and len(self._staying()) < self.service.desired_count:
                task.is_orphan = False
                task.started_by = primary.id
                task.definition = task.definition | {
                    "taskDefinitionArn": primary.definition["taskDefinitionArn"],
                    "revision": primary.definition["revision"],
                }
                task.tags = task.tags or self._tags(primary)
            else:
                self._stop([task], words.scaling(primary.id))

    def _staying(self) -> list[Task]:
        """What runs as the service wants it and may go on."""
        return [
            one
            for one in self.live()
            if one.is_wanted
            and not one.is_orphan
            and one.started_by == self.service.primary.id
            and one.instance.status == "ACTIVE"
            and one.health != "UNHEALTHY"
        ]

    def _remove(self) -> None:
        """Stop what is too many, and what is to be replaced as far as enough healthy tasks stay."""
        service, reason = self.service, words.scaling(self.service.primary.id)
        staying = self._staying()
        surplus = len(staying) - service.desired_count
        if surplus > 0:
            order = sorted(staying, key=lambda one: (one.is_healthy(self.now), -one.created_at))
            self._stop(order[:surplus], reason)
            staying = self._staying()
        if service.primary.state == "FAILED":
            return
        leaving = [one for one in self.live() if one.is_wanted and one not in staying]
        healthy = [one for one in self.live() if one.is_wanted and one.is_healthy(self.now)]
        spare = len(healthy) - service.lowest
        for one in leaving:
            if one.health == "UNHEALTHY" and self._is_current(one):
                # ECS starts the replacement first where there is room for it.
                replaced = sum(task.is_healthy(self.now) for task in staying) >= service.desired_count
                full = sum(task.is_wanted for task in self.live()) >= service.highest
                if replaced or (full and len(staying) < service.desired_count):
                    service.say(words.failed_health(service.name, one.id), self.now)
                    self._stop([one], words.UNHEALTHY)
            elif not one.is_healthy(self.now):
                self._stop([one], reason)
            elif spare > 0:
                spare -= 1
                self._stop([one], reason)
        if [one for one in leaving if one.is_wanted] and spare <= 0 and service.highest <= len(self.live()):
            blocked = (
                not any(not one.is_wanted for one in self.live()) and len(staying) < service.desired_count
            )
            if blocked:
                service.say(words.stuck_by_configuration(service.name), self.now, once=True)

    def _is_current(self, task: Task) -> bool:
        return task.started_by == self.service.primary.id and task.instance.status == "ACTIVE"

    def _stop(self, tasks: list[Task], reason: str) -> None:
        told = [one for one in tasks if one.is_wanted]
        for one in told:
            one.stop(words.BY_SCHEDULER, reason, self.now)
        if told:
            self.service.is_steady = False
            self.service.say(words.stopped(self.service.name, [one.id for one in told]), self.now)

    def _start(self) -> None:
        service = self.service
        if service.primary.state == "FAILED" or self.now < service.next_start:
            return
        missing = service.desired_count - len(self._staying())
        room = service.highest - len(self.live())
        made: list[Task] = []
        for _ in range(min(missing, room)):
            task = self._place()
            if task is None:
                break
            service.forget(words.unable_to_place(service.name))
            made.append(task)
        if made:
            service.is_steady = False
            service.say(words.started(service.name, [one.id for one in made]), self.now)

    def _place(self) -> Task | None:
        """Make one task on an instance that has room for it; None, with an event, where there is none."""
        service, primary = self.service, self.service.primary
        wish = placement.Wish(
            service.group,
            needs_of(primary.definition, {}),
            [
                *(service.settings.get("placementConstraints") or []),
                *(primary.definition.get("placementConstraints") or []),
            ],
            service.settings.get("placementStrategy") or [],
        )
        found = placement.place(self.backend, self.cluster, wish)
        if isinstance(found, placement.Refused):
            service.is_steady = False
            service.say(words.unable_to_place(service.name, *found.closest), self.now, once=True)
            return None
        task = Task(
            task_arn=new_arn(self.cluster, self.backend.account_id, self.backend.region_name),
            cluster_arn=service.cluster_arn,
            definition=primary.definition,
            digest=primary.digest,
            group=service.group,
            instance=found,
            started_by=primary.id,
            tags=self._tags(primary),
            created_at=self.now,
        )
        try:
            credentials.renew(self.backend, task, self.now)
        except credentials.CannotAssumeError as error:
            service.say(words.failed_to_launch(service.name, str(error)), self.now, once=True)
            self._failed(primary, self.now)
            return None
        store.keep(self.backend, self.cluster, task)
        return task

    def _tags(self, deployment: Deployment) -> list[dict[str, str]]:
        settings = self.service.settings
        source = settings.get("propagateTags")
        tags: list[dict[str, str]] = []
        if source == "SERVICE":
            tags = list(self.service.tags)
        elif source == "TASK_DEFINITION":
            # Also of one that is deregistered: services go on with it.
            revisions = self.backend.task_definitions[deployment.definition["family"]]
            tags = list(revisions[deployment.definition["revision"]].tags)
        if settings.get("enableECSManagedTags"):
            tags += [
                {"key": "aws:ecs:clusterName", "value": self.cluster},
                {"key": "aws:ecs:serviceName", "value": self.service.name},
            ]
        return tags

    def _complete(self) -> None:
        """A deployment is complete when nothing but its own healthy tasks is left."""
        service, primary = self.service, self.service.primary
        live, staying = self.live(), self._staying()
        done = len(live) == len(staying) == service.desired_count
        if done and primary.state == "IN_PROGRESS" and all(one.is_healthy(self.now) for one in staying):
            primary.state, primary.updated_at, primary.is_rollback = "COMPLETED", self.now, False
            primary.reason = f"ECS deployment {primary.id} completed."
            service.completed = primary
            service.deployments = [primary]
            service.say(words.completed(service.name, primary.id), self.now)
        kept = {id(primary), id(service.completed)}
        started = {one.started_by for one in live}
        service.deployments = [one for one in service.deployments if id(one) in kept or one.id in started]
        if done and primary.state == "COMPLETED" and all(one.last_status == "RUNNING" for one in staying):
            if not service.is_steady:
                service.is_steady = True
                service.say(words.steady(service.name), self.now)
        else:
            service.is_steady = False
