"""The agent: what shall run here, by the API; what runs here, by the engine; and a thread per task that makes them equal.

The loop is driven by levels and not by events: each answer of `Poll` is the whole of what is wanted, each request the whole
of what is there. A task that the API does not name is left alone (an API that came back empty knows none), and is only ever
stopped by `desiredStatus: STOPPED`. While the API is away, containers go on running.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from . import credentials, introspection
from .api import Api, ApiAwayError, ApiRefusedError, Ecs, Keys
from .containers import TASK_LABEL, Definition
from .engine import LABEL, Engine, EngineAwayError, EngineRefusedError
from .logs import Follower, Stream, keys_of, stream_of
from .parameters import SecretsError, resolve
from .registration import registration
from .reporter import Reporter
from .settings import Settings
from .state import STOPPED, Container, Known, State, Task
from .tasks import Life
from .work import Worker, patiently

log = logging.getLogger("retailflow.ecs_agent")

POLL_SECONDS = 10
SWEEP_SECONDS = 30.0
LEAST_SECONDS = 0.1  # between two Polls


def unknown_instance(error: ApiRefusedError) -> bool:
    """Whether ECS says that it has no such instance: "Referenced container instance … not found"."""
    codes = ("InvalidParameterException", "ClientException")
    return error.code in codes and "not found" in error.message.lower()


class MismatchError(Exception):
    """What is kept belongs to another cluster."""


class Agent:
    """One host of one cluster. `start` begins its threads; tests call `poll`, `sweep` and the steps of tasks themselves."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        api: Ecs,
        clients: Api,
        state: State,
        now: Callable[[], float] = time.time,
        pause: Callable[[float], object] = time.sleep,
        threads: bool = True,
    ) -> None:
        self.settings, self.engine, self._api, self._clients = settings, engine, api, clients
        self._state, self.now, self._pause, self._threads = state, now, pause, threads
        self._lock = threading.RLock()
        self.known = Known()
        self.workers: dict[str, Worker] = {}
        self._task_keys: dict[str, Keys | None] = {}
        self._execution_keys: dict[str, Keys | None] = {}
        self._followers: dict[str, Follower] = {}
        self._revision = 0
        self._token = str(uuid.uuid4())  # of one registration: a second try makes no second instance
        self.reporter = Reporter(api, settings.cluster, lambda: self.known)

    # --- what tasks ask ----------------------------------------------------------------------------------------------

    def changed(self, task: Task) -> None:
        """Keep the state, report the task, and wake tasks that wait for its end."""
        with self._lock:
            self._state.save(self.known)
            if task.status == STOPPED:
                for worker in self.workers.values():
                    if worker.life.task.group == task.group:
                        worker.wake.set()
        self.reporter.changed(task.arn)

    def blocked(self, task: Task) -> str:
        """Another task of the group that must stop and has not: two of them would work on the same data."""
        with self._lock:
            for other in self.known.tasks.values():
                same = other.arn != task.arn and other.group == task.group
                if same and other.desired == STOPPED and other.status != STOPPED:
                    return other.arn
        return ""

    def secrets(self, task: Task, planned: list[Definition]) -> dict[str, dict[str, str]]:
        """The secrets, by the execution role."""
        role, keys = task.execution_role, self._execution_keys.get(task.arn)
        if role and keys is None and any(one.get("secrets") for one in planned):
            raise SecretsError(
                f"ECS was unable to assume the role '{role}' that was provided for this task. Please verify that the role "
                "being passed has the proper trust relationship and permissions and that your IAM user has permissions to "
                "pass this role."
            )
        return resolve(planned, keys, self._clients.client, self.settings.region)

    def credentials_environment(self, task: Task) -> dict[str, str]:
        """The variable that AWS's SDKs read, for a task that has a role."""
        allowed = self.settings.task_roles
        if task.definition.get("networkMode") == "host":
            allowed = allowed and self.settings.task_roles_on_host_network
        if not allowed or not (task.overrides.get("taskRoleArn") or task.definition.get("taskRoleArn")):
            return {}
        return {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": f"{credentials.PATH}{task.credentials_id}"}

    def task_keys(self, credentials_id: str) -> Keys | None:
        """The credentials that the containers of a task ask for; KeyError where no task has the id, or it has no role."""
        for task in list(self.known.tasks.values()):
            if task.credentials_id == credentials_id and task.status != STOPPED:
                if not self.credentials_environment(task):
                    break
                return self._task_keys.get(task.arn)
        raise KeyError(credentials_id)

    def prepare_log(self, task: Task, definition: Definition, runtime_id: str) -> None:
        """Make the log stream, in the place of the engine's driver, whose failure is the start's."""
        stream = stream_of(definition, task.identity, runtime_id, self.settings.region)
        if stream is None:
            return
        try:
            stream.ensure(self._log_client(task, stream))
        except ApiRefusedError as error:
            raise EngineRefusedError(
                "Error response from daemon: failed to initialize logging driver: failed to create Cloudwatch log stream: "
                f"{error.code}: {error.message}"
            ) from error

    def _log_client(self, task: Task, stream: Stream) -> Any:
        keys = keys_of(self.settings.logs_by_execution_role, self._execution_keys.get(task.arn))
        if self.settings.logs_by_execution_role and keys is None and task.execution_role:
            raise ApiAwayError(f"the execution role's credentials of task {task.identity} are not here yet")
        return self._clients.client("logs", keys, stream.region)

    def follow_log(self, task: Task, container: Container) -> None:
        """Begin to send the lines of a container, where its driver is `awslogs`."""
        found = [one for one in task.definition["containerDefinitions"] if one["name"] == container.name]
        stream = found and stream_of(found[0], task.identity, container.runtime_id, self.settings.region)
        with self._lock:
            if not stream or container.runtime_id in self._followers:
                return
            follower = Follower(
                self.engine,
                container.runtime_id,
                stream,
                lambda: self._log_client(task, stream),
                self._state.position(container.runtime_id),
                self._pause,
            )
            self._followers[container.runtime_id] = follower
        if self._threads:
            follower.start()

    # --- begin -------------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Read the state, find the containers of this cluster, and go on with each task that has not ended."""
        with self._lock:
            self.known = self._state.load()
            if self.known.cluster and self.known.cluster != self.settings.cluster:
                raise MismatchError(
                    f"Data mismatch; saved cluster '{self.known.cluster}' does not match configured cluster "
                    f"'{self.settings.cluster}'. Nothing was changed. Remove {self._state.path} if its tasks shall be forgotten."
                )
            if self.known.instance_id != self.settings.instance_id:
                self.known.instance_arn = ""  # the data came from another instance
            self.known.cluster, self.known.instance_id = self.settings.cluster, self.settings.instance_id
            for found in self.engine.containers(cluster=self.settings.cluster):
                self._discover(found)
            self._state.save(self.known)
            tasks = list(self.known.tasks.values())
        for task in tasks:
            for container in task.containers.values():
                if container.status == STOPPED and container.runtime_id:
                    self.follow_log(
                        task, container
                    )  # lines that were not sent; the others follow with their task
            self.reporter.changed(task.arn)
            if task.status != STOPPED:
                self._work(task)

    def _discover(self, found: dict[str, Any]) -> None:
        """A container with our labels belongs to a task that is known, or that its label describes."""
        labels = found["Config"]["Labels"]
        task = self.known.tasks.get(labels.get(f"{LABEL}task-arn", ""))
        if task is None and TASK_LABEL in labels:
            task = Task.given(json.loads(labels[TASK_LABEL]), self.now())
            self.known.tasks[task.arn] = task
        if task is not None:
            Life(self, task, self._pause).adopt(found)
            if found["State"]["Status"] == "running":
                task.runs_again({found["Id"]})

    def _work(self, task: Task) -> None:
        worker = Worker(Life(self, task, self._pause), self._over)
        with self._lock:
            self.workers[task.arn] = worker
        if self._threads:
            worker.start()

    def _over(self, task: Task) -> None:
        with self._lock:
            self.workers.pop(task.arn, None)

    def register(self) -> None:
        """Register the instance, under its old ARN if the API still knows it."""
        request = registration(self.settings, self.engine)
        if self.known.instance_arn:
            try:
                self._registered(
                    self._api.call(
                        "RegisterContainerInstance", **request, containerInstanceArn=self.known.instance_arn
                    )
                )
                return
            except ApiRefusedError as error:
                if not unknown_instance(error):
                    raise
                log.warning(
                    "the API does not know this instance any more, it is registered as a new one: %s", error
                )
        self._registered(self._api.call("RegisterContainerInstance", **request, clientToken=self._token))

    def _registered(self, answer: dict[str, Any]) -> None:
        with self._lock:
            arn = answer["containerInstance"]["containerInstanceArn"]
            self.known.instance_arn, self._revision, self._token = arn, 0, str(uuid.uuid4())
            self._state.save(self.known)
        log.info("registered as %s in the cluster %s", arn, self.settings.cluster)

    # --- the loop ----------------------------------------------------------------------------------------------------

    def poll(self, wait: int = POLL_SECONDS) -> None:
        """Report what is here and take what is wanted; registers again where the instance is unknown."""
        with self._lock:
            tasks = [one for one in self.known.tasks.values() if not one.acknowledged]
            reported = [one.reported() for one in tasks]
            over = [one for one in tasks if one.status == STOPPED]
        try:
            answer = self._api.call(
                "Poll",
                cluster=self.settings.cluster,
                containerInstance=self.known.instance_arn,
                revision=self._revision,
                waitSeconds=wait,
                reported=reported,
            )
        except ApiRefusedError as error:
            if not unknown_instance(error):
                raise
            self.register()
            return
        self._revision = answer["revision"]
        wanted = {one["taskArn"] for one in answer["tasks"]}
        with self._lock:
            for task in self.known.tasks.values():
                # What ended and is wanted no more was understood; what is wanted again, was not.
                task.acknowledged = task.arn not in wanted and (task in over or task.acknowledged)
        self.apply(answer["tasks"])

    def apply(self, tasks: list[dict[str, Any]]) -> None:
        """Take the whole wanted state. What must stop is noted before anything starts."""
        begun, stopping = [], []
        with self._lock:
            for one in tasks:
                arn = one["taskArn"]
                self._task_keys[arn] = Keys.given(one.get("roleCredentials"))
                self._execution_keys[arn] = Keys.given(one.get("executionRoleCredentials"))
                task = self.known.tasks.get(arn)
                if task is None:
                    task = self.known.tasks[arn] = Task.given(one, self.now())
                    begun.append(task)
                if one["desiredStatus"] == STOPPED and task.desired != STOPPED:
                    task.desired, task.reason = STOPPED, one.get("stopReason") or ""
                    stopping.append(task)
            if begun or stopping:
                self._state.save(self.known)
        for task in begun:
            self._work(task)
        with self._lock:
            woken = [self.workers[task.arn] for task in stopping if task.arn in self.workers]
        for worker in woken:
            worker.wake.set()

    def sweep(self) -> None:
        """Remove the containers of tasks that ended long ago, but for the last of each family, whose log may be wanted."""
        with self._lock:
            over = [one for one in self.known.tasks.values() if one.status == STOPPED]
            last: dict[str, Task] = {}
            for task in over:
                made = any(one.runtime_id for one in task.containers.values())
                if made and (task.stopped_at or 0) >= (
                    last[task.family].stopped_at or 0 if task.family in last else 0
                ):
                    last[task.family] = task
        self.end_again()
        for task in over:
            old = self.now() - (task.stopped_at or 0) > self.settings.cleanup_wait
            if old and task.acknowledged and last.get(task.family) is not task:
                self._remove(task)

    def _remove(self, task: Task) -> None:
        ids = [one.runtime_id for one in task.containers.values() if one.runtime_id]
        if any(one in self._followers and not self._followers[one].done.is_set() for one in ids):
            return  # lines are left to send
        for one in ids:
            self.engine.remove(one)
            self._state.forget(one)
        with self._lock:
            for one in ids:
                self._followers.pop(one, None)
            for kept in (self.known.tasks, self._task_keys, self._execution_keys):
                kept.pop(task.arn, None)
            self._state.save(self.known)

    def wake(self, container: str) -> None:
        """Look at the task of a container at once."""
        with self._lock:
            found = [
                one
                for one in self.known.tasks.values()
                if any(part.runtime_id == container for part in one.containers.values())
            ]
            for task in found:
                if task.arn in self.workers:
                    self.workers[task.arn].wake.set()
        if any(one.status == STOPPED for one in found):
            self.end_again()

    def end_again(self) -> None:
        """Stop what runs although its task has ended."""
        running = self.engine.running(self.settings.cluster)
        with self._lock:
            back = [
                one
                for one in self.known.tasks.values()
                if one.arn not in self.workers and one.runs_again(running)
            ]
        for task in back:
            log.warning("a container of task %s, which had ended, runs again: it is stopped", task.identity)
            self.changed(task)
            self._work(task)

    def start(self) -> None:
        """Begin the threads, and poll for ever."""
        settings = self.settings
        patiently("the engine is away", self.restore, EngineAwayError)
        lookup = credentials.application(self.task_keys)
        credentials.serve("task credentials", lookup, settings.credentials_address)
        told = introspection.application(lambda: self.known)
        credentials.serve("introspection", told, settings.introspection_address)
        for name, what in (("events", self._watch), ("sweep", self._sweep), ("report", self.reporter.run)):
            threading.Thread(target=what, name=name, daemon=True).start()
        self._loop()

    def _loop(self) -> None:
        # An answer of another shape than agreed is a fault of the API, and a disk may be full. Neither is a reason to end.
        away = (ApiAwayError, ApiRefusedError, EngineAwayError, OSError, KeyError, TypeError, ValueError)
        # Amazon's agent asks where to poll; the emulated API has one address, the answer is not needed.
        patiently("the API is away", self._discover_endpoint, *away)
        patiently("the API is away", self.register, *away)
        while True:
            patiently("the API is away, containers go on running", self.poll, *away)
            time.sleep(LEAST_SECONDS)

    def _discover_endpoint(self) -> None:
        named = {"containerInstance": self.known.instance_arn} if self.known.instance_arn else {}
        self._api.call("DiscoverPollEndpoint", cluster=self.settings.cluster, **named)

    def _watch(self) -> None:
        while True:
            try:
                for event in self.engine.events(self.settings.cluster):
                    self.wake(event.get("id", ""))
            except (EngineAwayError, EngineRefusedError) as error:
                log.warning("the engine's events end: %s", error)
            time.sleep(1.0)
            for worker in list(self.workers.values()):
                worker.wake.set()

    def _sweep(self) -> None:
        while True:
            time.sleep(SWEEP_SECONDS)
            try:
                self.sweep()
            except (EngineAwayError, EngineRefusedError, OSError) as error:
                log.warning("old containers are removed later: %s", error)
