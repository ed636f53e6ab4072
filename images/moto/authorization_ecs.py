"""What a request to ECS is about: its resources, the keys of conditions, and the roles that it hands over.

"Actions, resources, and condition keys for Amazon Elastic Container Service", Service Authorization Reference. An action that is
not in the table has no resources there: only statements about every resource ("*") speak of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from authorization_policy import Resource, each
from moto.ecs.models import ecs_backends

_CLUSTER, _SERVICE, _TASK, _INSTANCE, _DEFINITION = (
    "cluster",
    "service",
    "task",
    "container-instance",
    "task-definition",
)
#: Each action's type of resource and the parameter that names it.
_ABOUT: dict[str, tuple[str, str]] = {
    "CreateCluster": (_CLUSTER, "clusterName"),
    "CreateService": (_SERVICE, "serviceName"),
    "DeleteAttributes": (_INSTANCE, "attributes"),
    "DeleteCluster": (_CLUSTER, "cluster"),
    "DeleteService": (_SERVICE, "service"),
    "DeleteTaskDefinitions": (_DEFINITION, "taskDefinitions"),
    "DeregisterContainerInstance": (_CLUSTER, "cluster"),
    "DescribeClusters": (_CLUSTER, "clusters"),
    "DescribeContainerInstances": (_INSTANCE, "containerInstances"),
    "DescribeServices": (_SERVICE, "services"),
    "DescribeTasks": (_TASK, "tasks"),
    "ListContainerInstances": (_CLUSTER, "cluster"),
    "ListTasks": (_INSTANCE, "containerInstance"),
    "Poll": (_INSTANCE, "containerInstance"),
    "PutAttributes": (_INSTANCE, "attributes"),
    "PutClusterCapacityProviders": (_CLUSTER, "cluster"),
    "RegisterContainerInstance": (_CLUSTER, "cluster"),
    "RegisterTaskDefinition": (_DEFINITION, "family"),
    "RunTask": (_DEFINITION, "taskDefinition"),
    "StartTask": (_DEFINITION, "taskDefinition"),
    "StartTelemetrySession": (_INSTANCE, "containerInstance"),
    "StopTask": (_TASK, "task"),
    "SubmitAttachmentStateChanges": (_CLUSTER, "cluster"),
    "SubmitContainerStateChange": (_CLUSTER, "cluster"),
    "SubmitTaskStateChange": (_CLUSTER, "cluster"),
    "UpdateCluster": (_CLUSTER, "cluster"),
    "UpdateClusterSettings": (_CLUSTER, "cluster"),
    "UpdateContainerAgent": (_INSTANCE, "containerInstance"),
    "UpdateContainerInstancesState": (_INSTANCE, "containerInstances"),
    "UpdateService": (_SERVICE, "service"),
}
_TAGGED = frozenset(["TagResource", "UntagResource", "ListTagsForResource"])
#: Actions about something in a cluster that the condition key ecs:cluster may ask for.
_WITH_CLUSTER_KEY = frozenset(
    [
        "CreateService",
        "DeleteAttributes",
        "DeleteService",
        "DescribeContainerInstances",
        "DescribeServices",
        "DescribeTasks",
        "ListServices",
        "ListTasks",
        "Poll",
        "PutAttributes",
        "RunTask",
        "StartTask",
        "StartTelemetrySession",
        "StopTask",
        "UpdateContainerAgent",
        "UpdateContainerInstancesState",
        "UpdateService",
    ]
)
_ROLES = ("taskRoleArn", "executionRoleArn")
TASKS = "ecs-tasks.amazonaws.com"


def _last(value: Any) -> str:
    return str(value).rsplit("/", 1)[-1]


def _cluster(parameters: dict[str, Any]) -> str:
    return _last(parameters.get("cluster") or "default")


def _definition(call: Any, name: str) -> Any:
    """The registered definition that a name stands for; None where there is none."""
    family, _, revision = name.partition(":")
    revisions = ecs_backends[call.account][call.region].task_definitions.get(family, {})
    if revision:
        return revisions.get(int(revision)) if revision.isdigit() else None
    return max(
        (one for one in revisions.values() if one.status == "ACTIVE"),
        key=lambda one: one.revision,
        default=None,
    )


def resources(call: Any) -> list[Resource]:
    """The resources of a request, with the keys of conditions."""
    parameters: dict[str, Any] = call.parameters
    keys: dict[str, list[str]] = {}
    if call.name in _WITH_CLUSTER_KEY:
        keys["ecs:cluster"] = [call.arn("ecs", f"cluster/{_cluster(parameters)}")]
    if call.name == "StartTask":
        keys["ecs:container-instances"] = [
            call.arn("ecs", f"{_INSTANCE}/{_cluster(parameters)}/{_last(one)}")
            for one in parameters.get("containerInstances") or []
        ]
    arns = [call.arn("ecs", end) for end in _ends(call, parameters)]
    return [Resource(arn, keys) for arn in arns] or [Resource("*", keys)]


def _ends(call: Any, parameters: dict[str, Any]) -> Iterator[str]:
    if call.name in _TAGGED:
        yield str(parameters.get("resourceArn") or "")
        return
    kind, parameter = _ABOUT.get(call.name, ("", ""))
    if not kind:
        return
    if parameter == "attributes":
        values = [one.get("targetId") or "*" for one in parameters.get("attributes") or []]
    else:
        values = each(parameters.get(parameter) or [])
    if kind == _CLUSTER:
        yield from (f"{kind}/{_last(value)}" for value in values or ["default"])
    elif kind == _DEFINITION:
        yield from (f"{kind}/{_revision(call, _last(value))}" for value in values)
    else:
        yield from (f"{kind}/{_cluster(parameters)}/{_last(value)}" for value in values or ["*"])


def _revision(call: Any, name: str) -> str:
    """A definition's family and revision; a new one's revision is not known yet."""
    if ":" in name:
        return name
    found = _definition(call, name) if call.name != "RegisterTaskDefinition" else None
    return f"{name}:{found.revision if found else '*'}"


def tagged(call: Any) -> list[Resource]:
    """What a request that sets tags makes, of which its sender may have to be allowed to tag it."""
    kind = {"RunTask": _TASK, "StartTask": _TASK, "RegisterContainerInstance": _INSTANCE}.get(call.name)
    keys = {"ecs:CreateAction": [call.name]}
    if kind:
        return [Resource(call.arn("ecs", f"{kind}/{_cluster(call.parameters)}/*"), keys)]
    return [Resource(one.arn, one.keys | keys) for one in resources(call)]


def passed(call: Any) -> Iterator[Resource]:
    """The roles that a request hands over to tasks ("Amazon ECS task execution IAM role", developer guide)."""
    parameters: dict[str, Any] = call.parameters
    if call.name == "RegisterTaskDefinition":
        roles = [parameters.get(one) for one in _ROLES]
    elif call.name in ("RunTask", "StartTask"):
        overrides = parameters.get("overrides") or {}
        found = _definition(call, _last(parameters.get("taskDefinition")))
        own = {
            "taskRoleArn": getattr(found, "task_role_arn", None),
            "executionRoleArn": getattr(found, "execution_role_arn", None),
        }
        roles = [overrides.get(one) or own[one] for one in _ROLES]
    else:
        return
    for role in roles:
        if role:
            arn = call.arn("iam", role if str(role).startswith("arn:") else f"role/{role}")
            yield Resource(arn, {"iam:PassedToService": [TASKS]})
