"""Certificates for tests: an authority, and what it signs, made in this process."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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
