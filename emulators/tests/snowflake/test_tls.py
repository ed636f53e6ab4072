"""The emulated Snowflake speaks nothing but https, and its clients take no other server's certificate."""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector

from retailflow_emulators.airbyte.destination_snowflake.warehouse import connection_arguments
from retailflow_emulators.dashboards.warehouse import Snowflake, WarehouseError
from retailflow_emulators.snowflake.testing import EmulatedSnowflake, private_key, trust
from retailflow_emulators.web.certificate import Certificate
from tls_support import REFUSED, Authority, HttpsListener, Signed

AUTHORITY = Authority()
KEY = private_key()


def serve(folder: Path, signed: Signed) -> Path:
    path = folder / "server.pem"
    new = folder / "new.pem"
    new.write_text(signed.certificate + signed.key)
    new.rename(path)
    return path


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "authority.crt"
    path.write_text(AUTHORITY.certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    return path


def by_destination(port: int) -> None:
    config = {
        "host": f"localhost:{port}",
        "jdbc_url_params": "account=retailflow&disableOCSPChecks=true&networkTimeout=2000",
        "username": "AIRBYTE",
        "role": "LOADER",
        "warehouse": "LOADING",
        "database": "RAW",
        "schema": "RETAIL",
        "credentials": {"auth_type": "Key Pair Authentication", "private_key": KEY},
    }
    snowflake.connector.connect(**connection_arguments(config) | {"login_timeout": 2})


def by_dashboards(port: int) -> None:
    details: dict[str, Any] = {
        "account": "retailflow",
        "user": "METABASE",
        "db": "MARTS",
        "host": "localhost",
    }
    details |= {"port": port, "password": "hush", "additional-options": "disableOCSPChecks=true"}
    Snowflake(2, 2).check(details)


CLIENTS = {"destination": by_destination, "dashboards": by_dashboards}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_that_the_authority_signed_is_taken(authority: Path, client: str) -> None:
    with HttpsListener(AUTHORITY.sign()) as server:
        with pytest.raises((snowflake.connector.errors.Error, WarehouseError)):
            CLIENTS[client](server.port)
        assert any(b"login-request" in one for one in server.said)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("server_is", REFUSED)
def test_any_other_server_is_refused_and_told_nothing(authority: Path, client: str, server_is: str) -> None:
    with HttpsListener(REFUSED[server_is][0](AUTHORITY)) as server:
        with pytest.raises((snowflake.connector.errors.Error, WarehouseError)):
            CLIENTS[client](server.port)
        assert server.said == []


def test_nobody_is_asked_about_revocation(
    warehouse: EmulatedSnowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(str(host))
        return real("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    warehouse.connect().close()
    assert set(asked) <= {"127.0.0.1", "localhost"}, asked


def test_plain_http_is_not_answered(warehouse: EmulatedSnowflake) -> None:
    with socket.create_connection(("127.0.0.1", warehouse.port), 20) as line:
        line.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in line.recv(1000)


def test_no_tls_before_1_2_is_spoken(warehouse: EmulatedSnowflake) -> None:
    context = trust()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", warehouse.port), 20) as line,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(line, server_hostname="localhost")


def test_a_new_certificate_is_shown_while_open_connections_stay(tmp_path: Path) -> None:
    context = ssl.create_default_context(cadata=AUTHORITY.certificate)
    path = serve(tmp_path, AUTHORITY.sign(days=1))
    with HttpsListener(None, Certificate(path).context) as server:

        def shown(server_hostname: str) -> bytes:
            with (
                socket.create_connection(("127.0.0.1", server.port), 20) as line,
                context.wrap_socket(line, server_hostname=server_hostname) as trusted,
            ):
                trusted.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert trusted.recv(100).startswith(b"HTTP/1.1 403")
                return trusted.getpeercert(True) or b""

        first = shown("localhost")
        for name in ("localhost", "127.0.0.1"):  # an address is no name that a client sends
            serve(tmp_path, AUTHORITY.sign())
            second = shown(name)
            assert second != first
            path.write_text("half of a")
            assert shown(name) == second
            first = second


def test_a_server_without_a_usable_certificate_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "server.pem").write_text(AUTHORITY.sign().certificate)
    with pytest.raises(ValueError, match="does not hold a certificate with its private key"):
        Certificate(tmp_path / "server.pem")
    with pytest.raises(ValueError, match="does not hold"):
        Certificate(tmp_path / "absent.pem")
