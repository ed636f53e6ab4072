"""GRANT and REVOKE: roles, privileges on objects that are there, that will be made, and ownership.

https://docs.snowflake.com/en/sql-reference/sql/grant-privilege, grant-role, grant-ownership and revoke-privilege.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from ..errors import NotEmulatedError, sql_error
from .model import (
    ACCOUNT,
    IN_SCHEMA,
    PRIVILEGES,
    SNOWFLAKE,
    USAGE_VIEWER,
    Account,
    Future,
    Key,
    Membership,
    Thing,
    key_of,
    shown,
    space,
)
from .who import Who, missing, not_granted
from .words import Words, head

DONE = "Statement executed successfully."
OURS = re.compile(r"(?:grant|revoke)\b", re.IGNORECASE)
KINDS = (
    "FILE FORMAT",
    "DATABASE",
    "SCHEMA",
    "TABLE",
    "VIEW",
    "STAGE",
    "SEQUENCE",
    "WAREHOUSE",
    "USER",
    "ROLE",
)
_PLURALS = {f"{kind}S": kind for kind in ("SCHEMA", *IN_SCHEMA)}


@dataclass
class Target:
    """On what a privilege is granted: objects of one kind, or those that a scope will hold."""

    kind: str
    keys: list[Key] = field(default_factory=list)
    future: Key | None = None
    bulk: bool = False


def run(sql: str, who: Who, place: tuple[str | None, str | None]) -> str | None:
    """Run a statement and return what it answers; None for every other. ``place``: current database and schema."""
    text = head(sql)
    if not OURS.match(text):
        return None
    words = Words(text)
    revoke = words.one_of("GRANT", "REVOKE") == "REVOKE"
    option_only = revoke and words.take("GRANT", "OPTION", "FOR")
    if words.take("DATABASE", "ROLE"):
        return _database_role(words, who, revoke)
    if words.peek() == "ROLE":
        return _role(words, who, revoke)
    privileges = _privileges(words)
    words.need("ON")
    target = _target(words, who, place)
    words.need("FROM" if revoke else "TO")
    role = _grantee(words, who.account)
    if privileges == ["OWNERSHIP"] and not revoke:
        how = words.one_of("COPY CURRENT GRANTS", "REVOKE CURRENT GRANTS")
        words.end()
        return _ownership(who, target, role, how)
    option = not revoke and words.take("WITH", "GRANT", "OPTION")
    if revoke:
        words.one_of("CASCADE", "RESTRICT")
    words.end()
    chosen = _checked(privileges, target, revoke)
    with who.account.change():
        if target.future:
            _future(who, target, chosen, role, option, revoke)
        else:
            _now(who, target, chosen, role, option, revoke, option_only)
    return DONE


def _role(words: Words, who: Who, revoke: bool) -> str:
    words.need("ROLE")
    account, names = who.account, [words.name()]
    while words.take(","):
        names.append(words.name())
    words.need("FROM" if revoke else "TO")
    to = words.one_of("ROLE", "USER")
    if not to:
        raise words.wrong()
    grantee = words.name()
    words.end()
    for name in names:
        if ("ROLE", name) not in account.things:
            raise missing("ROLE", (name,))
    if (to, grantee) not in account.things:
        raise missing(to, (grantee,))
    for name in names:
        if not (account.manages_grants(who.roles) or account.things[("ROLE", name)].owner in who.roles):
            raise not_granted()
        if to == "ROLE" and not revoke and grantee in account.closure(name):
            # No source was found for this number and these words.
            raise sql_error(
                3065,
                "0A000",
                f"SQL execution error:\nRole '{grantee}' is granted to role '{name}': a cycle of roles is not allowed.",
            )
    with account.change():
        for name in names:
            thing = account.things[("ROLE", name)]
            if to == "USER":
                members = account.members.setdefault(grantee, {})
                if revoke:
                    members.pop(name, None)
                else:
                    members.setdefault(name, Membership(who.role, time.time()))
            elif revoke:
                thing.grants = [
                    one for one in thing.grants if (one.privilege, one.role) != ("USAGE", grantee)
                ]
            else:
                account.grant(thing, "USAGE", grantee, by=who.role)
    return DONE


def _database_role(words: Words, who: Who, revoke: bool) -> str:
    """``SNOWFLAKE.USAGE_VIEWER``, the only one."""
    key = ("DATABASE ROLE", *words.path())
    if key != USAGE_VIEWER:
        raise NotEmulatedError(f"database roles other than {shown(USAGE_VIEWER[1:])}")
    words.need("FROM" if revoke else "TO")
    words.need("ROLE")
    role = _grantee(words, who.account)
    words.end()
    thing = who.account.things[key]
    if not (thing.owner in who.roles or who.account.manages_grants(who.roles)):
        raise not_granted()
    with who.account.change() as account:
        thing.grants = [one for one in thing.grants if one.role != role]
        if not revoke:
            account.grant(thing, "USAGE", role, by=thing.owner)
    return DONE


def _privileges(words: Words) -> list[str]:
    found, current = [], ""
    while not words.done and words.peek() != "ON":
        if words.take(","):
            found.append(current)
            current = ""
        elif words.peek() == "(":
            raise NotEmulatedError("privileges on columns")
        else:
            current = f"{current} {words.name()}".strip()
    found.append(current)
    if not all(found):
        raise words.wrong()
    return ["ALL" if one == "ALL PRIVILEGES" else one for one in found]


def _target(words: Words, who: Who, place: tuple[str | None, str | None]) -> Target:
    if words.take("ACCOUNT"):
        return Target("ACCOUNT", [ACCOUNT])
    which = words.one_of("ALL", "FUTURE")
    if not which:
        kind = words.one_of(*KINDS)
        if not kind:
            raise NotEmulatedError(f"grants on a {words.peek() or 'name'} without its kind")
        names = full(kind, words.path(), place)
        key = key_of(kind, names)
        thing = who.account.things.get(key)
        if thing is None or not (
            who.account.privileges(key, who.roles) or who.account.manages_grants(who.roles)
        ):
            raise missing(kind, names)
        return Target(thing.kind if kind in ("TABLE", "VIEW") else kind, [key])
    kind = _PLURALS.get(words.one_of(*_PLURALS), "")
    if not kind:
        raise NotEmulatedError(f"grants on {which} {words.peek()}")
    words.need("IN")
    scope_kind = words.one_of("DATABASE", "SCHEMA")
    if not scope_kind or (kind, scope_kind) == ("SCHEMA", "SCHEMA"):
        raise words.wrong()
    scope = key_of(scope_kind, full(scope_kind, words.path(), place))
    if scope not in who.account.things or not (
        who.account.privileges(scope, who.roles) or who.account.manages_grants(who.roles)
    ):
        raise missing(scope_kind, scope[1:])
    if which == "FUTURE":
        return Target(kind, future=scope)
    inside = [
        key
        for key, thing in list(who.account.things.items())
        if thing.kind == kind and key[1 : len(scope)] == scope[1:] and len(key) > len(scope)
    ]
    return Target(kind, inside, bulk=True)


def full(kind: str, names: tuple[str, ...], place: tuple[str | None, str | None]) -> tuple[str, ...]:
    """A full name, with the current database and schema where they are left out."""
    length = 3 if kind in IN_SCHEMA else 2 if kind == "SCHEMA" else 1
    if len(names) > length:
        raise missing(kind, names)
    before = place[: length - len(names)] if length > 1 else ()
    if None in before:
        missed = "schema" if before[0] else "database"
        raise sql_error(
            90106 if before[0] else 90105,
            "22000",
            f"Cannot perform operation. This session does not have a current {missed}. "
            f"Call 'USE {missed.upper()}', or use a qualified name.",
        )
    return (*(str(one) for one in before), *names)


def _grantee(words: Words, account: Account) -> str:
    if words.peek() in ("USER", "SHARE", "APPLICATION", "DATABASE"):
        raise NotEmulatedError(f"privileges of a {words.peek().lower()}: grant them to a role")
    if words.peek() == "ROLE" and words.peek(1) not in ("WITH", "COPY", "REVOKE", "CASCADE", "RESTRICT"):
        words.take("ROLE")
    role = words.name()
    if ("ROLE", role) not in account.things:
        raise missing("ROLE", (role,))
    return role


def _checked(privileges: list[str], target: Target, revoke: bool) -> list[str]:
    """The privileges, which the kind of object must know."""
    known = PRIVILEGES[target.kind]
    if target.keys == [SNOWFLAKE]:
        if privileges != ["IMPORTED PRIVILEGES"]:
            raise sql_error(
                3000,
                "0A000",
                "SQL compilation error:\nGranting individual privileges on imported database is not allowed. "
                "Use 'GRANT IMPORTED PRIVILEGES' instead.",
            )
        return ["USAGE"]
    if privileges == ["ALL"]:
        return list(known)
    for privilege in privileges:
        if privilege == "OWNERSHIP" and (revoke or len(privileges) > 1):
            raise NotEmulatedError("OWNERSHIP among other privileges, or revoked: grant it to another role")
        if privilege not in known and not (privilege == "OWNERSHIP" and target.future):
            # No source was found for this number and these words.
            raise sql_error(
                3008,
                "42501",
                f"SQL compilation error:\nInvalid privilege '{privilege}' on {target.kind.lower()}, or not emulated.",
            )
    return privileges


def _authority(who: Who, thing: Thing, privilege: str) -> str | None:
    """The role in whose name a privilege is granted; None where nobody's name will do."""
    if thing.owner in who.roles:
        return thing.owner
    for grant in thing.grants:
        if grant.privilege == privilege and grant.option and grant.role in who.roles:
            return grant.role
    return thing.owner if who.account.manages_grants(who.roles) else None


