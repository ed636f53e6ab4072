"""What a person and the other hosts get from the role postgres."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

BOUNDED = Path(__file__).parents[2] / "shared/files/bounded.py"
PASSWORDS = {
    "retailflow_admin": "admin-secret",
    "generator": "generator-secret",
    "airbyte": "airbyte-secret",
    "auditor": "auditor-secret",
}
INSERT = (
    "insert into customers (customer_id, cust_name, city, state, country)"
    " values (1, 'Ada', 'Pune', 'MH', 'India') on conflict do nothing;"
    "insert into products (product_id, product, product_category, price)"
    " values (1, 'Tea', 'Food', 10) on conflict do nothing;"
    "insert into sales (cust_name, product, product_category, quantity, price, customer_id, product_id,"
    " purchased_at, order_date_at, city, state, country)"
    " values ('Ada', 'Tea', 'Food', 2, 10, 1, 1, current_date, current_date, 'Pune', 'MH', 'India')"
)


def psql(
    host: Any,
    user: str,
    statement: str,
    password: str = "",
    database: str = "retailflow_db",
    options: str = "",
) -> Any:
    """Run one statement as another host would: over TCP, with a password."""
    uri = f"postgresql://{user}:{password or PASSWORDS[user]}@localhost:5432/{database}{options}"
    return host.run("psql --no-psqlrc -tA -v ON_ERROR_STOP=1 -c %s %s", statement, uri)


def ask(host: Any, statement: str) -> str:
    """Run one statement as the superuser, which root may over the socket; gives the answer."""
    socket = "psql -XwAt -v ON_ERROR_STOP=1 -h /var/lib/retailflow/postgres/run -U postgres -d retailflow_db"
    return str(host.check_output(f"{socket} -c %s", statement)).strip()


def wait_until_it_answers(host: Any) -> None:
    for _ in range(60):
        if psql(host, "auditor", "select 1").rc == 0:
            return
        time.sleep(0.5)
    pytest.fail(host.run("docker logs --tail 30 postgres 2>&1").stdout)


def test_the_commands_of_the_manual_work_as_typed(host: Any) -> None:
    assert "postgres" in host.check_output("docker ps --format '{{.Names}}'").split()
    typed = "psql -w -h localhost -p 5432 -U retailflow_admin -d retailflow_db -c 'select * from Sales;'"
    assert "order_id" in host.check_output(typed)
    inside = "docker exec postgres psql -U retailflow_admin -d retailflow_db -c 'select * from Sales;'"
    assert "order_id" in host.check_output(inside)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("ssl", "on"), ("wal_level", "logical"), ("max_slot_wal_keep_size", "2GB"), ("data_checksums", "on")],
)
def test_the_server_runs_with_the_settings(host: Any, setting: str, value: str) -> None:
    assert psql(host, "retailflow_admin", f"show {setting}").stdout.strip() == value


def test_passwords_are_kept_as_scram_only(host: Any) -> None:
    others = "select string_agg(rolname, ',') from pg_authid where rolcanlogin"
    assert ask(host, f"{others} and coalesce(rolpassword, '') not like 'SCRAM-SHA-256$%'") == "postgres"


def test_the_superuser_has_no_password_and_is_refused_over_the_network(host: Any) -> None:
    assert (
        ask(host, "select string_agg(rolname, ',') from pg_authid where rolsuper and rolpassword is null")
        == "postgres"
    )
    assert ask(host, "select count(*) from pg_authid where rolsuper") == "1"
    for word in ("", "taken-away-by-the-role"):
        refused = psql(host, "postgres", "select 1", word or "any")
        assert refused.rc != 0 and "no pg_hba.conf entry" in refused.stderr


def test_people_own_the_shop_and_nothing_else(host: Any) -> None:
    assert psql(host, "retailflow_admin", INSERT).rc == 0
    owner = "select pg_get_userbyid(datdba) from pg_database where datname = current_database()"
    assert psql(host, "retailflow_admin", owner).stdout.strip() == "retailflow_admin"
    for statement, reason in (
        ("create role another", "permission denied to create role"),
        ("alter system set fsync = off", "permission denied to set parameter"),
        ("set session_replication_role = replica", "permission denied to set parameter"),
        ("copy sales to program 'id'", "permission denied to COPY to or from an external program"),
    ):
        refused = psql(host, "retailflow_admin", statement)
        assert refused.rc != 0 and reason in refused.stderr
    for database in ("postgres", "dagster"):
        assert "no pg_hba.conf entry" in psql(host, "retailflow_admin", "select 1", database=database).stderr


def test_logins_and_changed_definitions_are_logged_without_a_verifier(host: Any) -> None:
    assert psql(host, "retailflow_admin", "create table logged (); drop table logged").rc == 0
    log = host.check_output("docker logs postgres 2>&1")
    assert "connection authorized: user=retailflow_admin database=retailflow_db" in log
    assert "statement: create table logged" in log
    assert "SCRAM-SHA-256$" not in log


@pytest.mark.parametrize("user", PASSWORDS)
def test_a_wrong_password_is_refused(host: Any, user: str) -> None:
    assert psql(host, user, "select 1").rc == 0
    refused = psql(host, user, "select 1", password="wrong")
    assert refused.rc != 0
    assert "password authentication failed" in refused.stderr


@pytest.mark.parametrize("user", PASSWORDS)
def test_a_login_in_clear_is_refused_and_one_that_may_choose_is_encrypted(host: Any, user: str) -> None:
    refused = psql(host, user, "select 1", options="?sslmode=disable")
    assert refused.rc != 0
    assert f'user "{user}"' in refused.stderr and "no encryption" in refused.stderr
    mine = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
    assert psql(host, user, mine).stdout.strip() == "t"


def test_a_login_from_an_address_that_is_not_listed_is_refused(host: Any) -> None:
    refused = psql(host, "elsewhere", "select 1", "elsewhere-secret")
    assert refused.rc != 0 and "no pg_hba.conf entry" in refused.stderr
    other = psql(host, "auditor", "select 1", database="dagster")
    assert other.rc != 0 and "no pg_hba.conf entry" in other.stderr, "its rule names another database"


def test_a_new_rule_and_a_new_certificate_disconnect_nobody(host: Any) -> None:
    """As the role's handler lets the server read its files again."""
    access = "/var/lib/retailflow/postgres/access"
    reload = (
        "psql -w -h /var/lib/retailflow/postgres/run -U postgres -d postgres -c 'select pg_reload_conf()'"
    )
    waiting = (
        "select count(*) from pg_stat_activity where query like 'select pg_sleep(%' and usename = 'auditor'"
    )
    sleep = (
        "psql -XAt -c 'select pg_sleep(6), 42' postgresql://auditor:auditor-secret@localhost/retailflow_db"
    )
    host.check_output(f"({sleep} > /tmp/slept 2>&1 &) ; sleep 1")
    assert psql(host, "retailflow_admin", waiting).stdout.strip() == "1"
    host.check_output(f"sed -i.kept '/\"auditor\"/d' {access}/pg_hba.conf && {reload}")
    try:
        assert "no pg_hba.conf entry" in psql(host, "auditor", "select 1").stderr
        assert psql(host, "retailflow_admin", waiting).stdout.strip() == "1"
        host.check_output("for i in $(seq 20); do [ -s /tmp/slept ] && break; sleep 0.5; done")
        assert host.check_output("cat /tmp/slept") == "|42"
    finally:
        host.check_output(f"cat {access}/pg_hba.conf.kept > {access}/pg_hba.conf && {reload}")
    assert psql(host, "auditor", "select 1").rc == 0


