"""Ansible module: reconcile the logins, databases and schema of a PostgreSQL server."""

from __future__ import annotations

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postgres.errors import SetupError
from ansible.module_utils.postgres.setup import Setup, psycopg2

DOCUMENTATION = r"""
---
module: postgres_setup
short_description: Reconcile the logins, databases and schema of a PostgreSQL server
description:
  - Logs in over the server's socket as the superuser, so that a changed password can be applied. The superuser itself has none.
  - Passwords leave this module only as SCRAM verifiers, so that no server log can hold one.
  - Each schema file is applied in one transaction, which is committed only where it changed a definition of any kind or
    wrote a row. Such files hold what is safe to apply again.
  - O(state=named) gives the superuser of older data its name and makes nothing else.
  - O(state=absent) drops the slots and publications that are listed, and disconnects who reads a slot; it touches nothing else.
options:
  state: {description: What to do., type: str, choices: [present, named, absent], default: present}
  socket_dir: {description: Folder of the server's socket., type: path, required: true}
  superuser: {description: The superuser that the cluster was made with., type: str, required: true}
  former_superuser:
    description: What it was called in older data; O(state=named) renames it, and check mode logs in by it.
    type: str
    default: ""
  roles:
    description: Logins.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name., type: str, required: true}
      password: {description: Password., type: str, required: true}
      replication: {description: Whether it may replicate., type: bool, default: false}
      member_of: {description: Roles whose rights it has., type: list, elements: str, default: []}
      connections: {description: How many it may have at once; -1 for any number., type: int, default: -1}
      settings: {description: Settings of its sessions; others that it has stay., type: dict, default: {}}
  databases:
    description: Databases. Those that every cluster has, and that are not listed, are closed to all but the superuser.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name., type: str, required: true}
      owner: {description: Owner., type: str, required: true}
      connect: {description: Other logins that may connect., type: list, elements: str, default: []}
  schemas:
    description: SQL files with definitions.
    type: list
    elements: dict
    default: []
    suboptions:
      database: {description: Where it is applied., type: str, required: true}
      name: {description: Its name in messages., type: str, required: true}
      sql: {description: Its text., type: str, required: true}
  slots:
    description: Logical replication slots. One that is missing is made, one that is lost is made again; nothing else is touched.
    type: list
    elements: dict
    default: []
    suboptions:
      database: {description: Where it is made., type: str, required: true}
      name: {description: Name., type: str, required: true}
      plugin: {description: Its output plugin., type: str, default: pgoutput}
  publications:
    description: Publications, which schema files make; O(state=absent) drops them.
    type: list
    elements: dict
    default: []
    suboptions:
      database: {description: Where it is., type: str, required: true}
      name: {description: Name., type: str, required: true}
requirements: [python3-psycopg2]
author: RetailFlow
attributes:
  check_mode: {support: full, description: What would change is rolled back.}
  diff_mode: {support: full, description: Shows logins and definitions.}
"""

EXAMPLES = r"""
- name: Make a shop's database
  postgres_setup:
    socket_dir: /srv/postgres/run
    superuser: postgres
    roles: [{name: shop, password: "{{ shop_password }}"}]
    databases: [{name: shop, owner: shop}]
    schemas: [{database: shop, name: shop.sql, sql: "{{ lookup('ansible.builtin.file', 'shop.sql') }}"}]
"""

RETURN = r"""
actions: {description: What was done, or would be., type: list, returned: success}
slots_replaced:
  description: Lost slots that were made again, or would be; who read them has missed changes and must begin again.
  type: list
  elements: str
  returned: success
"""


WORK = {"present": Setup.run, "named": Setup.name_superuser, "absent": Setup.release}


def main() -> None:
    """Entry point of the module."""
    text = {"type": "str", "required": True}
    names = {"type": "list", "elements": "str", "default": []}

    def records(**options: Any) -> dict[str, Any]:
        return {"type": "list", "elements": "dict", "default": [], "options": options}

    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": list(WORK), "default": "present"},
            "socket_dir": {"type": "path", "required": True},
            "superuser": text,
            "former_superuser": {"type": "str", "default": ""},
            "roles": records(
                name=text,
                password=text | {"no_log": True},
                replication={"type": "bool", "default": False},
                member_of=names,
                connections={"type": "int", "default": -1},
                settings={"type": "dict", "default": {}},
            ),
            "databases": records(name=text, owner=text, connect=names),
            "schemas": records(database=text, name=text, sql=text),
            "slots": records(database=text, name=text, plugin={"type": "str", "default": "pgoutput"}),
            "publications": records(database=text, name=text),
        },
        supports_check_mode=True,
    )
    setup = Setup(module.params, module.check_mode)
    state = module.params["state"]
    if not os.path.exists(module.params["socket_dir"]) and state == "absent":
        pass  # without a server there is nothing to drop
    elif module.check_mode and not os.path.exists(module.params["socket_dir"]) and state == "named":
        pass  # nor a superuser to rename
    elif module.check_mode and not os.path.exists(module.params["socket_dir"]):
        setup.plan()
    elif psycopg2 is None:
        module.fail_json(
            msg="The Python driver is missing on the host: install the package python3-psycopg2."
        )
    else:
        try:
            WORK[state](setup)
        except psycopg2.OperationalError as error:
            module.fail_json(msg=f"PostgreSQL does not answer at {module.params['socket_dir']}: {error}")
        except (SetupError, psycopg2.Error) as error:
            module.fail_json(msg=str(error), actions=setup.actions)
    diff = {"before": "\n".join(setup.before) + "\n", "after": "\n".join(setup.after) + "\n"}
    module.exit_json(
        changed=bool(setup.actions),
        actions=setup.actions,
        slots_replaced=setup.slots_replaced,
        diff=diff if setup.actions else {},
    )


if __name__ == "__main__":
    main()