def _now(
    who: Who,
    target: Target,
    privileges: list[str],
    role: str,
    option: bool,
    revoke: bool,
    option_only: bool,
) -> None:
    allowed = 0
    for key in target.keys:
        thing = who.account.things[key]
        for privilege in privileges:
            by = _authority(who, thing, privilege)
            if by is None:
                continue
            allowed += 1
            if not revoke:
                who.account.grant(thing, privilege, role, option, by)
                continue
            for grant in [one for one in thing.grants if (one.privilege, one.role) == (privilege, role)]:
                grant.option = False
                if not option_only:
                    thing.grants.remove(grant)
    if target.keys and not allowed:
        raise not_granted()


def _future(who: Who, target: Target, privileges: list[str], role: str, option: bool, revoke: bool) -> None:
    scope = target.future
    assert scope
    owner = who.account.things[scope].owner in who.roles and scope[0] == "SCHEMA"
    if not (who.account.manages_grants(who.roles) or owner):
        raise not_granted()
    for privilege in privileges:
        same = (list(scope), target.kind, privilege, role)
        others = [
            one for one in who.account.futures if (one.scope, one.kind, one.privilege, one.role) != same
        ]
        if not revoke:
            others.append(
                Future(
                    scope=list(scope),
                    kind=target.kind,
                    privilege=privilege,
                    role=role,
                    option=option,
                    by=who.role,
                    at=time.time(),
                )
            )
        who.account.futures = others


