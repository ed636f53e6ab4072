"""What there is in an account, who owns it and what was granted; kept in ``account.json`` beside the databases.

Objects have keys such as ``("TABLE", "RAW", "RETAIL", "SALES")``; tables and views share one name space.
Sources: https://docs.snowflake.com/en/user-guide/security-access-control-overview (roles, ownership),
https://docs.snowflake.com/en/user-guide/security-access-control-privileges (privileges).
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Key = tuple[str, ...]
ACCOUNT: Key = ("ACCOUNT",)
SNOWFLAKE: Key = ("DATABASE", "SNOWFLAKE")
# The one role of the database SNOWFLAKE that is here, https://docs.snowflake.com/en/sql-reference/snowflake-db-roles
USAGE_VIEWER: Key = ("DATABASE ROLE", "SNOWFLAKE", "USAGE_VIEWER")
ADMINISTRATOR = "ACCOUNTADMIN"
PUBLIC = "PUBLIC"
ADOPTER = "SYSADMIN"  # owner of objects of which nothing is known
# What a system role has: https://docs.snowflake.com/en/user-guide/security-access-control-overview
SYSTEM_ROLES: dict[str, tuple[str, ...]] = {
    ADMINISTRATOR: ("SYSADMIN", "SECURITYADMIN"),
    "SECURITYADMIN": ("USERADMIN",),
    "SYSADMIN": (),
    "USERADMIN": (),
    PUBLIC: (),
    "ORGADMIN": (),
}
SYSTEM_PRIVILEGES = {
    "SECURITYADMIN": ("MANAGE GRANTS",),
    "USERADMIN": ("CREATE USER", "CREATE ROLE"),
    "SYSADMIN": ("CREATE DATABASE", "CREATE WAREHOUSE"),
}
IN_SCHEMA = ("TABLE", "VIEW", "STAGE", "FILE FORMAT", "SEQUENCE")
_NOT_MADE: tuple[str, ...] = ("FUNCTION", "PROCEDURE", "PIPE", "STREAM", "TASK", "MATERIALIZED VIEW")
_NOT_MADE += (
    "DYNAMIC TABLE",
    "EXTERNAL TABLE",
    "ICEBERG TABLE",
    "TAG",
    "MASKING POLICY",
    "ROW ACCESS POLICY",
)
PRIVILEGES: dict[str, tuple[str, ...]] = {
    "ACCOUNT": (
        "CREATE DATABASE",
        "CREATE ROLE",
        "CREATE USER",
        "CREATE WAREHOUSE",
        "MANAGE GRANTS",
        "MONITOR USAGE",
    ),
    "DATABASE": ("CREATE SCHEMA", "MODIFY", "MONITOR", "USAGE"),
    "SCHEMA": (
        *(f"CREATE {kind}" for kind in (*IN_SCHEMA, *_NOT_MADE)),
        "CREATE TEMPORARY TABLE",
        "MODIFY",
        "MONITOR",
        "USAGE",
    ),
    "TABLE": ("DELETE", "EVOLVE SCHEMA", "INSERT", "REFERENCES", "SELECT", "TRUNCATE", "UPDATE"),
    "VIEW": ("REFERENCES", "SELECT"),
    "STAGE": ("READ", "USAGE", "WRITE"),
    "FILE FORMAT": ("USAGE",),
    "SEQUENCE": ("USAGE",),
    "WAREHOUSE": ("APPLYBUDGET", "MODIFY", "MONITOR", "OPERATE", "USAGE"),
    "ROLE": (),
    "USER": ("MONITOR",),
}


def space(kind: str) -> str:
    """The name space of a kind of object."""
    return "TABLE" if kind == "VIEW" else kind


def key_of(kind: str, names: Iterable[str]) -> Key:
    """The key of an object by its kind and its full name."""
    return (space(kind), *names)


def shown(names: Iterable[str]) -> str:
    """A full name as messages and SHOW write it."""
    return ".".join(
        name if name.replace("_", "A").isalnum() and name == name.upper() else '"' + name + '"'
        for name in names
    )


@dataclass
class Grant:
    """A privilege that a role has on an object."""

    privilege: str
    role: str
    option: bool = False
    by: str = ""
    at: float = 0.0


@dataclass
class Thing:
    """An object that somebody owns; ``reads`` are the tables and views that a view reads, by their keys."""

    kind: str
    owner: str
    at: float = 0.0
    comment: str = ""
    grants: list[Grant] = field(default_factory=list)
    reads: list[list[str]] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    changed: float = 0.0  # when rows were written or columns changed
    defined: float = 0.0  # when a statement of definition changed it


@dataclass(kw_only=True)
class Future(Grant):
    """A privilege on objects of a kind that will be made in a database or schema (``scope``)."""

    scope: list[str]
    kind: str


@dataclass
class Membership:
    """A role that a user has."""

    by: str = ""
    at: float = 0.0


class Account:
    """Everything of an account. Changes are made in ``with account.change():``, which saves them at its end."""

    def __init__(self, file: Path | None = None, name: str = "RETAILFLOW") -> None:
        self.file, self.name = file, name
        self.things: dict[Key, Thing] = {}
        self.members: dict[str, dict[str, Membership]] = {}  # roles of a user
        self.futures: list[Future] = []
        self.usage: dict[str, dict[str, float]] = {}  # credits of a warehouse by the start of the hour
        self.administrator = ""
        self.lock = threading.RLock()
        self._closures: dict[str, frozenset[str]] = {}
        if file and file.exists():
            self._load(json.loads(file.read_text()))
        self._seed()

    def change(self) -> _Change:
        """A change of the account, saved at the end of the block."""
        return _Change(self)

    # Roles

    def closure(self, role: str) -> frozenset[str]:
        """A role and all roles whose privileges it inherits; PUBLIC is in every one."""
        if (known := self._closures.get(role)) is None:
            found, todo = {PUBLIC}, [role]
            children: dict[str, list[str]] = {}
            for key, thing in list(self.things.items()):
                if key[0] == "ROLE":
                    for grant in thing.grants:
                        if grant.privilege == "USAGE":
                            children.setdefault(grant.role, []).append(key[1])
            while todo:
                one = todo.pop()
                if ("ROLE", one) in self.things and (one not in found or one == PUBLIC):
                    found.add(one)
                    if one != PUBLIC:
                        todo += children.get(one, [])
            known = self._closures[role] = frozenset(found)
        return known

    def roles_of(self, user: str) -> set[str]:
        """Roles that were granted to a user, with PUBLIC."""
        return {*self.members.get(user, {}), PUBLIC}

    def available_roles(self, user: str) -> set[str]:
        """Roles that a user may take on: those granted, and those that they inherit."""
        return {inherited for role in self.roles_of(user) for inherited in self.closure(role)}

    # Privileges

    def privileges(self, key: Key, roles: frozenset[str]) -> set[str]:
        """What roles have on an object; OWNERSHIP stands for everything."""
        thing = self.things.get(key)
        if thing is None:
            return set()
        found = {grant.privilege for grant in thing.grants if grant.role in roles}
        return found | {"OWNERSHIP"} if thing.owner in roles else found

    def has(self, key: Key, privilege: str, roles: frozenset[str]) -> bool:
        """Whether roles have a privilege on an object."""
        return bool({privilege, "OWNERSHIP"} & self.privileges(key, roles))

    def manages_grants(self, roles: frozenset[str]) -> bool:
        """Whether roles may grant everything to everybody."""
        return self.has(ACCOUNT, "MANAGE GRANTS", roles)

    def visible(self, key: Key, roles: frozenset[str]) -> bool:
        """Whether roles may know of an object: a privilege on it, and on its database and schema."""
        if key in self.things and self.manages_grants(roles):
            return True
        return all(self.privileges(one, roles) for one in (key, *parents(key)))

    # Objects

    def add(
        self, kind: str, names: Iterable[str], owner: str, copy: list[Grant] | None = None, **more: Any
    ) -> Thing:
        """A new object with the grants that apply to it, in the place of one of the same name."""
        key = key_of(kind, names)
        thing = self.things[key] = Thing(kind, owner, time.time(), **more)
        for future in self._futures_for(kind, key):
            if future.privilege == "OWNERSHIP":
                thing.owner = future.role
            else:
                self.grant(thing, future.privilege, future.role, future.option, future.by)
        for grant in copy or []:
            self.grant(thing, grant.privilege, grant.role, grant.option, grant.by)
        return thing

    def _futures_for(self, kind: str, key: Key) -> list[Future]:
        """Future grants for an object: those of its schema, else those of its database.

        https://docs.snowflake.com/en/sql-reference/sql/grant-privilege#considerations
        """
        scopes = [list(parent) for parent in parents(key)]
        for scope in reversed(scopes):
            if found := [one for one in self.futures if one.kind == kind and one.scope == scope]:
                return found
        return []

    @staticmethod
    def grant(thing: Thing, privilege: str, role: str, option: bool = False, by: str = "") -> None:
        """Give a privilege, once."""
        for grant in thing.grants:
            if (grant.privilege, grant.role) == (privilege, role):
                if option and not grant.option:
                    grant.option, grant.by = True, by
                return
        thing.grants.append(Grant(privilege, role, option, by, time.time()))

    def remove(self, key: Key) -> None:
        """Forget an object and everything in it."""
        self.things.pop(key, None)
        if key[0] in ("DATABASE", "SCHEMA"):
            for other in [one for one in self.things if key in parents(one)]:
                del self.things[other]
            inside = [list(key), *([["SCHEMA", key[1]]] if key[0] == "DATABASE" else [])]
            self.futures = [
                one for one in self.futures if not any(one.scope[: len(place)] == place for place in inside)
            ]
        elif key[0] == "ROLE":
            self._remove_role(key[1])
        elif key[0] == "USER":
            self.members.pop(key[1], None)

    def _remove_role(self, role: str) -> None:
        for thing in self.things.values():
            thing.grants = [grant for grant in thing.grants if grant.role != role]
        self.futures = [one for one in self.futures if one.role != role]
        for roles in self.members.values():
            roles.pop(role, None)

    def move(self, old: Key, new: Key) -> None:
        """An object gets another name; what was granted on it stays."""
        if thing := self.things.pop(old, None):
            self.things[new] = thing
        for other in self.things.values():
            other.reads = [list(new) if tuple(read) == old else read for read in other.reads]
        if old[0] == "ROLE":
            self._rename_role(old[1], new[1])
        elif old[0] == "USER" and old[1] in self.members:
            self.members[new[1]] = self.members.pop(old[1])

    def _rename_role(self, old: str, new: str) -> None:
        for thing in self.things.values():
            thing.owner = new if thing.owner == old else thing.owner
            for grant in thing.grants:
                grant.role = new if grant.role == old else grant.role
        for future in self.futures:
            future.role = new if future.role == old else future.role
        for roles in self.members.values():
            if old in roles:
                roles[new] = roles.pop(old)

    def swap(self, one: Key, other: Key) -> None:
        """Two tables change their names: grants and owner go with the table.

        https://docs.snowflake.com/en/sql-reference/sql/alter-table (SWAP WITH)
        """
        self.things[one], self.things[other] = self.things[other], self.things[one]

    def named(self, kind: str) -> Iterator[tuple[str, Thing]]:
        """Names and objects of the account of a kind, sorted by name."""
        found = [(key[1], thing) for key, thing in list(self.things.items()) if key[0] == kind]
        yield from sorted(found, key=lambda pair: pair[0])

    def adopt(self, found: set[Key], kinds: dict[Key, str]) -> None:
        """Take over objects that the databases hold, and forget those that they do not hold.

        What was not known belongs to SYSADMIN, as everything did before there were grants.
        """
        with self.change():
            kept = ("ACCOUNT", "ROLE", "USER", "WAREHOUSE", "DATABASE ROLE")
            for key in [one for one in self.things if one[0] not in kept and one != SNOWFLAKE]:
                if key not in found:
                    del self.things[key]
            for key in sorted(found - self.things.keys()):
                self.things[key] = Thing(kinds[key], ADOPTER, time.time())

    # On disk

    def save(self) -> None:
        """Write everything, all or nothing."""
        if not self.file:
            return
        state = {
            "format": 2,
            "things": [
                [list(key), {**vars(thing), "grants": [vars(grant) for grant in thing.grants]}]
                for key, thing in self.things.items()
            ],
            "members": {
                user: {role: vars(one) for role, one in roles.items()} for user, roles in self.members.items()
            },
            "futures": [vars(one) for one in self.futures],
            "usage": self.usage,
        }
        new = self.file.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(state))  # json.dump has no encoder in C
        new.replace(self.file)

    def _load(self, state: dict[str, Any]) -> None:
        """Read what was saved; of a release without grants, nothing but names of warehouses is of use."""
        if state.get("format") != 2:
            return
        for key, thing in state["things"]:
            grants = [Grant(**grant) for grant in thing.pop("grants")]
            self.things[tuple(key)] = Thing(**thing, grants=grants)
        self.members = {
            user: {role: Membership(**one) for role, one in roles.items()}
            for user, roles in state["members"].items()
        }
        self.futures = [Future(**one) for one in state["futures"]]
        self.usage = state["usage"]

    def _seed(self) -> None:
        """Roles and privileges that every account has."""
        self.things.setdefault(ACCOUNT, Thing("ACCOUNT", ADMINISTRATOR))
        self.things.setdefault(SNOWFLAKE, Thing("DATABASE", ADMINISTRATOR))
        self.things.setdefault(USAGE_VIEWER, Thing("DATABASE ROLE", ADMINISTRATOR))
        new = [role for role in SYSTEM_ROLES if ("ROLE", role) not in self.things]
        for role in new:
            self.things[("ROLE", role)] = Thing("ROLE", "")
        for role in new:
            for child in SYSTEM_ROLES[role]:
                self.grant(self.things[("ROLE", child)], "USAGE", role)
            for privilege in SYSTEM_PRIVILEGES.get(role, ()):
                self.grant(self.things[ACCOUNT], privilege, role)

    def make_administrator(self, user: str) -> None:
        """The user who logs in with the password of the settings; made where there is none, never disabled."""
        with self.change():
            thing = self.things.setdefault(
                ("USER", user), Thing("USER", ADMINISTRATOR, time.time(), settings={"TYPE": "PERSON"})
            )
            thing.settings.setdefault("DEFAULT_ROLE", ADMINISTRATOR)
            thing.settings.pop("DISABLED", None)
            self.members.setdefault(user, {}).setdefault(ADMINISTRATOR, Membership("", time.time()))
            self.administrator = user


class _Change:
    """Holds the lock while the account changes, and saves it after a change that did not fail."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def __enter__(self) -> Account:
        self._account.lock.acquire()
        return self._account

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self._account._closures = {}
            if kind is None:
                self._account.save()
        finally:
            self._account.lock.release()


def parents(key: Key) -> list[Key]:
    """The database and schema that an object lies in."""
    kind, names = key[0], key[1:]
    if kind == "SCHEMA":
        return [("DATABASE", names[0])]
    if kind in IN_SCHEMA and len(names) == 3:
        return [("DATABASE", names[0]), ("SCHEMA", names[0], names[1])]
    return []
