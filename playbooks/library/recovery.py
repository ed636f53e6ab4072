"""Ansible module: keep in a bucket what a lost control node needs, and get it back."""

from __future__ import annotations

from pathlib import Path

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.retailflow_aws import ForeignError
from ansible.module_utils.retailflow_bucket import Bucket
from ansible.module_utils.retailflow_recovery import Bundle, RecoveryError, State
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: recovery
short_description: Keep Terraform's state and files of the control node in a bucket, and get them back
description:
  - O(state=bucket) makes the bucket, with a tag of ours and with old versions. One that lacks the tag is refused.
  - O(state=moved) moves a state of Terraform from O(state_file) into the bucket, where Terraform's backend C(s3) finds it.
  - O(state=stored) keeps O(files) in one object, O(state=fetched) writes those that are missing, and answers with the outputs of
    the state.
options:
  bucket: {description: Name of the bucket., type: str, required: true}
  state: {description: What to do., type: str, choices: [bucket, moved, stored, fetched], required: true}
  tags: {description: Tags that mark the bucket as ours., type: dict, default: {}}
  key: {description: Key of Terraform's state., type: str, default: ""}
  state_file: {description: The file of the state., type: path, default: ""}
  bundle: {description: Key of the files., type: str, default: ""}
  root: {description: Folder that the files are below., type: path, default: ""}
  files: {description: "Patterns of the files, relative to O(root)", type: list, elements: str, default: []}
  passphrase: {description: What the files are encrypted with; empty for not at all., type: str, default: ""}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: Refuses and reports what would be done.}
"""

EXAMPLES = r"""
- name: Keep the settings of the site
  recovery:
    bucket: shop-state-123456789012
    state: stored
    bundle: shop.recovery
    root: /srv/shop
    files: [settings.yml]
"""

RETURN = r"""
actions: {description: What was done., type: list, returned: success}
outputs: {description: Outputs of Terraform's state., type: dict, returned: when fetched}
"""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "bucket": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["bucket", "moved", "stored", "fetched"], "required": True},
            "tags": {"type": "dict", "default": {}},
            "key": {"type": "str", "default": "", "no_log": False},
            "state_file": {"type": "path", "default": ""},
            "bundle": {"type": "str", "default": ""},
            "root": {"type": "path", "default": ""},
            "files": {"type": "list", "elements": "str", "default": []},
            "passphrase": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    params, check = module.params, module.check_mode
    name = params["bucket"]
    actions: list[str] = []
    answer = {}
    try:
        s3 = module.client("s3")
        state = State(s3, name, params["key"])
        bundle = Bundle(s3, name, params["bundle"], Path(params["root"]), params["passphrase"])
        if params["state"] == "bucket":
            bucket = Bucket(s3, name, params["tags"], check)
            bucket.ensure()
            actions = bucket.actions
        elif params["state"] == "moved":
            if state.take_over(Path(params["state_file"]), check):
                actions = [f"move {params['state_file']} to {params['key']}"]
        elif params["state"] == "stored":
            if bundle.store(params["files"], check):
                actions = [f"store {params['bundle']}"]
        else:
            actions = [f"fetch {one}" for one in bundle.fetch(check)]
            answer = {"outputs": state.outputs() if params["key"] else {}}
    except (RecoveryError, ForeignError) as error:
        module.fail_json(msg=f"Nothing was changed: {error}.")
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"Nothing was changed. The bucket {name} refused work")
    module.exit_json(changed=bool(actions), actions=actions, **answer)


if __name__ == "__main__":
    main()
