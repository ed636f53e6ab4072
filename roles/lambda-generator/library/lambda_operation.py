"""Ansible module: what makes a Lambda function operate: schedule, concurrency, retries, failed events, alarm."""

from __future__ import annotations

from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.lambda_generator.errors import OperationError
from ansible.module_utils.lambda_generator.operation import Operation
from ansible.module_utils.retailflow_aws import ForeignError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: lambda_operation
short_description: Schedule, limit and watch a Lambda function
description:
  - The EventBridge rule that invokes the function, its reserved concurrency, the retries of an event, the queue for events
    that failed for good, and the alarm on errors. All of it is tagged when it is made, and looked up before it is changed.
  - O(state=paused) disables the rule, O(state=described) reads the present state, O(state=absent) removes rule, queue and
    alarm. O(state=checked) only refuses.
  - Refuses, before anything is made or removed, where something that has one of the names lacks the tags.
options:
  function: {description: Name of the function., type: str, required: true}
  state:
    description: What to do.
    type: str
    choices: [present, checked, paused, described, absent]
    default: present
  tags: {description: Tags that mark everything as ours., type: dict, default: {}}
  rule: {description: Name of the rule., type: str, required: true}
  schedule: {description: Schedule expression of the rule., type: str, default: ""}
  enabled: {description: Whether the rule invokes the function., type: bool, default: true}
  concurrency: {description: Invocations at a time; -1 reserves none., type: int, default: -1}
  retries: {description: How often a failed event is tried again., type: int, default: 2}
  event_age: {description: Seconds after which an event is given up., type: int, default: 3600}
  queue: {description: Name of the queue for events that were given up., type: str, required: true}
  alarm: {description: Name of the alarm on errors., type: str, required: true}
  alarm_actions: {description: ARNs that the alarm calls., type: list, elements: str, default: []}
  log_group: {description: Name of the function's log group., type: str, required: true}
  secrets_path: {description: "Beginning of the names of the function's SSM parameters; empty for none.", type: str, default: ""}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be done.}
"""

EXAMPLES = r"""
- name: Invoke a function every hour, one at a time
  lambda_operation:
    function: report
    rule: report-schedule
    schedule: rate(1 hour)
    concurrency: 1
    queue: report-failed
    alarm: report-errors
    log_group: /aws/lambda/report
    tags: {Project: shop}
"""

RETURN = r"""
actions: {description: What was done, or would be., type: list, returned: success}
description: {description: How everything is., type: dict, returned: state is described}
"""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "function": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": ["present", "checked", "paused", "described", "absent"],
                "default": "present",
            },
            "tags": {"type": "dict", "default": {}},
            "rule": {"type": "str", "required": True},
            "schedule": {"type": "str", "default": ""},
            "enabled": {"type": "bool", "default": True},
            "concurrency": {"type": "int", "default": -1},
            "retries": {"type": "int", "default": 2},
            "event_age": {"type": "int", "default": 3600},
            "queue": {"type": "str", "required": True},
            "alarm": {"type": "str", "required": True},
            "alarm_actions": {"type": "list", "elements": "str", "default": []},
            "log_group": {"type": "str", "required": True},
            "secrets_path": {"type": "str", "default": "", "no_log": False},
        },
        supports_check_mode=True,
    )
    services = ("lambda", "events", "sqs", "cloudwatch", "logs", "iam", "ssm")
    operation = Operation(
        {service: module.client(service) for service in services}, module.params, module.check_mode
    )
    result: dict[str, Any] = {}
    try:
        match module.params["state"]:
            case "present":
                operation.ensure()
            case "checked":
                operation.check()
            case "paused":
                operation.pause()
            case "described":
                result["description"] = operation.describe()
            case _:
                operation.remove()
    except (OperationError, ForeignError) as error:
        module.fail_json(msg=f"The function {module.params['function']}: {error}")
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(
            error, msg=f"The AWS API refused work on the function {module.params['function']}"
        )
    module.exit_json(changed=bool(operation.actions), actions=operation.actions, **result)


if __name__ == "__main__":
    main()
