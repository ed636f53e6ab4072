"""Which secrets were applied last: Airbyte never shows one again."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from typing import Any

Item = dict[str, Any]


class Applied:
    """Salted hashes of the secrets that were applied last, by object id."""

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
        temporary = self._path + ".new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(self._content, file, indent=2)
        os.replace(temporary, self._path)

    def _hash(self, given: Item) -> str:
        text = json.dumps(given, sort_keys=True)
        return hashlib.scrypt(text.encode(), salt=self._content["salt"].encode(), n=2**12, r=8, p=1).hex()
