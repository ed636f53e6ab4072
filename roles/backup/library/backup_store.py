"""Ansible module: the S3 bucket of backups, by idempotent look-up."""

from __future__ import annotations

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.retailflow_aws import ForeignError
from ansible.module_utils.retailflow_bucket import Bucket
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: backup_store
short_description: Make, or remove, the bucket of backups
description:
  - It is versioned, keeps replaced and deleted objects for some days, and ends uploads that were given up.
  - A bucket that lacks O(tags) is refused.
  - O(state=absent) removes it with every version of every object, so that nothing can be restored from it any more.
options:
  bucket: {description: Name of the bucket., type: str, required: true}
  state: {description: Whether it is made or removed., type: str, choices: [present, absent], default: present}
  tags: {description: Tags of the bucket., type: dict, required: true}
  undelete_days: {description: Days for which replaced and deleted objects are kept., type: int, default: 30}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be done.}
"""

EXAMPLES = r"""
- name: Make the bucket
  backup_store:
    bucket: shop-backup-123456789012-us-east-1
    tags: {BackupOf: shop}
"""

RETURN = r"""
actions: {description: "What was done, or would be.", type: list, returned: success}
"""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "bucket": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "tags": {"type": "dict", "required": True},
            "undelete_days": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        bucket = Bucket(module.client("s3"), params["bucket"], params["tags"], module.check_mode)
        if params["state"] == "present":
            bucket.ensure(params["undelete_days"])
        else:
            bucket.remove()
    except ForeignError as error:
        module.fail_json(
            msg=f"Nothing was changed: {error}. Remove it, or give it that tag if it is this site's."
        )
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"The S3 API refused work on the bucket {params['bucket']}")
    module.exit_json(changed=bool(bucket.actions), actions=bucket.actions)


if __name__ == "__main__":
    main()
