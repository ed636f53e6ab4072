"""Clusters with counts that are true, and task definitions that hold only what is emulated."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ecs.models import Cluster
from moto.ecs.responses import EC2ContainerServiceResponse

from . import definitions, placement, store, words
from .store import LOCK, Backend

_create = EC2ContainerServiceResponse.create_cluster
_register = EC2ContainerServiceResponse.register_task_definition


def describe(backend: Backend, cluster: Cluster, with_tags: bool = True) -> dict[str, Any]:
    """A cluster as the API shows it."""
    live = [one for one in store.tasks(backend, cluster.name) if one.is_live]
    found: dict[str, Any] = {
        "clusterArn": cluster.arn,
        "clusterName": cluster.name,
        "status": cluster.status,
        "registeredContainerInstancesCount": len(store.instances(backend, cluster.name)),
        "runningTasksCount": sum(one.last_status == "RUNNING" for one in live),
        "pendingTasksCount": sum(one.last_status != "RUNNING" and one.is_wanted for one in live),
        "activeServicesCount": sum(one.status == "ACTIVE" for one in store.services(backend, cluster.name)),
        "statistics": [],
        "settings": cluster.settings,
        "configuration": cluster.configuration,
        "capacityProviders": cluster.capacity_providers or [],
        "defaultCapacityProviderStrategy": cluster.default_capacity_provider_strategy or [],
        "serviceConnectDefaults": cluster.service_connect_defaults,
    }
    if with_tags:
        found["tags"] = cluster.tags or []
    return {key: value for key, value in found.items() if value is not None}


class ClusterApi(EC2ContainerServiceResponse):
    """Operations of clusters and definitions; `install()` copies them into moto's class."""

    def create_cluster(self) -> ActionResult:
        """Make a cluster, or give the one that is there already."""
        for name in ("capacityProviders", "defaultCapacityProviderStrategy", "serviceConnectDefaults"):
            if self._get_param(name):
                raise words.not_emulated(f"{name} of a cluster")
        with LOCK:
            backend, name = self.ecs_backend, self._get_param("clusterName") or "default"
            there = backend.clusters.get(name)
            if there is None or there.status != "ACTIVE":
                _create(self)
            return ActionResult({"cluster": describe(backend, backend.clusters[name])})

    def describe_clusters(self) -> ActionResult:
        """Describe clusters, also deleted ones."""
        backend = self.ecs_backend
        with LOCK:
            found, failures = backend.describe_clusters(self._get_param("clusters") or [])
            with_tags = "TAGS" in (self._get_param("include") or [])
            clusters = [describe(backend, one, with_tags) for one in found]
            missing = [{"arn": one.arn, "reason": one.reason} for one in failures]
            return ActionResult({"clusters": clusters, "failures": missing})

    def list_clusters(self) -> ActionResult:
        """List the active clusters."""
        with LOCK:
            found = [one.arn for one in self.ecs_backend.clusters.values() if one.status == "ACTIVE"]
            return ActionResult({"clusterArns": found})

    def delete_cluster(self) -> ActionResult:
        """Delete a cluster that holds nothing."""
        backend = self.ecs_backend
        with LOCK:
            cluster = store.cluster_of(backend, self._get_param("cluster"))
            if any(one.status != "INACTIVE" for one in store.services(backend, cluster.name)):
                raise words.error(
                    "ClusterContainsServicesException",
                    "The Cluster cannot be deleted while Services are active.",
                )
            if store.instances(backend, cluster.name):
                raise words.error(
                    "ClusterContainsContainerInstancesException",
                    "The Cluster cannot be deleted while Container Instances are active or draining.",
                )
            if any(one.is_live for one in store.tasks(backend, cluster.name)):
                raise words.error(
                    "ClusterContainsTasksException",
                    "The Cluster cannot be deleted while Tasks are active.",
                )
            cluster.status = "INACTIVE"
            return ActionResult({"cluster": describe(backend, cluster)})

    def register_task_definition(self) -> ActionResult:
        """Register a definition; what it asks for and is not emulated is refused by its name."""
        definitions.check(self.params)
        placement.check(self._get_param("placementConstraints") or [], [])
        with LOCK:
            return _register(self)
