"""Ansible module: list, from the AWS API by tag, what there is of a site."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: site_leftovers
short_description: List what the AWS account still holds of a site
description:
  - Asks EC2 and the tagging API for everything that carries the tag, and IAM, which that API does not cover, for roles and
    instance profiles whose name begins like the site's.
  - The tagging API goes on naming some things for a while after they are gone; what it names is asked for where that is
    known. Repeat the task until the list is empty.
options:
  site: {description: Value of the tag Project., type: str, required: true}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: It only looks.}
"""

EXAMPLES = r"""
- name: See that nothing is left
  site_leftovers:
    site: shop
  register: left
  until: left.found | length == 0
  retries: 10
  delay: 30
"""

RETURN = r"""
found: {description: "Kind and name of each, such as C(ec2 volume vol-1)", type: list, returned: success}
"""

# Instances that are on their way out are not left over; EC2 shows them for an hour.
GONE = {"terminated", "shutting-down"}


def of_ec2(ec2: Any, site: str) -> Iterator[str]:
    """Yield everything of EC2 that carries the tag."""
    filters = [{"Name": "tag:Project", "Values": [site]}]
    alive = set()
    for page in ec2.get_paginator("describe_instances").paginate(Filters=filters):
        for reservation in page["Reservations"]:
            alive |= {
                one["InstanceId"] for one in reservation["Instances"] if one["State"]["Name"] not in GONE
            }
    for page in ec2.get_paginator("describe_tags").paginate(Filters=filters):
        for tag in page["Tags"]:
            if tag["ResourceType"] != "instance" or tag["ResourceId"] in alive:
                yield f"ec2 {tag['ResourceType']} {tag['ResourceId']}"


def of_iam(iam: Any, site: str) -> Iterator[str]:
    """Yield roles and instance profiles of the site."""
    mark = {"Key": "Project", "Value": site}
    for page in iam.get_paginator("list_roles").paginate():
        for role in page["Roles"]:
            name = role["RoleName"]
            if name.startswith(site) and mark in iam.list_role_tags(RoleName=name)["Tags"]:
                yield f"iam role {name}"
    for page in iam.get_paginator("list_instance_profiles").paginate():
        for profile in page["InstanceProfiles"]:
            name = profile["InstanceProfileName"]
            if name.startswith(site):
                tags = iam.list_instance_profile_tags(InstanceProfileName=name)["Tags"]
                if mark in tags:
                    yield f"iam instance-profile {name}"


def lingers(ecs: Any, name: str) -> bool:
    """Whether a cluster or service is only remembered: ECS shows deleted ones as INACTIVE for a while."""
    kind, _, path = name.partition("/")
    if kind == "cluster":
        found = ecs.describe_clusters(clusters=[path])["clusters"]
    elif kind == "service":
        cluster, _, service = path.partition("/")
        try:
            found = ecs.describe_services(cluster=cluster, services=[service])["services"]
        except ecs.exceptions.ClusterNotFoundException:
            return True
    else:
        # An old revision of a task definition costs nothing and cannot be removed at once; instances go with their cluster.
        return True
    return all(one["status"] == "INACTIVE" for one in found)


def of_others(tagging: Any, ecs: Any, site: str) -> Iterator[str]:
    """Yield what other services hold, as the tagging API knows it."""
    pages = tagging.get_paginator("get_resources").paginate(TagFilters=[{"Key": "Project", "Values": [site]}])
    for page in pages:
        for resource in page["ResourceTagMappingList"]:
            _, _, service, _, _, name = resource["ResourceARN"].split(":", 5)
            if service in ("ec2", "iam"):
                continue  # asked for above
            if service != "ecs" or not lingers(ecs, name):
                yield f"{service} {name}"


def found(clients: dict[str, Any], site: str) -> list[str]:
    """Return everything of the site, sorted."""
    return sorted(
        {
            *of_ec2(clients["ec2"], site),
            *of_iam(clients["iam"], site),
            *of_others(clients["resourcegroupstaggingapi"], clients["ecs"], site),
        }
    )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={"site": {"type": "str", "required": True}}, supports_check_mode=True
    )
    clients = {
        service: module.client(service) for service in ("ec2", "iam", "ecs", "resourcegroupstaggingapi")
    }
    try:
        module.exit_json(changed=False, found=found(clients, module.params["site"]))
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"The AWS API does not list what there is of {module.params['site']}")


if __name__ == "__main__":
    main()
