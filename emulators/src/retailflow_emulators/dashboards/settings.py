"""Configuration by environment, with the names that Metabase's own image uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from sqlalchemy import URL

MIN_KEY_LENGTH = 16  # characters; Metabase refuses shorter keys too


@dataclass(frozen=True)
class Settings:
    """What the server is told.

    - ``MB_JETTY_HOST``, ``MB_JETTY_PORT``: address to listen on.
    - ``MB_SITE_NAME``: title of the pages until the first-run set-up names the site.
    - ``MB_DB_TYPE``: ``postgres`` keeps the state in the application database that ``MB_DB_HOST``, ``MB_DB_PORT``,
      ``MB_DB_DBNAME``, ``MB_DB_USER`` and ``MB_DB_PASS`` name; anything else in SQLite under ``MB_DATA_DIR``.
    - ``MB_DB_CONNECTION_URI``: that database as a JDBC URL, ``jdbc:postgresql://host:port/name``, with the driver's
      ``sslmode`` and ``sslrootcert`` if need be. It goes before the parts; ``MB_DB_USER`` and ``MB_DB_PASS`` stand beside it.
    - ``MB_ENCRYPTION_SECRET_KEY``: encrypts the secrets of databases at rest; without it they are stored as given.
    - ``MAX_SESSION_AGE``: minutes that a session lives.
    - ``MB_QUERY_TIMEOUT_SECONDS``, ``MB_CONNECTION_TIMEOUT_SECONDS``: patience with the warehouse.
    """

    host: str = "0.0.0.0"
    port: int = 3000
    site_name: str = "RetailFlow"
    database_url: URL = field(
        default_factory=lambda: URL.create("sqlite", database="/data/dashboards.sqlite")
    )
    encryption_key: str = ""
    session_minutes: int = 20_160
    query_seconds: int = 60
    connection_seconds: int = 10

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read the environment; ValueError names the variable that is wrong and what it should be."""

        def number(name: str, default: int, highest: int) -> int:
            text = env.get(name) or str(default)
            if not text.isdigit() or not 0 < int(text) <= highest:
                raise ValueError(f"{name} must be a whole number from 1 to {highest}, got {text!r}")
            return int(text)

        key = env.get("MB_ENCRYPTION_SECRET_KEY", "")
        if key and len(key) < MIN_KEY_LENGTH:
            raise ValueError(
                f"MB_ENCRYPTION_SECRET_KEY must have at least {MIN_KEY_LENGTH} characters, got {len(key)}"
            )
        return cls(
            host=env.get("MB_JETTY_HOST") or cls.host,
            port=number("MB_JETTY_PORT", cls.port, 65_535),
            site_name=env.get("MB_SITE_NAME") or cls.site_name,
            database_url=_database_url(env, number),
            encryption_key=key,
            session_minutes=number("MAX_SESSION_AGE", cls.session_minutes, 525_600),
            query_seconds=number("MB_QUERY_TIMEOUT_SECONDS", cls.query_seconds, 3_600),
            connection_seconds=number("MB_CONNECTION_TIMEOUT_SECONDS", cls.connection_seconds, 600),
        )


# What the JDBC driver and libpq call the same.
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def _connection_uri(env: Mapping[str, str]) -> URL:
    """The database of ``MB_DB_CONNECTION_URI``; the words are those of the JDBC driver, whose parameters libpq shares.

    See "Connection Parameters" in the driver's documentation. What it has and this server does not is refused by name.
    """
    text = env["MB_DB_CONNECTION_URI"]
    where = "MB_DB_CONNECTION_URI"
    if not text.startswith("jdbc:postgresql://"):
        raise ValueError(
            f"{where} must begin with jdbc:postgresql:// (not emulated: other databases and forms)"
        )
    try:
        parts = urlsplit(text.removeprefix("jdbc:"), allow_fragments=False)
        host, port = parts.hostname, parts.port or 5432
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise ValueError(f"{where} cannot be read: {error}") from None
    name = unquote(parts.path.removeprefix("/"))
    if not host or not name or "/" in name:
        raise ValueError(f"{where} must name one host and one database")
    options = dict(given)
    if len(options) != len(given):
        raise ValueError(f"{where} names a parameter twice")
    if "@" in parts.netloc or {"user", "password"} & set(options):
        raise ValueError(f"{where}: not emulated: a login in it; give MB_DB_USER and MB_DB_PASS beside it")
    if unknown := sorted(set(options) - {"sslmode", "sslrootcert"}):
        raise ValueError(f"{where}: not emulated: {', '.join(unknown)}; sslmode and sslrootcert are")
    mode = options.setdefault("sslmode", "prefer")
    if mode not in _SSL_MODES:
        raise ValueError(f"{where}: sslmode must be one of {', '.join(_SSL_MODES)}, got {mode!r}")
    authority = options.get("sslrootcert")
    if authority is None and mode.startswith("verify"):
        raise ValueError(f"{where}: not emulated: {mode} without sslrootcert")
    if authority is not None and not Path(authority).is_file():
        raise ValueError(f"{where}: sslrootcert {authority!r} is not a file")
    if missing := [one for one in ("MB_DB_USER", "MB_DB_PASS") if not env.get(one)]:
        raise ValueError(f"{where} is set, so {', '.join(missing)} must be set")
    return URL.create(
        "postgresql+psycopg2",
        username=env["MB_DB_USER"],
        password=env["MB_DB_PASS"],
        host=host,
        port=port,
        database=name,
        query={"connect_timeout": "5", **options},
    )


def _database_url(env: Mapping[str, str], number: Callable[[str, int, int], int]) -> URL:
    if env.get("MB_DB_CONNECTION_URI"):
        return _connection_uri(env)
    if env.get("MB_DB_TYPE") == "postgres":
        missing = [
            name for name in ("MB_DB_HOST", "MB_DB_DBNAME", "MB_DB_USER", "MB_DB_PASS") if not env.get(name)
        ]
        if missing:
            raise ValueError(f"MB_DB_TYPE is postgres, so {', '.join(missing)} must be set")
        return URL.create(
            "postgresql+psycopg2",
            username=env["MB_DB_USER"],
            password=env["MB_DB_PASS"],
            host=env["MB_DB_HOST"],
            port=number("MB_DB_PORT", 5432, 65_535),
            database=env["MB_DB_DBNAME"],
            query={"connect_timeout": "5"},
        )
    folder = Path(env.get("MB_DATA_DIR") or "/data")
    if not folder.is_dir():
        raise ValueError(f"MB_DATA_DIR: {folder} is not a folder; create it or mount a volume there")
    return URL.create("sqlite", database=str(folder / "dashboards.sqlite"))
