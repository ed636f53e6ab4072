"""A bounded login to Snowflake for this role's modules."""

from __future__ import annotations

import os
from typing import Any

try:
    import snowflake.connector

    FAILURES: tuple[type[Exception], ...] = (snowflake.connector.Error, OSError, TypeError, ValueError)
    INSTALLED = True
except ImportError:
    FAILURES, INSTALLED = (ValueError,), False

LOGIN_SPEC: dict[str, Any] = {
    "account": {"type": "str", "required": True},
    "host": {"type": "str", "default": ""},
    "port": {"type": "int", "default": 443},
    "protocol": {"type": "str", "default": "https", "choices": ["https", "http"]},
    "user": {"type": "str", "required": True},
    "role": {"type": "str", "default": ""},
    "warehouse": {"type": "str", "default": ""},
    "password": {"type": "str", "default": "", "no_log": True},
    "private_key_path": {"type": "path"},
    "timeout": {"type": "int", "default": 60},
}


def connect(login: dict[str, Any]) -> Any:
    """Log in with the key pair when there is one, else with the password; gives up after ``timeout`` seconds.

    Raises what ``FAILURES`` lists.
    """
    if not INSTALLED:
        raise ValueError(
            "snowflake-connector-python is missing from the Python environment that runs Ansible"
        )
    # Read by the connector at login: it would ask the metadata addresses of several clouds where it runs.
    os.environ["SNOWFLAKE_DISABLE_PLATFORM_DETECTION"] = "true"
    options: dict[str, Any] = {
        "account": login["account"],
        "port": login["port"],
        "protocol": login["protocol"],
        "user": login["user"],
        "login_timeout": login["timeout"],
        "network_timeout": login["timeout"],
        "application": "RetailFlow",
        "session_parameters": {"CLIENT_TELEMETRY_ENABLED": False, "QUERY_TAG": "retailflow"},
    }
    options |= {name: login[name] for name in ("host", "role", "warehouse") if login[name]}
    if login["protocol"] == "http":
        options["disable_ocsp_checks"] = True  # there is no certificate to check
    if login["private_key_path"]:
        options |= {"authenticator": "SNOWFLAKE_JWT", "private_key_file": login["private_key_path"]}
    else:
        options["password"] = login["password"]
    return snowflake.connector.connect(**options)


def rows(connection: Any, sql: str) -> list[dict[str, Any]]:
    """Run one statement; returns its rows with column names as the server gives them."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        names = [column.name for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