def test_each_login_may_do_its_work_and_no_more(host: Any) -> None:
    assert psql(host, "generator", INSERT).rc == 0
    for user in ("airbyte", "auditor"):
        assert int(psql(host, user, "select count(*) from sales").stdout) >= 1
        assert "permission denied" in psql(host, user, INSERT).stderr
    assert psql(host, "dagster", "create table t (); drop table t", "dagster-secret", "dagster").rc == 0
    assert "permission denied for database" in psql(host, "generator", "select 1", database="dagster").stderr
    assert psql(host, "airbyte", "select pg_create_logical_replication_slot('t', 'pgoutput', true)").rc == 0
    refused = psql(host, "auditor", "select pg_create_logical_replication_slot('t', 'pgoutput')")
    assert "permission denied to use replication slots" in refused.stderr


def test_changes_wait_in_the_slot_for_airbyte(host: Any) -> None:
    peek = (
        "select count(*) from pg_logical_slot_peek_binary_changes('airbyte', null, null,"
        " 'proto_version', '1', 'publication_names', 'retailflow')"
    )
    before = int(psql(host, "airbyte", peek).stdout)
    assert psql(host, "generator", INSERT).rc == 0
    assert int(psql(host, "airbyte", peek).stdout) > before
    refused = psql(host, "airbyte", "delete from airbyte_heartbeat")
    assert "permission denied" in refused.stderr


def test_only_root_reaches_the_socket(host: Any) -> None:
    socket_dir = "/var/lib/retailflow/postgres/run"
    as_root = f"psql -w -h {socket_dir} -U retailflow_admin -d retailflow_db -c 'select 1'"
    assert host.run(as_root).rc == 0
    assert host.run(f"setpriv --reuid=nobody --clear-groups {as_root}").rc != 0


def test_the_server_is_no_root_has_no_capability_and_is_bounded(host: Any) -> None:
    command = "printf %%s %s | python3 - postgres 999 /var/lib/postgresql/data /var/run/postgresql"
    assert host.check_output(command, BOUNDED.read_text()) == ""


@pytest.mark.parametrize("signal", ["KILL", "INT"])
def test_rows_survive_the_death_of_the_server(host: Any, signal: str) -> None:
    assert psql(host, "generator", INSERT).rc == 0
    before = psql(host, "auditor", "select count(*), max(order_id) from sales").stdout
    pid = host.check_output("docker inspect --format '{{.State.Pid}}' postgres")
    assert host.run(f"kill -{signal} {pid}").rc == 0
    wait_until_it_answers(host)
    assert host.check_output("docker inspect --format '{{.State.Pid}}' postgres") != pid
    assert psql(host, "auditor", "select count(*), max(order_id) from sales").stdout == before


def test_rows_survive_a_new_container(host: Any) -> None:
    before = psql(host, "auditor", "select count(*) from sales").stdout
    host.check_output("docker restart postgres")
    wait_until_it_answers(host)
    assert psql(host, "auditor", "select count(*) from sales").stdout == before
