"""Connections to PostgreSQL and what their failures mean."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from ..protocol import ConnectorError, JsonObject

# What no second try repairs: a table, column, privilege or publication that is not there.
_CONFIGURATION_ERRORS = (
    psycopg2.errors.UndefinedTable,
    psycopg2.errors.UndefinedColumn,
    psycopg2.errors.UndefinedObject,
    psycopg2.errors.InsufficientPrivilege,
    psycopg2.errors.DatatypeMismatch,
)


def failure(error: psycopg2.Error, what: str) -> ConnectorError:
    """The error of a statement in the words of the protocol; `what` says what was being done."""
    text = str(error).strip() or type(error).__name__
    kind = "config_error" if isinstance(error, _CONFIGURATION_ERRORS) else "transient_error"
    return ConnectorError(f"{what}: {text}", kind)  # type: ignore[arg-type]


@contextmanager
def snapshots(config: JsonObject) -> Iterator[psycopg2.extensions.connection]:
    """A read-only connection whose every transaction is one snapshot (repeatable read)."""
    with connect(config) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        yield connection


@contextmanager
def connect(config: JsonObject) -> Iterator[psycopg2.extensions.connection]:
    """A connection in UTC. ConnectorError names host, database and user."""
    ssl = config.get("ssl_mode", {"mode": "prefer"})
    options: dict[str, Any] = {"sslmode": ssl["mode"]}
    with tempfile.TemporaryDirectory() as folder:
        if ssl.get("ca_certificate"):
            authority = Path(folder) / "ca.pem"
            authority.write_text(ssl["ca_certificate"], encoding="utf-8")
            options["sslrootcert"] = str(authority)
        try:
            connection = psycopg2.connect(
                host=config["host"],
                port=config["port"],
                dbname=config["database"],
                user=config["username"],
                password=config.get("password", ""),
                connect_timeout=15,
                client_encoding="UTF8",
                application_name="embedded airbyte",
                options="-c timezone=UTC -c datestyle=ISO -c statement_timeout=0",
                keepalives_idle=30,
                **options,
            )
        except psycopg2.OperationalError as error:
            text = str(error).strip()
            refused = any(word in text for word in ("authentication", "does not exist", "no pg_hba.conf"))
            raise ConnectorError(
                f"cannot open {config['database']} at {config['host']}:{config['port']} "
                f"as {config['username']}: {text}",
                "config_error" if refused else "transient_error",
            ) from error
    try:
        yield connection
    finally:
        connection.close()
