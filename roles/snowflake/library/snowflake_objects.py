"""Ansible module: a site's databases, schemas, warehouses, roles, users and grants in Snowflake."""

from __future__ import annotations

DOCUMENTATION = r"""
module: snowflake_objects
short_description: A site's databases, schemas, warehouses, roles, users and grants in Snowflake
description:
  - Looks up what there is, and runs only the statements that are missing. Takes nothing away with state=present.
  - What it makes carries the mark as its comment. Where an object has one of the names and another comment, it fails before
    it changes anything, and names all of them.
  - Names are plain identifiers; they are used in upper case.
options:
  login:
    description: Account, host, port, authority, user, role, warehouse, password or private_key_path, and timeout in seconds.
    type: dict
    required: true
  state:
    description:
      - Whether the objects exist. one_key takes from each user the key that another one has replaced.
      - absent drops what carries the mark; roles go with the databases, because they own the tables.
    type: str
    choices: [present, absent, one_key]
    default: present
  mark: {description: Comment of everything that is made., type: str, required: true}
  roles:
    description: >-
      Roles that run the statements: C(objects) makes databases and warehouses, C(users) roles and users, C(grants) sees every
      object and grants, C(account) grants database roles; an empty one leaves that out.
    type: dict
  databases:
    description: Databases with their schemas.
    type: list
    elements: dict
    suboptions:
      name: {description: Name of the database., type: str, required: true}
      schemas: {description: Names of its schemas., type: list, elements: str}
  remove_databases: {description: Whether state=absent drops databases and roles too., type: bool, default: false}
  warehouses:
    description: Warehouses, suspended when idle.
    type: list
    elements: dict
    suboptions:
      name: {description: Name of the warehouse., type: str, required: true}
      size: {description: Its size., type: str, default: XSMALL}
      auto_suspend: {description: Idle seconds until it is suspended., type: int, default: 60}
  parent_role: {description: Role that gets every role of the users., type: str, default: SYSADMIN}
  users:
    description: >-
      Users with key-pair authentication; each gets its role, and the role its warehouse. Where a user has another key, the
      given one goes into the free one of its two slots.
    type: list
    elements: dict
    suboptions:
      name: {description: Name of the user., type: str, required: true}
      role: {description: Its role, made too., type: str, required: true}
      warehouse: {description: Its default warehouse., type: str, required: true}
      public_key: {description: Public key in PEM; in check mode it may be empty., type: str, required: true}
  grants:
    description: Privileges of roles on databases and schemas, and on the tables or views in them, now and future.
    type: list
    elements: dict
    suboptions:
      role: {description: Who gets them., type: str, required: true}
      privileges: {description: The privileges., type: list, elements: str, required: true}
      object_type: {description: Kind of object., type: str, choices: [DATABASE, SCHEMA, TABLE, VIEW], required: true}
      object: {description: "Its name, or the database or schema whose tables or views are meant.", type: str, required: true}
  database_roles:
    description: Roles of a shared database that roles get.
    type: list
    elements: dict
    suboptions:
      role: {description: Who gets it., type: str, required: true}
      database_role: {description: "Its name, with the database in front.", type: str, required: true}
author: [RetailFlow]
"""

EXAMPLES = r"""
- name: Make a database and who reads it
  snowflake_objects:
    login: "{{ login }}"
    mark: "managed by retailflow: shop"
    databases: [{name: ANALYTICS, schemas: [MARTS]}]
    warehouses: [{name: REPORTING}]
    users: [{name: METABASE, role: REPORTER, warehouse: REPORTING, public_key: "{{ lookup('file', 'metabase.pub') }}"}]
    grants: [{role: REPORTER, privileges: [SELECT], object_type: TABLE, object: ANALYTICS.MARTS}]
"""

