"""What every part of the service does with its documents: find, add and change them."""

from __future__ import annotations

import datetime
import secrets
import string
from collections.abc import Callable

from pydantic import BaseModel

from .errors import ApiError
from .store import Document, Store

_NULLABLE = ("description", "collection_id")
_NANOID = string.ascii_letters + string.digits + "_-"


HIGHEST_ID = 2**31 - 1


def now() -> str:
    """The time as the API writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def entity_id() -> str:
    """A new NanoID of 21 characters."""
    return "".join(secrets.choice(_NANOID) for _ in range(21))


def given(body: BaseModel) -> Document:
    """The fields that a request named."""
    return body.model_dump(by_alias=True, exclude_unset=True)


def changes(body: BaseModel) -> Document:
    """The fields that an update sets; null leaves a field alone unless it can be empty."""
    return {name: value for name, value in given(body).items() if value is not None or name in _NULLABLE}


class Records:
    """Documents of the store by kind; every refusal is an ApiError."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def find(self, kind: str, identity: int) -> Document:
        """One document; ApiError 404 where there is none."""
        document = self.store.get(kind, identity) if 0 < identity <= HIGHEST_ID else None
        if document is None:
            raise ApiError(404, "Not found.")
        return document

    def find_entity(self, kind: str, entity: str) -> Document:
        """The document with an entity id; ApiError 404 where there is none."""
        for document in self.store.all(kind):
            if document.get("entity_id") == entity:
                return document
        raise ApiError(404, "Not found.")

    def find_named(self, kind: str, identity: int | None) -> None:
        """ApiError 404 where a request names a document that does not exist; None names nothing."""
        if identity is not None:
            self.find(kind, identity)

    def added(self, kind: str, document: Document) -> Document:
        """A new document with its id, its entity id and its times."""
        moment = now()
        document = {"entity_id": entity_id(), "created_at": moment, "updated_at": moment, **document}
        added = self.store.add(kind, document)
        assert added is not None  # only `only_if_none` gives None
        return added

    def changed(
        self, kind: str, identity: int, change: Document | Callable[[Document], Document]
    ) -> Document:
        """The document with some fields replaced, or as ``change`` makes it; ApiError 404 where there is none."""
        self.find(kind, identity)
        apply = change if callable(change) else lambda old: {**old, **change}
        return self.store.update(kind, identity, lambda old: {**apply(old), "updated_at": now()})
