"""Tasks that somebody runs, and all that is asked about tasks."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ecs.responses import EC2ContainerServiceResponse

from . import credentials, definitions, placement, scheduler, store, timing, words
from .instances import Instance
from .store import LOCK, WAKE, Backend
from .tasks import Task, needs_of, new_arn

_RUN = frozenset(
    [
        "cluster",
        "count",
        "enableECSManagedTags",
        "group",
        "launchType",
        "overrides",
        "placementConstraints",
        "placementStrategy",
        "propagateTags",
        "referenceId",
        "startedBy",
        "tags",
        "taskDefinition",
        "clientToken",
    ]
)
_START = (_RUN - {"count", "launchType", "placementConstraints", "placementStrategy", "clientToken"}) | {
    "containerInstances"
}
_OVERRIDES = frozenset(["containerOverrides", "cpu", "memory", "taskRoleArn", "executionRoleArn"])
_CONTAINER_OVERRIDES = frozenset(["name", "command", "environment", "cpu", "memory", "memoryReservation"])
_MOST_TASKS, _MOST_INSTANCES, _MOST_DESCRIBED = 10, 10, 100
#: RunTask's answers by its client token, by cluster.
_TOKENS = "_retailflow_run_tokens"


def check_overrides(overrides: dict[str, Any], definition: dict[str, Any]) -> None:
    """Raise for overrides that ECS refuses or that are not emulated."""
    words.refuse_others(overrides, _OVERRIDES, " of overrides")
    names = {one.get("name") for one in definition.get("containerDefinitions") or []}
    for one in overrides.get("containerOverrides") or []:
        words.refuse_others(one, _CONTAINER_OVERRIDES, " of a container's overrides")
        if one.get("name") not in names:
            raise words.invalid(
                f"Override for container named {one.get('name')} is not a container in the TaskDefinition."
            )


class Launch:
    """What RunTask and StartTask have in common: tasks of one definition, made on given instances."""

    def __init__(self, backend: Backend, params: dict[str, Any]) -> None:
        self.backend = backend
        self.cluster = store.cluster_of(backend, params.get("cluster"))
        registered = store.definition_of(backend, str(params.get("taskDefinition") or ""))
        self.definition = definitions.wire(registered)
        self.overrides: dict[str, Any] = {
            key: value for key, value in dict(params.get("overrides") or {}).items() if value
        }
        check_overrides(self.overrides, self.definition)
        self.group = str(params.get("group") or f"family:{registered.family}")
        if self.group.startswith("service:"):
            raise words.invalid("The group name of a task that is run must not begin with service:")
        self.started_by = str(params.get("startedBy") or "")
        if self.started_by.startswith("ecs-svc/"):
            raise words.invalid("startedBy must not begin with ecs-svc/")
        self.tags = list(params.get("tags") or [])
        if params.get("propagateTags") == "TASK_DEFINITION":
            given = {one.get("key") for one in self.tags}
            self.tags += [one for one in registered.tags if one.get("key") not in given]
        if params.get("enableECSManagedTags"):
            self.tags.append({"key": "aws:ecs:clusterName", "value": self.cluster.name})

    def make(self, instance: Instance) -> Task:
        """Make one task; ClientException where a role does not trust ECS."""
        now = timing.CLOCK.now()
        task = Task(
            task_arn=new_arn(self.cluster.name, self.backend.account_id, self.backend.region_name),
            cluster_arn=self.cluster.arn,
            definition=self.definition,
            digest=definitions.digest(self.definition),
            group=self.group,
            instance=instance,
            overrides=self.overrides,
            started_by=self.started_by,
            tags=self.tags,
            created_at=now,
        )
        try:
            credentials.renew(self.backend, task, now)
        except credentials.CannotAssumeError as error:
            raise words.client(str(error)) from error
        store.keep(self.backend, self.cluster.name, task)
        return task


class TaskApi(EC2ContainerServiceResponse):
    """Operations of tasks; `install()` copies them into moto's class."""

    def run_task(self) -> ActionResult:
        """Place tasks now, or say for each instance why it takes none."""
        params = dict(self.params)
        words.refuse_others(params, _RUN, " of RunTask")
        if params.get("launchType") not in (None, "EC2"):
            raise words.not_emulated(f"launch type {params['launchType']}")
        count = int(params.get("count") or 1)
        if not 1 <= count <= _MOST_TASKS:
            raise words.invalid(f"count must be between 1 and {_MOST_TASKS}.")
        constraints, strategy = (
            params.get("placementConstraints") or [],
            params.get("placementStrategy") or [],
        )
        placement.check(constraints, strategy)
        with LOCK:
            launch = Launch(self.ecs_backend, params)
            tokens = self.ecs_backend.__dict__.setdefault(_TOKENS, {})
            key = (launch.cluster.name, params.get("clientToken"))
            if key[1] and key in tokens:
                return ActionResult({"tasks": [one.describe(True) for one in tokens[key]], "failures": []})
            if not store.instances(self.ecs_backend, launch.cluster.name):
                raise words.invalid(words.NO_INSTANCES)
            wish = placement.Wish(
                launch.group,
                needs_of(launch.definition, launch.overrides),
                [*constraints, *(launch.definition.get("placementConstraints") or [])],
                strategy,
            )
            made: list[Task] = []
            failures: list[dict[str, str]] = []
            for _ in range(count):
                found = placement.place(self.ecs_backend, launch.cluster.name, wish)
                if isinstance(found, placement.Refused):
                    failures = [
                        {"arn": one.container_instance_arn, "reason": reason} for one, reason in found.reasons
                    ]
                    break
                made.append(launch.make(found))
            if key[1]:
                tokens[key] = made
            scheduler.tell(self.ecs_backend)
            return ActionResult({"tasks": [one.describe(True) for one in made], "failures": failures})

    def start_task(self) -> ActionResult:
        """Start a task on each of the named instances."""
        params = dict(self.params)
        words.refuse_others(params, _START, " of StartTask")
        references = params.get("containerInstances") or []
        if not 1 <= len(references) <= _MOST_INSTANCES:
            raise words.client("Container Instances cannot be empty.")
        with LOCK:
            launch = Launch(self.ecs_backend, params)
            wish = placement.Wish(launch.group, needs_of(launch.definition, launch.overrides))
            made, failures = [], []
            for reference in references:
                instance = store.find_instance(self.ecs_backend, launch.cluster.name, reference)
                if instance is None or instance.status == "INACTIVE":
                    failures.append({"arn": str(reference), "reason": words.MISSING})
                    continue
                tasks = store.live_on(self.ecs_backend, instance)
                if reason := placement.why_not(instance, wish, tasks):
                    failures.append({"arn": instance.container_instance_arn, "reason": reason})
                else:
                    made.append(launch.make(instance))
            scheduler.tell(self.ecs_backend)
            return ActionResult({"tasks": [one.describe(True) for one in made], "failures": failures})

    def stop_task(self) -> ActionResult:
        """Tell a task to stop; a service replaces it."""
        with LOCK:
            cluster = store.cluster_of(self.ecs_backend, self._get_param("cluster"))
            task = store.find_task(self.ecs_backend, cluster.name, str(self._get_param("task")))
            if task is None:
                raise words.invalid("The referenced task was not found.")
            task.stop(
                words.BY_USER, str(self._get_param("reason") or words.STOPPED_BY_USER), timing.CLOCK.now()
            )
            scheduler.tell(self.ecs_backend)
            WAKE.set()
            return ActionResult({"task": task.describe(True)})

    def describe_tasks(self) -> ActionResult:
        """Describe tasks; those that stopped more than an hour ago are missing."""
        references = list(self._get_param("tasks") or [])
        if not references:
            raise words.invalid("Tasks cannot be empty.")
        if len(references) > _MOST_DESCRIBED:
            raise words.invalid(f"Tasks cannot have more than {_MOST_DESCRIBED} elements")
        with_tags = "TAGS" in (self._get_param("include") or [])
        with LOCK:
            cluster = store.cluster_of(self.ecs_backend, self._get_param("cluster"))
            found, failures = [], []
            for reference in references:
                task = store.find_task(self.ecs_backend, cluster.name, reference)
                if task is None:
                    arn = cluster.arn.replace(":cluster/", ":task/") + f"/{store.last(reference)}"
                    failures.append({"arn": arn, "reason": words.MISSING})
                else:
                    found.append(task.describe(with_tags))
            return ActionResult({"tasks": found, "failures": failures})

    def list_tasks(self) -> ActionResult:
        """List tasks by what they are to be, RUNNING where nothing else is asked for."""
        desired = self._get_param("desiredStatus") or "RUNNING"
        instance, family = self._get_param("containerInstance"), self._get_param("family")
        started_by, name = self._get_param("startedBy"), self._get_param("serviceName")
        with LOCK:
            cluster = store.cluster_of(self.ecs_backend, self._get_param("cluster"))
            if name and store.find_service(self.ecs_backend, cluster.name, name) is None:
                raise words.error("ServiceNotFoundException", "Service not found.")
            if instance:
                store.instance_of(self.ecs_backend, cluster.name, instance)
            found = [
                one
                for one in store.tasks(self.ecs_backend, cluster.name)
                if one.desired_status == desired
                and (not instance or one.instance.id == store.last(instance))
                and (not family or one.definition.get("family") == family)
                and (not started_by or one.started_by == started_by)
                and (not name or one.group == f"service:{store.last(name)}")
                # One that its service has told to stop is the service's: who waits for its last task waits for it too.
                and not (name and one.is_orphan and one.is_wanted)
                and self._get_param("launchType") in (None, "EC2")
            ]
            return ActionResult({"taskArns": [one.task_arn for one in found]})
