"""Ansible module: an ECS cluster, or one container instance of it, by idempotent look-up."""

from __future__ import annotations

import json
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: ecs_registry
short_description: Make or remove an ECS cluster, or a container instance of one
description:
  - Without O(instance_id) it is about the cluster, with it about that container instance.
  - Looks everything up first, so that it also works with emulators of the API that leave out parts of an answer.
  - A container instance is registered with an instance identity document, as the ECS agent does. AWS accepts only the
    document that it signed for the instance, so on AWS leave registering to the agent.
options:
  cluster: {description: Name of the cluster., type: str, required: true}
  state: {description: Whether it is there., type: str, choices: [present, absent], default: present}
  tags: {description: Tags of the cluster., type: dict, default: {}}
  instance_id: {description: EC2 instance id of the host., type: str, default: ""}
  attributes: {description: Attributes of the container instance., type: dict, default: {}}
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
- name: Enter a host
  ecs_registry:
    cluster: shop
    instance_id: i-0123456789abcdef0
    attributes: {role: database}
"""

RETURN = r"""
actions: {description: What was done, or would be., type: list, returned: success}
"""


class Registry:
    """One cluster, seen through an ECS client; collects what it does in actions."""

    def __init__(self, client: Any, cluster: str, check_mode: bool) -> None:
        self.client = client
        self.cluster = cluster
        self.check_mode = check_mode
        self.actions: list[str] = []

    def act(self, action: str, call: Any, **arguments: Any) -> dict[str, Any]:
        """Note an action and, outside of check mode, call the API."""
        self.actions.append(action)
        return {} if self.check_mode else call(**arguments)

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

    def ensure_cluster(self, tags: dict[str, str]) -> None:
        """Make the cluster and set its tags; other tags stay."""
        found = self.active()
        wanted = {key: str(value) for key, value in tags.items()}
        listed = [{"key": key, "value": value} for key, value in sorted(wanted.items())]
        if found is None:
            self.act(
                f"create cluster {self.cluster}",
                self.client.create_cluster,
                clusterName=self.cluster,
                tags=listed,
            )
        elif not wanted.items() <= {tag["key"]: tag["value"] for tag in found.get("tags", [])}.items():
            arn = found["clusterArn"]
            self.act(f"tag cluster {self.cluster}", self.client.tag_resource, resourceArn=arn, tags=listed)

    def remove_cluster(self) -> None:
        """Remove the cluster after its container instances."""
        if self.active() is None:
            return
        for instance in self.instances():
            self.deregister(instance)
        self.act(f"delete cluster {self.cluster}", self.client.delete_cluster, cluster=self.cluster)

    def find(self, instance_id: str) -> dict[str, Any] | None:
        """Return the container instance of an EC2 instance, or None."""
        if self.active() is None:
            return None
        return next((one for one in self.instances() if one.get("ec2InstanceId") == instance_id), None)

    def ensure_instance(self, instance_id: str, attributes: dict[str, str]) -> None:
        """Register an EC2 instance and set its attributes; other attributes stay."""
        found = self.find(instance_id)
        wanted = {key: str(value) for key, value in attributes.items()}
        listed = [{"name": key, "value": value} for key, value in sorted(wanted.items())]
        present: dict[str, str] = {}
        if found is None:
            region = self.client.meta.region_name
            document = json.dumps({"instanceId": instance_id, "region": region, "version": "2017-09-30"})
            found = self.act(
                f"register {instance_id} in {self.cluster}",
                self.client.register_container_instance,
                cluster=self.cluster,
                instanceIdentityDocument=document,
                attributes=listed,
            ).get("containerInstance", {})
        present = {one["name"]: one.get("value", "") for one in found.get("attributes", [])}
        if not wanted.items() <= present.items():
            target = found.get("containerInstanceArn", "").rsplit("/", 1)[-1]
            targets = [one | {"targetType": "container-instance", "targetId": target} for one in listed]
            self.act(
                f"set the attributes of {instance_id}",
                self.client.put_attributes,
                cluster=self.cluster,
                attributes=targets,
            )

    def remove_instance(self, instance_id: str) -> None:
        """Take an EC2 instance out of the cluster."""
        found = self.find(instance_id)
        if found is not None:
            self.deregister(found)

    def deregister(self, instance: dict[str, Any]) -> None:
        """Deregister one container instance, whatever still runs on it."""
        self.act(
            f"deregister {instance.get('ec2InstanceId', instance['containerInstanceArn'])}",
            self.client.deregister_container_instance,
            cluster=self.cluster,
            containerInstance=instance["containerInstanceArn"],
            force=True,
        )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "tags": {"type": "dict", "default": {}},
            "instance_id": {"type": "str", "default": ""},
            "attributes": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    params = module.params
    registry = Registry(module.client("ecs"), params["cluster"], module.check_mode)
    try:
        if params["instance_id"] and params["state"] == "present":
            registry.ensure_instance(params["instance_id"], params["attributes"])
        elif params["instance_id"]:
            registry.remove_instance(params["instance_id"])
        elif params["state"] == "present":
            registry.ensure_cluster(params["tags"])
        else:
            registry.remove_cluster()
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"The ECS API refused work on the cluster {params['cluster']}")
    module.exit_json(changed=bool(registry.actions), actions=registry.actions)


if __name__ == "__main__":
    main()
