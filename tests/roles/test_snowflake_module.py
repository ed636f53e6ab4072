"""The module snowflake_objects against a Snowflake of dictionaries that answers SHOW and runs the module's statements."""

from __future__ import annotations

import datetime
import decimal
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import snowflake_objects as objects
import snowflake_query as query

ROLE = Path(__file__).parents[2] / "roles/snowflake"


def public_key() -> str:
    key = rsa.generate_private_key(65537, 2048).public_key()
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


KEY, OTHER_KEY = public_key(), public_key()
ALTER_USER = (
    "alter user AIRBYTE set default_role = LOADER default_warehouse = LOADING "
    f"rsa_public_key = '{objects.key_body(OTHER_KEY)}'"
)


class Snowflake:
    """Keeps what the statements make; an unknown statement is a failure."""

    def __init__(self) -> None:
        self.databases: dict[str, set[str]] = {"SNOWFLAKE": {"INFORMATION_SCHEMA"}}
        self.warehouses: dict[str, dict[str, str]] = {}
        self.roles = {"SYSADMIN"}
        self.users: dict[str, dict[str, str]] = {}
        self.grants: set[tuple[str, str, str, str]] = set()  # role, privilege, kind, object
        self.future: set[tuple[str, str, str, str]] = set()
        self.user_roles: set[tuple[str, str]] = set()
        self.ran: list[str] = []

    def __call__(self, sql: str) -> list[dict[str, Any]]:
        words = sql.split()
        if words[0] in ("show", "describe"):
            return self.show(sql, words[-1])
        self.ran.append(sql)
        self.run(sql)
        return []

    def show(self, sql: str, last: str) -> list[dict[str, Any]]:
        if sql == "show warehouses":
            return [{"name": n, **w} for n, w in self.warehouses.items()]
        if re.fullmatch("show (databases|roles|users)", sql):
            return [{"name": name} for name in getattr(self, last)]
        if sql.startswith("show schemas in database"):
            return [{"name": name} for name in self.databases[last]]
        if sql.startswith("show grants to role"):
            assert last in self.roles, sql
            return [{"privilege": p, "granted_on": k, "name": o} for r, p, k, o in self.grants if r == last]
        if sql.startswith("show future grants to role"):
            return [{"privilege": p, "grant_on": k, "name": o} for r, p, k, o in self.future if r == last]
        if sql.startswith("show grants to user"):
            return [{"role": role} for user, role in self.user_roles if user == last]
        assert sql.startswith("describe user"), sql
        return [{"property": name, "value": value} for name, value in self.users[last].items()]

    def run(self, sql: str) -> None:
        if m := re.fullmatch(r"create database if not exists (\w+)", sql):
            self.databases[m[1]] = {"INFORMATION_SCHEMA", "PUBLIC"}
        elif m := re.fullmatch(r"create schema if not exists (\w+)\.(\w+)", sql):
            self.databases[m[1]].add(m[2])
        elif m := re.match(
            r"(?:create warehouse if not exists|alter warehouse) (\w+) (?:set )?"
            r"warehouse_size = (\w+) auto_suspend = (\d+) auto_resume = true",
            sql,
        ):
            self.warehouses[m[1]] = {
                "size": {"XSMALL": "X-Small"}.get(m[2], m[2].title()),
                "auto_suspend": m[3],
            }
        elif m := re.fullmatch(r"create role if not exists (\w+)", sql):
            self.roles.add(m[1])
        elif m := re.match(
            r"(?:create user if not exists (\w+) type = service|alter user (\w+) set) "
            r"default_role = (\w+) default_warehouse = (\w+) rsa_public_key = '([\w+/=]+)'",
            sql,
        ):
            pem = f"-----BEGIN PUBLIC KEY-----\n{m[5]}\n-----END PUBLIC KEY-----"
            self.users[m[1] or m[2]] = {
                "DEFAULT_ROLE": m[3],
                "DEFAULT_WAREHOUSE": m[4],
                "RSA_PUBLIC_KEY_FP": objects.fingerprint(pem),
            }
        elif m := re.fullmatch(r"grant role (\w+) to (role|user) (\w+)", sql):
            assert m[1] in self.roles
            if m[2] == "user":
                assert m[3] in self.users
                self.user_roles.add((m[3], m[1]))
            else:
                self.grants.add((m[3], "USAGE", "ROLE", m[1]))
        elif m := re.fullmatch(r"grant ([\w ]+) on (all|future) (\w+)S in schema (\S+) to role (\w+)", sql):
            if m[2] == "future":
                self.future.add((m[5], m[1], m[3], f"{m[4]}.<{m[3]}>"))
        elif m := re.fullmatch(r"grant ([\w ]+) on (\w+) (\S+) to role (\w+)", sql):
            assert m[4] in self.roles
            self.grants.add((m[4], m[1], m[2], m[3]))
        elif m := re.fullmatch(r"drop (\w+) if exists (\w+)", sql):
            there: Any = getattr(self, m[1] + "s")
            there.pop(m[2]) if isinstance(there, dict) else there.remove(m[2])
        else:
            raise AssertionError(f"unknown statement: {sql}")


