"""CREATE, ALTER, DROP, USE and COMMENT for users, roles, warehouses, and comments of databases and schemas."""

from __future__ import annotations

import re
import time

from snowflake.connector.errors import ProgrammingError

from ..errors import NotEmulatedError, sql_error
from . import login, metering
from .model import SYSTEM_ROLES, Account, Key, Thing, key_of
from .who import Who, exists, insufficient, missing, unusable
from .words import Words, head

DONE = "Statement executed successfully."
OURS = re.compile(
    r"(?:create(?:\s+or\s+replace)?|alter|drop|use|comment(?:\s+if\s+exists)?\s+on)\s+(?:user|role|warehouse|secondary)\b"
    r"|alter\s+(?:database|schema)\b|comment(?:\s+if\s+exists)?\s+on\s+(?:database|schema)\b",
    re.IGNORECASE,
)
_USER = {
    "LOGIN_NAME",
    "DISPLAY_NAME",
    "FIRST_NAME",
    "LAST_NAME",
    "EMAIL",
    "DISABLED",
    "COMMENT",
    "TYPE",
    "DEFAULT_ROLE",
    "DEFAULT_WAREHOUSE",
    "DEFAULT_NAMESPACE",
    "DEFAULT_SECONDARY_ROLES",
    "RSA_PUBLIC_KEY",
    "RSA_PUBLIC_KEY_2",
}
_WAREHOUSE = {"WAREHOUSE_SIZE", "AUTO_SUSPEND", "AUTO_RESUME", "INITIALLY_SUSPENDED", "COMMENT"}
# Settings that only say how many clusters there are: one, which is what there is.
_WAREHOUSE_FIXED = {
    "WAREHOUSE_TYPE": "STANDARD",
    "MIN_CLUSTER_COUNT": "1",
    "MAX_CLUSTER_COUNT": "1",
    "SCALING_POLICY": "STANDARD",
}
_TYPES = ("PERSON", "SERVICE", "LEGACY_SERVICE")
_BOOLEAN = ("TRUE", "FALSE")


class Session:
    """What of a session these statements change: its roles and its warehouse."""

    who: Who
    warehouse: str | None

    @property
    def current_database(self) -> str | None:
        """The current database."""
        raise NotImplementedError


def run(sql: str, session: Session, meter: metering.Meter) -> str | None:
    """Run a statement and return what it answers; None for every other statement."""
    text = head(sql)
    if not OURS.match(text):
        return None
    words = Words(text)
    verb = words.one_of("CREATE", "ALTER", "DROP", "USE", "COMMENT")
    if verb == "USE":
        return _use(words, session)
    if verb == "COMMENT":
        return _comment(words, session)
    replace = verb == "CREATE" and words.take("OR", "REPLACE")
    kind = words.one_of("USER", "ROLE", "WAREHOUSE", "DATABASE", "SCHEMA")
    if kind in ("DATABASE", "SCHEMA"):
        return _alter_container(words, session, kind)
    if verb == "CREATE":
        return _create(words, session.who, kind, replace, meter)
    if_exists = words.take("IF", "EXISTS")
    if verb == "ALTER" and kind == "WAREHOUSE" and words.peek() in ("SUSPEND", "RESUME", "SET", "UNSET"):
        name = session.warehouse
        if name is None:
            raise sql_error(2043, "02000", "SQL compilation error:\nNo warehouse is selected.")
    else:
        name = words.name()
    if (kind, name) not in session.who.account.things:
        if if_exists:
            return "Drop statement executed successfully." if verb == "DROP" else DONE
        raise missing(kind, (name,))
    if verb == "DROP":
        words.end()
        return _drop(session.who, kind, name, meter)
    return _alter(words, session.who, kind, name, meter)


def _use(words: Words, session: Session) -> str:
    who, account = session.who, session.who.account
    if words.take("SECONDARY", "ROLES"):
        chosen = words.one_of("ALL", "NONE")
        if not chosen:
            raise NotEmulatedError("USE SECONDARY ROLES with names: use ALL or NONE")
        words.end()
        who.secondary = chosen == "ALL"
        return DONE
    kind = words.one_of("ROLE", "WAREHOUSE")
    if not kind:
        raise words.wrong()
    name = words.name()
    words.end()
    if kind == "WAREHOUSE":
        if not account.visible(("WAREHOUSE", name), who.roles):
            raise unusable()
        session.warehouse = name
        return DONE
    if ("ROLE", name) not in account.things:
        raise unusable()
    if name not in account.available_roles(who.user):
        raise sql_error(
            3013,
            "42501",
            f"SQL access control error:\nRequested role '{name}' is not assigned to the executing user. "
            "Specify another role to activate.",
        )
    who.role = name
    return DONE


