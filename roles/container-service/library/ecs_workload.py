"""Ansible module: one service of the container-service contract as an ECS service that is pinned to its host."""

from __future__ import annotations

from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.container_service.errors import WorkloadError
from ansible.module_utils.container_service.sweep import Sweep
from ansible.module_utils.container_service.workload import Workload
from ansible.module_utils.retailflow_aws import ForeignError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: ecs_workload
short_description: Run a service by ECS on one host
description:
  - Makes the task definition, the service, the log group, the secrets (SSM parameters) and its roles, tags all of it, and looks
    it up before it is changed.
  - The service has one task and may have none for a moment, but never two. An update ends the old task before the new one
    starts, so that nothing ever runs twice on one volume.
  - With O(wait) it ends early where three tasks have failed one after the other, with ECS's reason and the end of the log. A
    service that was stuck before is deployed again once.
  - Refuses a service of that name that lacks O(tags).
options:
  state:
    description:
      - Whether it is there. V(stopped) ends its task and waits for that; V(defined) makes everything but the service.
      - V(swept) removes what services of any name left behind when the cluster is gone; V(listed) returns the names.
    type: str
    choices: [present, defined, stopped, absent, swept, listed]
    default: present
  cluster: {description: Name of the cluster., type: str, required: true}
  name: {description: Name of the service; needed for one service., type: str, default: ""}
  tags: {description: Tags that mark everything as ours., type: dict, default: {}}
  placement: {description: "Expression that names the host, such as C(attribute:role == postgres)", type: str, default: ""}
  spec: {description: "The service, with the keys of the role's variables.", type: dict, default: {}}
  secrets: {description: Environment whose values are secret., type: dict, default: {}}
  permissions: {description: Statements of what the program may do in AWS., type: list, elements: dict, default: []}
  log_group: {description: Name of the log group; needed for one service., type: str, default: ""}
  log_days: {description: Days that the log is kept., type: int, default: 14}
  wait:
    description: Seconds to wait until the task is healthy, or for V(defined) until an agent is connected; 0 does not wait.
    type: int
    default: 0
  drain_timeout: {description: Seconds that the task has to end., type: int, default: 120}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be done.}
"""

EXAMPLES = r"""
- name: Run a database on the host whose role is db
  ecs_workload:
    cluster: shop
    name: db
    placement: attribute:role == db
    spec:
      image: postgres:15
      ports: ["5432:5432"]
      volumes: ["db-data:/var/lib/postgresql/data"]
    secrets: {POSTGRES_PASSWORD: "{{ shop_db_password }}"}
    log_group: /shop/db
    tags: {Project: shop}
"""

RETURN = r"""
actions: {description: What was done, or would be., type: list, returned: success}
names: {description: "Names of which the cluster has a service or a task definition.", type: list, returned: for V(listed)}
task:
  description: The ARNs of what a task is started with; in check mode one of what is still to be made is empty.
  type: dict
  returned: for V(present) and V(defined)
  contains:
    definition: {description: The task definition with its revision., type: str}
    execution_role: {description: "The role by which ECS reads secrets and writes the log; empty without secrets.", type: str}
    task_role: {description: "The role of the program; empty without O(permissions).", type: str}
    log_group: {description: The log group., type: str}
"""

ONE = ("present", "defined", "stopped", "absent")


class Clients(dict[str, Any]):
    """Clients of the AWS API by service, each made when it is first asked for."""

    def __init__(self, module: AnsibleAWSModule) -> None:
        super().__init__()
        self.module = module

    def __missing__(self, service: str) -> Any:
        self[service] = self.module.client(service)
        return self[service]


def work(module: AnsibleAWSModule) -> dict[str, Any]:
    """Do what is asked for and return the module's result."""
    clients, params = Clients(module), module.params
    region = clients["ecs"].meta.region_name
    if params["state"] == "swept":
        sweep = Sweep(clients, params, region, module.check_mode)
        sweep.remove()
        return {"changed": bool(sweep.actions), "actions": sweep.actions}
    workload = Workload(clients, params, region, module.check_mode)
    if params["state"] == "listed":
        return {"changed": False, "actions": [], "names": workload.names()}
    result: dict[str, Any] = {}
    if params["state"] in ("present", "defined"):
        made = workload.ensure() if params["state"] == "present" else workload.define()
        result["task"] = {
            "definition": made.definition,
            "execution_role": made.execution_role,
            "task_role": made.task_role,
            "log_group": made.log_group,
        }
    elif params["state"] == "stopped":
        workload.stop()
    else:
        workload.remove()
    return {"changed": bool(workload.actions), "actions": workload.actions} | result


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "state": {"type": "str", "choices": [*ONE, "swept", "listed"], "default": "present"},
            "cluster": {"type": "str", "required": True},
            "name": {"type": "str", "default": ""},
            "tags": {"type": "dict", "default": {}},
            "placement": {"type": "str", "default": ""},
            "spec": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "permissions": {"type": "list", "elements": "dict", "default": []},
            "log_group": {"type": "str", "default": ""},
            "log_days": {"type": "int", "default": 14},
            "wait": {"type": "int", "default": 0},
            "drain_timeout": {"type": "int", "default": 120},
        },
        required_if=[("state", state, ("name", "log_group")) for state in ONE],
        supports_check_mode=True,
    )
    try:
        result = work(module)
    except (ForeignError, WorkloadError) as error:
        module.fail_json(msg=str(error))
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"The AWS API refused work on the service {module.params['name']}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
