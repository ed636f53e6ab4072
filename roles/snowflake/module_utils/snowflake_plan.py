"""What is missing of a site's objects in Snowflake, as statements; pure but for the look-ups that it is given.

Everything that is made carries a comment, the mark of its site. What has one of our names and another comment is somebody
else's: see ``snowflake_marks``. A database of ours is ours with all that is in it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

IDENTIFIER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?", re.ASCII)
PRIVILEGE = re.compile(r"[A-Za-z]+( [A-Za-z]+)*", re.ASCII)
PART_OF_SCHEMA = ("TABLE", "VIEW")
#: Kinds of objects that carry a mark, in the order in which they are dropped.
KINDS = ("user", "warehouse", "database", "role")
#: Both keys of a user are accepted at login. https://docs.snowflake.com/en/user-guide/key-pair-auth
SLOTS = ("RSA_PUBLIC_KEY", "RSA_PUBLIC_KEY_2")
NOT_YET = "(the first run makes it)"

Row = dict[str, Any]
Read = Callable[[str], list[Row]]


class Statement(NamedTuple):
    """A statement and the role that runs it."""

    role: str
    sql: str


@dataclass(frozen=True)
class Roles:
    """Who does what, as Snowflake recommends: https://docs.snowflake.com/en/user-guide/security-access-control-overview"""

    objects: str = "SYSADMIN"
    users: str = "USERADMIN"
    grants: str = "SECURITYADMIN"
    account: str = "ACCOUNTADMIN"

    def of(self, kind: str) -> str:
        """The role that makes, changes and drops objects of a kind."""
        return self.users if kind in ("user", "role") else self.objects


@dataclass(frozen=True)
class Wanted:
    """What a site needs; see the module's documentation for the dictionaries."""

    mark: str
    databases: list[Row]
    warehouses: list[Row]
    users: list[Row]
    grants: list[Row]
    database_roles: list[Row]
    roles: Roles
    parent_role: str = "SYSADMIN"

    def names(self) -> Iterator[tuple[str, str]]:
        """Kind and name of every object that carries a mark; each once."""
        found = [("user", name(one["name"])) for one in self.users]
        found += [("role", name(one["role"])) for one in self.users]
        found += [("warehouse", name(one["name"])) for one in self.warehouses]
        found += [("database", name(one["name"])) for one in self.databases]
        return iter(dict.fromkeys(found))


def name(value: str) -> str:
    """An identifier in upper case, as Snowflake keeps it; ValueError for everything that needs quotes."""
    if not IDENTIFIER.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a plain Snowflake identifier: letters, digits and _, no digit first"
        )
    return value.upper()