def _create(words: Words, who: Who, kind: str, replace: bool, meter: metering.Meter) -> str:
    if_not_exists = words.take("IF", "NOT", "EXISTS")
    name = words.name()
    words.take("WITH")
    settings = words.settings()
    who.require_on_account(f"CREATE {kind}")
    key = (kind, name)
    with who.account.change() as account:
        if key in account.things:
            if if_not_exists:
                return f"{name} already exists, statement succeeded."
            if not replace:
                raise exists(kind, name)
            _refuse_system(kind, name, account)
            who.require(kind, (name,), "OWNERSHIP")
            account.remove(key)
        thing = Thing(kind, who.role, time.time())
        thing.comment = settings.pop("COMMENT", "")
        checked = _settings(kind, settings, account, key)
        suspended = checked.pop("INITIALLY_SUSPENDED", "FALSE") == "TRUE"
        thing.settings |= checked
        if kind == "WAREHOUSE":
            numbers = [int(one.settings.get("NUMBER", "0")) for _, one in account.named("WAREHOUSE")]
            thing.settings["NUMBER"] = str(max(numbers, default=0) + 1)
        account.things[key] = thing
        if kind == "WAREHOUSE" and not suspended:
            meter.resume(name)
    return f"{kind.capitalize()} {name} successfully created."


def _drop(who: Who, kind: str, name: str, meter: metering.Meter) -> str:
    account, key = who.account, (kind, name)
    _refuse_system(kind, name, account)
    who.require(kind, (name,), "OWNERSHIP")
    with account.change():
        if kind == "WAREHOUSE":
            meter.suspend(name)
        if kind == "ROLE":
            # Objects pass to the role that drops theirs: https://docs.snowflake.com/en/sql-reference/sql/drop-role
            for thing in account.things.values():
                if thing.owner == name:
                    thing.owner = who.role
        account.remove(key)
    return f"{name} successfully dropped."


def _alter(words: Words, who: Who, kind: str, name: str, meter: metering.Meter) -> str:
    account, key = who.account, (kind, name)
    if words.take("RENAME", "TO"):
        new = words.name()
        words.end()
        _refuse_system(kind, name, account)
        who.require(kind, (name,), "OWNERSHIP")
        with account.change():
            if (kind, new) in account.things:
                raise exists(kind, new)
            account.move(key, (kind, new))
        return DONE
    if kind == "WAREHOUSE" and (verb := words.one_of("SUSPEND", "RESUME", "ABORT ALL QUERIES")):
        words.take("IF", "SUSPENDED")
        words.end()
        who.require(kind, (name,), "OPERATE")
        return _operate(verb, name, account, meter)
    if words.take("UNSET"):
        changes = dict.fromkeys(_names(words), "")
    else:
        words.need("SET")
        changes = words.settings()
    if set(changes) != {"COMMENT"} or kind != "WAREHOUSE":
        who.require(kind, (name,), *(["MODIFY"] if kind == "WAREHOUSE" else ["OWNERSHIP"]))
    else:
        who.require(kind, (name,), "MODIFY")
    if kind == "USER" and name == account.administrator and {"DISABLED", "LOGIN_NAME"} & set(changes):
        raise NotEmulatedError("another name for, or the end of, the administrator of the settings")
    with account.change():
        thing = account.things[key]
        if "COMMENT" in changes:
            thing.comment = changes.pop("COMMENT")
        unset = {setting for setting, value in changes.items() if not value}
        checked = _settings(kind, {k: v for k, v in changes.items() if v}, account, key)
        known = {"USER": _USER, "WAREHOUSE": _WAREHOUSE}.get(kind, set())
        if unknown := unset - known:
            raise _no_such(sorted(unknown)[0])
        if kind == "WAREHOUSE" and "WAREHOUSE_SIZE" in checked:
            meter.resize(name)
        thing.settings |= checked
        for setting in unset:
            thing.settings.pop(setting, None)
    return DONE


def _operate(verb: str, name: str, account: Account, meter: metering.Meter) -> str:
    meter.settle(name)
    settings = account.things[("WAREHOUSE", name)].settings
    if verb == "SUSPEND":
        if "RESUMED_AT" not in settings:
            # The words: server/drivers of jitsucom/jitsu, which waits for them. No source was found for the number.
            raise sql_error(90064, "22000", f"Invalid state. Warehouse '{name}' cannot be suspended.")
        meter.suspend(name)
    elif verb == "RESUME":
        meter.resume(name)
    else:
        raise NotEmulatedError("ABORT ALL QUERIES")
    return DONE


def _names(words: Words) -> list[str]:
    names = [words.name()]
    while not words.done:
        words.take(",")
        names.append(words.name())
    return names


