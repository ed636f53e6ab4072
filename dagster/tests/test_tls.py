"""Dagster's storage, the auditor and the clients of Snowflake talk to servers that the authority has signed, and to no other."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certifi
import dagster as dg
import psycopg2
import pytest
import snowflake.connector
import sqlalchemy as sa
from dagster_postgres.utils import pg_url_from_config

import dbt_support
from bench import postgres
from retailflow_dagster import entrypoint
from retailflow_dagster.lib.airbyte import AirbyteSync
from retailflow_dagster.lib.postgres import Shop
from retailflow_dagster.lib.snowflake import Warehouse
from retailflow_emulators.snowflake.testing import private_key
from tls_support import REFUSED, Authority, HttpsListener, present

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
    entrypoint.write_authorities()
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
    entrypoint.write_authorities()
    assert not list(tmp_path.iterdir())


SNOWFLAKE = Authority()


@pytest.fixture
def snowflake_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTGRES_AUTHORITY", raising=False)
    monkeypatch.setenv("SNOWFLAKE_AUTHORITY", SNOWFLAKE.certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authorities.crt"))
    entrypoint.write_authorities()


def by_the_checks(port: int, folder: Path) -> None:
    names = dict.fromkeys(("user", "role", "warehouse", "database", "raw_schema"), "ANY")
    login = {"account": "retailflow", "host": "localhost", "port": port, "private_key": private_key()}
    warehouse = Warehouse(**names, **login, network_timeout=2, disable_ocsp_checks=True)
    with pytest.raises(snowflake.connector.errors.Error), warehouse.connect():
        pass


def by_dbt(port: int, folder: Path) -> None:
    settings = {"SNOWFLAKE_ACCOUNT": "retailflow", "SNOWFLAKE_HOST": "localhost", "SNOWFLAKE_PORT": str(port)}
    command = [
        Path(sys.executable).with_name("dbt"),
        "debug",
        "--connection",
        "--project-dir",
        dbt_support.PROJECT,
    ]
    done = subprocess.run(
        [*command, "--profiles-dir", dbt_support.PROJECT, "--log-path", folder],
        env=os.environ | settings | {"SNOWFLAKE_PRIVATE_KEY": private_key()},
        timeout=120,
        capture_output=True,
    )
    assert done.returncode


CLIENTS = {"checks": by_the_checks, "dbt": by_dbt}


@pytest.mark.usefixtures("snowflake_authority")
@pytest.mark.parametrize("client", CLIENTS)
def test_a_snowflake_that_the_authority_signed_is_taken(tmp_path: Path, client: str) -> None:
    with HttpsListener(SNOWFLAKE.sign()) as server:
        CLIENTS[client](server.port, tmp_path)
        assert any(b"login-request" in one for one in server.said)


@pytest.mark.usefixtures("snowflake_authority")
@pytest.mark.parametrize("client", CLIENTS)
def test_a_snowflake_of_another_authority_is_refused_and_told_nothing(tmp_path: Path, client: str) -> None:
    with HttpsListener(Authority("foreign").sign()) as server:
        CLIENTS[client](server.port, tmp_path)
        assert server.said == []


@pytest.mark.usefixtures("snowflake_authority")
def test_public_servers_are_still_known(tmp_path: Path) -> None:
    """Such as the one that failed runs are reported to."""
    assert certifi.contents().strip() in (tmp_path / "authorities.crt").read_text()


@pytest.mark.parametrize("foreign", [False, True])
def test_an_airbyte_of_another_authority_is_refused_and_told_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign: bool
) -> None:
    """Whatever else requests are told to trust."""
    path = tmp_path / "airbyte.crt"
    monkeypatch.delenv("POSTGRES_AUTHORITY", raising=False)
    monkeypatch.delenv("SNOWFLAKE_AUTHORITY", raising=False)
    monkeypatch.setenv("AIRBYTE_AUTHORITY", SNOWFLAKE.certificate)
    monkeypatch.setenv("AIRBYTE_AUTHORITY_FILE", str(path))
    entrypoint.write_authorities()
    other = Authority("foreign")
    (tmp_path / "others.crt").write_text(other.certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "others.crt"))
    with HttpsListener((other if foreign else SNOWFLAKE).sign()) as server:
        sync = AirbyteSync(
            url=f"https://localhost:{server.port}",
            authority_file=str(path),
            client_id="id",
            client_secret="hush",
            connection_name="c",
        )
        with pytest.raises(dg.Failure):
            sync.latest_syncs()
        assert bool(server.said) != foreign
