"""Certificates for tests: an authority, and what it signs, made in this process."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Signed:
    """A certificate and its private key, in PEM."""

    certificate: str
    key: str


class Authority:
    """An authority; ``certificate`` and ``key`` are its own, in PEM. One with ``ca=False`` may sign nothing, and does."""

    def __init__(self, name: str = "authority of tests", ca: bool = True, days: float = 10) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._builder(self._name, self._key.public_key(), days)
        made = made.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        self.certificate = self._signed(made)
        self.key = _pem(self._key)

    def sign(
        self,
        names: Sequence[str] = ("localhost",),
        addresses: Sequence[str] = ("127.0.0.1",),
        days: float = 90,
    ) -> Signed:
        """A server's certificate that ends in so many days; fewer than none make one that has ended."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server of tests")])
        known = [
            *map(x509.DNSName, names),
            *(x509.IPAddress(ipaddress.ip_address(one)) for one in addresses),
        ]
        made = self._builder(subject, key.public_key(), days)
        made = made.add_extension(x509.SubjectAlternativeName(known), critical=False)
        made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        return Signed(self._signed(made), _pem(key))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: float
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        begin = now - timedelta(days=max(1.0, 1.0 - days))
        made = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        return made.not_valid_before(begin).not_valid_after(now + timedelta(days=days))

    def _signed(self, made: x509.CertificateBuilder) -> str:
        return made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def present(connect: Callable[[], Any], signed: Signed | None) -> None:
    """Let a running PostgreSQL present a certificate, or none, to who logs in from now on.

    ``connect`` logs in as a superuser, in clear or not.
    """
    settings = {"ssl": "off"}
    with contextlib.closing(connect()) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            if signed:
                settings = {"ssl_cert_file": "tests.crt", "ssl_key_file": "tests.key", "ssl": "on"}
                for name, content in (("tests.crt", signed.certificate), ("tests.key", signed.key)):
                    cursor.execute(
                        "copy (select unnest(string_to_array(%s, E'\\n')))"
                        f" to program 'umask 077; cat > {name}.new; mv {name}.new {name}'",
                        (content.strip(),),
                    )
            for name, value in settings.items():
                cursor.execute(f"alter system set {name} = '{value}'")
            cursor.execute("select pg_conf_load_time(), pg_reload_conf()")
            before = cursor.fetchone()[0]
    deadline = time.monotonic() + 30
    while True:
        with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
            cursor.execute("select pg_conf_load_time()")
            if cursor.fetchone()[0] > before:
                return
        assert time.monotonic() < deadline, "the server does not read its settings"
        time.sleep(0.02)


#: Servers that a client of ``authority`` must refuse, each with what libpq says; a name of ``localhost`` is good.
REFUSED: dict[str, tuple[Callable[[Authority], Signed | None], str]] = {
    "foreign authority": (lambda authority: Authority("foreign").sign(), "certificate verify failed"),
    # OpenSSL then finds the authority by its name, and only its signature wrong.
    "authority of that name": (
        lambda authority: Authority().sign(),
        "signature failure|certificate verify failed",
    ),
    "wrong name": (
        lambda authority: authority.sign(["elsewhere.internal"], []),
        "does not match host name",
    ),
    "ended certificate": (
        lambda authority: authority.sign(days=-0.01),
        "certificate verify failed|certificate has expired",
    ),
    "no certificate": (lambda authority: None, "does not support SSL"),
}


class Listener:
    """Stands for a PostgreSQL that presents a certificate; ``said`` is what clients sent once they trusted it.

    It refuses every login with a sentence, so that a client that came that far ends.
    """

    def __init__(self, signed: Signed | None, context: ssl.SSLContext | None = None) -> None:
        self.said: list[bytes] = []
        self._context = context or (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if signed else None)
        if self._context and signed:
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(signed.certificate + signed.key)
                file.flush()
                self._context.load_cert_chain(file.name)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(30)

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            line.settimeout(30)
            with line, contextlib.suppress(OSError):
                self._answer(line)

    def _answer(self, line: socket.socket) -> None:
        # "Message Flow" in PostgreSQL's manual: SSLRequest, one byte, TLS, then the startup message.
        line.recv(8)
        line.sendall(b"S" if self._context else b"N")
        if self._context:
            with self._context.wrap_socket(line, server_side=True) as trusted:
                self.said.append(trusted.recv(1 << 16))
                error = b"SFATAL\0C28000\0Mthis stands for a server and takes no login\0\0"
                trusted.sendall(b"E" + (len(error) + 4).to_bytes(4, "big") + error)


class HttpsListener(Listener):
    """Stands for an HTTPS server in the same way, or for one of plain HTTP; it refuses every request.

    ``context`` takes the place of the certificate.
    """

    def _answer(self, line: socket.socket) -> None:
        trusted = self._context.wrap_socket(line, server_side=True) if self._context else line
        said = trusted.recv(1 << 16)
        if self._context or not said.startswith(b"\x16"):  # the beginning of TLS tells nothing
            self.said += [said] if said else []
        trusted.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
