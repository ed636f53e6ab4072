"""Who may log in: the administrator with a password, everybody else with a key pair."""

from __future__ import annotations

import time
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from snowflake_shop import KEY, Error, Shop

from retailflow_emulators.snowflake.access.login import fingerprint
from retailflow_emulators.snowflake.testing import private_key, public_key, trust

OTHER = private_key()


def ask(shop: Shop, **data: Any) -> dict[str, Any]:
    """The answer to a login request."""
    body = {"data": {"ACCOUNT_NAME": "RETAILFLOW", **data}}
    url = f"{shop.server.url}/session/v1/login-request"
    answer: dict[str, Any] = httpx.post(url, json=body, timeout=60, verify=trust()).json()
    return answer


def token(user: str = "LOADER", key: str = KEY, account: str = "RETAILFLOW", **changes: Any) -> str:
    """A token as the connector makes it, with some of its claims changed; None takes one out."""
    now = int(time.time())
    subject = f"{account}.{user}"
    claims: dict[str, Any] = {
        "iss": f"{subject}.{fingerprint(public_key(key))}",
        "sub": subject,
        "iat": now,
        "exp": now + 60,
    }
    signer, algorithm = changes.pop("signer", key), changes.pop("algorithm", "RS256")
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, signer, algorithm)


def login(shop: Shop, name: str = "LOADER", **claims: Any) -> str:
    """The code of an answer; empty for a login that was let in."""
    answer = ask(shop, LOGIN_NAME=name, AUTHENTICATOR="SNOWFLAKE_JWT", TOKEN=token(**claims))
    assert answer["success"] or answer["message"].startswith("JWT token is invalid. [")
    return "" if answer["success"] else str(answer["code"])


def test_a_token_that_holds_is_let_in(shop: Shop) -> None:
    assert login(shop) == ""
    now = time.time()
    assert login(shop, iat=now - 3000, exp=now + 100_000) == ""


@pytest.mark.parametrize(
    "claims",
    [
        {"key": OTHER},
        {"signer": OTHER},
        {"account": "ELSEWHERE"},
        {"user": "REPORTER"},
        {"user": "NOBODY"},
        {"iss": "RETAILFLOW.LOADER"},
        {"iss": f"RETAILFLOW.REPORTER.{fingerprint(public_key(KEY))}"},
        {"iss": f"RETAILFLOW.LOADER.{fingerprint(public_key(OTHER))}"},
        {"sub": "RETAILFLOW.REPORTER"},
        {"exp": -1},
        {"iat": -3601, "exp": 600},
        {"iat": 600, "exp": 900},
        {"iat": None},
        {"exp": None},
        {"iss": None},
        {"sub": None},
        {"iat": "soon"},
        {"signer": public_key(KEY), "algorithm": "HS256"},
        {"signer": KEY, "algorithm": "RS512"},
        {"signer": None, "algorithm": "none"},
    ],
    ids=str,
)
def test_a_token_that_does_not_hold_is_refused(shop: Shop, claims: dict[str, Any]) -> None:
    """Numbers are seconds from now."""
    now = int(time.time())
    moved = {name: now + value if isinstance(value, int) else value for name, value in claims.items()}
    assert login(shop, **moved) == "390144"


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "é.ü.ß", None])
def test_what_is_no_token_is_refused(shop: Shop, text: str | None) -> None:
    answer = ask(shop, LOGIN_NAME="LOADER", AUTHENTICATOR="SNOWFLAKE_JWT", TOKEN=text)
    assert answer["code"] == "390144"


def test_a_key_is_rotated_with_the_second_one(shop: Shop) -> None:
    admin = shop.server.query
    shop.server.add_user("ROTATING", "LOADER", key=KEY, warehouse="SHARED")
    new = {"user": "ROTATING", "key": OTHER}
    assert login(shop, "ROTATING", **new) == "390144"
    admin(f"alter user ROTATING set rsa_public_key_2 = '{public_key(OTHER)}'")
    assert login(shop, "ROTATING", **new) == login(shop, "ROTATING", user="ROTATING") == ""
    described = dict(row[:2] for row in admin("describe user ROTATING"))
    assert described["RSA_PUBLIC_KEY_FP"] == fingerprint(public_key(KEY))
    assert described["RSA_PUBLIC_KEY_2_FP"] == fingerprint(public_key(OTHER))
    admin("alter user ROTATING unset rsa_public_key")
    assert login(shop, "ROTATING", user="ROTATING") == "390144"
    assert login(shop, "ROTATING", **new) == ""
    assert dict(row[:2] for row in admin("describe user ROTATING"))["RSA_PUBLIC_KEY_FP"] == "null"


