"""moto's store of ECS, and how this package looks things up in it. Whoever touches it holds LOCK."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from moto.ecs.exceptions import ClusterNotFoundException, ServiceNotFoundException
from moto.ecs.models import Cluster, EC2ContainerServiceBackend, TaskDefinition, ecs_backends

from . import words
from .instances import Instance
from .services import Service
from .tasks import Task

LOCK = threading.RLock()
#: Notified when the wanted state of an instance changes.
CHANGED = threading.Condition(LOCK)
#: Set when the scheduler has something to do.
WAKE = threading.Event()
Backend = EC2ContainerServiceBackend


def backends() -> Iterator[Backend]:
    """Every account and region that somebody used."""
    for account in list(ecs_backends.values()):
        yield from list(account.values())


def last(reference: str) -> str:
    """The name at the end of an ARN, or the name itself."""
    return str(reference).rsplit("/", 1)[-1]


def cluster_of(backend: Backend, reference: str | None) -> Cluster:
    """A cluster by its name or ARN; it is called default where none is named."""
    found = backend.clusters.get(last(reference or "default"))
    if found is None:
        raise ClusterNotFoundException
    if found.status == "INACTIVE":
        raise words.error("ClusterNotFoundException", "The referenced cluster was inactive.")
    return found


def instances(backend: Backend, cluster: str) -> list[Instance]:
    """The instances of a cluster that are not deregistered."""
    found = backend.container_instances.get(cluster, {}).values()
    return [one for one in found if isinstance(one, Instance) and one.status != "INACTIVE"]


def find_instance(backend: Backend, cluster: str, reference: str) -> Instance | None:
    """An instance by its id or ARN, also a deregistered one."""
    found = backend.container_instances.get(cluster, {}).get(last(reference))
    return found if isinstance(found, Instance) else None


def instance_of(backend: Backend, cluster: str, reference: str) -> Instance:
    """An instance by its id or ARN."""
    found = find_instance(backend, cluster, reference)
    if found is None:
        raise words.unknown_instance(reference)
    return found


def tasks(backend: Backend, cluster: str) -> list[Task]:
    """All tasks of a cluster, the oldest first."""
    found: Iterable[object] = backend.tasks.get(cluster, {}).values()
    return [one for one in found if isinstance(one, Task)]


def find_task(backend: Backend, cluster: str, reference: str) -> Task | None:
    """A task by its id or ARN."""
    return next((one for one in tasks(backend, cluster) if one.id == last(reference)), None)


def live_on(backend: Backend, instance: Instance) -> list[Task]:
    """The tasks that may run on an instance."""
    return [one for one in tasks(backend, instance.cluster_name) if one.instance is instance and one.is_live]


def keep(backend: Backend, cluster: str, task: Task) -> None:
    """Add a task."""
    backend.tasks.setdefault(cluster, {})[task.task_arn] = task  # type: ignore[assignment]


def services(backend: Backend, cluster: str) -> list[Service]:
    """The services of a cluster, also inactive ones."""
    found = backend.services.values()
    return [one for one in found if isinstance(one, Service) and one.cluster_name == cluster]


def find_service(backend: Backend, cluster: str, reference: str) -> Service | None:
    """A service by its name or ARN."""
    return next((one for one in services(backend, cluster) if one.name == last(reference)), None)


def service_of(backend: Backend, cluster: str, reference: str) -> Service:
    """An active service by its name or ARN."""
    found = find_service(backend, cluster, reference)
    if found is None:
        raise ServiceNotFoundException
    if found.status != "ACTIVE":
        raise words.error("ServiceNotActiveException", "Service was not ACTIVE.")
    return found


def definition_of(backend: Backend, reference: str) -> TaskDefinition:
    """A task definition that can be used, the newest of a family where no revision is named."""
    name = last(reference)
    if ":" not in name:
        active = [one for one in backend.task_definitions.get(name, {}).values() if one.status == "ACTIVE"]
        if not active:
            raise words.client("TaskDefinition not found.")
        return max(active, key=lambda one: one.revision)
    family, _, revision = name.partition(":")
    found = backend.task_definitions.get(family, {}).get(int(revision) if revision.isdigit() else -1)
    if found is None:
        raise words.client("TaskDefinition not found.")
    if found.status != "ACTIVE":
        raise words.client("TaskDefinition is inactive")
    return found
