"""Connections to PostgreSQL and what their failures mean."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

from ..protocol import ConnectorError, JsonObject

# How values are spelled must not depend on the settings of the role, the database or the server, and a row that
# row-level security hides must be an error. Settings that a server does not know are left out.
SETTINGS: Mapping[str, str] = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "row_security": "off",
    "search_path": "pg_catalog",
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
# SQLSTATEs that another try may repair: connections, resources, locks, deadlocks, an operator's stop, the disk.
_TRANSIENT = ("08", "25P03", "40", "53", "55006", "55P03", "57", "58")


# What the read found at its beginning is not there any more: objects, tables, columns.
_CHANGED = ("42704", "42P01", "42703")
# What PostgreSQL and its client say about a login that another try does not repair; such errors have no SQLSTATE.
_REFUSED = (
    "authentication",
    "does not exist",
    "no pg_hba.conf",
    "is not permitted to log in",
    "permission denied for database",
    "is not currently accepting connections",
    "does not support SSL",
    "certificate verify failed",
    "signature failure",
    "does not match host name",
)


def failure(error: psycopg2.Error, what: str) -> ConnectorError:
    """The error of a statement in the words of the protocol; `what` says what was being done."""
    text = str(error).strip() or type(error).__name__
    if error.pgcode in _CHANGED:
        text += ". It was there when the read began: another attempt reads what is there now"
    transient = error.pgcode is None or error.pgcode.startswith((*_TRANSIENT, *_CHANGED))
    return ConnectorError(f"{what}: {text}", "transient_error" if transient else "config_error")


@contextmanager
def snapshots(config: JsonObject) -> Iterator[psycopg2.extensions.connection]:
    """A read-only connection whose every transaction is one snapshot (repeatable read)."""
    with connect(config) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        yield connection


@contextmanager
def connect(config: JsonObject, settings: bool = True) -> Iterator[psycopg2.extensions.connection]:
    """A connection with SETTINGS, or with the role's own. ConnectorError names host, database and user."""
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
                options="-c statement_timeout=0",  # before the first statement, which makes the other settings
                keepalives_idle=30,
                **options,
            )
        except psycopg2.OperationalError as error:
            text = str(error).strip()
            refused = any(words in text for words in _REFUSED)
            raise ConnectorError(
                f"cannot open {config['database']} at {config['host']}:{config['port']} "
                f"as {config['username']}: {text}",
                "config_error" if refused else "transient_error",
            ) from error
    try:
        if settings:
            _settle(connection)
        yield connection
    finally:
        connection.close()


def take_bytes(cursor: psycopg2.extensions.cursor) -> bool:
    """In a database in SQL_ASCII, take texts as the bytes that they are, until the end of the transaction.

    PostgreSQL would refuse those that are no UTF-8 without saying where they are. Returns whether it is such a database.
    """
    if cursor.connection.info.parameter_status("server_encoding") != "SQL_ASCII":
        return False
    cursor.execute("set local client_encoding = 'SQL_ASCII'")
    return True


def set_search_path(connection: psycopg2.extensions.connection, path: str) -> None:
    """For the session; `path` is what `catalog.search_path` gives."""
    with connection.cursor() as cursor:
        cursor.execute("select set_config('search_path', %s, false)", (path,))
    if not connection.autocommit:
        connection.commit()


def _settle(connection: psycopg2.extensions.connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "select set_config(w.name, w.value, false) from unnest(%s, %s) as w (name, value) "
            "join pg_catalog.pg_settings s on lower(s.name) = w.name",
            (list(SETTINGS), list(SETTINGS.values())),
        )
    connection.commit()