def _settings(kind: str, settings: dict[str, str], account: Account, key: Key) -> dict[str, str]:
    """Settings that hold, or the error of the first that does not."""
    checked: dict[str, str] = {}
    for name, value in settings.items():
        if kind == "USER":
            checked[name] = _user_setting(name, value, account, key)
        elif kind == "WAREHOUSE":
            if name in _WAREHOUSE_FIXED:
                if value.upper() != _WAREHOUSE_FIXED[name]:
                    raise NotEmulatedError(f"{name} = {value}")
            else:
                checked[name] = _warehouse_setting(name, value)
        else:
            raise _no_such(name)
    return checked


def _user_setting(name: str, value: str, account: Account, key: Key) -> str:
    if name in ("PASSWORD", "MUST_CHANGE_PASSWORD"):
        raise NotEmulatedError("passwords, but that of the administrator: set RSA_PUBLIC_KEY")
    if name not in _USER:
        raise NotEmulatedError(f"the property {name} of a user")
    if name in login.KEYS:
        try:
            login.public_key(value)
        except ValueError as error:
            raise sql_error(
                2049,
                "42601",
                f"SQL compilation error:\nNew public key rejected by current policy. Reason: {error}",
            ) from None
        return "".join(line.strip() for line in value.splitlines() if "-----" not in line)
    if name == "TYPE":
        return _choice(name, value, _TYPES)
    if name == "DISABLED":
        return _choice(name, value, _BOOLEAN)
    if name == "LOGIN_NAME":
        taken = [
            other
            for other, thing in account.named("USER")
            if thing.settings.get("LOGIN_NAME", other).upper() == value.upper() and ("USER", other) != key
        ]
        if taken:
            raise exists("USER", value.upper())
    if name in ("LOGIN_NAME", "DEFAULT_ROLE", "DEFAULT_WAREHOUSE", "DEFAULT_NAMESPACE"):
        return value.upper()
    return value


def _warehouse_setting(name: str, value: str) -> str:
    if name not in _WAREHOUSE:
        raise NotEmulatedError(f"the property {name} of a warehouse")
    if name == "WAREHOUSE_SIZE":
        if not (known := metering.size(value)):
            raise _bad_value(name, value)
        return known
    if name == "AUTO_SUSPEND":
        value = "0" if value.upper() == "NULL" else value
        if not value.isdigit():
            raise _bad_value(name, value)
        return value
    if name in ("AUTO_RESUME", "INITIALLY_SUSPENDED"):
        return _choice(name, value, _BOOLEAN)
    return value


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value.upper() not in allowed:
        raise _bad_value(name, value)
    return value.upper()


def _bad_value(name: str, value: str) -> ProgrammingError:
    return sql_error(1008, "22023", f"SQL compilation error:\ninvalid value [{value}] for parameter '{name}'")


def _no_such(name: str) -> ProgrammingError:
    return sql_error(1006, "22023", f"SQL compilation error:\ninvalid property '{name}'")


def _refuse_system(kind: str, name: str, account: Account) -> None:
    """What an account cannot be without."""
    if (kind == "ROLE" and name in SYSTEM_ROLES) or (kind == "USER" and name == account.administrator):
        raise insufficient(kind, (name,))


def _alter_container(words: Words, session: Session, kind: str) -> str:
    """``ALTER DATABASE|SCHEMA … SET|UNSET COMMENT``; nothing else is emulated."""
    if_exists = words.take("IF", "EXISTS")
    names = words.path()
    unset = words.take("UNSET")
    if not unset and not words.take("SET"):
        raise NotEmulatedError(f"ALTER {kind} other than SET or UNSET COMMENT")
    changes = dict.fromkeys(_names(words), "") if unset else words.settings()
    if set(changes) != {"COMMENT"}:
        raise NotEmulatedError(f"ALTER {kind} other than SET or UNSET COMMENT")
    return _set_comment(session, kind, names, changes["COMMENT"], if_exists)


def _comment(words: Words, session: Session) -> str:
    if_exists = words.take("IF", "EXISTS")
    words.need("ON")
    kind = words.one_of("USER", "ROLE", "WAREHOUSE", "DATABASE", "SCHEMA")
    names = words.path()
    words.need("IS")
    comment = words.value()
    words.end()
    return _set_comment(session, kind, names, comment, if_exists)


def _set_comment(session: Session, kind: str, names: tuple[str, ...], comment: str, if_exists: bool) -> str:
    who = session.who
    if kind == "SCHEMA" and len(names) == 1:
        if session.current_database is None:
            raise missing(kind, names)
        names = (session.current_database, *names)
    if key_of(kind, names) not in who.account.things and if_exists:
        return DONE
    key = who.require(kind, names, "MODIFY" if kind in ("WAREHOUSE", "DATABASE", "SCHEMA") else "OWNERSHIP")
    with who.account.change() as account:
        account.things[key].comment = comment
    return DONE
