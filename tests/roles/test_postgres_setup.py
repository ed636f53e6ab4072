"""Passwords, schema files, slots and publications as the module postgres_setup treats them."""

from __future__ import annotations

import base64
import hmac
from typing import Any

import psycopg2
import psycopg2.extras
import pytest
from ansible.module_utils.postgres import scram
from ansible.module_utils.postgres.setup import Setup, without_transaction

from bench import postgres

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
        params = {"socket_dir": "127.0.0.1", "admin_user": postgres.ADMIN, "slots": [], "publications": []}
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


def test_a_lost_slot_is_made_again_and_named_and_a_missing_one_only_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = {"database": "postgres", "name": "airbyte", "plugin": "pgoutput"}

    def setup(check_mode: bool = False) -> tuple[list[str], list[str]]:
        params = {"socket_dir": "127.0.0.1", "admin_user": postgres.ADMIN, "admin_password": "secret"}
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