def test_only_the_administrator_has_a_password(shop: Shop) -> None:
    right = {"LOGIN_NAME": "tester", "PASSWORD": "any"}
    assert ask(shop, **right)["success"]
    for wrong in (
        {"PASSWORD": "wrong"},
        {"PASSWORD": ""},
        {"PASSWORD": None},
        {"LOGIN_NAME": "LOADER"},
        {"LOGIN_NAME": "NOBODY"},
        {"LOGIN_NAME": ""},
        {"LOGIN_NAME": None},
    ):
        answer = ask(shop, **{**right, **wrong})
        assert (answer["success"], answer["code"]) == (False, "390100"), wrong
        assert answer["message"] == "Incorrect username or password was specified."
    assert ask(shop, **{**right, "ACCOUNT_NAME": "OTHER"})["code"] == "390100"
    assert ask(shop, **right, AUTHENTICATOR="OAUTH", TOKEN="x")["code"] == "390139"


def test_a_disabled_user_is_out_at_once(shop: Shop) -> None:
    shop.server.add_user("LEAVING", "LOADER", key=KEY, warehouse="SHARED")
    with shop.session("LEAVING") as session:
        shop.server.query("alter user LEAVING set disabled = true")
        with pytest.raises(Error, match="User access disabled"):
            session.cursor().execute("select 1")
    with pytest.raises(Error, match="User access disabled") as caught:
        shop.session("LEAVING")
    assert caught.value.errno == 390101
    shop.server.query("alter user LEAVING set disabled = false")
    shop.session("LEAVING").close()


def test_a_role_is_one_that_the_user_has(shop: Shop) -> None:
    for role, code, words in (
        ("TRANSFORMER", 390186, "is not granted to this user"),
        ("NOBODY", 390189, "does not exist or not authorized"),
    ):
        with pytest.raises(Error, match=words) as caught:
            shop.session("LOADER", role=role)
        assert caught.value.errno == code
    with shop.session("LOADER", role="PUBLIC") as session:
        assert session.role == "PUBLIC"
    shop.server.query("revoke role LOADER from user LOADER")
    with pytest.raises(Error, match="configured default role .LOADER. is not granted"):
        shop.session("LOADER")
    shop.server.query("grant role LOADER to user LOADER")


def test_a_session_begins_where_the_user_says_or_the_client(shop: Shop) -> None:
    asked = "select current_role(), current_warehouse(), current_database(), current_schema()"
    admin = shop.server.query
    admin("alter user LOADER set default_namespace = RAW.RETAIL")

    def begins(**login: Any) -> Any:
        with shop.session("LOADER", **login) as session:
            return session.cursor().execute(asked).fetchone()

    assert begins() == ("LOADER", "SHARED", "RAW", "RETAIL")
    assert begins(warehouse="TESTS", database="ANALYTICS") == ("LOADER", None, None, None)
    assert begins(warehouse="NOTHING", database="RAW", schema="NOTHING") == ("LOADER", None, "RAW", None)
    admin("alter user LOADER unset default_namespace, default_warehouse")
    assert begins() == ("LOADER", None, None, None)
    admin("alter user LOADER set default_warehouse = SHARED")


@pytest.mark.parametrize(
    "value",
    ["x", public_key(KEY)[:-8], private_key().replace("\n", "")],
)
def test_a_key_that_is_none_is_refused(shop: Shop, value: str) -> None:
    shop.refused("ADMIN", f"alter user LOADER set rsa_public_key = '{value}'", 2049)


def test_a_short_key_is_refused(shop: Shop) -> None:
    key = rsa.generate_private_key(65537, 1024).public_key()
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
    shop.refused("ADMIN", f"alter user LOADER set rsa_public_key = '{pem}'", 2049)
