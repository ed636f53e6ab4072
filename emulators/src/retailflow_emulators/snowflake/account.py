"""Roles, warehouses and users by name: made, dropped and shown. What they may do is not enforced.

They are kept in ``account.json`` beside the databases.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import NotEmulatedError, sql_error
from .quoting import literal

_NAME = r'(?:[\w$]+|"(?:[^"]|"")+")'
_CREATE = re.compile(
    rf"\s*create\s+(?P<replace>or\s+replace\s+)?(?P<kind>role|warehouse|user)\s+(?P<exists>if\s+not\s+exists\s+)?(?P<name>{_NAME})(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_ALTER = re.compile(
    rf"\s*alter\s+(?P<kind>role|warehouse|user)\s+(?P<exists>if\s+exists\s+)?(?P<name>{_NAME})(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_DROP = re.compile(
    rf"\s*drop\s+(?P<kind>role|warehouse|user)\s+(?P<exists>if\s+exists\s+)?(?P<name>{_NAME})\s*;?\s*$",
    re.IGNORECASE,
)
_SHOW = re.compile(
    r"\s*show\s+(?:terse\s+)?(?P<kind>roles|warehouses|users)(?:\s+like\s+'(?P<like>(?:[^']|'')*)')?\s*;?\s*$",
    re.IGNORECASE,
)
_OTHERS = [
    "grants",
    "integrations",
    "shares",
    r"resource\s+monitors",
    r"network\s+policies",
    "secrets",
    "streams",
]
_OTHERS += ["tasks", "pipes", "regions", r"replication\s+\w+", r"managed\s+accounts"]
_OTHER_SHOW = re.compile(rf"\s*show\s+(?:future\s+)?({'|'.join(_OTHERS)})\b", re.IGNORECASE)
_OPTION = re.compile(r"(\w+)\s*=\s*('(?:[^']|'')*'|\"[^\"]*\"|[^\s,;]+)")
# https://docs.snowflake.com/en/user-guide/security-access-control-overview
SYSTEM_ROLES = ("ACCOUNTADMIN", "ORGADMIN", "PUBLIC", "SECURITYADMIN", "SYSADMIN", "USERADMIN")
_SIZES = {"XSMALL": "X-Small", "SMALL": "Small", "MEDIUM": "Medium", "LARGE": "Large", "XLARGE": "X-Large"}


def plain(name: str) -> str:
    """A name as it is stored: upper case unless it is quoted."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.upper()


