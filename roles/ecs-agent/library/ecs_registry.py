"""Ansible module: make or remove an ECS cluster, or take a host out of it, by idempotent look-up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.retailflow_aws import AwsWork, ForeignError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: ecs_registry
short_description: Make or remove an ECS cluster, or take a host out of one
description:
  - Without O(instance_id) it is about the cluster, with it about the container instances of that host. Its agent registers the
    host, so it is only drained or removed here.
  - Looks everything up first, so that it also works with emulators of the API that leave out parts of an answer.
  - What is removed is drained first, so that services end in order, and a cluster that lacks O(tags) is refused.
  - V(present) also takes out what a host has left that came back without its data. Its agent has registered it once more, and the
    older entry would be an agent that is away for ever. One that still counts tasks stays.
options:
  cluster: {description: Name of the cluster., type: str, required: true}
  state:
    description: Whether it is there. V(drained) is for a host, which has no task any more then and gets no new one.
    type: str
    choices: [present, drained, absent]
    default: present
  tags: {description: Tags of the cluster., type: dict, default: {}}
  drain_timeout: {description: Seconds that tasks have to end before they are ended., type: int, default: 120}
  instance_id: {description: EC2 instance id of the host., type: str, default: ""}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be done.}
"""

EXAMPLES = r"""
- name: Make a cluster
  ecs_registry:
    cluster: shop
- name: End the tasks of a host
  ecs_registry:
    cluster: shop
    instance_id: i-0123456789abcdef0
    state: drained
"""

RETURN = r"""
actions: {description: What was done, or would be., type: list, returned: success}
"""


# Seconds between two looks at what is ending.
PAUSE = 2


