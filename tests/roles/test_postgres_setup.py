"""Passwords, schema files, slots and publications as the module postgres_setup treats them."""

from __future__ import annotations

import base64
import hmac
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras
import pytest
import yaml
from ansible.module_utils.postgres import scram
from ansible.module_utils.postgres.errors import SetupError
from ansible.module_utils.postgres.setup import Setup, without_transaction

from bench import postgres

ROOT = Path(__file__).parents[2]
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")


def test_the_verifier_proves_the_server_of_rfc_7677() -> None:
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    message = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}"
    verifier = scram.scram_verifier("pencil", SALT)
    server_key = base64.b64decode(verifier.rsplit(":", 1)[1])
    signature = base64.b64encode(hmac.digest(server_key, message.encode(), "sha256")).decode()
    assert signature == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize(
    ("password", "verifier", "matches"),
    [
        ("pencil", scram.scram_verifier("pencil", SALT), True),
        ("pencil", scram.scram_verifier("pencil", b"another salt", 1000), True),
        ("Pencil", scram.scram_verifier("pencil", SALT), False),
        ("pencil", "md5a1b2", False),
        ("pencil", None, False),
    ],
)
def test_a_stored_verifier_belongs_to_one_password(
    password: str, verifier: str | None, matches: bool
) -> None:
    assert scram.password_matches(password, verifier) is matches


def test_only_the_transaction_around_a_schema_file_is_removed() -> None:
    body = "create function f() returns int as $$\nbegin\n  return 1; -- commit;\nend\n$$ language plpgsql;\n"
    assert without_transaction(f"begin;\n{body}COMMIT ;\n").strip() == body.strip()


def test_slots_and_publications_are_dropped_and_their_reader_is_disconnected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def released(**lists: list[dict[str, str]]) -> list[str]:
        params = {"socket_dir": "127.0.0.1", "superuser": postgres.ADMIN, "slots": [], "publications": []}
        setup = Setup(params | lists, check_mode=False)
        setup.release()
        return list(setup.actions)

    with postgres.server() as port:
        monkeypatch.setenv("PGPORT", str(port))
        login: dict[str, Any] = {"host": "127.0.0.1", "user": postgres.ADMIN, "dbname": "postgres"}
        connection = psycopg2.connect(**login)
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("create table shop (id int primary key)")
        for name in ("airbyte", "other"):
            cursor.execute(f"create publication {name} for table shop")
            cursor.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
        reader = psycopg2.connect(**login, connection_factory=psycopg2.extras.LogicalReplicationConnection)
        reader.cursor().start_replication(
            "airbyte", options={"proto_version": "1", "publication_names": "airbyte"}, decode=False
        )

        wanted = {
            "slots": [{"database": "postgres", "name": "airbyte"}],
            "publications": [
                {"database": "postgres", "name": "airbyte"},
                {"database": "half_made", "name": "airbyte"},
            ],
        }
        assert released(**wanted) == ["drop slot airbyte", "drop publication airbyte"]
        assert released(**wanted) == []
        cursor.execute(
            "select slot_name from pg_replication_slots union all select pubname from pg_publication"
        )
        assert cursor.fetchall() == [("other",), ("other",)]
        connection.close()


def test_a_login_is_bounded_and_the_databases_of_the_cluster_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def setup(check_mode: bool = False, **bounds: Any) -> list[str]:
        role = {"name": "shop", "password": "secret", "replication": False, "member_of": [], **bounds}
        params = {"socket_dir": "127.0.0.1", "superuser": postgres.ADMIN, "former_superuser": ""}
        databases = [{"name": "shop", "owner": "shop", "connect": []}]
        made = Setup(
            {**params, "roles": [role], "databases": databases, "schemas": [], "slots": []}, check_mode
        )
        made.run()
        return made.actions

    with postgres.server() as port:
        monkeypatch.setenv("PGPORT", str(port))
        wanted = {"connections": 1, "settings": {"statement_timeout": "200ms"}}
        assert setup(check_mode=True, **wanted)
        assert {
            "create login shop",
            "bound the connections of shop",
            "set statement_timeout of shop",
            "close database postgres to public",
            "close database template1 to public",
        } <= set(setup(**wanted))
        assert setup(**wanted) == []
        for database in ("postgres", "template1"):
            with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
                psycopg2.connect(host="127.0.0.1", user="shop", dbname=database)
            psycopg2.connect(host="127.0.0.1", user=postgres.ADMIN, dbname=database).close()
        held = psycopg2.connect(host="127.0.0.1", user="shop", dbname="shop")
        with pytest.raises(psycopg2.OperationalError, match="too many connections for role"):
            psycopg2.connect(host="127.0.0.1", user="shop", dbname="shop")
        with pytest.raises(psycopg2.errors.QueryCanceled):
            held.cursor().execute("select pg_sleep(5)")
        held.close()
        changed = {"connections": 2, "settings": {"statement_timeout": "1min"}}
        assert setup(**changed) == ["bound the connections of shop", "set statement_timeout of shop"]