RETURN = r"""
statements:
  description: The statements that were run, or would be, with the changes of role.
  type: list
  elements: str
  returned: always
overlapping:
  description: Users that have the given key and an older one, with state=present.
  type: list
  elements: str
  returned: success
kept: {description: What state=absent left because it lacks the mark., type: list, elements: str, returned: success}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.snowflake_login import FAILURES, LOGIN_SPEC, connect, explain, rows
from ansible.module_utils.snowflake_marks import refuse_others
from ansible.module_utils.snowflake_plan import (
    PART_OF_SCHEMA,
    Read,
    Roles,
    Statement,
    Wanted,
    overlapping,
    plan_absent,
    plan_present,
    there,
)

TEXT: dict[str, Any] = {"type": "str", "required": True}
TEXTS: dict[str, Any] = {"type": "list", "elements": "str"}
ARGUMENTS: dict[str, Any] = {
    "login": {"type": "dict", "required": True, "options": LOGIN_SPEC},
    "state": {"type": "str", "choices": ["present", "absent", "one_key"], "default": "present"},
    "mark": TEXT,
    "roles": {
        "type": "dict",
        "apply_defaults": True,
        "options": {
            "objects": {"type": "str", "default": Roles.objects},
            "users": {"type": "str", "default": Roles.users},
            "grants": {"type": "str", "default": Roles.grants},
            "account": {"type": "str", "default": Roles.account},
        },
    },
    "databases": {"type": "list", "elements": "dict", "options": {"name": TEXT, "schemas": TEXTS}},
    "remove_databases": {"type": "bool", "default": False},
    "warehouses": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": TEXT,
            "size": {"type": "str", "default": "XSMALL"},
            "auto_suspend": {"type": "int", "default": 60},
        },
    },
    "parent_role": {"type": "str", "default": Wanted.parent_role},
    "users": {
        "type": "list",
        "elements": "dict",
        "options": {"name": TEXT, "role": TEXT, "warehouse": TEXT, "public_key": TEXT | {"no_log": False}},
    },
    "grants": {
        "type": "list",
        "elements": "dict",
        "options": {
            "role": TEXT,
            "privileges": TEXTS | {"required": True},
            "object_type": TEXT | {"choices": ["DATABASE", "SCHEMA", *PART_OF_SCHEMA]},
            "object": TEXT,
        },
    },
    "database_roles": {
        "type": "list",
        "elements": "dict",
        "options": {"role": TEXT, "database_role": TEXT},
    },
}


def wanted_of(params: dict[str, Any]) -> Wanted:
    """The module's parameters as what the plan reads."""
    lists = {
        one: params[one] or [] for one in ("databases", "warehouses", "users", "grants", "database_roles")
    }
    return Wanted(
        mark=params["mark"], roles=Roles(**params["roles"]), parent_role=params["parent_role"], **lists
    )


def plan(read: Read, params: dict[str, Any]) -> tuple[list[Statement], dict[str, list[str]]]:
    """The statements to run, and what else there is to say. NotOursError before any statement of state=present."""
    wanted = wanted_of(params)
    found = there(read)
    if params["state"] == "absent":
        statements, kept = plan_absent(wanted, found, params["remove_databases"])
        return statements, {"kept": kept}
    refuse_others(wanted, found)
    if params["state"] == "one_key":
        slots = overlapping(read, wanted, found)
        return [
            Statement(wanted.roles.users, f"alter user {user} unset {slot.lower()}")
            for user, slot in slots.items()
        ], {}
    return plan_present(read, wanted, found), {}


def with_roles(statements: list[Statement], current: str) -> list[str]:
    """The statements with the changes of role that they need, beginning in a role."""
    found = []
    for role, sql in statements:
        if role != current:
            found.append(f"use role {role}")
            current = role
        found.append(sql)
    return found


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params, done = module.params, []
    params["login"]["role"] = looking = params["roles"]["grants"]
    doing = "login"
    keyless = [one["name"] for one in params["users"] or [] if not one["public_key"]]
    if keyless and not module.check_mode and params["state"] == "present":
        module.fail_json(msg=f"public_key is empty for {', '.join(keyless)}; nothing was changed")
    try:
        with connect(params["login"]) as connection:

            def read(sql: str) -> list[dict[str, Any]]:
                nonlocal doing
                doing = sql
                found: list[dict[str, Any]] = rows(connection, sql)
                return found

            statements, said = plan(read, params)
            lines = with_roles(statements, looking)
            if not module.check_mode:
                for line in lines:
                    read(line)
                    done.append(line)
                if params["state"] == "present":
                    if lines:
                        read(f"use role {looking}")
                    wanted = wanted_of(params)
                    said["overlapping"] = sorted(overlapping(read, wanted, there(read)))
        module.exit_json(changed=bool(statements), statements=lines, **said)
    except FAILURES as error:
        module.fail_json(
            msg=explain(error, params["login"], doing), statement=doing, statements=done, changed=bool(done)
        )


if __name__ == "__main__":
    main()
