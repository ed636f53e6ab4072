"""What the host remembers between two runs."""

from __future__ import annotations

import json
import os
from typing import Any

from .items import Item


class Memory:
    """What the host remembers between runs: the key applied last, and which items of the server are ours."""

    def __init__(self, path: str, read_only: bool) -> None:
        self._path, self._read_only = path, read_only
        try:
            with open(path, encoding="utf-8") as file:
                known = json.load(file)
        except (OSError, ValueError):
            known = {}
        self._known: Item = known if isinstance(known, dict) else {}

    def get(self, name: str) -> Any:
        """What ``set`` put there, or None."""
        return self._known.get(name)

    def set(self, **values: Any) -> None:
        """Remember, in a file that only its owner reads."""
        if self._read_only or all(self._known.get(name) == value for name, value in values.items()):
            return
        self._known.update(values)
        with os.fdopen(
            os.open(self._path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w"
        ) as file:
            json.dump(self._known, file)
        os.replace(self._path + ".new", self._path)

    def ours(self, kind: str) -> dict[str, str]:
        """Entity id -> key in the files, of what we made."""
        return dict(self.get(kind) or {})

    def entity_of(self, kind: str, key: str) -> str | None:
        """The entity id that an item had."""
        return next((entity for entity, known in self.ours(kind).items() if known == key), None)

    def own(self, kind: str, key: str, entity_id: str | None) -> None:
        """An item of the server is ours."""
        if entity_id:
            self.set(**{kind: {**self.ours(kind), entity_id: key}})

    def disown(self, kind: str, entity_id: str) -> None:
        """Forget an item."""
        self.set(**{kind: {one: key for one, key in self.ours(kind).items() if one != entity_id}})
