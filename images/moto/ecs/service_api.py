"""Services: made, changed, described, deleted. Only replicas with rolling deployments are emulated."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ecs.exceptions import ServiceNotFoundException
from moto.ecs.responses import EC2ContainerServiceResponse

from . import definitions, placement, store, words
from .services import Service
from .store import LOCK, WAKE, Backend
from .tasks import Task

_CHANGE = frozenset(
    [
        "cluster",
        "deploymentConfiguration",
        "desiredCount",
        "enableECSManagedTags",
        "placementConstraints",
        "placementStrategy",
        "propagateTags",
        "taskDefinition",
    ]
)
_CREATE = _CHANGE | frozenset(
    ["serviceName", "clientToken", "launchType", "schedulingStrategy", "deploymentController", "tags"]
)
_UPDATE = _CHANGE | frozenset(["service", "forceNewDeployment", "deploymentController"])
_KEPT = (
    "deploymentConfiguration",
    "enableECSManagedTags",
    "placementConstraints",
    "placementStrategy",
    "propagateTags",
)
_CONFIGURATION = frozenset(
    [
        "deploymentCircuitBreaker",
        "maximumPercent",
        "minimumHealthyPercent",
        "strategy",
        "bakeTimeInMinutes",
        "alarms",
    ]
)
_BREAKER = frozenset(["enable", "rollback", "resetOnHealthyTask"])
_MOST_DESCRIBED = 10


def check(params: dict[str, Any], allowed: frozenset[str]) -> None:
    """Raise for what ECS refuses or what is not emulated."""
    words.refuse_others(
        {key: value for key, value in params.items() if key != "availabilityZoneRebalancing"},
        allowed,
        " of a service",
    )
    if params.get("availabilityZoneRebalancing") == "ENABLED":
        raise words.not_emulated("availabilityZoneRebalancing of a service")
    if params.get("launchType") not in (None, "EC2"):
        raise words.not_emulated(f"launch type {params['launchType']}")
    if params.get("schedulingStrategy") not in (None, "REPLICA"):
        raise words.not_emulated(f"scheduling strategy {params['schedulingStrategy']}")
    controller = (params.get("deploymentController") or {}).get("type")
    if controller not in (None, "ECS"):
        raise words.not_emulated(f"deployment controller {controller}")
    if int(params.get("desiredCount") or 0) < 0:
        raise words.invalid("desiredCount must not be negative.")
    placement.check(params.get("placementConstraints") or [], params.get("placementStrategy") or [])
    _check_configuration(params.get("deploymentConfiguration") or {})


def _check_configuration(given: dict[str, Any]) -> None:
    words.refuse_others(given, _CONFIGURATION, " of a deploymentConfiguration")
    if given.get("strategy") not in (None, "ROLLING"):
        raise words.not_emulated(f"deployment strategy {given['strategy']}")
    if (given.get("alarms") or {}).get("enable"):
        raise words.not_emulated("alarms of a deploymentConfiguration")
    if given.get("bakeTimeInMinutes"):
        raise words.not_emulated("bakeTimeInMinutes of a deploymentConfiguration")
    breaker = given.get("deploymentCircuitBreaker") or {}
    words.refuse_others(breaker, _BREAKER, " of a deploymentCircuitBreaker")
    if breaker.get("resetOnHealthyTask") is False:
        raise words.not_emulated("a circuit breaker that is not reset on a healthy task")
    lowest, highest = given.get("minimumHealthyPercent"), given.get("maximumPercent")
    if lowest is not None and not 0 <= lowest <= 100:
        raise words.invalid("minimumHealthyPercent must be between 0 and 100.")
    if highest is not None and not 100 <= highest <= 200:
        raise words.invalid("maximumPercent must be between 100 and 200.")


def tasks_of(backend: Backend, service: Service) -> list[Task]:
    """The service's live tasks; orphans that it has not looked at are none of them yet."""
    return [
        one
        for one in store.tasks(backend, service.cluster_name)
        if one.group == service.group and one.is_live and not (one.is_orphan and one.is_wanted)
    ]


