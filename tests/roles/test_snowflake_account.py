"""What the inventory says of Snowflake, applied to an emulated account: who may log in, and who may do what."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector
from ansible.module_utils import snowflake_login
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import snowflake_objects as objects
import warm_python
from retailflow_emulators.ports import free_port
from retailflow_emulators.snowflake.testing import EmulatedSnowflake, authority, emulated_snowflake
from tls_support import Authority, HttpsListener

ROOT = Path(__file__).parents[2]
ASK = """---
- hosts: control
  vars_files: [{root}/playbooks/vars/queries.yml, {root}/roles/snowflake/vars/main.yml]
  tasks:
    - ansible.builtin.copy:
        content: "{{{{ found | to_json }}}}"
        dest: "{result}"
      vars:
        found:
          databases: "{{{{ snowflake_databases }}}}"
          warehouses: "{{{{ __snowflake_warehouses }}}}"
          users: "{{{{ snowflake_users }}}}"
          grants: "{{{{ snowflake_grants }}}}"
          database_roles: "{{{{ snowflake_database_roles }}}}"
          mark: "{{{{ snowflake_mark }}}}"
          credits: "{{{{ retailflow_query_credits }}}}"
"""


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The role's variables as the inventory of a site named shop-eu gives them."""
    folder = tmp_path_factory.mktemp("inventory")
    (folder / "ask.yml").write_text(ASK.format(root=ROOT, result=folder / "found.json"))
    binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [
            "ansible-playbook",
            "-i",
            "inventory/local.yml",
            str(folder / "ask.yml"),
            "-e",
            "retailflow_name=shop-eu",
            *warm_python.options(),
        ],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PATH": binaries},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


class Account:
    """An emulated account and the keys of the site's users."""

    def __init__(self, server: EmulatedSnowflake, inventory: dict[str, Any]) -> None:
        self.server, self.inventory = server, inventory
        self.sessions: dict[str, snowflake.connector.SnowflakeConnection] = {}
        self.keys = {name: rsa.generate_private_key(65537, 2048) for name in inventory["users"]}

    def params(self, **changes: Any) -> dict[str, Any]:
        users = [
            {
                "name": one["user"],
                "role": one["role"],
                "warehouse": one["warehouse"],
                "public_key": self.keys[name]
                .public_key()
                .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
                .decode(),
            }
            for name, one in self.inventory["users"].items()
        ]
        given = {
            one: self.inventory[one]
            for one in ("databases", "warehouses", "grants", "database_roles", "mark")
        }
        rest = {"state": "present", "parent_role": "SYSADMIN", "remove_databases": False}
        roles = {
            "objects": "SYSADMIN",
            "users": "USERADMIN",
            "grants": "SECURITYADMIN",
            "account": "ACCOUNTADMIN",
        }
        return given | rest | {"users": users, "roles": roles} | changes

    def apply(self, **changes: Any) -> list[str]:
        """Run what is missing, as the module does."""
        with self.server.connect(role="SECURITYADMIN") as session:

            def read(sql: str) -> list[dict[str, Any]]:
                found: list[dict[str, Any]] = snowflake_login.rows(session, sql)
                return found

            statements, _ = objects.plan(read, self.params(**changes))
            for line in objects.with_roles(statements, "SECURITYADMIN"):
                read(line)
        return [one.sql for one in statements]

    def connect(self, name: str, key: Any = None) -> snowflake.connector.SnowflakeConnection:
        """A session of one of the site's users."""
        one = self.inventory["users"][name]
        der = (key or self.keys[name]).private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self.server.connect(
            user=one["user"], role=one["role"], warehouse=one["warehouse"], private_key=der, password=None
        )

    def run(self, name: str, *statements: str) -> list[tuple[Any, ...]]:
        """Rows of the last statement, in a session that is kept."""
        if name not in self.sessions:
            self.sessions[name] = self.connect(name)
        rows: list[tuple[Any, ...]] = []
        for statement in statements:
            cursor = self.sessions[name].cursor().execute(statement)
            assert cursor
            rows = [tuple(row) for row in cursor.fetchall()]
        return rows

    def refused(self, name: str, statement: str) -> bool:
        """Whether a statement is refused for want of a privilege."""
        try:
            self.run(name, statement)
        except snowflake.connector.errors.ProgrammingError as error:
            assert error.errno in (2003, 2043, 3001, 3013), f"{name}: {statement}: {error}"
            return True
        return False


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory, inventory: dict[str, Any]) -> Iterator[Account]:
    with emulated_snowflake(tmp_path_factory.mktemp("account")) as server:
        found = Account(server, inventory)
        found.apply()
        yield found


RAW, ANALYTICS = "SHOP_EU_RAW.RETAIL", "SHOP_EU_ANALYTICS"


