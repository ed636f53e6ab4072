"""What was applied last: secrets, which Airbyte never shows again, and the ids of connections."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from typing import Any

Item = dict[str, Any]


class Applied:
    """Salted hashes of the secrets that were applied last, by object id, and the ids of connections by name."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            with open(path, encoding="utf-8") as file:
                self._content: Item = json.load(file)
        except (FileNotFoundError, ValueError):
            self._content = {"salt": secrets.token_hex(16), "secrets": {}}

    def knows(self, id_: str, given: Item) -> bool:
        return self._content["secrets"].get(id_) == self._hash(given)

    def remember(self, id_: str, given: Item) -> None:
        self._content["secrets"][id_] = self._hash(given)
        self._save()

    def connection(self, name: str) -> str | None:
        """The id under which a connection was read from its beginning, or None for an unknown one."""
        found = self._content.get("connections", {}).get(name)
        return None if found is None else str(found)

    def remember_connection(self, name: str, id_: str) -> None:
        if self.connection(name) != id_:
            self._content.setdefault("connections", {})[name] = id_
            self._save()

    def _save(self) -> None:
        temporary = self._path + ".new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(self._content, file, indent=2)
        os.replace(temporary, self._path)

    def _hash(self, given: Item) -> str:
        text = json.dumps(given, sort_keys=True)
        return hashlib.scrypt(text.encode(), salt=self._content["salt"].encode(), n=2**12, r=8, p=1).hex()
