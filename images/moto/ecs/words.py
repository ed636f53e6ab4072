"""What ECS says: its errors, the reasons of failures, and the messages of services' events.

Sources, where nothing else is named: "Service event messages", "Stopped tasks error codes" and "API failure reasons" in ECS's
developer guide, and the errors of each operation in its API reference.
"""

from __future__ import annotations

from typing import Any

from moto.core.exceptions import ServiceException
from moto.ecs.exceptions import EcsClientException, ECSException, InvalidParameterException

MORE = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."

# Codes and reasons of stopped tasks.
FAILED_TO_START = "TaskFailedToStart"
EXITED = "EssentialContainerExited"
BY_USER = "UserInitiated"
BY_SCHEDULER = "ServiceSchedulerInitiated"
TERMINATED = "TerminationNotice"
ESSENTIAL_EXITED = "Essential container in task exited"
UNHEALTHY = "Task failed container health checks"
NOT_STARTED = "Task failed to start"
STOPPED_BY_USER = "Task stopped by user"
#: Ours: ECS has no sentence for an agent that lost a task's containers.
CONTAINERS_GONE = "The container instance reports no container of the task"
#: Ours: a task that its agent was never told of.
AGENT_AWAY = "The agent of the container instance disconnected before it was given the task"

# Reasons in `failures`.
MISSING = "MISSING"
AGENT = "AGENT"
ATTRIBUTE = "ATTRIBUTE"
CPU, MEMORY, PORTS = "RESOURCE:CPU", "RESOURCE:MEMORY", "RESOURCE:PORTS"
MEMBER_OF = "MemberOf placement constraint unsatisfied."
DISTINCT = "DistinctInstance placement constraint unsatisfied."
NO_INSTANCES = "No Container Instances were found in your cluster."

_CLOSEST = {
    AGENT: 'encountered error "AGENT"',
    ATTRIBUTE: "is missing an attribute required by your task",
    CPU: "has insufficient CPU units available",
    MEMORY: "has insufficient memory available",
    PORTS: "is already using a port required by your task",
}


class UnknownToModelError(ServiceException):
    """An error with a code that is not in ECS's public model, but in the one of its agent."""


def not_emulated(what: str) -> EcsClientException:
    """A request for something that ECS has and this API has not."""
    return EcsClientException(f"not emulated: {what}")


def client(message: str) -> EcsClientException:
    """ECS's ClientException."""
    return EcsClientException(message)


def invalid(message: str) -> InvalidParameterException:
    """ECS's InvalidParameterException."""
    return InvalidParameterException(message)


def error(code: str, message: str) -> ECSException:
    """An error of ECS with a code of its own."""
    return ECSException(code, message)


def unknown_instance(reference: str) -> InvalidParameterException:
    """The error by which an agent sees that it has to register again."""
    return invalid(f"Referenced container instance {reference.rsplit('/', 1)[-1]} not found.")


def inactive_instance() -> UnknownToModelError:
    """The error for the agent of a deregistered instance (acs/model/api, github.com/aws/amazon-ecs-agent)."""
    return UnknownToModelError("InactiveInstanceException", "The container instance is deregistered.")


def refuse_others(parameters: dict[str, Any], allowed: frozenset[str], where: str = "") -> None:
    """Raise for each parameter with a value that is not among the allowed ones."""
    for name, value in parameters.items():
        if name not in allowed and value not in (None, False, "", [], {}, 0):
            raise not_emulated(f"{name}{where}")


def cannot_assume(role: str) -> str:
    """Why a task is not launched whose role does not trust ECS."""
    return (
        f"ECS was unable to assume the role '{role}' that was provided for this task. Please verify that the role being "
        "passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this role."
    )


def unable_to_place(service: str, reason: str = "", closest: str = "") -> str:
    """The event of a service that has no place for a task; without a reason only how it begins."""
    words = f"(service {service}) was unable to place a task because no container instance met all of its requirements."
    if not reason:
        return words
    if closest and reason in _CLOSEST:
        return f"{words} The closest matching (container-instance {closest}) {_CLOSEST[reason]}. {MORE}"
    return f"{words} Reason: {reason.rstrip('.')}. {MORE}"


def _tasks(ids: list[str]) -> str:
    return " ".join(f"(task {one})" for one in ids)


def started(service: str, ids: list[str]) -> str:
    """The event of tasks that were started."""
    return f"(service {service}) has started {len(ids)} tasks: {_tasks(ids)}."


def stopped(service: str, ids: list[str]) -> str:
    """The event of tasks that were told to stop."""
    return f"(service {service}) has stopped {len(ids)} running tasks: {_tasks(ids)}."


def steady(service: str) -> str:
    """The event of a service that has what it wants."""
    return f"(service {service}) has reached a steady state."


def completed(service: str, deployment: str) -> str:
    """The event of a deployment that is complete."""
    return f"(service {service}) (deployment {deployment}) deployment completed."


def failed(service: str, deployment: str) -> str:
    """The event of a deployment that the circuit breaker ended."""
    return f"(service {service}) (deployment {deployment}) deployment failed: tasks failed to start."


def rolling_back(service: str, deployment: str) -> str:
    """The event of a service that goes back to its last complete deployment."""
    return f"(service {service}) rolling back to deployment {deployment}."


def throttled(service: str) -> str:
    """The event of a service whose tasks fail again and again."""
    return f"(service {service}) is unable to consistently start tasks successfully. {MORE}"


def failed_health(service: str, task: str) -> str:
    """The event of a task that is replaced because it is unhealthy."""
    return f"(service {service}) (task {task}) failed container health checks."


def failed_to_launch(service: str, why: str) -> str:
    """The event of a task that could not be launched."""
    return f"(service {service}) failed to launch a task with (error {why})."


def stuck_by_configuration(service: str) -> str:
    """The event of a deployment that may neither stop nor start a task."""
    return (
        f"(service {service}) was unable to stop or start tasks during a deployment because of the service deployment "
        "configuration. Update the minimumHealthyPercent or maximumPercent value and try again."
    )


def scaling(deployment: str) -> str:
    """Why the scheduler stops a task."""
    return f"Scaling activity initiated by (deployment {deployment})"


def host_gone(instance: str) -> str:
    """Why the tasks of a terminated EC2 instance stopped."""
    return f"Host EC2 (instance {instance}) terminated."
