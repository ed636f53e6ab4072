"""Passwords, session tokens and stored secrets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

MASK = "**MetabasePass**"  # what Metabase answers, and accepts back, in place of a secret
SECRET_DETAILS = ("password", "private-key-value", "private-key-passphrase")
_ENCRYPTED = "encrypted:"
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}


class WrongKeyError(Exception):
    """The stored secrets were encrypted with another MB_ENCRYPTION_SECRET_KEY."""


def hash_password(password: str) -> str:
    """``salt$hash``, both hexadecimal, by scrypt."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT).hex()}"


def password_matches(password: str, stored: str) -> bool:
    """Whether ``password`` gives the stored hash; the time taken does not tell how near it was."""
    salt, _, expected = stored.partition("$")
    actual = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), **_SCRYPT)
    return hmac.compare_digest(actual, bytes.fromhex(expected))


def hash_token(token: str) -> str:
    """SHA-256 of a session token: tokens are random, so no salt is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


class Vault:
    """Encrypts the secret details of a database; without a key it passes them through, as Metabase does."""

    def __init__(self, key: str) -> None:
        self._fernet = (
            Fernet(
                base64.urlsafe_b64encode(
                    hashlib.scrypt(key.encode(), salt=b"database details", dklen=32, **_SCRYPT)
                )
            )
            if key
            else None
        )

    def seal(self, details: dict[str, Any]) -> dict[str, Any]:
        """``details`` with every secret encrypted, for storage."""
        fernet = self._fernet
        if fernet is None:
            return dict(details)
        return {
            name: _ENCRYPTED + fernet.encrypt(str(value).encode()).decode()
            if name in SECRET_DETAILS and value
            else value
            for name, value in details.items()
        }

    def open(self, details: dict[str, Any]) -> dict[str, Any]:
        """``details`` with every secret in plain; WrongKeyError when the key is not the one that sealed them."""
        return {name: self._plain(name, value) for name, value in details.items()}

    def _plain(self, name: str, value: Any) -> Any:
        if name not in SECRET_DETAILS or not str(value).startswith(_ENCRYPTED):
            return value
        if self._fernet is None:
            raise WrongKeyError(f"{name} is encrypted, but MB_ENCRYPTION_SECRET_KEY is not set")
        try:
            return self._fernet.decrypt(str(value).removeprefix(_ENCRYPTED)).decode()
        except InvalidToken:
            raise WrongKeyError(f"{name} was encrypted with another MB_ENCRYPTION_SECRET_KEY") from None


def mask(details: dict[str, Any]) -> dict[str, Any]:
    """``details`` as the API answers them: every secret that is set reads ``**MetabasePass**``."""
    return {name: MASK if name in SECRET_DETAILS and value else value for name, value in details.items()}


def unmask(details: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """``details`` as the API got them, with every mask replaced by the stored secret."""
    return {name: stored.get(name) if value == MASK else value for name, value in details.items()}
