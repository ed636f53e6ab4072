"""How the application database is named by a JDBC URL, and which servers are taken by their certificate."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from retailflow_emulators.dashboards.settings import Settings
from retailflow_emulators.dashboards.store import Store
from tls_support import REFUSED, Authority, Listener

AUTHORITY = Authority()
LOGIN = {"MB_DB_USER": "metabase", "MB_DB_PASS": "p@ss/word"}


def database(uri: str, **changes: str) -> sa.URL:
    return Settings.from_env({"MB_DB_CONNECTION_URI": uri, **LOGIN, **changes}).database_url


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    path = tmp_path / "authority.crt"
    path.write_text(AUTHORITY.certificate)
    return path


def verified(port: int, authority: Path) -> sa.URL:
    return database(
        f"jdbc:postgresql://localhost:{port}/metabase?sslmode=verify-full&sslrootcert={authority}"
    )


def test_a_server_that_the_authority_signed_is_taken(authority: Path) -> None:
    with Listener(AUTHORITY.sign()) as server:
        with pytest.raises(sa.exc.OperationalError, match="takes no login"):
            Store(verified(server.port, authority))
        assert b"metabase" in server.said[0]


@pytest.mark.parametrize("server_is", REFUSED)
def test_any_other_server_is_refused_and_told_nothing(authority: Path, server_is: str) -> None:
    signed, words = REFUSED[server_is]
    with Listener(signed(AUTHORITY)) as server:
        with pytest.raises(sa.exc.OperationalError, match=words):
            Store(verified(server.port, authority))
        assert not any(b"metabase" in one for one in server.said)


def test_the_parts_of_the_url_are_read(authority: Path) -> None:
    url = database(f"jdbc:postgresql://db:5433/meta%20base?sslmode=verify-full&sslrootcert={authority}")
    assert (url.host, url.port, url.database) == ("db", 5433, "meta base")
    assert (url.username, url.password) == ("metabase", "p@ss/word")
    assert (url.query["sslmode"], url.query["sslrootcert"]) == ("verify-full", str(authority))
    assert database("jdbc:postgresql://db/metabase").port == 5432


def test_the_url_goes_before_the_parts() -> None:
    parts = {"MB_DB_TYPE": "postgres", "MB_DB_HOST": "other", "MB_DB_DBNAME": "other"}
    assert database("jdbc:postgresql://db/metabase", **parts).host == "db"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("postgres://db/metabase", "must begin with jdbc:postgresql://"),
        ("jdbc:mysql://db/metabase", "must begin with jdbc:postgresql://"),
        ("jdbc:postgresql://db", "one host and one database"),
        ("jdbc:postgresql:///metabase", "one host and one database"),
        ("jdbc:postgresql://one,two/a/b", "one host and one database"),
        ("jdbc:postgresql://db:port/metabase", "cannot be read"),
        ("jdbc:postgresql://db/metabase?sslmode", "cannot be read"),
        ("jdbc:postgresql://metabase:hush@db/metabase", "not emulated: a login in it"),
        ("jdbc:postgresql://db/metabase?user=metabase", "not emulated: a login in it"),
        ("jdbc:postgresql://db/metabase?ssl=true", "not emulated: ssl;"),
        ("jdbc:postgresql://db/metabase?sslmode=require&loginTimeout=5", "not emulated: loginTimeout;"),
        ("jdbc:postgresql://db/metabase?sslmode=on", "sslmode must be one of"),
        ("jdbc:postgresql://db/metabase?sslmode=require&sslmode=disable", "twice"),
        ("jdbc:postgresql://db/metabase?sslmode=verify-full", "verify-full without sslrootcert"),
        ("jdbc:postgresql://db/metabase?sslmode=verify-full&sslrootcert=/nowhere", "is not a file"),
    ],
)
def test_a_url_that_the_driver_would_read_otherwise_is_refused(uri: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        database(uri)
    assert "hush" not in str(caught.value)


def test_a_url_without_a_login_beside_it_is_refused() -> None:
    with pytest.raises(ValueError, match="MB_DB_PASS must be set"):
        database("jdbc:postgresql://db/metabase", MB_DB_PASS="")