def params(**changes: Any) -> dict[str, Any]:
    return {
        "databases": [
            {"name": "RAW", "schemas": ["RETAIL"]},
            {"name": "analytics", "schemas": ["STAGING", "MARTS"]},
        ],
        "remove_databases": False,
        "access": True,
        "warehouses": [{"name": "LOADING", "size": "XSMALL", "auto_suspend": 60}],
        "parent_role": "SYSADMIN",
        "users": [{"name": "AIRBYTE", "role": "LOADER", "warehouse": "LOADING", "public_key": KEY}],
        "grants": [
            {
                "role": "LOADER",
                "privileges": ["USAGE", "CREATE SCHEMA"],
                "object_type": "DATABASE",
                "object": "RAW",
            },
            {"role": "LOADER", "privileges": ["SELECT"], "object_type": "TABLE", "object": "RAW.RETAIL"},
        ],
    } | changes


def apply(server: Snowflake, wanted: dict[str, Any]) -> list[str]:
    """Run what is missing; return it."""
    statements: list[str] = objects.plan_present(server, wanted)
    for statement in statements:
        server(statement)
    return statements


@pytest.fixture
def server() -> Snowflake:
    server = Snowflake()
    apply(server, params())
    return server


def test_everything_is_made_and_a_second_run_changes_nothing(server: Snowflake) -> None:
    assert server.databases["ANALYTICS"] >= {"STAGING", "MARTS"}
    assert server.user_roles == {("AIRBYTE", "LOADER")}
    assert ("LOADER", "USAGE", "WAREHOUSE", "LOADING") in server.grants
    assert ("LOADER", "SELECT", "TABLE", "RAW.RETAIL.<TABLE>") in server.future
    assert apply(server, params()) == []


def test_looking_changes_nothing(server: Snowflake) -> None:
    server.ran.clear()
    objects.plan_present(server, params(databases=[{"name": "NEW", "schemas": ["S"]}]))
    assert server.ran == []


@pytest.mark.parametrize(
    ("changes", "statement"),
    [
        (
            {"databases": [{"name": "RAW", "schemas": ["RETAIL", "MORE"]}]},
            "create schema if not exists RAW.MORE",
        ),
        (
            {"warehouses": [{"name": "LOADING", "size": "SMALL", "auto_suspend": 60}]},
            "alter warehouse LOADING set warehouse_size = SMALL auto_suspend = 60 auto_resume = true",
        ),
        (
            {
                "users": [
                    {"name": "AIRBYTE", "role": "LOADER", "warehouse": "LOADING", "public_key": OTHER_KEY}
                ]
            },
            ALTER_USER,
        ),
        (
            {
                "grants": [
                    {
                        "role": "LOADER",
                        "privileges": ["usage"],
                        "object_type": "SCHEMA",
                        "object": "RAW.RETAIL",
                    }
                ]
            },
            "grant USAGE on SCHEMA RAW.RETAIL to role LOADER",
        ),
    ],
)
def test_only_what_differs_is_changed(server: Snowflake, changes: dict[str, Any], statement: str) -> None:
    assert apply(server, params(**changes)) == [statement]
    assert apply(server, params(**changes)) == []


def test_what_somebody_dropped_comes_back(server: Snowflake) -> None:
    server.user_roles.clear()
    server.databases["ANALYTICS"].remove("MARTS")
    assert apply(server, params()) == [
        "create schema if not exists ANALYTICS.MARTS",
        "grant role LOADER to user AIRBYTE",
    ]


def test_a_server_that_keeps_no_access_is_asked_for_databases_only() -> None:
    server = Snowflake()
    assert len(apply(server, params(access=False))) == 5
    assert not server.warehouses and not server.users and server.roles == {"SYSADMIN"}
    assert apply(server, params(access=False)) == []


def test_removal_keeps_the_rows_unless_told(server: Snowflake) -> None:
    for statement in objects.plan_absent(server, params()):
        server(statement)
    assert (server.users, server.warehouses, server.roles) == ({}, {}, {"SYSADMIN"})
    assert "RAW" in server.databases
    for statement in objects.plan_absent(server, params(remove_databases=True)):
        server(statement)
    assert set(server.databases) == {"SNOWFLAKE"}
    assert objects.plan_absent(server, params(remove_databases=True)) == []


@pytest.mark.parametrize("bad", ["RAW; drop database X", 'R"AW', "", "A.B.C", "1RAW", "RAW\n"])
def test_names_that_need_quotes_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="not a plain Snowflake identifier"):
        objects.plan_present(Snowflake(), params(databases=[{"name": bad, "schemas": []}]))


def test_a_privilege_is_not_a_statement() -> None:
    grant = {
        "role": "LOADER",
        "privileges": ["ALL on x to y; drop"],
        "object_type": "DATABASE",
        "object": "RAW",
    }
    with pytest.raises(ValueError, match="not a privilege"):
        objects.plan_present(Snowflake(), params(grants=[grant]))


def test_a_private_key_is_not_taken_for_a_public_one() -> None:
    with pytest.raises(ValueError, match="PEM public key"):
        objects.fingerprint("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----")


def test_the_fingerprint_is_snowflakes() -> None:
    """As ``openssl rsa -pubin -outform DER | openssl dgst -sha256 -binary | openssl enc -base64`` prints it."""
    pem = "-----BEGIN PUBLIC KEY-----\nAAECAw==\n-----END PUBLIC KEY-----\n"
    assert objects.fingerprint(pem) == "SHA256:BU7ewdAhH2JP7Qy8qdT5QAsOSRxDdCryxbCr6/DJkNg="


def test_rows_keep_their_cents() -> None:
    assert query.plain(decimal.Decimal("0.10")) == "0.10"
    assert query.plain(datetime.date(2026, 1, 2)) == "2026-01-02"
    assert query.plain(None) is None
