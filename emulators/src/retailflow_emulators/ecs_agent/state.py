"""What the agent knows about its tasks, and the file that keeps it over a restart.

The file holds no credentials: those come with the next answer of the API. It is written whole, beside the old one, and then
takes its name, so that a kill leaves the old or the new one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

log = logging.getLogger("retailflow.ecs_agent")

FORMAT = 1
PENDING, RUNNING, STOPPING, STOPPED = "PENDING", "RUNNING", "STOPPING", "STOPPED"
FILE = "ecs_agent_data.json"


@dataclass
class Container:
    """One container of a task: what was made, and what was last seen. Times are seconds since 1970."""

    name: str
    image: str = ""
    essential: bool = True
    runtime_id: str = ""
    docker_name: str = ""
    status: str = PENDING
    exit_code: int | None = None
    reason: str = ""
    image_digest: str = ""
    watched: bool = False  # whether the definition has a health check; ECS does not look at that of an image
    health: str = "UNKNOWN"
    health_since: float = 0.0
    bindings: list[dict[str, Any]] = field(default_factory=list)

    def reported(self) -> dict[str, Any]:
        """As the API is told."""
        found: dict[str, Any] = {
            "name": self.name,
            "runtimeId": self.runtime_id,
            "status": self.status,
            "reason": self.reason,
            "healthStatus": self.health,
            "networkBindings": self.bindings,
            "image": self.image,
            "imageDigest": self.image_digest,
        }
        return found if self.exit_code is None else found | {"exitCode": self.exit_code}


@dataclass
class Task:
    """One task, with its definition as it was given."""

    arn: str
    definition: dict[str, Any]
    group: str = ""
    started_by: str = ""
    digest: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)
    desired: str = RUNNING
    status: str = PENDING
    reason: str = ""
    created_at: float = 0.0
    started_at: float | None = None
    stopped_at: float | None = None
    credentials_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    containers: dict[str, Container] = field(default_factory=dict)
    acknowledged: bool = False  # whether the API was told of its end

    @classmethod
    def given(cls, wanted: dict[str, Any], now: float) -> Task:
        """A task as the API or the label of a container describes it."""
        task = cls(
            arn=wanted["taskArn"],
            definition=wanted["taskDefinition"],
            group=wanted.get("group") or "",
            started_by=wanted.get("startedBy") or "",
            digest=wanted.get("definitionDigest") or "",
            overrides=wanted.get("overrides") or {},
            created_at=now,
            credentials_id=wanted.get("credentialsId") or str(uuid.uuid4()),
        )
        for one in task.definition.get("containerDefinitions") or []:
            task.containers[one["name"]] = Container(
                name=one["name"],
                image=one.get("image", ""),
                essential=one.get("essential") is not False,
                watched=bool(one.get("healthCheck")) and one["healthCheck"].get("command") != ["NONE"],
            )
        return task

    @property
    def execution_role(self) -> str:
        """The ARN of the role by which the agent works for this task; empty where the instance's own role does."""
        return self.overrides.get("executionRoleArn") or self.definition.get("executionRoleArn") or ""

    def described(self) -> dict[str, Any]:
        """What `given` needs to make the task again: the label of its containers."""
        return {
            "taskArn": self.arn,
            "group": self.group,
            "startedBy": self.started_by,
            "definitionDigest": self.digest,
            "overrides": self.overrides,
            "taskDefinition": self.definition,
        }

    def reported(self) -> dict[str, Any]:
        """As the API is told; `stoppedReason` and `stoppedAt` repeat what SubmitTaskStateChange said."""
        found = self.described() | {
            "lastStatus": self.status,
            "desiredStatus": self.desired,
            "createdAt": self.created_at,
            "containers": [one.reported() for one in self.containers.values()],
        }
        times = {"startedAt": self.started_at, "stoppedAt": self.stopped_at}
        found |= {name: value for name, value in times.items() if value is not None}
        return found if self.desired == RUNNING else found | {"stoppedReason": self.reason}

    def runs_again(self, running: Collection[str]) -> bool:
        """Whether a container of this task, which had ended, is among those that run; the task is to stop again then.

        `docker restart` does that: the end is seen and another task may take the place before the container is back. Amazon's
        agent stops such a container too (`handleStoppedToRunningContainerTransition`, `agent/engine/task_manager.go`).
        """
        back = [one for one in self.containers.values() if one.runtime_id in running]
        if self.status != STOPPED or not back:
            return False
        for one in back:
            one.status = RUNNING
        self.status, self.acknowledged = STOPPING, False
        return True

    @property
    def identity(self) -> str:
        """The last part of its ARN."""
        return self.arn.rpartition("/")[2]

    @property
    def family(self) -> str:
        """The family of its definition."""
        return str(self.definition.get("family", ""))


@dataclass
class Known:
    """All that is kept."""

    cluster: str = ""
    instance_id: str = ""
    instance_arn: str = ""
    tasks: dict[str, Task] = field(default_factory=dict)


def write(path: Path, value: Any) -> None:
    """Write JSON so that the file is the old or the new one, also after the machine lost its power."""
    beside = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(value, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class State:
    """The file in ECS_DATADIR."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def load(self) -> Known:
        """What was kept; nothing where there is no file, or none that can be read: it is put aside then.

        The containers carry their tasks in a label, so what runs is found again without it.
        """
        try:
            return _read(json.loads(self.path.read_text()))
        except FileNotFoundError:
            return Known()
        except (ValueError, KeyError, TypeError) as error:
            aside = self.path.with_suffix(".unreadable")
            self.path.replace(aside)
            log.warning(
                "%s cannot be read (%s). It was kept as %s, the tasks are read from their containers.",
                self.path, error, aside.name,
            )  # fmt: skip
            return Known()

    def save(self, known: Known) -> None:
        """Keep it."""
        write(
            self.path,
            asdict(replace(known, tasks={}))
            | {"format": FORMAT, "tasks": [asdict(one) for one in known.tasks.values()]},
        )

    def position(self, runtime_id: str) -> Path:
        """The file that says how far the log of a container was sent."""
        folder = self.path.parent / "logs"
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder / f"{runtime_id}.json"

    def forget(self, runtime_id: str) -> None:
        """Remove what is kept about the log of a container."""
        with contextlib.suppress(FileNotFoundError):
            self.position(runtime_id).unlink()


def _read(found: dict[str, Any]) -> Known:
    if found.pop("format") != FORMAT:
        raise ValueError("another format")
    tasks = {}
    for one in found.pop("tasks"):
        containers = {name: Container(**values) for name, values in one.pop("containers").items()}
        tasks[one["arn"]] = Task(**one, containers=containers)
    return Known(**found, tasks=tasks)
