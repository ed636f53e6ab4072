"""Ansible module: what an ECS cluster says of its services and its agents, for the status of a site."""

from __future__ import annotations

import datetime
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: ecs_services
short_description: Read the services and agents of an ECS cluster
description: Asks only, and changes nothing.
options:
  cluster: {description: Name of the cluster., type: str, required: true}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: It changes nothing.}
  diff_mode: {support: none, description: There is no diff.}
"""

EXAMPLES = r"""
- name: Read the services
  ecs_services:
    cluster: shop
"""

RETURN = r"""
services:
  description: >-
    The services by name, each with C(name), C(role) (the attribute that its task definition asks of a host), C(desired),
    C(running), C(pending), C(rollout), C(since) (of that rollout), C(image), C(tag), C(event) and C(event_at).
  type: list
  returned: success
agents: {description: "The instances, each with C(role), C(instance) and C(connected).", type: list, returned: success}
"""

# As many as one call takes: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
SERVICES, INSTANCES = 10, 100
ROLE = "attribute:role == "


def iso(moment: Any) -> str:
    """A moment as ISO 8601 in UTC, to the second; empty for none."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""


def tag_of(image: str) -> str:
    """The tag of an image reference, or its digest where it has that alone."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return tag or digest[:19] or "latest"


def services_of(ecs: Any, cluster: str) -> list[dict[str, Any]]:
    """Every service of the cluster, by name."""
    pages = ecs.get_paginator("list_services").paginate(cluster=cluster)
    arns = [arn for page in pages for arn in page["serviceArns"]]
    found = []
    for start in range(0, len(arns), SERVICES):
        found += ecs.describe_services(cluster=cluster, services=arns[start : start + SERVICES])["services"]
    return sorted((service_of(ecs, one) for one in found), key=lambda one: str(one["name"]))


def service_of(ecs: Any, one: dict[str, Any]) -> dict[str, Any]:
    """What a person asks of a service."""
    definition = ecs.describe_task_definition(taskDefinition=one["taskDefinition"])["taskDefinition"]
    places = [rule.get("expression", "") for rule in definition.get("placementConstraints", [])]
    primary = next((each for each in one.get("deployments", []) if each["status"] == "PRIMARY"), {})
    event = next(iter(one.get("events", [])), {})
    image = definition["containerDefinitions"][0]["image"]
    return {
        "name": one["serviceName"],
        "role": next((place.removeprefix(ROLE) for place in places if place.startswith(ROLE)), ""),
        "desired": one["desiredCount"],
        "running": one["runningCount"],
        "pending": one.get("pendingCount", 0),
        "rollout": primary.get("rolloutState", ""),
        "since": iso(primary.get("updatedAt")),
        "image": image,
        "tag": tag_of(image),
        "event": event.get("message", ""),
        "event_at": iso(event.get("createdAt")),
    }


def agents_of(ecs: Any, cluster: str) -> list[dict[str, Any]]:
    """Every instance of the cluster, by the role of its host."""
    pages = ecs.get_paginator("list_container_instances").paginate(cluster=cluster)
    arns = [arn for page in pages for arn in page["containerInstanceArns"]]
    found = []
    for start in range(0, len(arns), INSTANCES):
        asked = arns[start : start + INSTANCES]
        found += ecs.describe_container_instances(cluster=cluster, containerInstances=asked)[
            "containerInstances"
        ]
    agents = [
        {
            "role": next((each.get("value", "") for each in one["attributes"] if each["name"] == "role"), ""),
            "instance": one.get("ec2InstanceId", ""),
            "connected": bool(one.get("agentConnected")),
        }
        for one in found
    ]
    return sorted(agents, key=lambda one: str(one["role"]))


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={"cluster": {"type": "str", "required": True}}, supports_check_mode=True
    )
    ecs, cluster = module.client("ecs"), module.params["cluster"]
    try:
        services, agents = services_of(ecs, cluster), agents_of(ecs, cluster)
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"The cluster {cluster} cannot be asked")
    module.exit_json(changed=False, services=services, agents=agents)


if __name__ == "__main__":
    main()