def test_the_superuser_of_older_data_gets_its_name_and_people_another_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Data of before, and backups of them, have the login of people as their superuser."""

    def setup(check_mode: bool = False, former: str = postgres.ADMIN) -> Setup:
        params = {"socket_dir": "127.0.0.1", "superuser": "postgres", "former_superuser": former}
        people = {"name": postgres.ADMIN, "password": "secret", "member_of": ["pg_read_all_data"]}
        databases = [{"name": "shop", "owner": postgres.ADMIN, "connect": []}]
        lists = {"roles": [people], "databases": databases, "schemas": [], "slots": []}
        return Setup({**params, **lists}, check_mode)

    def ask(statement: str, user: str = "postgres") -> Any:
        connection = psycopg2.connect(host="127.0.0.1", user=user, dbname="shop")
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchone() if cursor.description else None
        finally:
            connection.close()

    with postgres.server() as port:
        monkeypatch.setenv("PGPORT", str(port))
        old = psycopg2.connect(host="127.0.0.1", user=postgres.ADMIN, dbname="postgres")
        old.autocommit = True
        old.cursor().execute("alter role current_user password 'old'")
        old.cursor().execute("create database shop")
        ask("create table sales (order_id int); insert into sales values (7)", postgres.ADMIN)

        with pytest.raises(psycopg2.OperationalError, match='role "postgres" does not exist'):
            setup(former="").name_superuser()
        with pytest.raises(psycopg2.OperationalError, match='role "other" does not exist'):
            setup(former="other").name_superuser()
        old.cursor().execute("create role other superuser login")
        with pytest.raises(SetupError, match="neither postgres nor other. Nothing was changed"):
            setup(former="other").name_superuser()
        old.cursor().execute("drop role other")

        planned = setup(check_mode=True)
        planned.run()
        assert f"rename the superuser {postgres.ADMIN} to postgres" in planned.actions
        named = setup()
        named.name_superuser()
        assert named.actions == [f"rename the superuser {postgres.ADMIN} to postgres"]
        again = setup()
        again.name_superuser()
        assert again.actions == []
        made = setup()
        made.run()
        assert {"take the password of postgres", f"create login {postgres.ADMIN}"} <= set(made.actions)
        done = setup()
        done.run()
        assert done.actions == []

        assert ask("select order_id from sales", postgres.ADMIN) == (7,)
        kept = "select rolsuper, rolcreaterole, rolpassword is not null from pg_authid where rolname = %s"
        assert ask(kept.replace("%s", f"'{postgres.ADMIN}'")) == (False, False, True)
        assert ask(kept.replace("%s", "'postgres'")) == (True, True, False)
        owner = "select pg_get_userbyid(datdba), (select count(*) from pg_roles where rolname ~ 'rename')"
        assert ask(f"{owner} from pg_database where datname = 'shop'") == (postgres.ADMIN, 0)

        ask(f"alter role {postgres.ADMIN} superuser")
        taken = setup()
        taken.run()
        assert taken.actions == [f"set the attributes of {postgres.ADMIN}"]
        assert ask(kept.replace("%s", f"'{postgres.ADMIN}'")) == (False, False, True)
        old.close()


def test_the_bounds_of_all_logins_leave_the_superuser_its_connections() -> None:
    """PostgreSQL keeps three of max_connections (superuser_reserved_connections)."""
    inventory = yaml.safe_load((ROOT / "inventory/group_vars/postgres/main.yml").read_text())
    defaults = yaml.safe_load((ROOT / "roles/postgres/defaults/main.yml").read_text())
    bounds = [role["connections"] for role in inventory["postgres_roles"]]
    assert sum(bounds) <= int(defaults["postgres_settings"]["max_connections"]) - 3
    assert min(bounds) > 0


def test_a_lost_slot_is_made_again_and_named_and_a_missing_one_only_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = {"database": "postgres", "name": "airbyte", "plugin": "pgoutput"}

    def setup(check_mode: bool = False) -> tuple[list[str], list[str]]:
        params = {"socket_dir": "127.0.0.1", "superuser": postgres.ADMIN, "former_superuser": ""}
        made = Setup({**params, "roles": [], "databases": [], "schemas": [], "slots": [wanted]}, check_mode)
        made.run()
        return [action for action in made.actions if "slot" in action], made.slots_replaced

    with postgres.server() as port:
        monkeypatch.setenv("PGPORT", str(port))
        connection = psycopg2.connect(host="127.0.0.1", user=postgres.ADMIN, dbname="postgres")
        connection.autocommit = True
        cursor = connection.cursor()
        assert setup() == (["create slot airbyte"], [])
        assert setup() == ([], [])
        for statement in (
            "alter system set max_slot_wal_keep_size = '1MB'",
            "select pg_reload_conf()",
            *("select pg_logical_emit_message(true, 'fill', 'x'); select pg_switch_wal()", "checkpoint") * 4,
        ):
            cursor.execute(statement)
        lost = (["drop slot airbyte, which is lost", "create slot airbyte"], ["airbyte"])
        assert setup(check_mode=True) == lost
        assert setup() == lost
        assert setup() == ([], [])
        connection.close()
