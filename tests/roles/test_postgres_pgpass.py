"""The line of ~/.pgpass that the role postgres writes, read back by libpq on a server that asks for passwords."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql

import small_play
from bench import postgres

ROLE = Path(__file__).parents[2] / "roles/postgres"
SECRETS = [
    "plain",
    "with:colon",
    "with\\backslash",
    "\\:both:\\\\:",
    "ends with\\",
    ":begins",
    "blanks  inside and # hash",
    "quotes ' \" ` $HOME $(id) %s {{ never }} {% raw %}",
    "~!@#$%^&*()_+-=[]{}|;,./<>?",
]


def lines_of(folder: Path, port: int, logins: list[tuple[str, str]]) -> list[str]:
    """The lines as Ansible renders the role's variable, for these logins and passwords."""
    values = [{"user": user, "password": password} for user, password in logins]
    (folder / "values.json").write_text(json.dumps(values))
    write = {
        "copy": {
            "content": "{{ __postgres_pgpass_line }}",
            "dest": f"{folder}/{{{{ index }}}}",
            "mode": "0600",
        },
        "loop": "{{ lookup('file', '" + str(folder / "values.json") + "') | from_json }}",
        "loop_control": {"index_var": "index"},
    }
    login = {"postgres_admin_user": "{{ item.user }}", "postgres_admin_password": "{{ item.password }}"}
    role = {"vars_files": [str(ROLE / "vars/main.yml")], "vars": login | {"postgres_port": port}}
    small_play.run(folder, [write], play=role)
    return [(folder / str(number)).read_text() for number in range(len(logins))]


def test_libpq_reads_every_password_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    logins = [("plain", secret) for secret in SECRETS] + [("a:b\\c", "d:e\\f")]
    with postgres.server("plain", "a:b\\c") as port:
        lines = lines_of(tmp_path, port, logins)
        login = {"host": "127.0.0.1", "port": port, "user": postgres.ADMIN, "dbname": "postgres"}
        connection = psycopg2.connect(**login)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("show hba_file")
            hba = Path(cursor.fetchone()[0])
            hba.write_text(f"host all {postgres.ADMIN} all trust\nhost all all all scram-sha-256\n")
            cursor.execute("select pg_reload_conf()")
            for (user, secret), line in zip(logins, lines, strict=True):
                assert "\n" not in line
                change = sql.SQL("alter role {} password {}").format(
                    sql.Identifier(user), sql.Literal(secret)
                )
                cursor.execute(change)
                file = tmp_path / "pgpass"
                file.write_text(line + "\n")
                file.chmod(0o600)
                found = psycopg2.connect(**{**login, "host": "localhost", "user": user}, passfile=str(file))
                found.close()
                file.write_text(line + "x\n")
                with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
                    psycopg2.connect(**{**login, "host": "localhost", "user": user}, passfile=str(file))
        connection.close()
