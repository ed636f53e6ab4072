"""Ansible module: list, from the AWS API by tag, what there is of a site."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.retailflow_ec2_kinds import KINDS, described
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: site_leftovers
short_description: List what the AWS account still holds of a site
description:
  - Asks EC2 kind by kind and the tagging API for everything else that carries the tag; IAM, which that API does not cover, and
    EventBridge and ECR are asked for what has the tag and a name that begins like the site's.
  - The tagging API goes on naming some things for a while after they are gone; what it names is asked for where that is
    known. Repeat the task until the list is empty.
options:
  site: {description: Value of the tag Project., type: str, required: true}
  kept:
    description:
      - What stays on purpose, as RV(found) would name it. The end of a line may be C(*).
    type: list
    elements: str
    default: []
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

SERVICES = ("ec2", "iam", "events", "ecr", "ecs", "resourcegroupstaggingapi")


def of_ec2(ec2: Any, site: str) -> Iterator[str]:
    """Yield everything of EC2 that carries the tag."""
    for kind in KINDS.values():
        for one in described(ec2, kind, {"tag:Project": site}):
            yield f"ec2 {kind.name} {one[kind.identifier]}"


def of_names(events: Any, ecr: Any, site: str) -> Iterator[str]:
    """Yield rules and repositories of the site, which not every tagging API knows."""
    mark = {"Key": "Project", "Value": site}
    for page in events.get_paginator("list_rules").paginate(NamePrefix=site):
        for rule in page["Rules"]:
            if mark in events.list_tags_for_resource(ResourceARN=rule["Arn"])["Tags"]:
                yield f"events rule {rule['Name']}"
    for page in ecr.get_paginator("describe_repositories").paginate():
        for one in page["repositories"]:
            name, arn = one["repositoryName"], one["repositoryArn"]
            if name.startswith(site) and mark in ecr.list_tags_for_resource(resourceArn=arn)["tags"]:
                yield f"ecr repository {name}"


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
                tags = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"].get("Tags", [])
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
            if service in ("ec2", "iam", "events", "ecr"):
                continue  # asked for above
            if service != "ecs" or not lingers(ecs, name):
                yield f"{service} {name}"


def found(clients: dict[str, Any], site: str) -> list[str]:
    """Return everything of the site, sorted."""
    return sorted(
        {
            *of_ec2(clients["ec2"], site),
            *of_iam(clients["iam"], site),
            *of_names(clients["events"], clients["ecr"], site),
            *of_others(clients["resourcegroupstaggingapi"], clients["ecs"], site),
        }
    )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "kept": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    clients = {service: module.client(service) for service in SERVICES}
    try:
        left = [
            one
            for one in found(clients, module.params["site"])
            if not any(fnmatch.fnmatchcase(one, kept) for kept in module.params["kept"])
        ]
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"The AWS API does not list what there is of {module.params['site']}")
    module.exit_json(changed=False, found=left)


if __name__ == "__main__":
    main()