def _ownership(who: Who, target: Target, role: str, how: str) -> str:
    account = who.account
    if target.kind == "ACCOUNT" or SNOWFLAKE in target.keys:
        raise not_granted()
    with account.change():
        if target.future:
            _future(who, target, ["OWNERSHIP"], role, False, False)
            return DONE
        for key in target.keys:
            thing = account.things[key]
            if not (thing.owner in who.roles or account.manages_grants(who.roles)) or thing.owner == "":
                raise not_granted()
            others = [one for one in thing.grants if one.role != role and space(target.kind) != "ROLE"]
            if others and not how:
                # 003036 (23001) with these words stands in issue 1942 of snowflakedb/terraform-provider-snowflake and in
                # scripts that quote it.
                raise sql_error(
                    3036,
                    "23001",
                    f"SQL execution error:\nDependent grant of privilege '{others[0].privilege}' on securable "
                    f"'{'.'.join(key[1:])}' to role '{others[0].role}' exists.  It must be revoked first.  More than one "
                    "dependent grant may exist: use 'SHOW GRANTS' command to view them.  To revoke all dependent grants "
                    "while transferring object ownership, use convenience command 'GRANT OWNERSHIP ON <target_objects> TO "
                    "<target_role> REVOKE CURRENT GRANTS'.",
                )
        for key in target.keys:
            thing = account.things[key]
            if how.startswith("REVOKE") and target.kind != "ROLE":
                thing.grants = []
            for grant in thing.grants:
                grant.by = role if grant.by == thing.owner else grant.by
            thing.owner = role
    return DONE
