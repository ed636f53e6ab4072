"""Ansible module: databases, schemas, warehouses, roles, users and grants of Snowflake."""

from __future__ import annotations

DOCUMENTATION = r"""
module: snowflake_objects
short_description: Databases, schemas, warehouses, roles, users and grants of Snowflake
description:
  - Looks up what there is, and runs only the statements that are missing. Takes nothing away with state=present.
  - Names are plain identifiers; they are used in upper case.
options:
  login:
    description: Account, host, port, protocol, user, role, warehouse, password or private_key_path, and timeout in seconds.
    type: dict
    required: true
  state: {description: Whether the objects exist., type: str, choices: [present, absent], default: present}
  databases:
    description: Databases with their schemas.
    type: list
    elements: dict
    suboptions:
      name: {description: Name of the database., type: str, required: true}
      schemas: {description: Names of its schemas., type: list, elements: str}
  remove_databases: {description: Whether state=absent drops the databases too., type: bool, default: false}
  access:
    description: Whether warehouses, roles, users and grants are managed; not on a server that keeps none of them.
    type: bool
    default: true
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
    description: Users with key-pair authentication; each gets its role, and the role its warehouse.
    type: list
    elements: dict
    suboptions:
      name: {description: Name of the user., type: str, required: true}
      role: {description: Its role, made too., type: str, required: true}
      warehouse: {description: Its default warehouse., type: str, required: true}
      public_key: {description: Public key in PEM., type: str, required: true}
  grants:
    description: Privileges of roles on databases and schemas, and on the tables or views in them, now and future.
    type: list
    elements: dict
    suboptions:
      role: {description: Who gets them., type: str, required: true}
      privileges: {description: The privileges., type: list, elements: str, required: true}
      object_type: {description: Kind of object., type: str, choices: [DATABASE, SCHEMA, TABLE, VIEW], required: true}
      object: {description: Its name, or the schema whose tables or views are meant., type: str, required: true}
author: [RetailFlow]
"""

EXAMPLES = r"""
- name: Make a database and who reads it
  snowflake_objects:
    login: "{{ login }}"
    databases: [{name: ANALYTICS, schemas: [MARTS]}]
    warehouses: [{name: REPORTING}]
    users: [{name: METABASE, role: REPORTER, warehouse: REPORTING, public_key: "{{ lookup('file', 'metabase.pub') }}"}]
    grants: [{role: REPORTER, privileges: [SELECT], object_type: TABLE, object: ANALYTICS.MARTS}]
"""

RETURN = r"""
statements: {description: The statements that were run, or would be., type: list, elements: str, returned: always}
"""

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.snowflake_login import FAILURES, LOGIN_SPEC, connect, rows

IDENTIFIER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?")
PRIVILEGE = re.compile(r"[A-Za-z]+( [A-Za-z]+)*")
PART_OF_SCHEMA = ("TABLE", "VIEW")

Read = Callable[[str], list[dict[str, Any]]]


def name(value: str) -> str:
    """An identifier in upper case, as Snowflake keeps it; ValueError for everything that needs quotes."""
    if not IDENTIFIER.fullmatch(value):
        raise ValueError(f"{value!r} is not a plain Snowflake identifier")
    return value.upper()


def key_body(pem: str) -> str:
    """The base64 text between the markers of a PEM public key."""
    lines = [line.strip() for line in pem.strip().splitlines()]
    if len(lines) < 3 or lines[0] != "-----BEGIN PUBLIC KEY-----":
        raise ValueError("a user's public_key must be a PEM public key")
    return "".join(lines[1:-1])


