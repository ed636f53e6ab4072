"""The key of the secrets at rest: whether it is the one that they were written with, and another one in its place.

After Metabase: `encryption-check` is a random text among the settings, encrypted wherever the database is, or `unencrypted`
(`check-encryption-setup!`, and `src/metabase/app_db/encryption.clj` for the command `rotate-encryption-key`).
"""

from __future__ import annotations

import uuid

from .settings import MIN_KEY_LENGTH
from .store import Document, Store
from .vault import Vault, WrongKeyError

_CHECK = "encryption-check"
_PLAIN = "unencrypted"


def ensure(store: Store, key: str) -> None:
    """Encrypt a database that is not yet; WrongKeyError where it is, with another key than this one."""
    raw = store.setting(_CHECK)
    _verify(store, key)
    if raw is None or (raw == _PLAIN and key):
        _rewrite(store, Vault(key), key)


def rotate(store: Store, key: str, to: str) -> None:
    """Encrypt every secret with another key, all or none; an empty one decrypts them.

    WrongKeyError where ``key`` is not the one that they were written with, ValueError where the new one is too short.
    """
    if to and len(to) < MIN_KEY_LENGTH:
        raise ValueError(f"MB_ENCRYPTION_SECRET_KEY must be at least {MIN_KEY_LENGTH} characters")
    _verify(store, key)
    _rewrite(store, Vault(key), to)


def _verify(store: Store, key: str) -> None:
    raw = store.setting(_CHECK)
    if raw is None or raw == _PLAIN:
        return
    if not key:
        raise WrongKeyError(
            "Database is encrypted but the MB_ENCRYPTION_SECRET_KEY environment variable was NOT set"
        )
    try:
        Vault(key).open({"password": raw})
    except WrongKeyError:
        raise WrongKeyError(
            "Database was encrypted with a different key than the MB_ENCRYPTION_SECRET_KEY environment contains"
        ) from None


def _rewrite(store: Store, before: Vault, to: str) -> None:
    after = Vault(to)

    def sealed(database: Document) -> Document:
        return {**database, "details": after.seal(before.open(database["details"]))}

    check = after.seal({"password": str(uuid.uuid4())})["password"] if to else _PLAIN
    store.rewrite("database", sealed, {_CHECK: check})