@pytest.fixture(scope="module")
def filled(account: Account) -> Account:
    """Tables as Airbyte and dbt leave them: made again, replaced, with views and a snapshot."""
    account.run(
        "airbyte",
        f"create table {RAW}.SALES (ORDER_ID number)",
        f"insert into {RAW}.SALES values (1)",
        f"create table {RAW}.SALES_NEW (ORDER_ID number)",
        f"insert into {RAW}.SALES_NEW values (1), (2)",
        f"drop table {RAW}.SALES",
        f"alter table {RAW}.SALES_NEW rename to {RAW}.SALES",
        f"create or replace stage {RAW}.LOADS",
        "create schema if not exists SHOP_EU_RAW.AIRBYTE_INTERNAL",
    )
    account.run(
        "dbt",
        f"create or replace view {ANALYTICS}.STAGING.STG_SALES as select * from {RAW}.SALES",
        f"create or replace table {ANALYTICS}.MARTS.FCT_SALES as select * from {ANALYTICS}.STAGING.STG_SALES",
        f"create or replace table {ANALYTICS}.MARTS.FCT_SALES as select * from {ANALYTICS}.STAGING.STG_SALES",
        f"create or replace view {ANALYTICS}.MARTS.BY_CITY as select * from {ANALYTICS}.MARTS.FCT_SALES",
        f"create table {ANALYTICS}.SNAPSHOTS.HISTORY as select 1 as N",
    )
    return account


def test_a_second_run_changes_nothing_before_and_after_there_are_tables(filled: Account) -> None:
    assert filled.apply() == []


READS = {
    f"{RAW}.SALES": {"airbyte", "dbt", "observer"},
    f"{ANALYTICS}.STAGING.STG_SALES": {"dbt"},
    f"{ANALYTICS}.MARTS.FCT_SALES": {"dbt", "metabase", "observer"},
    f"{ANALYTICS}.MARTS.BY_CITY": {"dbt", "metabase", "observer"},
    f"{ANALYTICS}.SNAPSHOTS.HISTORY": {"dbt"},
}
USERS = ("airbyte", "dbt", "metabase", "observer")


@pytest.mark.parametrize("what", READS)
def test_each_reads_what_it_needs_and_nothing_else(filled: Account, what: str) -> None:
    assert {one for one in USERS if not filled.refused(one, f"select count(*) from {what}")} == READS[what]


@pytest.mark.parametrize(
    ("statement", "who"),
    [
        (f"create or replace table {RAW}.PROBE (N number)", {"airbyte"}),
        (f"create or replace table {ANALYTICS}.MARTS.PROBE (N number)", {"dbt"}),
        (f"delete from {RAW}.SALES where 1 = 0", {"airbyte"}),
        (f"update {ANALYTICS}.MARTS.FCT_SALES set ORDER_ID = 1 where 1 = 0", {"dbt"}),
        ("create schema if not exists SHOP_EU_RAW.MORE", {"airbyte"}),
        ("create schema if not exists SHOP_EU_ANALYTICS.MORE", {"dbt"}),
        ("create database SHOP_EU_OTHER", set()),
        ("drop database SHOP_EU_RAW", set()),
        ("alter warehouse SHOP_EU_WAREHOUSE set warehouse_size = LARGE", set()),
        ("create role SHOP_EU_MORE", set()),
        ("use role ACCOUNTADMIN", set()),
    ],
)
def test_each_writes_what_it_owns_and_nothing_else(filled: Account, statement: str, who: set[str]) -> None:
    assert {one for one in USERS if not filled.refused(one, statement)} == who


def test_the_observer_reads_what_the_warehouse_used(filled: Account) -> None:
    ((day, credits),) = filled.run("observer", filled.inventory["credits"])
    assert len(day) == 10 and float(credits) > 0
    assert filled.refused("metabase", filled.inventory["credits"])


def test_what_lost_a_privilege_gets_it_back(filled: Account) -> None:
    filled.server.query(f"revoke select on table {RAW}.SALES from role SHOP_EU_TRANSFORMER")
    assert filled.refused("dbt", f"select 1 from {RAW}.SALES")
    assert filled.apply() == [
        "grant SELECT on all TABLES in database SHOP_EU_RAW to role SHOP_EU_TRANSFORMER"
    ]
    assert not filled.refused("dbt", f"select 1 from {RAW}.SALES")


def test_everything_hangs_below_sysadmin(filled: Account) -> None:
    with filled.server.connect(role="SYSADMIN", warehouse="SHOP_EU_WAREHOUSE") as session:
        for what in READS:
            session.cursor().execute(f"select count(*) from {what}")


def test_an_exchange_of_keys_locks_nobody_out(filled: Account) -> None:
    old = filled.keys["airbyte"]
    filled.keys["airbyte"] = rsa.generate_private_key(65537, 2048)
    assert len(filled.apply()) == 1
    for key in (old, filled.keys["airbyte"]):
        filled.connect("airbyte", key).close()
    assert filled.apply() == []
    assert filled.apply(state="one_key") == ["alter user SHOP_EU_AIRBYTE unset rsa_public_key"]
    filled.connect("airbyte").close()
    with pytest.raises(snowflake.connector.errors.DatabaseError, match="390144"):
        filled.connect("airbyte", old)
    assert filled.apply() == filled.apply(state="one_key") == []


