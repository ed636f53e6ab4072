"""The Snowflake session of one sync. Every statement commits by itself."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self
from urllib.parse import parse_qsl

import snowflake.connector
from cryptography.hazmat.primitives import serialization

from ..protocol import ConnectorError, JsonObject, RefreshRequiredError, Stream, log
from .batch import Batch
from .table import HARD_DELETE, META_COLUMNS, Table, quote

LOGIN_TIMEOUT_S = 60
NETWORK_TIMEOUT_S = 600


def connection_arguments(config: JsonObject) -> dict[str, Any]:
    """Arguments of the Python connector for a configuration in the terms of Airbyte's connector.

    `host` is `<account>.snowflakecomputing.com`, or any host and port with `account=…` among `jdbc_url_params`, which are
    the JDBC driver's own names (https://docs.snowflake.com/en/developer-guide/jdbc/jdbc-parameters).
    `disableOCSPChecks=true` is for a server whose authority answers no questions about revocation.
    """
    host, _, port = config["host"].partition(":")
    options = dict(parse_qsl(config.get("jdbc_url_params", "")))
    arguments: dict[str, Any] = {
        "account": options.get("account") or host.removesuffix(".snowflakecomputing.com"),
        "host": host,
        "port": int(port or 443),
        "disable_ocsp_checks": options.get("disableOCSPChecks", "").lower() == "true",
        "user": config["username"],
        "role": config["role"],
        "warehouse": config["warehouse"],
        "database": config["database"].upper(),
        "schema": config["schema"].upper(),
        "autocommit": True,
        "login_timeout": LOGIN_TIMEOUT_S,
        "network_timeout": int(options.get("networkTimeout", NETWORK_TIMEOUT_S * 1000)) // 1000,
        "client_session_keep_alive": True,
        "application": "retailflow_embedded_airbyte",
        "session_parameters": {"CLIENT_TELEMETRY_ENABLED": False, "TIMEZONE": "UTC"},
    }
    credentials = config["credentials"]
    if credentials["auth_type"] == "Key Pair Authentication":
        arguments["private_key"] = _private_key(credentials)
        arguments["authenticator"] = "SNOWFLAKE_JWT"
    else:
        arguments["password"] = credentials["password"]
    return arguments


def _private_key(credentials: JsonObject) -> bytes:
    """The key as DER bytes, which is what the connector takes. Accepts PEM, with or without its newlines."""
    text = credentials["private_key"].strip()
    password = credentials.get("private_key_password") or None
    try:
        if text.startswith("-----"):
            key = serialization.load_pem_private_key(
                text.replace("\\n", "\n").encode(), password.encode() if password else None
            )
        else:
            key = serialization.load_der_private_key(base64.b64decode(text), None)
    except (ValueError, TypeError) as error:
        raise ConnectorError("credentials.private_key is not a PKCS#8 PEM key", "config_error") from error
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


Tables = dict[str, dict[str, str]]  # by name: the columns with their types, as information_schema names them


def _information(database: str) -> str:
    """The information schema of a database, in a statement with parameters."""
    return f"{quote(database).replace('%', '%%')}.information_schema"


class Warehouse:
    """A session, opened on entry. Raises ConnectorError that names host and user where it cannot be."""

    def __init__(self, config: JsonObject) -> None:
        self._arguments = connection_arguments(config)
        self._deletion_mode = config.get("cdc_deletion_mode", HARD_DELETE)
        self._schemas: dict[tuple[str, str], Tables] = {}

    def __enter__(self) -> Self:
        try:
            self._session = snowflake.connector.connect(**self._arguments)
        except snowflake.connector.errors.DatabaseError as error:  # wrong user, role or key
            raise ConnectorError(self._cannot("log in", error), "config_error") from error
        except snowflake.connector.errors.Error as error:
            raise ConnectorError(self._cannot("connect", error), "transient_error") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def _cannot(self, what: str, error: Exception) -> str:
        where = f"{self._arguments['host']}:{self._arguments['port']}"
        return f"cannot {what} to Snowflake at {where} as {self._arguments['user']}: {error}"

    def query(self, statement: str, *parameters: str) -> list[tuple[Any, ...]]:
        try:
            with self._session.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return [tuple(row) for row in cursor.fetchall()]
        except snowflake.connector.errors.Error as error:
            # What Snowflake says about the statement itself (SQLSTATE 42 and 22), it says again at the next try.
            useless = (error.sqlstate or "").startswith(("42", "22"))
            raise ConnectorError(
                f"Snowflake refused `{statement[:120]}`: {error.msg}",
                "config_error" if useless else "system_error",
            ) from error

    def check(self) -> None:
        """Prove that a table can be made and dropped in the default schema."""
        database, schema = self._arguments["database"], self._arguments["schema"]
        self._ensure_schema(database, schema)
        probe = quote(database, schema, "_AIRBYTE_CONNECTION_TEST")
        self.query(f"create or replace table {probe} (n NUMBER(38,0))")
        self.query(f"drop table {probe}")

    def table(self, stream: Stream) -> Table:
        return Table.of(stream, self._arguments["database"], self._arguments["schema"], self._deletion_mode)

    def prepare(self, stream: Stream) -> Table:
        """Make or widen the table that the stream's rows go into, and remove what killed syncs left."""
        table = self.table(stream)
        there = self._tables(table.database, table.schema)
        existing = there.get(table.name, {})
        if existing and (missing := [name for name in META_COLUMNS if name not in existing]):
            raise ConnectorError(
                f"{table.qualified} exists but is no table of Airbyte's (it lacks {', '.join(missing)}): "
                "rename or drop it. Nothing was written",
                "config_error",
            )
        for name in sorted(filter(table.is_orphan, there)):
            log(f"dropping {name}, left by a sync that was killed")
            self.query(f"drop table if exists {quote(table.database, table.schema, name)}")
        table = self._chosen(table, stream, bool(existing), there)
        if table.written_name not in there:
            self.query(table.create())
        table = replace(table, generation_id=self._generation(table, stream))
        if table.written_name in there:
            self._alter(table, stream, there[table.written_name])
        self.query(f"create or replace stage {table.stage}")
        return table

    def _alter(self, table: Table, stream: Stream, existing: dict[str, str]) -> None:
        """Give a table with these columns those that the stream has now."""
        statements = table.add_columns(existing)
        for column in table.changed_columns(existing):
            if not stream.replaces_all:
                raise ConnectorError(
                    f"column {column.name} of {table.qualified} is {existing[column.name]}, but the source now "
                    f"gives {column.type}: change the source back, or refresh the connection",
                    "config_error",
                )
            statements += table.replace_column(column)
        for statement in statements:
            log(statement)
            self.query(statement)

    def _chosen(self, table: Table, stream: Stream, exists: bool, there: Tables) -> Table:
        """The table, or the one aside: a new generation is kept apart from the rows before it until it is complete.

        Airbyte's destination exchanges them by ALTER TABLE … SWAP, too. Raises RefreshRequiredError where rows are missing on
        which the stream's state relies.
        """
        aside = replace(table, aside=True)
        begun = aside.written_name in there
        if stream.replaces_all and begun and self._goes_on(aside, stream):
            return aside
        if begun:
            log(f"dropping {aside.written_name}, a generation that was not completed")
            self.query(f"drop table if exists {aside.written}")
            del there[aside.written_name]
        if stream.replaces_all and not stream.rows_before:
            return aside if exists and self._has_rows(table) else table
        self._expect_rows(table, stream, exists)
        return table

    def _goes_on(self, aside: Table, stream: Stream) -> bool:
        """Whether the table aside holds this generation, and not the one before, which a killed sync did not drop."""
        put, kept = self._newest(aside.written), self._newest(aside.qualified)
        if stream.rows_before is None:
            return put is not None and put == stream.generation_id
        return stream.rows_before > 0 and (put is None or (kept is not None and kept < put))

    def _newest(self, table: str) -> int | None:
        """The newest generation in a table; None where it is empty."""
        ((newest,),) = self.query(f'select max("_AIRBYTE_GENERATION_ID") from {table}')
        return None if newest is None else int(newest)

    def _has_rows(self, table: Table) -> bool:
        return bool(self.query(f"select 1 from {table.qualified} limit 1"))

    def _tables(self, database: str, schema: str) -> Tables:
        """What is in a schema, which is made where it is missing; asked for once, however many streams a sync has."""
        if (known := self._schemas.get((database, schema))) is None:
            self._ensure_schema(database, schema)
            known = self._schemas[database, schema] = {}
            for name, column, type_ in self.query(
                f"select table_name, column_name, data_type from {_information(database)}.columns where table_schema = %s",
                schema,
            ):
                known.setdefault(name, {})[column] = type_
        return known

    def _expect_rows(self, table: Table, stream: Stream, exists: bool) -> None:
        """A stream that goes on from a state relies on the rows before it. Raises RefreshRequiredError."""
        if not stream.rows_before:
            return
        newest = self._newest(table.qualified) if exists else None
        if newest is not None and not (stream.replaces_all and newest < stream.generation_id):
            return
        what = "does not exist" if not exists else "is empty" if newest is None else "lacks its newest rows"
        raise RefreshRequiredError(
            f"{table.qualified} {what}, but {stream.rows_before} records were "
            "loaded into it before: the stream is read again from the start",
            [stream],
        )

    def _generation(self, table: Table, stream: Stream) -> int:
        """The generation of this sync's rows: never below what the table has seen.

        A platform that has lost its memory, or a connection that was made again, counts from one; its rows must be
        newer than those of the connection before, so that these go once the new ones are complete.
        """
        if stream.rows_before is None or not stream.generation_id:
            return stream.generation_id
        highest = self._newest(table.written if stream.rows_before else table.qualified)
        if highest is None or highest < stream.generation_id:
            return stream.generation_id
        begins = stream.replaces_all and not stream.rows_before
        return highest + 1 if begins else highest

    def load(self, table: Table, batch: Batch) -> None:
        """Load a closed batch. When this returns, its rows are in the table for good."""
        began = time.monotonic()
        self.query(f"put 'file://{batch.path}' @{table.stage} auto_compress = false overwrite = true")
        straight = not table.dedup or self._all_new(table, batch)
        if not straight:
            self.query(table.create_staging())
        name = batch.path.name
        result = self.query(table.copy_straight(name) if straight else table.copy(name))
        loaded = sum(int(row[3]) for row in result if len(row) > 3 and row[1] == "LOADED")
        if loaded != batch.rows:
            raise ConnectorError(
                f"{table.qualified}: {batch.rows} rows were staged but {loaded} copied: {result}"
            )
        if not straight:
            self.query(table.merge())
        how = "straight" if straight else "by way of a staging table"
        log(f"loaded {batch.rows} rows into {table.qualified} in {time.monotonic() - began:.1f} s, {how}")

    def _all_new(self, table: Table, batch: Batch) -> bool:
        """True where no two rows of the batch, nor one of it and one of the table, can have the same key."""
        if batch.rising is None:
            return False
        ((count,),) = self.query(table.count_keys(*batch.rising))
        return int(count) == 0

    def truncate_older(self, table: Table, stream: Stream) -> None:
        """After a whole refresh: the rows of the generations before it go."""
        if table.aside:
            for statement in table.exchange():
                self.query(statement)
        elif stream.minimum_generation_id > 0:
            kept = table.generation_id if stream.replaces_all else stream.minimum_generation_id
            self.query(table.truncate_older(kept))

    def drop_staging(self, tables: Sequence[Table]) -> None:
        for table in tables:
            self.query(f"drop table if exists {table.staging}")

    def _ensure_schema(self, database: str, schema: str) -> None:
        found = self.query(f"select 1 from {_information(database)}.schemata where schema_name = %s", schema)
        if not found:
            self.query(f"create schema if not exists {quote(database, schema)}")
