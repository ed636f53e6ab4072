"""Who may log in: the administrator with a password, everybody else with a token that a private key signed.

What a token holds: https://docs.snowflake.com/en/developer-guide/sql-api/authenticating and the connector's
``auth/keypair.py``. Codes of errors: the connector's ``network.py`` and ``errorcode.py``, and reports of users
(https://github.com/snowflakedb/snowflake-connector-python/issues, "390144", "390100", "390189").
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
import uuid
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from .model import PUBLIC, Account, Key, Thing

LONGEST_TOKEN_SECONDS = 3600  # a token is not valid for longer, whatever it says
CLOCK_SECONDS = 60  # that the clock of a client may be ahead
KEYS = ("RSA_PUBLIC_KEY", "RSA_PUBLIC_KEY_2")
SMALLEST_KEY_BITS = 2048


class LoginError(Exception):
    """A login that is refused, with Snowflake's code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True)
class Place:
    """With what a session begins; names as they are stored."""

    user: str
    role: str
    warehouse: str | None
    database: str | None
    schema: str | None
    secondary: bool


def incorrect() -> LoginError:
    """The answer to an unknown user and to a wrong password alike."""
    return LoginError("390100", "Incorrect username or password was specified.")


def invalid() -> LoginError:
    """The answer to every token that does not hold; its number is what an administrator would look up."""
    return LoginError("390144", f"JWT token is invalid. [{uuid.uuid4()}]")


def public_key(text: str) -> RSAPublicKey:
    """The key that RSA_PUBLIC_KEY holds; ValueError where it is none.

    A PEM without its first and last line: https://docs.snowflake.com/en/user-guide/key-pair-auth
    """
    lines = [line.strip() for line in text.strip().splitlines() if "-----" not in line]
    try:
        key = load_der_public_key(base64.b64decode("".join(lines), validate=True))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("not a public key") from error
    if not isinstance(key, RSAPublicKey) or key.key_size < SMALLEST_KEY_BITS:
        raise ValueError(f"not an RSA key of at least {SMALLEST_KEY_BITS} bits")
    return key


def fingerprint(text: str) -> str:
    """``SHA256:…`` of a public key, as DESCRIBE USER shows it and tokens name it."""
    lines = [line.strip() for line in text.strip().splitlines() if "-----" not in line]
    digest = hashlib.sha256(base64.b64decode("".join(lines))).digest()
    return "SHA256:" + base64.b64encode(digest).decode()


def account_name(text: str) -> str:
    """An account's name as it stands in tokens: upper case, without a region."""
    return text.upper().partition(".")[0]


def login(account: Account, password: str, asked: dict[str, Any], query: dict[str, str]) -> Place:
    """Let a user in, or raise LoginError; ``asked`` and ``query`` are the data and the parameters of the request."""
    if account_name(str(asked.get("ACCOUNT_NAME") or "")) != account.name:
        # Snowflake has a host for each account, so it knows no such answer; no source was found for one.
        raise LoginError("390100", "Incorrect username or password was specified.")
    method = str(asked.get("AUTHENTICATOR") or "SNOWFLAKE").upper()
    user = str(asked.get("LOGIN_NAME") or "").upper()
    found = _user(account, user)
    if method == "SNOWFLAKE_JWT":
        _check_token(account, found, str(asked.get("TOKEN") or ""))
    elif method == "SNOWFLAKE":
        given = str(asked.get("PASSWORD") or "").encode()
        right = hmac.compare_digest(given, password.encode())
        if not found or found[0][1] != account.administrator or not right:
            raise incorrect()
    else:
        raise LoginError("390139", f"not emulated: the authenticator {method}")
    assert found
    (_, name), thing = found
    if thing.settings.get("DISABLED", "false").lower() == "true":
        raise LoginError("390101", "User access disabled. Contact your local system administrator.")
    return _place(account, name, thing, query)


def _user(account: Account, login_name: str) -> tuple[Key, Thing] | None:
    for name, thing in account.named("USER"):
        if thing.settings.get("LOGIN_NAME", name).upper() == login_name:
            return ("USER", name), thing
    return None


def _check_token(account: Account, found: tuple[Key, Thing] | None, token: str) -> None:
    """Check signature, issuer, subject and times of a token."""
    if found is None:
        raise invalid()
    (_, name), thing = found
    login_name = thing.settings.get("LOGIN_NAME", name).upper()
    now = time.time()
    for setting in KEYS:
        text = thing.settings.get(setting)
        if not text:
            continue
        try:
            claims = jwt.decode(
                token,
                public_key(text),
                algorithms=["RS256"],
                options={
                    "require": ["iss", "sub", "iat", "exp"],
                    "verify_aud": False,
                    "verify_iat": False,
                    "verify_exp": False,
                },
            )
        except (jwt.PyJWTError, ValueError):
            continue
        subject = f"{account.name}.{login_name}"
        try:
            issued, ends = float(claims["iat"]), float(claims["exp"])
        except (TypeError, ValueError):
            continue
        if (
            (claims["iss"], claims["sub"]) == (f"{subject}.{fingerprint(text)}", subject)
            and issued <= now + CLOCK_SECONDS
            and now < min(ends, issued + LONGEST_TOKEN_SECONDS)
        ):
            return
    raise invalid()


def _place(account: Account, name: str, thing: Thing, query: dict[str, str]) -> Place:
    role = _asked(query.get("roleName"))
    if role:
        if ("ROLE", role) not in account.things:
            raise _role("390189", role, "does not exist or not authorized")
        if role not in account.available_roles(name):
            raise _role("390186", role, "is not granted to this user")
    else:
        role = thing.settings.get("DEFAULT_ROLE", PUBLIC)
        if role not in account.available_roles(name):
            # The words: issue 2 of kulmam92/snowflake_flyway. The code is that of a role that is asked for; no source was
            # found for this one.
            raise LoginError(
                "390186",
                f"User's configured default role '{role}' is not granted to this user. Contact your local system "
                "administrator, or attempt to login using a CLI client with a connect string selecting another role, "
                "e.g. PUBLIC.",
            )
    space = [part for part in thing.settings.get("DEFAULT_NAMESPACE", "").split(".") if part]
    database = _asked(query.get("databaseName")) or (space[0] if space else None)
    schema = _asked(query.get("schemaName")) or (
        space[1] if len(space) > 1 and database == space[0] else None
    )
    warehouse = _asked(query.get("warehouse")) or thing.settings.get("DEFAULT_WAREHOUSE")
    return Place(name, role, warehouse, database, schema, secondary_roles(thing))


def secondary_roles(thing: Thing) -> bool:
    """Whether all roles of a user count, which is so unless DEFAULT_SECONDARY_ROLES is empty.

    https://docs.snowflake.com/en/sql-reference/sql/create-user (DEFAULT_SECONDARY_ROLES)
    """
    return "ALL" in thing.settings.get("DEFAULT_SECONDARY_ROLES", "ALL").upper()


def _role(code: str, role: str, what: str) -> LoginError:
    """Refuse the role that a connection asks for.

    390186 with its words stands in notes and tests of several public clients of Snowflake, in no document of Snowflake's.
    """
    return LoginError(
        code,
        f"Role '{role}' specified in the connect string {what}. "
        "Contact your local system administrator, or attempt to login with another role, e.g. PUBLIC.",
    )


def _asked(name: str | None) -> str | None:
    """A name of a connection's parameter as it is stored."""
    if not name:
        return None
    return name[1:-1].replace('""', '"') if name.startswith('"') and len(name) > 1 else name.upper()
