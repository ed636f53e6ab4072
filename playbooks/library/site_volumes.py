"""Ansible module: the volumes that hold the data of a site's hosts, found by their tags."""

from __future__ import annotations

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.retailflow_volumes import data_volumes, of_one_role
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: site_volumes
short_description: Find, or remove, the volumes that hold the data of a site's hosts
description:
  - A volume is the site's by its tags C(Project), C(Role) and C(Name), as terraform/hosts.tf sets them. So one is found again
    that Terraform's state does not know any more.
  - O(state=listed) fails where a role has more than one, because nobody knows which one has the data.
  - O(state=absent) removes those that are attached to no host, with the data on them. It fails, and removes none, where one is.
options:
  site: {description: Value of the tag Project and prefix of every name., type: str, required: true}
  state: {description: What to do., type: str, choices: [listed, absent], default: listed}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be removed.}
"""

EXAMPLES = r"""
- name: Find what an earlier site has kept
  site_volumes:
    site: shop
  register: kept
"""

RETURN = r"""
volumes:
  description: "The volumes that there were, each with C(id), C(role), C(zone), C(gb) and C(instance), the host that has it."
  type: list
  returned: success
"""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["listed", "absent"], "default": "listed"},
        },
        supports_check_mode=True,
    )
    site, absent = module.params["site"], module.params["state"] == "absent"
    try:
        ec2 = module.client("ec2")
        volumes = data_volumes(ec2, site)
        attached = [one for one in volumes if one.instance]
        if absent and attached and not module.check_mode:
            module.fail_json(
                msg="No volume was removed. Attached to a host: "
                + ", ".join(f"{one.id} to {one.instance}" for one in attached)
                + ". Terminate the host, or detach the volume, then run this again."
            )
        if not absent and of_one_role(volumes):
            module.fail_json(msg=f"Nothing was changed. {'; '.join(of_one_role(volumes))}.")
        if absent and not module.check_mode:
            for one in volumes:
                ec2.delete_volume(VolumeId=one.id)
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"The EC2 API refused work on the volumes of {site}")
    module.exit_json(changed=absent and bool(volumes), volumes=[one.as_dict() for one in volumes])


if __name__ == "__main__":
    main()
