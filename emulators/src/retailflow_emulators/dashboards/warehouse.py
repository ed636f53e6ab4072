"""Snowflake, as Metabase's connection details describe it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol
from urllib.parse import parse_qsl

import snowflake.connector
from cryptography.hazmat.primitives import serialization
from snowflake.connector.constants import FIELD_ID_TO_NAME
from snowflake.connector.errors import Error as SnowflakeError

Value = str | int | float | bool | None

BASE_TYPES = {
    "FIXED": "type/Decimal",
    "REAL": "type/Float",
    "BOOLEAN": "type/Boolean",
    "DATE": "type/Date",
    "TIME": "type/Time",
    "TIMESTAMP_NTZ": "type/DateTime",
    "TIMESTAMP_LTZ": "type/DateTimeWithLocalTZ",
    "TIMESTAMP_TZ": "type/DateTimeWithLocalTZ",
}
NUMBERS = ("type/Integer", "type/Decimal", "type/Float")


class WarehouseError(Exception):
    """The warehouse refused or did not answer; ``field`` is the connection detail to look at, if one is known."""

    def __init__(self, message: str, field: str = "host") -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Column:
    """Name and Metabase base type of a result column."""

    name: str
    base_type: str

    @property
    def is_number(self) -> bool:
        """Whether values are aligned and drawn as numbers."""
        return self.base_type in NUMBERS


@dataclass(frozen=True)
class Result:
    """Rows of a query; ``truncated`` when the warehouse had more."""

    columns: list[Column]
    rows: list[list[Value]]
    truncated: bool = False


class Warehouse(Protocol):
    """What the server asks of a warehouse; every method raises WarehouseError."""

    def check(self, details: dict[str, Any]) -> None:
        """Log in and run a statement."""

    def tables(self, details: dict[str, Any]) -> list[dict[str, Any]]:
        """``{"schema", "name", "columns": [{"name", "type"}]}`` of every table and view that the role may see."""

    def query(
        self, details: dict[str, Any], sql: str, limit: int, values: Mapping[str, Value] | None = None
    ) -> Result:
        """The first ``limit`` rows of ``sql``; with ``values``, ``%(name)s`` in it stands for one of them."""


def private_key_der(value: str) -> bytes:
    """PKCS#8 DER of an uploaded key (``data:…;base64,…`` of a PEM, or the PEM); WarehouseError when it is not one."""
    try:
        pem = (
            base64.b64decode(value.partition(",")[2], validate=True)
            if value.startswith("data:")
            else value.encode()
        )
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, binascii.Error) as error:
        raise WarehouseError(
            f"the private key cannot be read as an unencrypted PKCS#8 PEM: {error}", "private-key-value"
        ) from None
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Snowflake:
    """A connection per request: dashboards are read seldom, and a warehouse may suspend in between."""

    def __init__(self, connection_seconds: int, query_seconds: int) -> None:
        # The connector would ask cloud metadata addresses what it runs on.
        os.environ.setdefault("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")
        self._connection_seconds = connection_seconds
        self._query_seconds = query_seconds

    def check(self, details: dict[str, Any]) -> None:
        """See Warehouse."""
        with self._cursor(details, self._connection_seconds) as cursor:
            (database,) = cursor.execute(
                "select current_database()", timeout=self._connection_seconds
            ).fetchone()
        if not database:  # Snowflake begins a session without the database it named
            reason = f"there is no database {details['db']} that {details['user']} may use; the case of its name matters"
            raise WarehouseError(reason, "db")

    def tables(self, details: dict[str, Any]) -> list[dict[str, Any]]:
        """See Warehouse."""
        sql = (
            "select table_schema, table_name, column_name, data_type from information_schema.columns"
            " where table_schema <> 'INFORMATION_SCHEMA' order by 1, 2, ordinal_position"
        )
        found: dict[tuple[str, str], list[dict[str, str]]] = {}
        for schema, name, column, kind in self.query(details, sql, 100_000).rows:
            found.setdefault((str(schema), str(name)), []).append({"name": str(column), "type": str(kind)})
        return [
            {"schema": schema, "name": name, "columns": columns} for (schema, name), columns in found.items()
        ]

    def query(
        self, details: dict[str, Any], sql: str, limit: int, values: Mapping[str, Value] | None = None
    ) -> Result:
        """See Warehouse."""
        with self._cursor(details, self._query_seconds) as cursor:
            cursor.execute(sql, dict(values) if values else None, timeout=self._query_seconds)
            columns = [Column(meta.name, _base_type(meta)) for meta in cursor.description or []]
            rows = cursor.fetchmany(limit + 1)
        return Result(columns, [[_plain(value) for value in row] for row in rows[:limit]], len(rows) > limit)

    @contextlib.contextmanager
    def _cursor(self, details: dict[str, Any], seconds: int) -> Iterator[Any]:
        options: dict[str, Any] = {
            name: details[name]
            for name in ("account", "user", "warehouse", "role", "host", "port")
            if details.get(name)
        }
        missing = [name for name in ("account", "user", "db") if not details.get(name)]
        if missing:
            raise WarehouseError(f"the connection details lack {', '.join(missing)}", missing[0])
        if details.get("private-key-value"):
            options["private_key"] = private_key_der(str(details["private-key-value"]))
        elif details.get("password"):
            options["password"] = str(details["password"])
        else:
            raise WarehouseError("the connection details hold no private-key-value", "private-key-value")
        options |= _driver_options(str(details.get("additional-options") or ""))
        where = f"Snowflake at {details.get('host') or details['account']}"
        try:
            connection = snowflake.connector.connect(
                **options,
                database=details["db"],
                login_timeout=self._connection_seconds,
                network_timeout=seconds,
                socket_timeout=seconds,
                application="RetailFlow_Dashboards",
                log_imported_packages_in_telemetry=False,
                session_parameters={"CLIENT_TELEMETRY_ENABLED": False, "QUERY_TAG": "dashboards"},
            )
            connection.telemetry_enabled = False
        except SnowflakeError as error:
            raise WarehouseError(f"{where} cannot be used: {_reason(error)}") from error
        try:
            with connection.cursor() as cursor:
                yield cursor
        except SnowflakeError as error:
            raise WarehouseError(f"{where} refused the query: {_reason(error)}") from error
        finally:
            with contextlib.suppress(SnowflakeError, OSError):
                connection.close(retry=False)


def _driver_options(text: str) -> dict[str, Any]:
    """Parameters of the JDBC driver, as Metabase takes them: `disableOCSPChecks=true`."""
    given = dict(parse_qsl(text, keep_blank_values=True))
    disabled = given.pop("disableOCSPChecks", "false").lower()
    if given or disabled not in {"true", "false"}:
        what = f"not emulated: {', '.join(given) or 'disableOCSPChecks=' + disabled}"
        raise WarehouseError(what, "additional-options")
    return {"disable_ocsp_checks": disabled == "true"}


def _reason(error: SnowflakeError) -> str:
    return " ".join((error.msg or str(error)).replace("None: ", "").split())


def _base_type(meta: Any) -> str:
    name = FIELD_ID_TO_NAME.get(meta.type_code, "")
    if name == "FIXED" and not meta.scale:
        return "type/Integer"
    return BASE_TYPES.get(name, "type/Text")


def _plain(value: Any) -> Value:
    """A value that JSON has; a float shows a decimal of up to 15 digits exactly."""
    if isinstance(value, Decimal):
        return (
            int(value)
            if value == value.to_integral_value() and value.as_tuple().exponent == 0
            else float(value)
        )
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)
