"""Ansible module: make or remove an ECS cluster, or take a host out of it, by idempotent look-up."""

from __future__ import annotations

import json
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
    host, so with V(present) it is only waited for.
  - Looks everything up first, so that it also works with emulators of the API that leave out parts of an answer.
  - What is removed is drained first, so that services end in order, and a cluster that lacks O(tags) is refused.
  - V(present) also takes out what a host has left that came back without its data. Its agent has registered it once more, and the
    older entry would be an agent that is away for ever. One that still counts tasks stays.
  - With O(policy), V(present) says in the IAM role that EC2 gives an instance for which container instances its agent may take
    orders. They are its own alone, and ECS knows whose they are by the document that EC2 signs.
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
  wait: {description: Seconds that the agent has to register the host., type: int, default: 0}
  policy:
    description: Name of the policy in the IAM roles of instances that V(present) writes. Empty leaves the roles alone.
    type: str
    default: ""
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


# Seconds between two looks at what begins or ends.
PAUSE = 2
# What an agent's two sessions need. They are limited to an instance by its ARN: AWS compares no tag for them, only ecs:cluster
# ("Actions, resources, and condition keys for Amazon Elastic Container Service", Service Authorization Reference).
LISTENING = ["ecs:Poll", "ecs:StartTelemetrySession"]
# As EC2 describes instances that are none any more.
ENDED = ("shutting-down", "terminated")


class UnknownHostError(Exception):
    """ECS has no container instance of a host."""


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

    def wait(self, done: Callable[[], bool], seconds: int | None = None) -> None:
        """Wait until something is done, but no longer than the seconds, by default the drain timeout."""
        end = time.monotonic() + (self.drain_timeout if seconds is None else seconds)
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

    def await_instance(self, instance_id: str, seconds: int) -> None:
        """Wait until ECS has a container instance of an EC2 instance; UnknownHostError where none comes."""
        self.wait(lambda: bool(self.find(instance_id)), seconds)
        if not self.check_mode and not self.find(instance_id):
            raise UnknownHostError(
                f"nothing was changed: the cluster {self.cluster} has no container instance of {instance_id}. Its agent "
                "registers one when it starts: restart it and run this again"
            )

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


class Listening(AwsWork):
    """Which IAM role may listen to ECS for which container instances; `policy` is the name of what says so in a role."""

    def __init__(self, ec2: Any, iam: Any, policy: str, check_mode: bool) -> None:
        super().__init__({}, check_mode)
        self.ec2 = ec2
        self.iam = iam
        self.policy = policy

    def roles(self, instance_ids: set[str]) -> dict[str, str]:
        """Return the names of the roles that EC2 gives to instances, by the ids of those that are there and have one."""
        # Other than by InstanceIds, those that EC2 has forgotten are no error.
        filters = [{"Name": "instance-id", "Values": sorted(instance_ids)}]
        pages = self.ec2.get_paginator("describe_instances").paginate(Filters=filters) if instance_ids else []
        profiles = {
            one["InstanceId"]: one["IamInstanceProfile"]["Arn"].rsplit("/", 1)[-1]
            for page in pages
            for reservation in page["Reservations"]
            for one in reservation["Instances"]
            if one.get("IamInstanceProfile") and one["State"]["Name"] not in ENDED
        }
        held = {
            name: self.iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]
            for name in sorted(set(profiles.values()))
        }
        return {host: held[name][0]["RoleName"] for host, name in profiles.items() if held[name]}

    def narrow(self, entries: list[dict[str, Any]], instance_id: str = "") -> None:
        """Let the role of each entry's EC2 instance listen for the entries of its instances, and for no others.

        With `instance_id` only that instance's role. A role whose instances have no entry keeps what it has.
        """
        roles = self.roles({one["ec2InstanceId"] for one in entries if one.get("ec2InstanceId")})
        own: dict[str, list[str]] = {}
        for one in entries:
            if role := roles.get(one.get("ec2InstanceId", "")):
                own.setdefault(role, []).append(one["containerInstanceArn"])
        for role, arns in sorted(own.items()):
            if not instance_id or role == roles.get(instance_id):
                self.allow(role, sorted(arns))

    def allow(self, role: str, arns: list[str]) -> None:
        """Let a role listen for exactly these container instances."""
        statement = {"Sid": "ListenToTheCluster", "Effect": "Allow", "Action": LISTENING, "Resource": arns}
        wanted = {"Version": "2012-10-17", "Statement": [statement]}
        try:
            present = self.iam.get_role_policy(RoleName=role, PolicyName=self.policy)["PolicyDocument"]
        except self.iam.exceptions.NoSuchEntityException:
            present = None
        if present != wanted:
            self.act(
                f"let {role} listen for {', '.join(arn.rsplit('/', 1)[-1] for arn in arns)}",
                self.iam.put_role_policy,
                RoleName=role,
                PolicyName=self.policy,
                PolicyDocument=json.dumps(wanted),
            )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "drained", "absent"], "default": "present"},
            "tags": {"type": "dict", "default": {}},
            "instance_id": {"type": "str", "default": ""},
            "wait": {"type": "int", "default": 0},
            "policy": {"type": "str", "default": ""},
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
    try:
        if params["state"] == "drained":
            registry.drain_instance(params["instance_id"])
        elif params["state"] == "present":
            if params["instance_id"]:
                registry.await_instance(params["instance_id"], params["wait"])
            else:
                registry.ensure_cluster()
                registry.remove_replaced()
            if params["policy"] and registry.active():
                listening = Listening(
                    module.client("ec2"), module.client("iam"), params["policy"], module.check_mode
                )
                listening.narrow(registry.instances(), params["instance_id"])
                registry.actions += listening.actions
        elif params["instance_id"]:
            registry.remove_instance(params["instance_id"])
        else:
            registry.remove_cluster()
    except UnknownHostError as error:
        module.fail_json(msg=f"{error}.")
    except ForeignError as error:
        module.fail_json(
            msg=f"{error}. Remove it by hand, or give it the tag so that it is removed with the site."
        )
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"The ECS API refused work on the cluster {params['cluster']}")
    module.exit_json(changed=bool(registry.actions), actions=registry.actions)


if __name__ == "__main__":
    main()
