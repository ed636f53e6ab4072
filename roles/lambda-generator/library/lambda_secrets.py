"""Ansible module: the secrets of a Lambda function as parameters of AWS's Systems Manager, which its role reads."""

from __future__ import annotations

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.retailflow_aws import AwsWork
from ansible.module_utils.retailflow_parameters import Parameters
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: lambda_secrets
short_description: Keep the secrets of a Lambda function as SSM parameters
description:
  - Each secret is a parameter of type SecureString below O(path). A parameter there that is none of O(secrets) is removed.
  - Does not ask whose they are; M(lambda_operation) with O(state=checked) does, before.
options:
  path: {description: "Beginning of the parameters' names, such as C(/shop/report)", type: str, required: true}
  secrets: {description: Values by the name of the parameter., type: dict, default: {}}
  state: {description: Whether they are there., type: str, choices: [present, absent], default: present}
  tags: {description: Tags that mark the parameters as ours., type: dict, default: {}}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be done.}
"""

EXAMPLES = r"""
- name: Keep the password of a function
  lambda_secrets:
    path: /shop/report
    secrets: {DB_PASSWORD: "{{ shop_password }}"}
    tags: {Project: shop}
"""

RETURN = r"""
actions: {description: "What was done, or would be, without a value.", type: list, returned: success}
"""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "path": {"type": "str", "required": True},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "tags": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    params = module.params
    work = AwsWork(params["tags"], module.check_mode)
    parameters = Parameters(work, module.client("ssm"), f"{params['path'].rstrip('/')}/")
    try:
        parameters.ensure(params["secrets"] if params["state"] == "present" else {})
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(
            error, msg=f"The parameter store refused work on the parameters below {params['path']}"
        )
    module.exit_json(changed=bool(work.actions), actions=work.actions)


if __name__ == "__main__":
    main()
