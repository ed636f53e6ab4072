"""Passwords as PostgreSQL keeps them: a password itself never leaves this machine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

ITERATIONS = 4096


def scram_verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """Return a password as PostgreSQL keeps it (RFC 5802, PostgreSQL's scram-common.c)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")

    def text(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    return f"SCRAM-SHA-256${iterations}:{text(salt)}${text(stored)}:{text(server)}"


def password_matches(password: str, verifier: str | None) -> bool:
    """Tell whether a verifier of pg_authid belongs to a password."""
    match = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$]+)\$.+", verifier or "")
    if match is None:
        return False
    wanted = scram_verifier(password, base64.b64decode(match[2]), int(match[1]))
    return hmac.compare_digest(wanted, verifier or "")