class Registry(AwsWork):
    """One cluster, seen through an ECS client; its tags mark the cluster."""

    def __init__(
        self,
        client: Any,
        cluster: str,
        tags: dict[str, Any],
        check_mode: bool,
        drain_timeout: int = 120,
    ) -> None:
        super().__init__(tags, check_mode)
        self.client = client
        self.cluster = cluster
        self.drain_timeout = drain_timeout

    def wait(self, done: Callable[[], bool]) -> None:
        """Wait until something is done, but no longer than the drain timeout."""
        end = time.monotonic() + self.drain_timeout
        while not self.check_mode and not done() and time.monotonic() < end:
            time.sleep(PAUSE)

    def active(self) -> dict[str, Any] | None:
        """Return the cluster as the API describes it, or None; a deleted one lingers as INACTIVE."""
        found = self.client.describe_clusters(clusters=[self.cluster], include=["TAGS"])["clusters"]
        return next((one for one in found if one["status"] == "ACTIVE"), None)

    def instances(self) -> list[dict[str, Any]]:
        """Return all container instances of the cluster."""
        pages = self.client.get_paginator("list_container_instances").paginate(cluster=self.cluster)
        arns = [arn for page in pages for arn in page["containerInstanceArns"]]
        found: list[dict[str, Any]] = []
        for start in range(0, len(arns), 100):
            some = arns[start : start + 100]
            answer = self.client.describe_container_instances(cluster=self.cluster, containerInstances=some)
            found += answer["containerInstances"]
        return [one for one in found if one["status"] != "INACTIVE"]

    def ensure_cluster(self) -> None:
        """Make the cluster with its tags; ForeignError for one that lacks them. Other tags stay."""
        found = self.active()
        if found is None:
            self.act(
                f"create cluster {self.cluster}",
                self.client.create_cluster,
                clusterName=self.cluster,
                tags=self.ecs_tag_list,
            )
        elif not self.is_ours(found.get("tags")):
            raise ForeignError(
                f"nothing was changed: the cluster {self.cluster} exists and lacks the tag {self.mark}. Remove it, give it "
                "that tag if it is this site's, or choose another name"
            )

    def remove_replaced(self) -> None:
        """Deregister what has no tasks and no agent any more, where the same EC2 instance has another entry with an agent."""
        found = self.instances() if self.active() else []
        here = {one.get("ec2InstanceId") for one in found if one.get("agentConnected")}
        for one in found:
            tasks = one.get("runningTasksCount", 0) + one.get("pendingTasksCount", 0)
            if not one.get("agentConnected") and not tasks and one.get("ec2InstanceId") in here:
                self.deregister(one)

    def remove_cluster(self) -> None:
        """Remove services, container instances and the cluster; ForeignError where it lacks the tags."""
        found = self.active()
        if found is None:
            return
        if not self.is_ours(found.get("tags")):
            raise ForeignError(f"nothing was removed: the cluster {self.cluster} lacks the tag {self.mark}")
        self.remove_services()
        for instance in self.instances():
            self.deregister(instance)
        self.act(f"delete cluster {self.cluster}", self.client.delete_cluster, cluster=self.cluster)

    def services(self) -> list[str]:
        """Return the ARNs of the cluster's services; a deleted one lingers as INACTIVE."""
        pages = self.client.get_paginator("list_services").paginate(cluster=self.cluster)
        arns = [arn for page in pages for arn in page["serviceArns"]]
        found: list[str] = []
        for start in range(0, len(arns), 10):
            answer = self.client.describe_services(cluster=self.cluster, services=arns[start : start + 10])
            found += [one["serviceArn"] for one in answer["services"] if one["status"] != "INACTIVE"]
        return found

    def remove_services(self) -> None:
        """Bring every service to no tasks, wait for those to end, and delete it."""
        arns = self.services()
        for arn in arns:
            name = arn.rsplit("/", 1)[-1]
            self.act(
                f"drain service {name}",
                self.client.update_service,
                cluster=self.cluster,
                service=arn,
                desiredCount=0,
            )
        self.wait(lambda: not self.tasks())
        for arn in arns:
            name = arn.rsplit("/", 1)[-1]
            self.act(
                f"delete service {name}",
                self.client.delete_service,
                cluster=self.cluster,
                service=arn,
                force=True,
            )

    def tasks(self, **where: str) -> list[str]:
        """Return the ARNs of tasks that run or are still ending; those that have ended are listed for an hour."""

        def listed(desired: str) -> list[str]:
            pages = self.client.get_paginator("list_tasks").paginate(
                cluster=self.cluster, desiredStatus=desired, **where
            )
            return [arn for page in pages for arn in page["taskArns"]]

        running, ending = listed("RUNNING"), listed("STOPPED")
        for start in range(0, len(ending), 100):
            answer = self.client.describe_tasks(cluster=self.cluster, tasks=ending[start : start + 100])
            running += [one["taskArn"] for one in answer["tasks"] if one["lastStatus"] != "STOPPED"]
        return running

    def find(self, instance_id: str) -> list[dict[str, Any]]:
        """Return the container instances of an EC2 instance, more than one where an agent lost what it knew."""
        if self.active() is None:
            return []
        return [one for one in self.instances() if one.get("ec2InstanceId") == instance_id]

    def drain_instance(self, instance_id: str) -> None:
        """End the tasks of an EC2 instance, and let it get no new ones."""
        for entry in self.find(instance_id):
            self.drain(entry)

    def remove_instance(self, instance_id: str) -> None:
        """Remove an EC2 instance from the cluster."""
        for entry in self.find(instance_id):
            self.deregister(entry)

    def drain(self, instance: dict[str, Any]) -> None:
        """Let the tasks of one container instance end, where its agent can hear of it."""
        arn = instance["containerInstanceArn"]
        if not instance.get("agentConnected") or instance["status"] not in ("ACTIVE", "DRAINING"):
            return
        if instance["status"] == "ACTIVE":
            self.act(
                f"drain {instance.get('ec2InstanceId', arn)}",
                self.client.update_container_instances_state,
                cluster=self.cluster,
                containerInstances=[arn],
                status="DRAINING",
            )
        self.wait(lambda: not self.tasks(containerInstance=arn))

    def deregister(self, instance: dict[str, Any]) -> None:
        """Drain one container instance, then deregister it, whatever still runs on it."""
        arn = instance["containerInstanceArn"]
        if self.tasks(containerInstance=arn):
            self.drain(instance)
        self.act(
            f"deregister {instance.get('ec2InstanceId', arn)}",
            self.client.deregister_container_instance,
            cluster=self.cluster,
            containerInstance=arn,
            force=True,
        )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "drained", "absent"], "default": "present"},
            "tags": {"type": "dict", "default": {}},
            "instance_id": {"type": "str", "default": ""},
            "drain_timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    params = module.params
    registry = Registry(
        module.client("ecs"),
        params["cluster"],
        params["tags"],
        module.check_mode,
        params["drain_timeout"],
    )
    if (params["state"] == "drained") > bool(params["instance_id"]):
        module.fail_json(msg="state drained is for a host: give its instance_id.")
    if params["instance_id"] and params["state"] == "present":
        module.fail_json(
            msg="The agent of a host registers it: with instance_id, state is drained or absent."
        )
    try:
        if params["state"] == "drained":
            registry.drain_instance(params["instance_id"])
        elif params["instance_id"]:
            registry.remove_instance(params["instance_id"])
        elif params["state"] == "present":
            registry.ensure_cluster()
            registry.remove_replaced()
        else:
            registry.remove_cluster()
    except ForeignError as error:
        module.fail_json(
            msg=f"{error}. Remove it by hand, or give it the tag so that it is removed with the site."
        )
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"The ECS API refused work on the cluster {params['cluster']}")
    module.exit_json(changed=bool(registry.actions), actions=registry.actions)


if __name__ == "__main__":
    main()
