"""Container instances with their real resources, their agent, and what the agent is to do (its wanted state)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from moto.ec2.models import ec2_backends
from moto.ecs.models import ContainerInstance, EC2ContainerServiceBackend

from . import timing

if TYPE_CHECKING:
    from .tasks import Needs, Task

_COUNTED = ("CPU", "MEMORY")
_SETS = ("PORTS", "PORTS_UDP")
Resources = dict[str, Any]


def read_resources(listed: list[dict[str, Any]]) -> Resources:
    """Resources by name: numbers of CPU units and MiB, sets of ports that are taken."""
    found: Resources = {"CPU": 0, "MEMORY": 0, "PORTS": set(), "PORTS_UDP": set()}
    for one in listed:
        if one.get("name") in _COUNTED:
            found[one["name"]] = int(one.get("integerValue") or one.get("longValue") or 0)
        elif one.get("name") in _SETS:
            found[one["name"]] = {str(port) for port in one.get("stringSetValue") or []}
    return found


def list_resources(resources: Resources) -> list[dict[str, Any]]:
    """Resources as the API shows them."""
    shared = {"doubleValue": 0.0, "longValue": 0}
    counted = [
        {"name": name, "type": "INTEGER", "integerValue": resources[name], **shared} for name in _COUNTED
    ]
    sets = [
        {
            "name": name,
            "type": "STRINGSET",
            "integerValue": 0,
            "stringSetValue": sorted(resources[name], key=int),
            **shared,
        }
        for name in _SETS
    ]
    return counted + sets


class Instance(ContainerInstance):
    """An entry of moto's store, with its agent. `revision` changes whenever the wanted state does."""

    def __init__(self, ec2_instance_id: str, cluster: str, backend: EC2ContainerServiceBackend) -> None:
        super().__init__(ec2_instance_id, backend.account_id, backend.region_name, cluster, backend)
        self.id = uuid.uuid4().hex
        self.agent_connected = False  # until its first poll
        self.total = read_resources(self.registered_resources)
        self.tags: list[dict[str, str]] = []
        self.client_token: str | None = None
        self.version = 1
        self.registered_seconds = timing.CLOCK.now()
        self.open_polls = 0
        self.last_poll: float | None = None
        #: From the time, so that a state that an agent saw before the API forgot everything is never taken for one of these.
        self.revision = int(timing.CLOCK.now())
        self._wanted: Any = None

    @property
    def is_connected(self) -> bool:
        """Whether the agent polls, or did so a moment ago. Only then it reported what runs there."""
        if self.open_polls:
            return True
        last = self.last_poll
        return last is not None and timing.CLOCK.now() - last < timing.CONNECTED_SECONDS

    @property
    def is_ec2_terminated(self) -> bool:
        """Whether EC2 has terminated the instance."""
        found = ec2_backends[self._account_id][self.region_name].get_instance_by_id(self.ec2_instance_id)
        return found is not None and found._state.name == "terminated"

    def update(self, parameters: dict[str, Any]) -> None:
        """Take what an agent registers."""
        if parameters.get("totalResources"):
            self.total = read_resources(parameters["totalResources"])
        if parameters.get("versionInfo"):
            self.version_info = dict(parameters["versionInfo"])
        for one in parameters.get("attributes") or []:
            self.attributes[one["name"]] = one.get("value")
        self.version += 1

    def remaining(self, tasks: list[Task]) -> Resources:
        """What the live tasks leave; ports are those that are taken."""
        left = {
            "CPU": self.total["CPU"],
            "MEMORY": self.total["MEMORY"],
            "PORTS": set(self.total["PORTS"]),
            "PORTS_UDP": set(self.total["PORTS_UDP"]),
        }
        for task in tasks:
            needs: Needs = task.needs
            left["CPU"] -= needs.cpu
            left["MEMORY"] -= needs.memory
            left["PORTS"] |= needs.tcp | task.bound("tcp")
            left["PORTS_UDP"] |= needs.udp | task.bound("udp")
        return left

    def facts(self, tasks: list[Task]) -> dict[str, Any]:
        """What the cluster query language asks about."""
        found: dict[str, Any] = {
            f"attribute:{name}": value if value is not None else "" for name, value in self.attributes.items()
        }
        found["ec2InstanceId"] = self.ec2_instance_id
        found["agentConnected"] = str(self.is_connected).lower()
        found["agentVersion"] = self.version_info.get("agentVersion", "")
        found["runningTasksCount"] = sum(task.last_status == "RUNNING" for task in tasks)
        found["task:group"] = [task.group for task in tasks]
        return found

    def note_wanted(self, wanted: Any) -> bool:
        """Compare the wanted state with the one before; True and a new revision where it changed."""
        if wanted == self._wanted:
            return False
        self._wanted = wanted
        self.revision += 1
        return True

    def describe(self, tasks: list[Task], with_tags: bool = False) -> dict[str, Any]:
        """The instance as the API shows it."""
        found: dict[str, Any] = {
            "containerInstanceArn": self.container_instance_arn,
            "ec2InstanceId": self.ec2_instance_id,
            "version": self.version,
            "versionInfo": self.version_info,
            "remainingResources": list_resources(self.remaining(tasks)),
            "registeredResources": list_resources(self.total),
            "status": self.status,
            "agentConnected": self.is_connected,
            "runningTasksCount": sum(task.last_status == "RUNNING" for task in tasks),
            "pendingTasksCount": sum(task.last_status != "RUNNING" for task in tasks),
            "attributes": [
                {"name": name} | ({"value": value} if value is not None else {})
                for name, value in self.attributes.items()
            ],
            "registeredAt": timing.moment(self.registered_seconds),
            "attachments": [],
        }
        return found | ({"tags": self.tags} if with_tags else {})
