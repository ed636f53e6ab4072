"""Which servers the source takes by their certificate, and which words of ssl_mode it knows."""

from __future__ import annotations

from typing import Any

import pytest

from retailflow_emulators.airbyte.protocol import ConnectorError, validate
from retailflow_emulators.airbyte.source_postgres.session import connect
from retailflow_emulators.airbyte.source_postgres.spec import SPEC
from tls_support import REFUSED, Authority, Listener

AUTHORITY = Authority()
PEM = AUTHORITY.certificate


def config(ssl_mode: Any, port: int = 5432) -> dict[str, Any]:
    return {
        "host": "localhost",
        "port": port,
        "database": "shop",
        "username": "airbyte",
        "ssl_mode": ssl_mode,
    }


def login(port: int) -> str:
    """Why a login with the authority fails."""
    with (
        pytest.raises(ConnectorError) as caught,
        connect(config({"mode": "verify-full", "ca_certificate": PEM}, port)),
    ):
        pass
    assert caught.value.failure_type == "config_error"
    return str(caught.value)


def test_a_server_that_the_authority_signed_is_taken() -> None:
    with Listener(AUTHORITY.sign()) as server:
        with (
            pytest.raises(ConnectorError, match="takes no login"),
            connect(config({"mode": "verify-full", "ca_certificate": PEM}, server.port)),
        ):
            pass
        assert b"airbyte" in server.said[0]


@pytest.mark.parametrize("server_is", REFUSED)
def test_any_other_server_is_refused_and_told_nothing(server_is: str) -> None:
    signed, words = REFUSED[server_is]
    with Listener(signed(AUTHORITY)) as server:
        assert any(word in login(server.port) for word in words.split("|"))
        assert not any(b"airbyte" in one for one in server.said)


@pytest.mark.parametrize(
    "mode",
    [
        *({"mode": mode} for mode in ("disable", "allow", "prefer", "require")),
        {"mode": "verify-ca", "ca_certificate": PEM},
        {"mode": "verify-full", "ca_certificate": PEM},
    ],
)
def test_the_words_of_the_product_are_taken(mode: dict[str, str]) -> None:
    validate(config(mode), SPEC["connectionSpecification"])


@pytest.mark.parametrize(
    "mode",
    [
        {},
        {"mode": "on"},
        {"mode": "verify-full"},
        {"mode": "verify-full", "ca_certificate": "/etc/authority.crt"},
        {"mode": "verify-full", "ca_certificate": PEM, "client_certificate": PEM},
        {"mode": "verify-full", "ca_certificate": PEM, "sslrootcert": "/etc/authority.crt"},
        {"mode": "prefer", "ca_certificate": PEM},
        "verify-full",
    ],
)
def test_others_are_refused_without_what_they_hold(mode: Any) -> None:
    with pytest.raises(ConnectorError, match="ssl_mode") as caught:
        validate(config(mode), SPEC["connectionSpecification"])
    assert PEM not in str(caught.value)