def fingerprint(pem: str) -> str:
    """The fingerprint that DESCRIBE USER shows for a public key."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(base64.b64decode(key_body(pem))).digest()).decode()


def names_of(found: list[dict[str, Any]]) -> set[str]:
    """Names from the rows of a SHOW statement."""
    return {str(row["name"]) for row in found}


def missing_databases(read: Read, wanted: list[dict[str, Any]]) -> list[str]:
    """Statements for databases and schemas that do not exist."""
    statements, there = [], names_of(read("show databases"))
    for database in wanted:
        db = name(database["name"])
        schemas = names_of(read(f"show schemas in database {db}")) if db in there else set()
        if db not in there:
            statements.append(f"create database if not exists {db}")
        for schema in map(name, database["schemas"] or []):
            if schema not in schemas:
                statements.append(f"create schema if not exists {db}.{schema}")
    return statements


def missing_warehouses(read: Read, wanted: list[dict[str, Any]]) -> list[str]:
    """Statements for warehouses that do not exist or are set differently."""
    statements, there = [], {str(row["name"]): row for row in read("show warehouses")}
    for warehouse in wanted:
        wh, size, idle = name(warehouse["name"]), name(warehouse["size"]), warehouse["auto_suspend"]
        settings = f"warehouse_size = {size} auto_suspend = {idle} auto_resume = true"
        if wh not in there:
            statements.append(f"create warehouse if not exists {wh} {settings} initially_suspended = true")
        elif (str(there[wh]["size"]).replace("-", "").upper(), str(there[wh]["auto_suspend"])) != (
            size,
            str(idle),
        ):
            statements.append(f"alter warehouse {wh} set {settings}")
    return statements


def missing_users(read: Read, wanted: list[dict[str, Any]], parent_role: str) -> list[str]:
    """Statements for roles and users that do not exist or are set differently, and for who has which role."""
    statements = []
    roles, users = names_of(read("show roles")), names_of(read("show users"))
    parent_has = granted(read, f"show grants to role {name(parent_role)}")
    for user in wanted:
        who, role, warehouse = name(user["name"]), name(user["role"]), name(user["warehouse"])
        if role not in roles:
            statements.append(f"create role if not exists {role}")
        if ("USAGE", "ROLE", role) not in parent_has:
            statements.append(f"grant role {role} to role {name(parent_role)}")
        key = f"rsa_public_key = '{key_body(user['public_key'])}'"
        settings = f"default_role = {role} default_warehouse = {warehouse} {key}"
        has_role = False
        if who not in users:
            statements.append(f"create user if not exists {who} type = service {settings}")
        else:
            described = {str(row["property"]): str(row["value"]) for row in read(f"describe user {who}")}
            wanted_now = {
                "DEFAULT_ROLE": role,
                "DEFAULT_WAREHOUSE": warehouse,
                "RSA_PUBLIC_KEY_FP": fingerprint(user["public_key"]),
            }
            if any(described.get(key) != value for key, value in wanted_now.items()):
                statements.append(f"alter user {who} set {settings}")
            has_role = role in {str(row["role"]) for row in read(f"show grants to user {who}")}
        if not has_role:
            statements.append(f"grant role {role} to user {who}")
    return statements


def granted(read: Read, show: str) -> set[tuple[str, str, str]]:
    """Privilege, kind and name of every row of SHOW [FUTURE] GRANTS."""
    return {
        (str(row["privilege"]), str(row.get("granted_on") or row.get("grant_on")), str(row["name"]))
        for row in read(show)
    }


def missing_grants(read: Read, wanted: list[dict[str, Any]]) -> list[str]:
    """Statements for privileges that a role lacks; for tables and views the future grant is what is looked up."""
    there = names_of(read("show roles"))
    now: dict[str, set[tuple[str, str, str]]] = {}
    future: dict[str, set[tuple[str, str, str]]] = {}
    statements = []
    for grant in wanted:
        role, kind, target = name(grant["role"]), grant["object_type"], name(grant["object"])
        if role not in now:
            now[role] = granted(read, f"show grants to role {role}") if role in there else set()
            future[role] = granted(read, f"show future grants to role {role}") if role in there else set()
        for privilege in grant["privileges"]:
            if not PRIVILEGE.fullmatch(privilege):
                raise ValueError(f"{privilege!r} is not a privilege")
            what = privilege.upper()
            if kind not in PART_OF_SCHEMA:
                if (what, kind, target) not in now[role]:
                    statements.append(f"grant {what} on {kind} {target} to role {role}")
            elif (what, kind, f"{target}.<{kind}>") not in future[role]:
                statements.append(f"grant {what} on all {kind}S in schema {target} to role {role}")
                statements.append(f"grant {what} on future {kind}S in schema {target} to role {role}")
    return statements


def plan_present(read: Read, params: dict[str, Any]) -> list[str]:
    """Every statement that is missing, in an order that works."""
    statements = missing_databases(read, params["databases"] or [])
    if params["access"]:
        users, warehouses = params["users"] or [], params["warehouses"] or []
        usage = [
            {"role": u["role"], "privileges": ["USAGE"], "object_type": "WAREHOUSE", "object": u["warehouse"]}
            for u in users
        ]
        statements += missing_warehouses(read, warehouses)
        statements += missing_users(read, users, params["parent_role"])
        statements += missing_grants(read, usage + (params["grants"] or []))
    return statements


def plan_absent(read: Read, params: dict[str, Any]) -> list[str]:
    """Statements that drop what there is of the objects; databases only when asked for."""
    statements = []
    if params["access"]:
        users, warehouses = params["users"] or [], params["warehouses"] or []
        wanted = {
            "user": [name(user["name"]) for user in users],
            "role": sorted({name(user["role"]) for user in users}),
            "warehouse": [name(warehouse["name"]) for warehouse in warehouses],
        }
        for kind, objects in wanted.items():
            there = names_of(read(f"show {kind}s"))
            statements += [f"drop {kind} if exists {one}" for one in objects if one in there]
    if params["remove_databases"]:
        there = names_of(read("show databases"))
        wanted_databases = [name(database["name"]) for database in params["databases"] or []]
        statements += [f"drop database if exists {one}" for one in wanted_databases if one in there]
    return statements


def main() -> None:
    """Run as an Ansible module."""
    text, texts = {"type": "str", "required": True}, {"type": "list", "elements": "str"}
    module = AnsibleModule(
        argument_spec={
            "login": {"type": "dict", "required": True, "options": LOGIN_SPEC},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "databases": {"type": "list", "elements": "dict", "options": {"name": text, "schemas": texts}},
            "remove_databases": {"type": "bool", "default": False},
            "access": {"type": "bool", "default": True},
            "warehouses": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": text,
                    "size": {"type": "str", "default": "XSMALL"},
                    "auto_suspend": {"type": "int", "default": 60},
                },
            },
            "parent_role": {"type": "str", "default": "SYSADMIN"},
            "users": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": text,
                    "role": text,
                    "warehouse": text,
                    "public_key": text | {"no_log": False},
                },
            },
            "grants": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "role": text,
                    "privileges": texts | {"required": True},
                    "object_type": text | {"choices": ["DATABASE", "SCHEMA", *PART_OF_SCHEMA]},
                    "object": text,
                },
            },
        },
        supports_check_mode=True,
    )
    params, done = module.params, []
    where = f"{params['login']['user']} at {params['login']['host'] or params['login']['account']}"
    doing = "login"
    try:
        with connect(params["login"]) as connection:

            def read(sql: str) -> list[dict[str, Any]]:
                nonlocal doing
                doing = sql
                found: list[dict[str, Any]] = rows(connection, sql)
                return found

            statements = (plan_present if params["state"] == "present" else plan_absent)(read, params)
            if not module.check_mode:
                for statement in statements:
                    read(statement)
                    done.append(statement)
        module.exit_json(changed=bool(statements), statements=statements)
    except FAILURES as error:
        module.fail_json(
            msg=f"Snowflake, {where}: {error}", statement=doing, statements=done, changed=bool(done)
        )


if __name__ == "__main__":
    main()
