"""The life of one task on this host: `step` looks at its containers and brings the task one step nearer to what is wanted.

Nothing is remembered between steps but what `state` keeps, so a step after a restart goes on where the last one was. Reasons
are in the words of ECS ("Stopped tasks error messages", ECS's developer guide; `agent/dockerclient/dockerapi/errors.go`).

An engine or an API that does not answer changes nothing: the error is raised, and the step is made again later. So a task is
never reported as stopped while one of its containers may run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from . import containers
from .containers import Definition, NotEmulatedError
from .engine import Engine, EngineAwayError, EngineRefusedError, Inspected, NotFoundError
from .parameters import SecretsError
from .settings import Settings
from .state import PENDING, RUNNING, STOPPED, STOPPING, Container, Task

log = logging.getLogger("retailflow.ecs_agent")

#: Seconds until a task that nothing happens to is looked at again; the engine's events come before.
LOOK_SECONDS = 30.0
BLOCKED_SECONDS = 2.0
#: After a pull failed, as Amazon's agent: five tries, 1.1 s to 5 s apart (`docker_client.go`).
PULL_TRIES, PULL_PAUSE, LONGEST_PULL_PAUSE = 5, 1.1, 5.0
STOP_AGAIN_SECONDS = 5.0
NAMES_OF_HEALTH = {"healthy": "HEALTHY", "unhealthy": "UNHEALTHY"}
ENDED = "Essential container in task exited"


class Host(Protocol):
    """What a task needs of its agent."""

    settings: Settings
    engine: Engine

    def now(self) -> float:
        """Seconds since 1970."""

    def changed(self, task: Task) -> None:
        """Keep what is known about a task, and report it."""

    def blocked(self, task: Task) -> str:
        """The ARN of a task of the same group that must end before this one starts; empty where there is none."""

    def secrets(self, task: Task, planned: list[Definition]) -> dict[str, dict[str, str]]:
        """The secret environment of each container; SecretsError."""

    def credentials_environment(self, task: Task) -> dict[str, str]:
        """Where containers ask for the credentials of their task's role."""

    def prepare_log(self, task: Task, definition: Definition, runtime_id: str) -> None:
        """Make the log stream of a container; EngineRefusedError in the words of the engine's driver."""

    def follow_log(self, task: Task, container: Container) -> None:
        """Send the lines of a container from now on; a second call changes nothing."""


class FailedError(Exception):
    """The task cannot start; `container` and the reason."""

    def __init__(self, container: Container, reason: str) -> None:
        super().__init__(reason)
        self.container = container