@dataclass
class Account:
    """Objects of the account by kind and name, with what was set for them."""

    file: Path | None = None
    objects: dict[str, dict[str, dict[str, str]]] = field(
        default_factory=lambda: {"role": {}, "warehouse": {}, "user": {}}
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def at(cls, folder: Path) -> Account:
        """The account whose databases lie in this folder."""
        file = folder / "account.json"
        return cls(file, json.loads(file.read_text())) if file.exists() else cls(file)

    def run(self, command: str) -> str | None:
        """Run a statement about an object of the account and return what it answers; None for other statements."""
        if found := _CREATE.match(command):
            return self._create(found)
        if found := _DROP.match(command):
            return self._drop(found)
        if found := _ALTER.match(command):
            return self._alter(found)
        return None

    def shown(self, command: str, current: str | None) -> str | None:
        """The query for a SHOW statement about such objects; None for other statements."""
        if found := _OTHER_SHOW.match(command):
            raise NotEmulatedError(f"SHOW {' '.join(found[1].upper().split())}")
        if not (found := _SHOW.match(command)):
            return None
        kind = found["kind"].lower()[:-1]
        names = sorted({*self.objects[kind], *(SYSTEM_ROLES if kind == "role" else ())})
        rows = [_row(kind, name, self.objects[kind].get(name, {}), name == current) for name in names]
        columns = _row(kind, "", {}, False)
        values = ", ".join("(" + ", ".join(map(_value, row.values())) + ")" for row in rows or [columns])
        listed = ", ".join(f'"{column}"' for column in columns)
        like = (
            f" and name ilike {literal(found['like'].replace(chr(39) * 2, chr(39)))}" if found["like"] else ""
        )
        return f"select * from (values {values}) as shown({listed}) where {'true' if rows else 'false'}{like}"

    def _create(self, found: re.Match[str]) -> str:
        kind, name = found["kind"].lower(), plain(found["name"])
        with self._lock:
            there = name in self.objects[kind] or (kind == "role" and name in SYSTEM_ROLES)
            if there and found["exists"]:
                return f"{name} already exists, statement succeeded."
            if there and not found["replace"]:
                raise sql_error(2002, "42710", f"SQL compilation error:\nObject '{name}' already exists.")
            self.objects[kind][name] = _options(found["rest"])
            self._save()
        return f"{kind.title()} {name} successfully created."

    def _drop(self, found: re.Match[str]) -> str:
        kind, name = found["kind"].lower(), plain(found["name"])
        with self._lock:
            if name not in self.objects[kind]:
                if found["exists"]:
                    return "Drop statement executed successfully."
                raise _unknown(kind, name)
            del self.objects[kind][name]
            self._save()
        return f"{name} successfully dropped."

    def _alter(self, found: re.Match[str]) -> str:
        kind, name = found["kind"].lower(), plain(found["name"])
        with self._lock:
            if name not in self.objects[kind]:
                if found["exists"] or (kind == "role" and name in SYSTEM_ROLES):
                    return "Statement executed successfully."
                raise _unknown(kind, name)
            if renamed := re.match(rf"\s+rename\s+to\s+({_NAME})", found["rest"], re.IGNORECASE):
                self.objects[kind][plain(renamed[1])] = self.objects[kind].pop(name)
            else:
                self.objects[kind][name] |= _options(found["rest"])
            self._save()
        return "Statement executed successfully."

    def _save(self) -> None:
        if self.file:
            new = self.file.with_suffix(".new")
            new.write_text(json.dumps(self.objects, indent=1, sort_keys=True))
            new.replace(self.file)


def _unknown(kind: str, name: str) -> Exception:
    return sql_error(
        2003, "02000", f"SQL compilation error:\n{kind.title()} '{name}' does not exist or not authorized."
    )


def _options(text: str) -> dict[str, str]:
    """What is set, without secrets."""
    found = {name.lower(): value.strip("'\"") for name, value in _OPTION.findall(text)}
    return {name: value for name, value in found.items() if name != "password"}


def _value(value: Any) -> str:
    if isinstance(value, int):
        return str(value)
    return "null::varchar" if value is None else f"{literal(value)}::varchar"


def _row(kind: str, name: str, options: dict[str, str], current: bool) -> dict[str, Any]:
    """The columns that a role of this project or a client reads, with Snowflake's names."""
    common = {"created_on": "1970-01-01 00:00:00.000 Z", "name": name}
    comment, mark = options.get("comment", ""), "Y" if current else "N"
    if kind == "role":
        return {
            **common,
            "is_default": "N",
            "is_current": mark,
            "is_inherited": "N",
            "owner": "USERADMIN",
            "comment": comment,
        }
    if kind == "user":
        return {
            "name": name,
            "created_on": common["created_on"],
            "login_name": options.get("login_name", name).upper(),
            "default_warehouse": options.get("default_warehouse"),
            "default_role": options.get("default_role"),
            "type": options.get("type"),
            "has_rsa_public_key": str("rsa_public_key" in options).lower(),
            "comment": comment,
        }
    size = options.get("warehouse_size", "XSMALL").upper().replace("-", "").replace("_", "")
    seconds = options.get("auto_suspend", "600")
    return {
        "name": name,
        "state": "STARTED",
        "type": "STANDARD",
        "size": _SIZES.get(size, size),
        "is_current": mark,
        "auto_suspend": int(seconds) if seconds.isdigit() else 0,
        "auto_resume": options.get("auto_resume", "true").lower(),
        "created_on": common["created_on"],
        "owner": "SYSADMIN",
        "comment": comment,
        "resource_monitor": options.get("resource_monitor", "null"),
    }