class ServiceApi(EC2ContainerServiceResponse):
    """Operations of services; `install()` copies them into moto's class."""

    def create_service(self) -> ActionResult:
        """Make a service; its tasks come with the next pass of the scheduler."""
        params = dict(self.params)
        check(params, _CREATE)
        backend = self.ecs_backend
        with LOCK:
            cluster = store.cluster_of(backend, params.get("cluster"))
            name = str(params["serviceName"])
            if params.get("desiredCount") is None:
                raise words.invalid("desiredCount is required for the scheduling strategy REPLICA.")
            definition = definitions.wire(
                store.definition_of(backend, str(params.get("taskDefinition") or ""))
            )
            there = store.find_service(backend, cluster.name, name)
            if there is not None and there.status == "DRAINING":
                raise words.invalid("Unable to Start a service that is still Draining.")
            if there is not None and there.status == "ACTIVE":
                token = params.get("clientToken")
                if not token or there.settings.get("clientToken") != token:
                    raise words.invalid("Creation of service was not idempotent.")
                return ActionResult({"service": there.describe(tasks_of(backend, there), True)})
            service = Service(cluster, name, int(params["desiredCount"]), backend, params)  # type: ignore[abstract]
            service.deploy(definition, definitions.digest(definition))
            backend.services[f"{cluster.name}:{name}"] = service
            WAKE.set()
            return ActionResult({"service": service.describe(tasks_of(backend, service), True)})

    def update_service(self) -> ActionResult:
        """Change a service; another task definition or force begins a new deployment."""
        params = dict(self.params)
        check(params, _UPDATE)
        backend = self.ecs_backend
        with LOCK:
            cluster = store.cluster_of(backend, params.get("cluster"))
            service = store.service_of(backend, cluster.name, str(params.get("service")))
            definition = service.primary.definition
            if params.get("taskDefinition"):
                definition = definitions.wire(store.definition_of(backend, params["taskDefinition"]))
            for key in _KEPT:
                if params.get(key) is not None:
                    merged = key == "deploymentConfiguration"
                    before = (service.settings.get(key) or {}) if merged else {}
                    service.settings[key] = before | dict(params[key]) if merged else params[key]
            if params.get("desiredCount") is not None:
                service.desired_count = service.primary.desired = int(params["desiredCount"])
            same = definition["taskDefinitionArn"] == service.primary.definition["taskDefinitionArn"]
            if not same or params.get("forceNewDeployment"):
                service.deploy(definition, definitions.digest(definition))
            WAKE.set()
            return ActionResult({"service": service.describe(tasks_of(backend, service), True)})

    def delete_service(self) -> ActionResult:
        """Delete a service: it drains until its last task has ended, then it is inactive."""
        backend = self.ecs_backend
        with LOCK:
            cluster = store.cluster_of(backend, self._get_param("cluster"))
            service = store.find_service(backend, cluster.name, str(self._get_param("service")))
            if service is None or service.status == "INACTIVE":
                raise ServiceNotFoundException
            if service.desired_count > 0 and not self._get_param("force"):
                raise words.invalid("The service cannot be stopped while it is scaled above 0.")
            service.desired_count = 0
            service.status = "DRAINING" if tasks_of(backend, service) else "INACTIVE"
            if service.status == "INACTIVE":
                service.deployments = []
            WAKE.set()
            return ActionResult({"service": service.describe(tasks_of(backend, service), True)})

    def describe_services(self) -> ActionResult:
        """Describe services, also deleted ones until another has their name."""
        references = list(self._get_param("services") or [])
        if not references:
            raise words.invalid("Services cannot be empty.")
        if len(references) > _MOST_DESCRIBED:
            raise words.invalid(f"Services cannot have more than {_MOST_DESCRIBED} elements")
        with_tags = "TAGS" in (self._get_param("include") or [])
        backend = self.ecs_backend
        with LOCK:
            cluster = store.cluster_of(backend, self._get_param("cluster"))
            found, failures = [], []
            for reference in references:
                service = store.find_service(backend, cluster.name, reference)
                if service is None:
                    arn = cluster.arn.replace(":cluster/", ":service/") + f"/{store.last(reference)}"
                    failures.append({"arn": arn, "reason": words.MISSING})
                else:
                    found.append(service.describe(tasks_of(backend, service), with_tags))
            return ActionResult({"services": found, "failures": failures})

    def list_services(self) -> ActionResult:
        """List the active services of a cluster."""
        backend = self.ecs_backend
        wanted = self._get_param("schedulingStrategy") in (None, "REPLICA")
        wanted = wanted and self._get_param("launchType") in (None, "EC2")
        with LOCK:
            cluster = store.cluster_of(backend, self._get_param("cluster"))
            active = [one.arn for one in store.services(backend, cluster.name) if one.status == "ACTIVE"]
            return ActionResult({"serviceArns": sorted(active) if wanted else []})