def text(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def key_body(pem: str) -> str:
    """The base64 text between the markers of a PEM public key."""
    lines = [line.strip() for line in pem.strip().splitlines()]
    if len(lines) < 3 or lines[0] != "-----BEGIN PUBLIC KEY-----":
        raise ValueError("a user's public_key must be a PEM public key")
    return "".join(lines[1:-1])


def fingerprint(pem: str) -> str:
    """The fingerprint that DESCRIBE USER shows for a public key."""
    try:
        octets = base64.b64decode(key_body(pem), validate=True)
    except binascii.Error as error:
        raise ValueError(f"a user's public_key must be a PEM public key: {error}") from None
    return "SHA256:" + base64.b64encode(hashlib.sha256(octets).digest()).decode()


def there(read: Read) -> dict[tuple[str, str], Row]:
    """Every object that may carry a mark, by kind and name, as SHOW shows it to a role that may see them all."""
    return {(kind, str(row["name"])): row for kind in KINDS for row in read(f"show {kind}s")}


def marked(row: Row, mark: str) -> bool:
    """Whether a comment begins with the mark of this site; people may write more behind it."""
    return bool(re.match(re.escape(mark) + r"(?![\w-])", str(row.get("comment") or "").strip()))


# --- what is missing ------------------------------------------------------------------------------------------------


def plan_present(read: Read, wanted: Wanted, found: dict[tuple[str, str], Row]) -> list[Statement]:
    """Every statement that is missing, in an order that works. ``found`` is what ``there`` saw, all of it ours."""
    statements = list(_databases(read, wanted, found))
    statements += _warehouses(wanted, found)
    statements += _users(read, wanted, found)
    statements += _grants(read, wanted, found)
    return statements


def _databases(read: Read, wanted: Wanted, found: dict[tuple[str, str], Row]) -> Iterator[Statement]:
    for database in wanted.databases:
        db = name(database["name"])
        schemas: set[str] = set()
        if ("database", db) in found:
            schemas = {str(row["name"]) for row in read(f"show schemas in database {db}")}
        else:
            yield Statement(wanted.roles.objects, f"create database {db} comment = {text(wanted.mark)}")
        for schema in map(name, database["schemas"] or []):
            if schema not in schemas:
                yield Statement(
                    wanted.roles.objects, f"create schema {db}.{schema} comment = {text(wanted.mark)}"
                )


def _warehouses(wanted: Wanted, found: dict[tuple[str, str], Row]) -> Iterator[Statement]:
    for warehouse in wanted.warehouses:
        wh, size, idle = name(warehouse["name"]), name(warehouse["size"]), int(warehouse["auto_suspend"])
        settings = f"warehouse_size = {size} auto_suspend = {idle} auto_resume = true"
        row = found.get(("warehouse", wh))
        if row is None:
            made = (
                f"create warehouse {wh} {settings} initially_suspended = true comment = {text(wanted.mark)}"
            )
            yield Statement(wanted.roles.objects, made)
        elif (
            str(row["size"]).replace("-", "").upper(),
            str(row["auto_suspend"]),
            str(row.get("auto_resume", "true")).lower(),
        ) != (size, str(idle), "true"):
            yield Statement(wanted.roles.objects, f"alter warehouse {wh} set {settings}")


def _users(read: Read, wanted: Wanted, found: dict[tuple[str, str], Row]) -> Iterator[Statement]:
    by = wanted.roles.users
    parent = name(wanted.parent_role)
    parent_has = _granted(read(f"show grants to role {parent}")) if wanted.users else set()
    begun: set[str] = set()
    for user in wanted.users:
        who, role, warehouse = name(user["name"]), name(user["role"]), name(user["warehouse"])
        if role not in begun:
            begun.add(role)
            if ("role", role) not in found:
                yield Statement(by, f"create role {role} comment = {text(wanted.mark)}")
            if ("USAGE", "ROLE", role) not in parent_has:
                yield Statement(by, f"grant role {role} to role {parent}")
        settings = f"default_role = {role} default_warehouse = {warehouse}"
        has_role = False
        if ("user", who) not in found:
            key = key_body(user["public_key"]) if user["public_key"] else NOT_YET
            yield Statement(
                by,
                f"create user {who} type = service {settings} rsa_public_key = '{key}' comment = {text(wanted.mark)}",
            )
        else:
            described = describe(read, who)
            if (described.get("DEFAULT_ROLE"), described.get("DEFAULT_WAREHOUSE")) != (role, warehouse):
                yield Statement(by, f"alter user {who} set {settings}")
            if slot := free_slot(described, user["public_key"]):
                key = key_body(user["public_key"]) if user["public_key"] else NOT_YET
                yield Statement(by, f"alter user {who} set {slot.lower()} = '{key}'")
            has_role = role in {str(row["role"]) for row in read(f"show grants to user {who}")}
        if not has_role:
            yield Statement(by, f"grant role {role} to user {who}")


def describe(read: Read, user: str) -> dict[str, str]:
    """Properties of a user that are set."""
    rows = read(f"describe user {user}")
    return {
        str(row["property"]).upper(): str(row["value"])
        for row in rows
        if row["value"] is not None and str(row["value"]) not in ("", "null")
    }


def free_slot(described: dict[str, str], public_key: str) -> str:
    """Where a user's key goes: empty if it is in a slot already, else a free one, else the one that was set first.

    The key set last is the one that programs were given last, so it goes on being accepted.
    """
    fingerprints = {slot: described.get(f"{slot}_FP", "") for slot in SLOTS}
    if public_key and fingerprint(public_key) in fingerprints.values():
        return ""
    empty = [slot for slot in SLOTS if not fingerprints[slot]]
    return empty[0] if empty else min(SLOTS, key=lambda slot: described.get(f"{slot}_LAST_SET_TIME", ""))


def overlapping(read: Read, wanted: Wanted, found: dict[tuple[str, str], Row]) -> dict[str, str]:
    """The slot to empty of each user who has the given key and another one, by name."""
    slots = {}
    for user in wanted.users:
        who = name(user["name"])
        if ("user", who) not in found or not user["public_key"]:
            continue
        described = describe(read, who)
        held = {slot: described.get(f"{slot}_FP", "") for slot in SLOTS}
        own = fingerprint(user["public_key"])
        others = [slot for slot in SLOTS if held[slot] not in ("", own)]
        if own in held.values() and others:
            slots[who] = others[0]
    return slots


def _granted(rows: list[Row]) -> set[tuple[str, str, str]]:
    """Privilege, kind and name of every row of SHOW [FUTURE] GRANTS, names without quotes."""
    return {
        (
            str(row["privilege"]),
            str(row.get("granted_on") or row.get("grant_on")).replace(" ", "_"),
            str(row["name"]).replace('"', ""),
        )
        for row in rows
    }


def _grants(read: Read, wanted: Wanted, found: dict[tuple[str, str], Row]) -> Iterator[Statement]:
    """Privileges that a role lacks. Of tables and views, the future ones and each that is there are looked up."""
    by = wanted.roles.grants
    usage = [
        {"role": one["role"], "privileges": ["USAGE"], "object_type": "WAREHOUSE", "object": one["warehouse"]}
        for one in wanted.users
    ]
    _one_level(wanted.grants)
    now: dict[str, set[tuple[str, str, str]]] = {}
    future: dict[str, set[tuple[str, str, str]]] = {}

    def known(role: str) -> None:
        if role not in now:
            exists = ("role", role) in found
            now[role] = _granted(read(f"show grants to role {role}")) if exists else set()
            future[role] = _granted(read(f"show future grants to role {role}")) if exists else set()

    given: set[str] = set()

    def once(role: str, sql: str) -> Iterator[Statement]:
        if sql not in given:
            given.add(sql)
            yield Statement(role, sql)

    for grant in usage + wanted.grants:
        role, kind, target = name(grant["role"]), grant["object_type"], name(grant["object"])
        known(role)
        for privilege in grant["privileges"]:
            if not PRIVILEGE.fullmatch(privilege):
                raise ValueError(f"{privilege!r} is not a privilege")
            what = privilege.upper()
            if kind not in PART_OF_SCHEMA:
                if (what, kind, target) not in now[role]:
                    yield from once(by, f"grant {what} on {kind} {target} to role {role}")
                continue
            scope = f"{'schema' if '.' in target else 'database'} {target}"
            if (what, kind, f"{target}.<{kind}>") not in future[role]:
                yield from once(by, f"grant {what} on future {kind}S in {scope} to role {role}")
            if any((what, kind, one) not in now[role] for one in _objects(read, kind, scope, target, found)):
                yield from once(by, f"grant {what} on all {kind}S in {scope} to role {role}")
    for one in wanted.database_roles if wanted.roles.account else []:
        role, database_role = name(one["role"]), name(one["database_role"])
        known(role)
        if ("USAGE", "DATABASE_ROLE", database_role) not in now[role]:
            yield from once(wanted.roles.account, f"grant database role {database_role} to role {role}")


def _one_level(grants: list[Row]) -> None:
    """Refuse future grants on a database beside those on a schema of it: Snowflake ignores the first, whoever has them.

    https://docs.snowflake.com/en/sql-reference/sql/grant-privilege, under future grants
    """
    targets = {
        (one["object_type"], name(one["object"])) for one in grants if one["object_type"] in PART_OF_SCHEMA
    }
    for kind, target in sorted(targets):
        if "." in target and (kind, target.partition(".")[0]) in targets:
            raise ValueError(
                f"grants on the {kind}S of {target} would put those on all of {target.partition('.')[0]} out of force: "
                "name the database, or each schema"
            )


def _objects(
    read: Read, kind: str, scope: str, target: str, found: dict[tuple[str, str], Row]
) -> Iterator[str]:
    """Full names of the tables or views that are in a database or schema."""
    database, _, schema = target.partition(".")
    if ("database", database) not in found:
        return
    if schema and schema not in {str(row["name"]) for row in read(f"show schemas in database {database}")}:
        return
    for row in read(f"show {kind.lower()}s in {scope}"):
        if row["schema_name"] != "INFORMATION_SCHEMA":
            yield f"{row['database_name']}.{row['schema_name']}.{row['name']}"


# --- what goes ------------------------------------------------------------------------------------------------------


def plan_absent(
    wanted: Wanted, found: dict[tuple[str, str], Row], data: bool
) -> tuple[list[Statement], list[str]]:
    """Statements that drop what carries the mark, and what has our names without it and stays.

    A role goes with the databases: dropping it alone would hand the tables that it owns to the role that drops it, and the
    loader of a site that is made again could not write them. https://docs.snowflake.com/en/sql-reference/sql/drop-role
    """
    statements, kept = [], []
    for kind in KINDS:
        for what, one in wanted.names():
            if what != kind or (kind, one) not in found:
                continue
            if not marked(found[kind, one], wanted.mark):
                kept.append(f"{kind} {one}")
            elif data or kind not in ("role", "database"):
                statements.append(Statement(wanted.roles.of(kind), f"drop {kind} {one}"))
    return statements, kept
