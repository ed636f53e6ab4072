"""Dagster's storage and the auditor talk to the server that the authority has signed under its name, and to no other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from dagster_postgres.utils import pg_url_from_config

from bench import postgres
from retailflow_dagster import entrypoint
from retailflow_dagster.lib.postgres import Shop
from tls_support import REFUSED, Authority, present

Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def connect(sql: Sql) -> Iterator[Callable[[], Any]]:
    """Log in as the superuser, whatever certificate there is; the server has none again at the end."""
    port = sql.port  # type: ignore[attr-defined]

    def admin() -> Any:
        login = {"host": "127.0.0.1", "port": port, "user": postgres.ADMIN, "dbname": "postgres"}
        return psycopg2.connect(**login, sslmode="prefer")

    yield admin
    present(admin, None)


@pytest.fixture
def authority(connect: object, sql: Sql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The authority of a container's environment, which its entry point has written."""
    known = Authority()
    monkeypatch.setenv("POSTGRES_AUTHORITY", known.certificate)
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / "authority.crt"))
    port = str(sql.port)  # type: ignore[attr-defined]
    storage = {
        "HOST": "localhost",
        "PORT": port,
        "DATABASE": "postgres",
        "USER": postgres.ADMIN,
        "PASSWORD": "-",
    }
    for name, value in storage.items():
        monkeypatch.setenv(f"DAGSTER_PG_{name}", value)
    entrypoint.write_authority()
    assert (tmp_path / "authority.crt").read_text() == known.certificate
    assert [one.name for one in tmp_path.iterdir()] == ["authority.crt"]
    return known


def storage(sql: Sql) -> str:
    """Whether a session of Dagster's storage is encrypted, by the address that Dagster makes of its configuration."""
    where = {"hostname": "localhost", "port": sql.port, "db_name": "postgres"}  # type: ignore[attr-defined]
    who = {"username": postgres.ADMIN, "password": "-"}
    engine = sa.create_engine(pg_url_from_config({"postgres_db": where | who}))
    with contextlib.closing(engine.raw_connection()) as link:
        cursor = link.cursor()
        cursor.execute("select ssl::text from pg_stat_ssl where pid = pg_backend_pid()")
        return str(cursor.fetchone()[0])


def shop(sql: Sql) -> str:
    return Shop(
        host="localhost",
        port=sql.port,  # type: ignore[attr-defined]
        database="postgres",
        user="auditor",
        password="-",
    ).snapshot()


def test_a_server_that_the_authority_signed_is_taken_and_encrypted(
    sql: Sql, connect: Callable[[], Any], authority: Authority
) -> None:
    present(connect, authority.sign())
    entrypoint.wait_for_database(0)
    assert storage(sql) == "true"
    assert shop(sql)


@pytest.mark.parametrize("server_is", REFUSED)
def test_any_other_server_is_refused(
    sql: Sql, connect: Callable[[], Any], authority: Authority, server_is: str
) -> None:
    signed, words = REFUSED[server_is]
    present(connect, signed(authority))
    with pytest.raises(SystemExit, match=words):
        entrypoint.wait_for_database(0)
    with pytest.raises(psycopg2.OperationalError, match=words):
        storage(sql)
    with pytest.raises(psycopg2.OperationalError, match=words):
        shop(sql)


def test_without_an_authority_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTGRES_AUTHORITY", raising=False)
    monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / "authority.crt"))
    entrypoint.write_authority()
    assert not list(tmp_path.iterdir())
