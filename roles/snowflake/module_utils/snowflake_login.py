"""A bounded login to Snowflake for this role's modules."""

from __future__ import annotations

import os
import socket
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
    "authority": {"type": "str", "default": ""},
    "user": {"type": "str", "required": True},
    "role": {"type": "str", "default": ""},
    "warehouse": {"type": "str", "default": ""},
    "password": {"type": "str", "default": "", "no_log": True},
    "private_key_path": {"type": "path"},
    "timeout": {"type": "int", "default": 60},
}

#: Why a login failed and what to do, by the connector's error number: Snowflake's own (390…), HTTP's (290404, 540001) or
#: the connector's. https://docs.snowflake.com/en/user-guide/key-pair-auth-troubleshooting
REASONS = {
    390100: "the name or the password is wrong. People's passwords alone are refused by Snowflake since 2026: give a service "
    "user a key pair",
    390101: "the user is disabled: alter user {user} set disabled = false",
    390102: "the user is locked for some minutes after wrong passwords: wait, or alter user {user} set mins_to_unlock = 0",
    390114: "the session ended before the login did; run it again; if it stays so, compare this machine's clock with the time",
    390144: "the key is not that of the user, or the account, the user's name or this machine's clock is wrong: "
    "alter user {user} set rsa_public_key = '…' with the public key of the file",
    390186: "the role {role} is not the user's: grant role {role} to user {user}",
    390189: "the role {role} does not exist or is not the user's: grant role {role} to user {user}",
    390197: "the user must log in with a second factor, which a program cannot: give a service user a key pair",
    390422: "the account's network policy does not allow this address: add it to the policy, or run this elsewhere",
    290404: "there is no account {account} at that address (404): its identifier is ORGANIZATION-ACCOUNT, as Snowsight shows it",
    540001: "that address refuses the account {account} (403): its identifier is ORGANIZATION-ACCOUNT, as Snowsight shows it",
}
UNREACHABLE = 250001


def explain(error: Exception, login: dict[str, Any], doing: str) -> str:
    """One sentence on a failure: who, where, why and what to do; ``doing`` is ``login`` or the statement."""
    host = login["host"] or f"{login['account']}.snowflakecomputing.com"
    number = getattr(error, "errno", None)
    where = f"Snowflake at {host}, as {login['user']}"
    if not INSTALLED or not isinstance(error, snowflake.connector.Error):
        if doing == "login" and INSTALLED and login["private_key_path"]:
            return (
                f"{where}: cannot log in: {login['private_key_path']} is no unencrypted PKCS#8 key: {error}"
            )
        return str(error)
    if doing != "login":
        words = " ".join(str(getattr(error, "msg", "") or error).split())
        hint = {
            2002: " It exists, but was not shown to the role that looked: it is not this site's. Choose another name.",
            3001: " The role may not do that: see docs/security.md on who runs what.",
        }.get(number or 0, "")
        return f"{where}: `{doing[:200]}` failed: {words}{hint}"
    words = " ".join(str(getattr(error, "msg", "") or error).split())
    if number in REASONS:
        known = {one: login[one] or f"(no {one})" for one in ("account", "user", "role")}
        return f"{where}: cannot log in: {REASONS[number].format(**known)} [{number}: {words}]"
    if number == UNREACHABLE:
        try:
            socket.getaddrinfo(host, login["port"])
        except OSError:
            return f"{where}: cannot log in: no name server knows that host; the account's name is wrong, or the network is down"
        return (
            f"{where}: cannot log in: nothing answers at port {login['port']} within {login['timeout']} s: a firewall, a proxy "
            "or a private link is in between, or the server is down"
        )
    if "certificate verify failed" in words:
        known = login["authority"] or "the public authorities"
        return (
            f"{where}: cannot log in: the server's certificate is not one that {known} signed. Nothing was sent to it. Another "
            "server is in between, or has taken its place"
        )
    return f"{where}: cannot log in: {words}"


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
        "user": login["user"],
        "login_timeout": login["timeout"],
        "network_timeout": login["timeout"],
        "application": "RetailFlow",
        "session_parameters": {
            "CLIENT_TELEMETRY_ENABLED": False,
            "QUERY_TAG": "retailflow",
            "TIMEZONE": "UTC",
        },
    }
    options |= {name: login[name] for name in ("host", "role", "warehouse") if login[name]}
    if login["authority"]:
        os.environ["REQUESTS_CA_BUNDLE"] = login["authority"]  # the connector has no option for it
        options["disable_ocsp_checks"] = True  # such an authority answers no questions about revocation
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
