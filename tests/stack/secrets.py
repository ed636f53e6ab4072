"""The site's secrets in their files, and whether PostgreSQL takes them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from .conftest import SECRETS


def files() -> dict[str, str]:
    """Every secret by the name of its file."""
    return {path.name: path.read_text() for path in SECRETS.iterdir() if path.is_file()}


def fits(password: str, verifier: str) -> bool:
    """Whether a password gives a stored verifier (RFC 5803): SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey."""
    found = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):(.+)", verifier)
    assert found, verifier[:20]
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(found[2]), int(found[1]))
    key = hmac.new(salted, b"Client Key", "sha256").digest()
    return hashlib.sha256(key).digest() == base64.b64decode(found[3])
