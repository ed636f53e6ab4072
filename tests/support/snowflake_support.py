"""A Snowflake of dictionaries: answers the look-ups of the role's module and runs its statements, each in the right role."""

from __future__ import annotations

import re
from typing import Any

from ansible.module_utils import snowflake_plan as plan
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

MARK = "managed by retailflow: shop"
SYSTEM = ("ACCOUNTADMIN", "SECURITYADMIN", "USERADMIN", "SYSADMIN")
KEY = r"'([\w+/=]+)'"
COMMENT = r" comment = '((?:[^']|'')*)'"


def public_key() -> str:
    """A public key in PEM."""
    key = rsa.generate_private_key(65537, 2048).public_key()
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def pem(body: str) -> str:
    """A key as PEM again."""
    return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----"


class Snowflake:
    """Keeps what the statements make; an unknown statement, or one in the wrong role, fails the test.

    ``objects`` holds what SHOW shows, by kind and name.
    """

    def __init__(self) -> None:
        self.role = "SECURITYADMIN"
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        for role in SYSTEM:
            self.objects["role", role] = {"name": role, "comment": "", "owner": ""}
        self.objects["database", "SNOWFLAKE"] = {"name": "SNOWFLAKE", "comment": "", "owner": ""}
        self.schemas: set[str] = set()
        self.tables: dict[str, str] = {}  # full name to TABLE or VIEW
        self.keys: dict[str, dict[str, str]] = {}  # user to slot to key body
        self.set_at: dict[str, dict[str, str]] = {}
        self.grants: set[tuple[str, str, str, str]] = set()  # role, privilege, kind, object
        self.future: set[tuple[str, str, str, str]] = set()
        self.user_roles: set[tuple[str, str]] = set()
        self.ran: list[str] = []
        self._clock = 0

    def __call__(self, sql: str) -> list[dict[str, Any]]:
        words = sql.split()
        if words[0] in ("show", "describe"):
            assert self.role == "SECURITYADMIN", f"{self.role}: {sql}"
            return self.show(sql, words[-1])
        if words[:2] == ["use", "role"]:
            assert words[2] in SYSTEM, sql
            self.role = words[2]
            return []
        self.ran.append(sql)
        self.run(sql)
        return []

    def by(self, *roles: str) -> None:
        """Fail where the current role is none of these."""
        assert self.role in roles, f"{self.role} ran {self.ran[-1]}"

    def show(self, sql: str, last: str) -> list[dict[str, Any]]:
        if m := re.fullmatch("show (database|role|user|warehouse)s", sql):
            return [row for (kind, _), row in self.objects.items() if kind == m[1]]
        if sql.startswith("show schemas in database"):
            assert ("database", last) in self.objects, sql
            return [{"name": one.partition(".")[2]} for one in self.schemas if one.startswith(last + ".")]
        if m := re.fullmatch(r"show (table|view)s in (database|schema) (\S+)", sql):
            full = [one.split(".", 2) for one, kind in self.tables.items() if kind == m[1].upper()]
            return [
                {"database_name": d, "schema_name": s, "name": t}
                for d, s, t in full
                if m[3] in (d, f"{d}.{s}")
            ]
        if sql.startswith("show grants to role"):
            assert ("role", last) in self.objects, sql
            return [{"privilege": p, "granted_on": k, "name": o} for r, p, k, o in self.grants if r == last]
        if sql.startswith("show future grants to role"):
            return [{"privilege": p, "grant_on": k, "name": o} for r, p, k, o in self.future if r == last]
        if sql.startswith("show grants to user"):
            return [{"role": role} for user, role in self.user_roles if user == last]
        assert sql.startswith("describe user"), sql
        user = self.objects["user", last]
        shown = {"DEFAULT_ROLE": user["role"], "DEFAULT_WAREHOUSE": user["warehouse"], "COMMENT": None}
        for slot in plan.SLOTS:
            held = self.keys[last].get(slot)
            shown[f"{slot}_FP"] = plan.fingerprint(pem(held)) if held else "null"
            shown[f"{slot}_LAST_SET_TIME"] = self.set_at[last].get(slot, "null")
        return [{"property": name, "value": value} for name, value in shown.items()]

    def make(self, kind: str, name: str, comment: str, **more: Any) -> None:
        """Make an object as the current role; a name that is taken is refused, as CREATE does."""
        assert (kind, name) not in self.objects, f"002002: {kind} {name} exists"
        self.objects[kind, name] = {
            "name": name,
            "comment": comment.replace("''", "'"),
            "owner": self.role,
        } | more

    def run(self, sql: str) -> None:
        if m := re.fullmatch(rf"create (database|role) (\w+){COMMENT}", sql):
            self.by("SYSADMIN" if m[1] == "database" else "USERADMIN")
            self.make(m[1], m[2], m[3])
            self.schemas |= {f"{m[2]}.PUBLIC"} if m[1] == "database" else set()
        elif m := re.fullmatch(rf"create schema (\w+)\.(\w+){COMMENT}", sql):
            self.by("SYSADMIN")
            assert f"{m[1]}.{m[2]}" not in self.schemas, sql
            self.schemas.add(f"{m[1]}.{m[2]}")
        elif m := re.match(
            r"(create|alter) warehouse (\w+) (?:set )?warehouse_size = (\w+) auto_suspend = (\d+) auto_resume = true"
            rf"(?: initially_suspended = true{COMMENT})?$",
            sql,
        ):
            self.by("SYSADMIN")
            if m[1] == "create":
                self.make("warehouse", m[2], m[5])
            size = {"XSMALL": "X-Small"}.get(m[3], m[3].title())
            self.objects["warehouse", m[2]] |= {
                "size": size,
                "auto_suspend": int(m[4]),
                "auto_resume": "true",
            }
        elif m := re.fullmatch(
            r"create user (\w+) type = service default_role = (\w+) default_warehouse = (\w+) "
            rf"rsa_public_key = {KEY}{COMMENT}",
            sql,
        ):
            self.by("USERADMIN")
            self.make("user", m[1], m[5], role=m[2], warehouse=m[3])
            self.keys[m[1]], self.set_at[m[1]] = {}, {}
            self.set_key(m[1], "RSA_PUBLIC_KEY", m[4])
        elif m := re.fullmatch(r"alter user (\w+) set default_role = (\w+) default_warehouse = (\w+)", sql):
            self.by("USERADMIN")
            self.objects["user", m[1]] |= {"role": m[2], "warehouse": m[3]}
        elif m := re.fullmatch(rf"alter user (\w+) set (rsa_public_key(?:_2)?) = {KEY}", sql):
            self.by("USERADMIN")
            self.set_key(m[1], m[2].upper(), m[3])
        elif m := re.fullmatch(r"alter user (\w+) unset (rsa_public_key(?:_2)?)", sql):
            self.by("USERADMIN")
            del self.keys[m[1]][m[2].upper()]
        elif m := re.fullmatch(r"grant role (\w+) to (role|user) (\w+)", sql):
            self.by("USERADMIN")
            assert ("role", m[1]) in self.objects and (m[2], m[3]) in self.objects, sql
            if m[2] == "user":
                self.user_roles.add((m[3], m[1]))
            else:
                self.grants.add((m[3], "USAGE", "ROLE", m[1]))
        elif m := re.fullmatch(r"grant database role (\w+\.\w+) to role (\w+)", sql):
            self.by("ACCOUNTADMIN")
            self.grants.add((m[2], "USAGE", "DATABASE_ROLE", m[1]))
        elif m := re.fullmatch(
            r"grant ([\w ]+) on (all|future) (\w+)S in (database|schema) (\S+) to role (\w+)", sql
        ):
            self.by("SECURITYADMIN")
            if m[2] == "future":
                self.future.add((m[6], m[1], m[3], f"{m[5]}.<{m[3]}>"))
            for one, kind in self.tables.items():
                if m[2] == "all" and kind == m[3] and one.startswith(m[5] + "."):
                    self.grants.add((m[6], m[1], m[3], one))
        elif m := re.fullmatch(r"grant ([\w ]+) on (\w+) (\S+) to role (\w+)", sql):
            self.by("SECURITYADMIN")
            assert ("role", m[4]) in self.objects, sql
            self.grants.add((m[4], m[1], m[2], m[3]))
        elif m := re.fullmatch(r"drop (\w+) (\w+)", sql):
            self.by("USERADMIN" if m[1] in ("user", "role") else "SYSADMIN")
            del self.objects[m[1], m[2]]
        else:
            raise AssertionError(f"unknown statement: {sql}")

    def set_key(self, user: str, slot: str, body: str) -> None:
        self._clock += 1
        self.keys[user][slot] = body
        self.set_at[user][slot] = f"2026-11-28 00:00:{self._clock:02d}"

    def accepts(self, user: str, key: str) -> bool:
        """Whether a user may log in with a key."""
        return plan.key_body(key) in self.keys[user].values()

    def names(self, kind: str) -> set[str]:
        """The names of all objects of a kind, without Snowflake's own."""
        return {one for what, one in self.objects if what == kind} - {*SYSTEM, "SNOWFLAKE"}
