"""Ansible module: one service of the container-service contract as an ECS service that is pinned to its host."""

from __future__ import annotations

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.container_service.errors import WorkloadError
from ansible.module_utils.container_service.workload import Workload
from ansible.module_utils.retailflow_aws import ForeignError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: ecs_workload
short_description: Run a service by ECS on one host
description:
  - Makes the task definition, the service, the log group, the secrets (SSM parameters) and the role that reads them, tags all
    of it, and looks it up before it is changed.
  - The service has one task and may have none for a moment, but never two. An update ends the old task before the new one
    starts, so that nothing ever runs twice on one volume.
  - Refuses a service of that name that lacks O(tags).
options:
  state:
    description: Whether it is there; swept removes what services of any name left behind when the cluster is gone.
    type: str
    choices: [present, absent, swept]
    default: present
  cluster: {description: Name of the cluster., type: str, required: true}
  name: {description: Name of the service; needed but for sweeping., type: str, default: ""}
  tags: {description: Tags that mark everything as ours., type: dict, default: {}}
  placement: {description: "Expression that names the host, such as C(attribute:role == postgres)", type: str, default: ""}
  spec: {description: "The service, with the keys of the role's variables.", type: dict, default: {}}
  secrets: {description: Environment whose values are secret., type: dict, default: {}}
  log_group: {description: Name of the log group; needed but for sweeping., type: str, default: ""}
  log_days: {description: Days that the log is kept., type: int, default: 14}
  wait: {description: Seconds to wait until the task is healthy; 0 does not wait., type: int, default: 0}
  drain_timeout: {description: Seconds that the task has to end on removal., type: int, default: 120}
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
"""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent", "swept"], "default": "present"},
            "cluster": {"type": "str", "required": True},
            "name": {"type": "str", "default": ""},
            "tags": {"type": "dict", "default": {}},
            "placement": {"type": "str", "default": ""},
            "spec": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "log_group": {"type": "str", "default": ""},
            "log_days": {"type": "int", "default": 14},
            "wait": {"type": "int", "default": 0},
            "drain_timeout": {"type": "int", "default": 120},
        },
        required_if=[("state", state, ("name", "log_group")) for state in ("present", "absent")],
        supports_check_mode=True,
    )
    clients = {service: module.client(service) for service in ("ecs", "ssm", "iam", "logs", "sts")}
    workload = Workload(clients, module.params, clients["ecs"].meta.region_name, module.check_mode)
    try:
        if module.params["state"] == "present":
            workload.ensure()
        elif module.params["state"] == "absent":
            workload.remove()
        else:
            workload.sweep()
    except (ForeignError, WorkloadError) as error:
        module.fail_json(msg=str(error))
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"The AWS API refused work on the service {module.params['name']}")
    module.exit_json(changed=bool(workload.actions), actions=workload.actions)


if __name__ == "__main__":
    main()
