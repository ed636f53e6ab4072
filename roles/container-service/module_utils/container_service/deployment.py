"""What ECS makes of one service: whether its deployment has come up, why not, and whether its task has ended."""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.retailflow_aws import ForeignError
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code

try:
    from botocore.exceptions import ClientError
except ImportError:
    ClientError = Exception

from .errors import UnstableError, WorkloadError
from .resources import Resources

PAUSE = 2
LOG_LINES = 20
#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
DESCRIBED = 100
#: With one task the circuit breaker of ECS gives up after three that failed one after the other:
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
FAILED_TASKS = 3
#: ECS's words for tasks that it ended because others take their place; they explain no failure.
REPLACED = "Scaling activity initiated by"


class Deployments(Resources):
    """The service as ECS tells of it."""

    def service(self) -> dict[str, Any] | None:
        """Return the service, or None; ForeignError where it is not ours."""
        ecs = self.clients["ecs"]
        try:
            found = ecs.describe_services(cluster=self.cluster, services=[self.name], include=["TAGS"])
        except is_boto3_error_code("ClusterNotFoundException"):
            return None
        alive = next((one for one in found["services"] if one["status"] != "INACTIVE"), None)
        if alive is not None and not self.is_ours(alive.get("tags")):
            raise ForeignError(
                f"the cluster {self.cluster} has a service {self.name} without the tag {self.mark}; it is left alone"
            )
        return alive

    def tasks(self, desired: str) -> list[dict[str, Any]]:
        """Return the service's tasks that ECS wants RUNNING or STOPPED; stopped ones are told for about an hour."""
        ecs = self.clients["ecs"]
        asked = {"cluster": self.cluster, "serviceName": self.name, "desiredStatus": desired}
        answer = ecs.list_tasks(**asked)
        arns: list[str] = answer["taskArns"]
        while answer.get("nextToken"):
            answer = ecs.list_tasks(**asked, nextToken=answer["nextToken"])
            arns += answer["taskArns"]
        found: list[dict[str, Any]] = []
        for start in range(0, len(arns), DESCRIBED):
            some = arns[start : start + DESCRIBED]
            found += ecs.describe_tasks(cluster=self.cluster, tasks=some)["tasks"]
        return found

    @staticmethod
    def primary(found: dict[str, Any]) -> dict[str, Any]:
        """Return the deployment that the service is on its way to, or is at."""
        return next((one for one in found.get("deployments", []) if one["status"] == "PRIMARY"), {})

    def has_failed(self, found: dict[str, Any] | None) -> bool:
        """Whether ECS has given the deployment up, or is about to."""
        primary = self.primary(found or {})
        state = primary.get("rolloutState")
        return state == "FAILED" or (
            state != "COMPLETED" and int(primary.get("failedTasks") or 0) >= FAILED_TASKS
        )

    def is_stable(self, found: dict[str, Any]) -> bool:
        """Whether the one task of the newest deployment runs and is healthy, and none of an older one is left."""
        primary = self.primary(found)
        state = primary.get("rolloutState", "COMPLETED")
        if len(found.get("deployments", [])) != 1 or found.get("runningCount") != 1 or state == "FAILED":
            return False
        running = self.tasks("RUNNING")
        if len(running) != 1 or running[0].get("lastStatus") != "RUNNING":
            return False
        # A healthy task is what ECS itself waits for next, so its COMPLETED is waited for only where no check says healthy.
        if self.params["spec"].get("health"):
            return bool(running[0].get("healthStatus") == "HEALTHY")
        return bool(state == "COMPLETED")

    def wait_until_stable(self) -> None:
        """Wait for the one task; UnstableError with what ECS and the task's log say where it does not come up."""
        end = time.monotonic() + self.params["wait"]
        while True:
            found = self.service() or {}
            if self.is_stable(found):
                return
            if self.has_failed(found):
                count = self.primary(found).get("failedTasks") or FAILED_TASKS
                raise self.unstable(
                    found, f"{count} tasks failed one after the other, and ECS starts no more"
                )
            if time.monotonic() >= end:
                raise self.unstable(found, f"it did not become stable within {self.params['wait']} s")
            time.sleep(PAUSE)

    def wait_until_ended(self) -> None:
        """Wait until no task of the service runs any more; WorkloadError where one does not end."""
        end = time.monotonic() + self.params["drain_timeout"]
        while not self.check_mode and (left := self.unended()):
            if time.monotonic() >= end:
                task = left[0]["taskArn"].rsplit("/", 1)[-1]
                raise WorkloadError(
                    f"The service {self.name} was told to stop, but its task {task} has not ended after "
                    f"{self.params['drain_timeout']} s. Nothing else was started on its volumes. {self.absent_agent()}"
                )
            time.sleep(PAUSE)

    def unended(self) -> list[dict[str, Any]]:
        """Return the tasks that may still run, those that were told to stop among them."""
        running = self.tasks("RUNNING")  # first: one that is told to stop meanwhile is in the other list then
        return [*running, *(one for one in self.tasks("STOPPED") if one.get("lastStatus") != "STOPPED")]

    def agents(self) -> tuple[int, int]:
        """Return how many instances the placement names, and how many of them have a connected agent."""
        ecs = self.clients["ecs"]
        asked = {"filter": self.params["placement"]} if self.params["placement"] else {}
        arns = ecs.list_container_instances(cluster=self.cluster, **asked)["containerInstanceArns"]
        if not arns:
            return 0, 0
        found = ecs.describe_container_instances(cluster=self.cluster, containerInstances=arns)
        return len(arns), sum(bool(one.get("agentConnected")) for one in found["containerInstances"])

    def absent_agent(self) -> str:
        """Return a sentence where no agent can carry out what ECS wants, else nothing."""
        there, connected = self.agents()
        if connected:
            return ""
        where = f" that is {self.params['placement']}" if self.params["placement"] else ""
        if there:
            return f"The ECS agent of the instance{where} is not connected: look at its log on that host, then run again."
        return f"The cluster {self.cluster} has no instance{where}: run make up, which registers the hosts."

    def wait_for_agent(self) -> None:
        """Wait until an agent takes orders for the place of the task."""
        end = time.monotonic() + self.params["wait"]
        while not self.check_mode and (problem := self.absent_agent()):
            if time.monotonic() >= end:
                raise WorkloadError(f"Nothing was stopped or started. {problem}")
            time.sleep(PAUSE)

    def unstable(self, found: dict[str, Any], what: str) -> UnstableError:
        """Return the error with everything that ECS says about it."""
        ended = [
            one
            for one in self.tasks("STOPPED")
            if one.get("lastStatus") == "STOPPED" and not str(one.get("stoppedReason")).startswith(REPLACED)
        ]
        last = max(ended, key=lambda one: str(one.get("stoppedAt") or ""), default=None)
        event = next((one["message"] for one in found.get("events", [])), "nothing")
        told = [
            f"The service {self.name} ({self.params['spec'].get('image', '')}) in the ECS cluster {self.cluster} is not "
            f"healthy: {what}.",
            *([f"Its last task ended: {ending(last)}"] if last else []),
            f"The last event of ECS: {event}",
            self.absent_agent(),
        ]
        shown = last or next(iter(self.tasks("RUNNING")), None)
        if shown:
            told += [
                f"Its last log lines (all of them are in the log group {self.params['log_group']}):",
                *self.log_lines(shown),
            ]
        refused = bool(last) and "assume" in str((last or {}).get("stoppedReason"))
        return UnstableError("\n".join(filter(None, told)), refused_role=refused)

    def log_lines(self, task: dict[str, Any]) -> list[str]:
        """Return the end of a task's log; its stream has the name that the agent gives it."""
        stream = f"{self.name}/{self.name}/{task['taskArn'].rsplit('/', 1)[-1]}"
        try:
            events = self.clients["logs"].get_log_events(
                logGroupName=self.params["log_group"],
                logStreamName=stream,
                limit=LOG_LINES,
                startFromHead=False,
            )["events"]
        except (
            ClientError
        ) as error:  # a task that never started has none; the reason must not be lost with it
            return [f"(cannot be read: {error.response['Error'].get('Code', error)})"]
        return [one["message"] for one in events] or ["(it wrote none)"]


def ending(task: dict[str, Any]) -> str:
    """Return how a task ended, in ECS's words: why, and the exit codes and reasons of its containers."""
    words = [f"{task.get('stoppedReason') or 'no reason given'} ({task.get('stopCode') or 'no code'})"]
    for one in task.get("containers", []):
        code = f"exit code {one['exitCode']}" if one.get("exitCode") is not None else "never started"
        words.append(f"{one.get('name')}: {code}" + (f", {one['reason']}" if one.get("reason") else ""))
    return "; ".join(words)
