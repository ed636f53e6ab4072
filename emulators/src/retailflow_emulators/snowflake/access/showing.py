"""SHOW for users, roles, warehouses and grants, and DESCRIBE USER: columns as Snowflake's reference lists them.

https://docs.snowflake.com/en/sql-reference/sql/show-grants, show-users, show-roles, show-warehouses, desc-user.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..errors import NotEmulatedError
from . import login, metering
from .granting import KINDS, full
from .model import ACCOUNT, SNOWFLAKE, USAGE_VIEWER, Grant, Key, Thing, key_of, shown
from .who import Who, missing
from .words import Words, head

OURS = re.compile(
    r"show\s+(?:terse\s+)?(?:roles|warehouses|users|grants|future\s+grants)\b|(?:describe|desc)\s+user\b",
    re.IGNORECASE,
)
_OTHERS = "integrations|shares|resource monitors|network policies|secrets|streams|tasks|pipes|regions"
_OTHERS += "|managed accounts|replication|policies|organization|external|dynamic|database roles|application"
_OTHERS += "|tags|masking|delegated|locks|transactions"
_OTHER = re.compile(r"show\s+(" + _OTHERS.replace(" ", r"\s+") + r")\b", re.IGNORECASE)
Row = tuple[Any, ...]


@dataclass
class Table:
    """What a SHOW answers."""

    columns: list[str]
    rows: list[Row]


def run(
    sql: str, who: Who, place: tuple[str | None, str | None], warehouse: str | None, meter: metering.Meter
) -> Table | None:
    """Answer a statement; None for every other."""
    text = head(sql)
    if found := _OTHER.match(text):
        raise NotEmulatedError(f"SHOW {' '.join(found[1].upper().split())}")
    if not OURS.match(text):
        return None
    words = Words(text)
    if words.one_of("DESCRIBE", "DESC"):
        words.need("USER")
        name = words.name()
        words.end()
        return describe_user(who, name)
    words.need("SHOW")
    words.take("TERSE")
    if words.take("FUTURE", "GRANTS"):
        return _future_grants(words, who, place)
    if words.take("GRANTS"):
        return _grants(words, who, place)
    kind = words.one_of("ROLES", "WAREHOUSES", "USERS")
    like = re.compile(".*")
    if words.take("LIKE"):
        like = _like(words.value())
    starts = words.value() if words.take("STARTS", "WITH") else ""
    words.end()
    answer: dict[str, Callable[..., Table]] = {"ROLES": _roles, "USERS": _users, "WAREHOUSES": _warehouses}
    table = answer[kind](who, warehouse, meter)
    at = table.columns.index("name")
    table.rows = [row for row in table.rows if like.fullmatch(row[at]) and str(row[at]).startswith(starts)]
    return table


def _like(pattern: str) -> re.Pattern[str]:
    parts = {"%": ".*", "_": "."}
    return re.compile(
        "".join(parts.get(letter, re.escape(letter)) for letter in pattern), re.IGNORECASE | re.DOTALL
    )


def moment(at: float) -> datetime:
    """A moment as a timestamp with a zone."""
    return datetime.fromtimestamp(at, UTC)


def _roles(who: Who, *_: Any) -> Table:
    account, mine = who.account, who.account.available_roles(who.user)
    rows: list[Row] = []
    for name, thing in account.named("ROLE"):
        if name not in mine and not account.visible(("ROLE", name), who.roles):
            continue
        users = sum(name in roles for roles in account.members.values())
        to = sum(grant.privilege == "USAGE" for grant in thing.grants)
        of = sum(
            grant.role == name and grant.privilege == "USAGE"
            for _, other in account.named("ROLE")
            for grant in other.grants
        )
        default = account.things[("USER", who.user)].settings.get("DEFAULT_ROLE") == name
        inherited = name != who.role and name in who.primary
        marks = ["Y" if one else "N" for one in (default, name == who.role, inherited)]
        rows.append((moment(thing.at), name, *marks, users, to, of, thing.owner, thing.comment))
    names = "created_on name is_default is_current is_inherited assigned_to_users granted_to_roles granted_roles owner comment"
    return Table(names.split(), rows)


def _users(who: Who, *_: Any) -> Table:
    account, rows = who.account, []
    everything = account.manages_grants(who.roles)
    for name, thing in account.named("USER"):
        if not (everything or name == who.user or account.privileges(("USER", name), who.roles)):
            continue
        have = thing.settings.get
        rows.append(
            (
                name,
                moment(thing.at),
                have("LOGIN_NAME", name),
                have("DISPLAY_NAME", name),
                have("FIRST_NAME", ""),
                have("LAST_NAME", ""),
                have("EMAIL", ""),
                thing.comment,
                have("DISABLED", "false").lower(),
                have("DEFAULT_WAREHOUSE"),
                have("DEFAULT_NAMESPACE"),
                have("DEFAULT_ROLE"),
                _secondary(thing),
                thing.owner,
                str(name == account.administrator).lower(),
                str(any(have(key) for key in login.KEYS)).lower(),
                have("TYPE"),
            )
        )
    names = "name created_on login_name display_name first_name last_name email comment disabled default_warehouse"
    names += (
        " default_namespace default_role default_secondary_roles owner has_password has_rsa_public_key type"
    )
    return Table(names.split(), rows)


def _secondary(thing: Thing) -> str:
    return '["ALL"]' if login.secondary_roles(thing) else "[]"


def _warehouses(who: Who, current: str | None, meter: metering.Meter) -> Table:
    account, rows = who.account, []
    for name, thing in account.named("WAREHOUSE"):
        if not account.visible(("WAREHOUSE", name), who.roles):
            continue
        meter.settle(name)
        have = thing.settings.get
        runs = "RESUMED_AT" in thing.settings
        idle = int(have("AUTO_SUSPEND", "600"))
        rows.append(
            (
                name,
                "STARTED" if runs else "SUSPENDED",
                "STANDARD",
                metering.SHOWN[metering.SIZES.index(have("WAREHOUSE_SIZE", "XSMALL"))],
                1,
                1,
                1 if runs else 0,
                meter.running.get(name, 0),
                0,
                "Y" if account.things[("USER", who.user)].settings.get("DEFAULT_WAREHOUSE") == name else "N",
                "Y" if name == current else "N",
                idle or None,
                have("AUTO_RESUME", "TRUE").lower(),
                moment(thing.at),
                moment(float(have("RESUMED_AT", thing.at))),
                thing.owner,
                thing.comment,
                "null",
                "STANDARD",
                "ROLE",
            )
        )
    names = "name state type size min_cluster_count max_cluster_count started_clusters running queued is_default is_current"
    names += " auto_suspend auto_resume created_on resumed_on owner comment resource_monitor scaling_policy owner_role_type"
    return Table(names.split(), rows)


def describe_user(who: Who, name: str) -> Table:
    """Properties of a user, with the fingerprints of its keys."""
    account = who.account
    thing = account.things.get(("USER", name))
    sees = who.user == name or account.manages_grants(who.roles)
    if thing is None or not (sees or account.privileges(("USER", name), who.roles)):
        raise missing("USER", (name,))
    have = thing.settings.get

    def key(setting: str) -> str:
        return login.fingerprint(thing.settings[setting]) if have(setting) else "null"

    rows: list[Row] = [
        ("NAME", name, "null", "Name"),
        (
            "COMMENT",
            thing.comment or "null",
            "null",
            "user comment associated to an object in the dictionary",
        ),
        ("DISPLAY_NAME", have("DISPLAY_NAME", name), "null", "Display name of the associated object"),
        ("TYPE", have("TYPE", "null"), "null", "Type of user"),
        ("LOGIN_NAME", have("LOGIN_NAME", name), "null", "Login name of the user"),
        ("FIRST_NAME", have("FIRST_NAME", "null"), "null", "First name of the user"),
        ("LAST_NAME", have("LAST_NAME", "null"), "null", "Last name of the user"),
        ("EMAIL", have("EMAIL", "null"), "null", "Email address of the user"),
        ("DISABLED", have("DISABLED", "false").lower(), "false", "Whether the user is disabled"),
        ("DEFAULT_WAREHOUSE", have("DEFAULT_WAREHOUSE", "null"), "null", "Default warehouse for this user"),
        ("DEFAULT_NAMESPACE", have("DEFAULT_NAMESPACE", "null"), "null", "Default database namespace prefix"),
        ("DEFAULT_ROLE", have("DEFAULT_ROLE", "null"), "null", "Primary principal role of the user"),
        ("DEFAULT_SECONDARY_ROLES", _secondary(thing), '["ALL"]', "The secondary roles of a session"),
        ("RSA_PUBLIC_KEY", have("RSA_PUBLIC_KEY", "null"), "null", "RSA public key of the user"),
        ("RSA_PUBLIC_KEY_FP", key("RSA_PUBLIC_KEY"), "null", "Fingerprint of user's RSA public key."),
        ("RSA_PUBLIC_KEY_2", have("RSA_PUBLIC_KEY_2", "null"), "null", "Second RSA public key of the user"),
        (
            "RSA_PUBLIC_KEY_2_FP",
            key("RSA_PUBLIC_KEY_2"),
            "null",
            "Fingerprint of user's second RSA public key.",
        ),
    ]
    return Table(["property", "value", "default", "description"], rows)


_GRANTS = [
    "created_on",
    "privilege",
    "granted_on",
    "name",
    "granted_to",
    "grantee_name",
    "grant_option",
    "granted_by",
]


def _grants(words: Words, who: Who, place: tuple[str | None, str | None]) -> Table:
    if words.done:
        return _of_user(who, who.user)
    way = words.one_of("ON", "TO", "OF")
    if way == "ON":
        if words.take("ACCOUNT"):
            words.end()
            return Table(_GRANTS, list(_rows_of(ACCOUNT, who.account.things[ACCOUNT], who)))
        kind = words.one_of(*KINDS)
        if not kind:
            raise NotEmulatedError(f"SHOW GRANTS ON {words.peek()}")
        names = full(kind, words.path(), place)
        words.end()
        key = who.require(kind, names)
        return Table(_GRANTS, list(_rows_of(key, who.account.things[key], who)))
    if way == "TO" and words.take("USER"):
        name = words.name()
        words.end()
        if ("USER", name) not in who.account.things or not (
            name == who.user or who.account.manages_grants(who.roles)
        ):
            raise missing("USER", (name,))
        return _of_user(who, name)
    if way not in ("TO", "OF") or not words.take("ROLE"):
        raise NotEmulatedError(f"SHOW GRANTS {way} {words.peek()}")
    role = _role(words.name(), who)
    words.end()
    if way == "OF":
        return _of_role(who, role)
    found = [
        (key, thing, grant)
        for key, thing in sorted(who.account.things.items())
        for grant in _all(key, thing)
        if grant.role == role
    ]
    return Table(_GRANTS, [_row(key, thing, grant) for key, thing, grant in found])


def _role(name: str, who: Who) -> str:
    account = who.account
    if ("ROLE", name) not in account.things or not (
        name in account.available_roles(who.user) or account.visible(("ROLE", name), who.roles)
    ):
        raise missing("ROLE", (name,))
    return name


def _all(key: Key, thing: Thing) -> Iterable[Grant]:
    """Grants on an object, the ownership of its owner among them."""
    if thing.owner and key not in (ACCOUNT, SNOWFLAKE, USAGE_VIEWER):
        yield Grant("OWNERSHIP", thing.owner, True, thing.owner, thing.at)
    yield from thing.grants


def _row(key: Key, thing: Thing, grant: Grant) -> Row:
    name = shown(key[1:]) if len(key) > 1 else ""
    option = str(grant.option).lower()
    return (
        moment(grant.at),
        grant.privilege,
        thing.kind.replace(" ", "_"),
        name,
        "ROLE",
        grant.role,
        option,
        grant.by,
    )


def _rows_of(key: Key, thing: Thing, who: Who) -> Iterable[Row]:
    for grant in _all(key, thing):
        row = list(_row(key, thing, grant))
        row[3] = row[3] or who.account.name
        yield tuple(row)


def _of_user(who: Who, user: str) -> Table:
    rows = [
        (moment(one.at), role, "USER", user, one.by)
        for role, one in sorted(who.account.members.get(user, {}).items())
    ]
    return Table(["created_on", "role", "granted_to", "grantee_name", "granted_by"], rows)


def _of_role(who: Who, role: str) -> Table:
    account = who.account
    rows: list[Row] = [
        (moment(grant.at), role, "ROLE", grant.role, grant.by)
        for grant in account.things[("ROLE", role)].grants
        if grant.privilege == "USAGE"
    ]
    rows += [
        (moment(roles[role].at), role, "USER", user, roles[role].by)
        for user, roles in sorted(account.members.items())
        if role in roles
    ]
    return Table(["created_on", "role", "granted_to", "grantee_name", "granted_by"], rows)


def _future_grants(words: Words, who: Who, place: tuple[str | None, str | None]) -> Table:
    found = who.account.futures
    if words.take("IN"):
        kind = words.one_of("SCHEMA", "DATABASE")
        if not kind:
            raise words.wrong()
        names = full(kind, words.path(), place)
        who.require(kind, names)
        found = [one for one in found if one.scope == list(key_of(kind, names))]
    else:
        words.need("TO")
        words.need("ROLE")
        role = _role(words.name(), who)
        found = [one for one in found if one.role == role]
    words.end()
    rows: list[Row] = [
        (
            moment(one.at),
            one.privilege,
            one.kind.replace(" ", "_"),
            f"{shown(one.scope[1:])}.<{one.kind.replace(' ', '_')}>",
            "ROLE",
            one.role,
            str(one.option).lower(),
        )
        for one in found
    ]
    return Table(
        ["created_on", "privilege", "grant_on", "name", "grant_to", "grantee_name", "grant_option"], rows
    )
