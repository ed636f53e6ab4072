"""Container instances: described, drained, taken out of the cluster."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ecs.responses import EC2ContainerServiceResponse

from . import query, scheduler, store, words
from .instances import Instance
from .store import LOCK, WAKE

_MOST = {"describe": 100, "update": 10}


class InstanceApi(EC2ContainerServiceResponse):
    """Operations of container instances; `install()` copies them into moto's class."""

    def list_container_instances(self) -> ActionResult:
        """List instances by their status and by an expression of the cluster query language."""
        status, expression = self._get_param("status"), self._get_param("filter")
        test = query.compile_query(expression) if expression else None
        backend = self.ecs_backend
        with LOCK:
            cluster = store.cluster_of(backend, self._get_param("cluster"))
            found = [
                one.container_instance_arn
                for one in store.instances(backend, cluster.name)
                if status in (None, one.status)
                and (test is None or test(one.facts(store.live_on(backend, one))))
            ]
            return ActionResult({"containerInstanceArns": sorted(found)})

    def describe_container_instances(self) -> ActionResult:
        """Describe instances with what is left of them."""
        with_tags = "TAGS" in (self._get_param("include") or [])
        found, failures = self._referenced(_MOST["describe"])
        with LOCK:
            described = [one.describe(store.live_on(self.ecs_backend, one), with_tags) for one in found]
        return ActionResult({"containerInstances": described, "failures": failures})

    def _referenced(self, most: int) -> tuple[list[Instance], list[dict[str, Any]]]:
        references = list(self._get_param("containerInstances") or [])
        if not references:
            raise words.client("Container Instances cannot be empty.")
        if len(references) > most:
            raise words.invalid(f"Container Instances cannot have more than {most} elements")
        found, failures = [], []
        with LOCK:
            cluster = store.cluster_of(self.ecs_backend, self._get_param("cluster"))
            for reference in references:
                instance = store.find_instance(self.ecs_backend, cluster.name, reference)
                if instance is None:
                    arn = (
                        cluster.arn.replace(":cluster/", ":container-instance/") + f"/{store.last(reference)}"
                    )
                    failures.append({"arn": arn, "reason": words.MISSING})
                else:
                    found.append(instance)
        return found, failures

    def update_container_instances_state(self) -> ActionResult:
        """Drain instances, or let tasks onto them again."""
        status = str(self._get_param("status") or "").upper()
        if status not in ("ACTIVE", "DRAINING"):
            raise words.invalid("Container instance status should be one of [ACTIVE, DRAINING]")
        found, failures = self._referenced(_MOST["update"])
        described = []
        with LOCK:
            for one in found:
                if one.status == "INACTIVE":
                    failures.append({"arn": one.container_instance_arn, "reason": "INACTIVE"})
                    continue
                one.version += one.status != status
                one.status = status
                described.append(one.describe(store.live_on(self.ecs_backend, one)))
            WAKE.set()
        return ActionResult({"containerInstances": described, "failures": failures})

    def deregister_container_instance(self) -> ActionResult:
        """Take an instance out; with force also one that has tasks, which count as gone and may go on running."""
        backend = self.ecs_backend
        with LOCK:
            cluster = store.cluster_of(backend, self._get_param("cluster"))
            instance = store.instance_of(backend, cluster.name, str(self._get_param("containerInstance")))
            if store.live_on(backend, instance) and not self._get_param("force"):
                raise words.invalid("Found running tasks on the instance.")
            scheduler.deregister(
                backend,
                cluster.name,
                instance.id,
                words.TERMINATED,
                "Container instance deregistered forcibly by user",
            )
            WAKE.set()
            return ActionResult({"containerInstance": instance.describe([])})