class Life:
    """One task. Only one thread makes its steps; others may set `task.desired` to STOPPED."""

    def __init__(self, host: Host, task: Task, pause: Callable[[float], object]) -> None:
        self._host, self.task, self._pause = host, task, pause
        self._pulled: set[str] = set()
        self._adopted = False
        # Containers whose start was not answered, so it may still come: also one that an agent asked for which was killed.
        self._unsure = {
            one.name for one in task.containers.values() if one.runtime_id and one.status == PENDING
        }

    def step(self) -> float | None:
        """Seconds until the next step, or None when the task has ended."""
        try:
            return self._step()
        except EngineAwayError:
            self._adopted = False  # what was asked for may have been done
            raise

    def _step(self) -> float | None:
        task = self.task
        self._adopt()
        self._observe()
        if task.desired == STOPPED:
            return self._end()
        if task.status == PENDING:
            try:
                if not self._start():
                    return BLOCKED_SECONDS
            except FailedError as error:
                error.container.status, error.container.reason = STOPPED, str(error)
                self._told_to_stop(str(error))
                return self._end()
            self._observe()
            return self._end() if task.desired == STOPPED else LOOK_SECONDS
        return LOOK_SECONDS

    # --- what is ---------------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """Find containers that were made when the agent was killed before it could note them."""
        if self._adopted:
            return
        task = self.task
        if any(not one.runtime_id and one.status != STOPPED for one in task.containers.values()):
            for found in self._host.engine.containers(cluster=self._host.settings.cluster, task_arn=task.arn):
                self.adopt(found)
        self._adopted = True

    def adopt(self, found: Inspected) -> None:
        """Take a container of this task that was found by its labels."""
        name = found["Config"]["Labels"].get("com.amazonaws.ecs.container-name", "")
        container = self.task.containers.get(name)
        if container and not container.runtime_id:
            container.runtime_id, container.docker_name = found["Id"], found["Name"].lstrip("/")
            self._unsure.add(name)

    def _observe(self) -> None:
        """Look at the containers, and at what follows from them for the task."""
        task, before = self.task, repr(self.task)
        for one in task.containers.values():
            if one.runtime_id and one.status != STOPPED:
                try:
                    self._note(one, self._host.engine.inspect(one.runtime_id))
                except NotFoundError as error:
                    one.status, one.reason = STOPPED, f"CannotInspectContainerError: {error}"
        found = list(task.containers.values())
        for one in found:
            if one.runtime_id and one.status != PENDING:
                self._host.follow_log(task, one)
        gone = [one for one in found if one.status == STOPPED]
        if (
            task.desired == RUNNING
            and gone
            and (any(one.essential for one in gone) or len(gone) == len(found))
        ):
            self._told_to_stop(ENDED)
        running = all(one.status in (RUNNING, STOPPED) for one in found)
        if task.desired == RUNNING and task.status == PENDING and running:
            task.status, task.started_at = RUNNING, self._host.now()
            log.info("task %s of %s is RUNNING", task.identity, task.group)
        if repr(task) != before:
            self._host.changed(task)

    def _note(self, container: Container, found: Inspected) -> None:
        state = found["State"]
        if state["Status"] in ("exited", "dead"):
            container.status, container.exit_code = STOPPED, state.get("ExitCode")
            if state.get("OOMKilled"):
                container.reason = "OutOfMemoryError: Container killed due to memory usage"
            elif state.get("Error"):
                container.reason = state["Error"]
        elif state["Status"] != "created":
            container.status = RUNNING
            container.bindings = containers.network_bindings(found)
        status = (state.get("Health") or {}).get("Status", "")
        health = NAMES_OF_HEALTH.get(status, "UNKNOWN") if container.watched else "UNKNOWN"
        if health != container.health or not container.health_since:
            container.health, container.health_since = health, self._host.now()

    def _told_to_stop(self, reason: str) -> None:
        if self.task.desired != STOPPED:
            self.task.desired, self.task.reason = STOPPED, reason

    # --- to RUNNING ------------------------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Bring the task from PENDING to running containers; False where it must wait, or is not wanted any more."""
        task, host = self.task, self._host
        first = next(iter(task.containers.values()))
        try:
            planned = containers.plan(task, host.settings)
        except (NotEmulatedError, KeyError, TypeError, ValueError) as error:
            told = str(error) if isinstance(error, NotEmulatedError) else f"bad task definition: {error!r}"
            raise FailedError(first, f"ResourceInitializationError: {told}") from error
        for one in planned:
            if not task.containers[one["name"]].runtime_id:
                self._pull(task.containers[one["name"]], one["image"])
            if task.desired == STOPPED:
                return False
        if other := host.blocked(task):
            log.info("task %s waits for the end of %s", task.identity, other.rpartition("/")[2])
            return False
        self._create(first, planned)
        for one in planned:
            if task.desired == STOPPED:
                return False
            container = task.containers[one["name"]]
            if container.status == PENDING:
                self._run(container, one)
        return True

    def _pull(self, container: Container, image: str) -> None:
        """Pull, and take what the host has where that fails, as ECS_IMAGE_PULL_BEHAVIOR `default` says."""
        engine = self._host.engine
        if container.name not in self._pulled:
            try:
                self._pull_again_and_again(image)
            except EngineRefusedError as error:
                try:
                    engine.image(image)
                except EngineRefusedError:
                    raise FailedError(container, f"CannotPullContainerError: {error}") from error
                log.info("image %s cannot be pulled, the host's own is used: %s", image, error)
            if self.task.desired == STOPPED:
                return
            self._pulled.add(container.name)
        try:
            found = engine.image(image)
        except EngineRefusedError as error:
            raise FailedError(container, f"CannotPullContainerError: {error}") from error
        digests = [one.partition("@")[2] for one in found.get("RepoDigests") or []]
        container.image, container.image_digest = image, digests[0] if digests else ""

    def _pull_again_and_again(self, image: str) -> None:
        """Several tries; one for an image that the host has, since the task can run without an answer."""
        tries, pause = 1 if self._has(image) else PULL_TRIES, PULL_PAUSE
        for tried in range(1, tries + 1):
            try:
                self._host.engine.pull(image, lambda: self.task.desired == RUNNING)
                return
            except EngineRefusedError as error:
                # What the registry does not have, it has not in a second either.
                if tried == tries or isinstance(error, NotFoundError) or self.task.desired == STOPPED:
                    raise
            self._pause(pause)
            pause = min(pause * 2, LONGEST_PULL_PAUSE)

    def _has(self, image: str) -> bool:
        try:
            return bool(self._host.engine.image(image))
        except EngineRefusedError:
            return False

    def _create(self, first: Container, planned: list[Definition]) -> None:
        task, host = self.task, self._host
        missing = [one for one in planned if not task.containers[one["name"]].runtime_id]
        if not missing:
            return
        try:
            hidden = host.secrets(task, missing)
        except SecretsError as error:
            raise FailedError(first, str(error)) from error
        self._make_volumes(first)
        for one in missing:
            container = task.containers[one["name"]]
            environment = {two["name"]: two["value"] for two in one["environment"]}
            environment |= hidden[one["name"]] | host.credentials_environment(task)
            environment.setdefault("AWS_EXECUTION_ENV", "AWS_ECS_EC2")
            config = containers.request(task, one, environment, host.settings)
            name = containers.container_name(task, one["name"])
            try:
                container.runtime_id = host.engine.create(name, config)
            except EngineRefusedError as error:
                raise FailedError(container, f"CannotCreateContainerError: {error}") from error
            container.docker_name = name
            host.changed(task)

    def _make_volumes(self, first: Container) -> None:
        for one in self.task.definition.get("volumes") or []:
            name, options = containers.volume(one)
            if options is None or self._host.engine.volume(name):
                continue
            if not options.get("autoprovision"):
                raise FailedError(first, f"ResourceInitializationError: volume {name} does not exist")
            try:
                self._host.engine.create_volume(
                    name, options.get("driverOpts") or {}, options.get("labels") or {}
                )
            except EngineRefusedError as error:
                raise FailedError(first, f"ResourceInitializationError: {error}") from error

    def _run(self, container: Container, definition: Definition) -> None:
        host = self._host
        try:
            host.prepare_log(self.task, definition, container.runtime_id)
            self._unsure.add(container.name)
            host.engine.start(container.runtime_id)
            self._unsure.discard(container.name)
        except EngineRefusedError as error:
            self._unsure.discard(container.name)
            raise FailedError(container, f"CannotStartContainerError: {error}") from error
        container.status = RUNNING

    # --- to STOPPED ------------------------------------------------------------------------------------------------

    def _end(self) -> float | None:
        """Stop what runs; None when nothing does."""
        task, host = self.task, self._host
        running = []
        for one in task.containers.values():
            if one.status == PENDING and self._may_start(one):
                one.status = RUNNING
            if one.status == PENDING:
                one.status = STOPPED  # never started, and only this thread would start it
            elif one.status == RUNNING:
                running.append(one)
        if running:
            if task.status != STOPPING:
                task.status = STOPPING
                host.changed(task)
            self._stop(running)
            self._observe()
        if any(one.status != STOPPED for one in task.containers.values()):
            return STOP_AGAIN_SECONDS
        task.status, task.stopped_at = STOPPED, host.now()
        codes = {one.name: one.exit_code for one in task.containers.values()}
        log.info(
            "task %s of %s is STOPPED: %s (exit codes %s)", task.identity, task.group, task.reason, codes
        )
        host.changed(task)
        return None

    def _may_start(self, container: Container) -> bool:
        """Whether a start that was not answered came, or may: a container that is removed starts no more."""
        if container.name not in self._unsure:
            return False
        try:
            self._host.engine.remove(container.runtime_id)
        except EngineRefusedError:
            return True  # it runs
        return False

    def _stop(self, running: list[Container]) -> None:
        """Stop containers at once, so that none takes the time of another."""
        definitions: dict[str, dict[str, Any]] = {
            one["name"]: one for one in self.task.definition["containerDefinitions"]
        }

        def stop(one: Container) -> None:
            seconds = containers.stop_timeout(definitions[one.name], self._host.settings)
            try:
                self._host.engine.stop(one.runtime_id, seconds)
            except NotFoundError:
                pass  # the next look notes it
            except EngineRefusedError as error:
                log.warning("CannotStopContainerError: %s; it is tried again", error)

        if len(running) == 1:
            stop(running[0])
            return
        with ThreadPoolExecutor(len(running)) as pool:
            list(pool.map(stop, running))