def test_another_site_and_somebody_elses_warehouse_are_left_alone(filled: Account) -> None:
    filled.server.query("create warehouse SHOP_WAREHOUSE comment = 'ours, since 2019'")
    other = json.loads(
        json.dumps(filled.inventory).replace("SHOP_EU_", "SHOP_").replace(": shop-eu", ": shop")
    )
    site = Account(filled.server, other)
    with pytest.raises(
        ValueError, match="alter warehouse SHOP_WAREHOUSE set comment = 'managed by retailflow: shop';"
    ):
        site.apply()
    assert filled.server.query("show databases like 'SHOP_RAW'") == []
    filled.server.query("alter warehouse SHOP_WAREHOUSE set comment = 'managed by retailflow: shop'")
    filled.server.query("grant ownership on warehouse SHOP_WAREHOUSE to role SYSADMIN copy current grants")
    site.apply()
    assert filled.apply() == site.apply() == []
    same_names = filled.apply
    with pytest.raises(ValueError, match="belong to another site: user SHOP_EU_AIRBYTE"):
        same_names(mark="managed by retailflow: shop-us")
    assert same_names(mark="managed by retailflow: shop-us", state="absent", remove_databases=True) == []
    site.apply(state="absent", remove_databases=True)
    assert filled.apply() == []


def test_removal_keeps_the_rows_for_the_site_that_is_made_again(filled: Account) -> None:
    filled.apply(state="absent")
    filled.sessions.clear()
    with pytest.raises(snowflake.connector.errors.DatabaseError, match="390144"):
        filled.connect("airbyte")
    filled.apply()
    filled.run("airbyte", f"insert into {RAW}.SALES values (3)")
    assert filled.run("dbt", f"select count(*) from {RAW}.SALES") == [(3,)]
    filled.apply(state="absent", remove_databases=True)
    assert filled.server.query("show databases like 'SHOP_EU%'") == []
    assert filled.server.query("show roles like 'SHOP_EU%'") == []


def explained(call: Callable[[], Any], login: dict[str, Any]) -> str:
    with pytest.raises(snowflake.connector.errors.Error) as raised:
        call()
    found: str = snowflake_login.explain(raised.value, login, "login")
    return found


def test_a_failed_login_says_why(account: Account) -> None:
    login = {"account": "retailflow", "host": "127.0.0.1", "port": account.server.port}
    login |= {
        "user": "TESTER",
        "role": "SECURITYADMIN",
        "warehouse": "",
        "password": "wrong",
        "private_key_path": None,
        "authority": str(authority()),
    }
    login |= {"timeout": 5}
    assert "the name or the password is wrong" in explained(lambda: snowflake_login.connect(login), login)
    closed = login | {"port": free_port()}
    text = explained(lambda: snowflake_login.connect(closed), closed)
    assert f"nothing answers at port {closed['port']}" in text
    strange = rsa.generate_private_key(65537, 2048)
    one = account.inventory["users"]["dbt"]
    account.apply()
    text = explained(lambda: account.connect("dbt", strange), login | {"user": one["user"]})
    assert (
        "cannot log in: the key is not that of the user" in text
        and "alter user SHOP_EU_DBT set rsa_public_key" in text
    )


@pytest.mark.parametrize("foreign", [False, True])
def test_a_server_of_another_authority_is_refused_and_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign: bool
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")  # to have it back afterwards
    known = Authority()
    (tmp_path / "authority.crt").write_text(known.certificate)
    login = {
        "account": "retailflow",
        "host": "localhost",
        "user": "TESTER",
        "role": "",
        "warehouse": "",
        "timeout": 2,
    }
    login |= {"password": "hush", "private_key_path": None, "authority": str(tmp_path / "authority.crt")}
    with HttpsListener((Authority("foreign") if foreign else known).sign()) as server:
        login |= {"port": server.port}
        text = explained(lambda: snowflake_login.connect(login), login)
        assert bool(server.said) != foreign
    assert (f"is not one that {tmp_path}/authority.crt signed. Nothing was sent to it." in text) == foreign


def test_without_an_authority_the_connector_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for Snowflake itself: neither what is trusted nor what is asked about revocation is another."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(snowflake.connector, "connect", lambda **options: given.update(options))
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    login = {
        "account": "a-b",
        "host": "",
        "port": 443,
        "user": "ADMIN",
        "role": "",
        "warehouse": "",
        "timeout": 2,
    }
    snowflake_login.connect(login | {"password": "hush", "private_key_path": None, "authority": ""})
    assert "REQUESTS_CA_BUNDLE" not in os.environ
    assert not [
        name for name in given if "ocsp" in name or "insecure" in name or "crl" in name or name == "protocol"
    ]
