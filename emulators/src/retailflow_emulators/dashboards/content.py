"""Collections and cards."""

from __future__ import annotations

from . import models
from .databases import Databases
from .errors import ApiError
from .queries import Values
from .records import Records, changes, given
from .store import Document
from .warehouse import Result

ROW_LIMIT = 2_000  # as many rows as Metabase gives of a native query


class Collections:
    """Folders of cards and dashboards; every refusal is an ApiError."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def all(self, archived: bool = False) -> list[Document]:
        """All collections, the root first."""
        root: list[Document] = (
            [] if archived else [{"id": "root", "name": "Our analytics", "archived": False}]
        )
        return root + [
            found for found in self._records.store.all("collection") if found["archived"] == archived
        ]

    def add(self, body: models.NewCollection) -> Document:
        """A new collection."""
        parent = self._records.find("collection", body.parent_id) if body.parent_id else None
        location = f"{parent['location']}{parent['id']}/" if parent else "/"
        document = {
            "description": None,
            "parent_id": None,
            **given(body),
            "location": location,
            "archived": False,
        }
        return self._records.added("collection", document)

    def update(self, identity: int, body: models.CollectionUpdate) -> Document:
        """Change a collection."""
        return self._records.changed("collection", identity, changes(body))

    def get(self, identity: int) -> Document:
        """One collection."""
        return self._records.find("collection", identity)

    def items(self, identity: int, kinds: set[str]) -> list[Document]:
        """What a collection holds, archived items left out."""
        self._records.find("collection", identity)
        return [
            {
                **{key: item[key] for key in ("id", "entity_id", "name", "description", "archived")},
                "model": kind,
            }
            for kind in ("dashboard", "card")
            if not kinds or kind in kinds
            for item in self._records.store.all(kind)
            if item["collection_id"] == identity and not item["archived"]
        ]


class Cards:
    """Saved queries with a way to draw them; every refusal is an ApiError."""

    def __init__(self, records: Records, databases: Databases) -> None:
        self._records, self._databases = records, databases

    def all(self, archived: bool = False) -> list[Document]:
        """All cards that are, or are not, archived."""
        return [card for card in self._records.store.all("card") if card["archived"] == archived]

    def get(self, identity: int) -> Document:
        """One card."""
        return self._records.find("card", identity)

    def add(self, body: models.NewCard) -> Document:
        """A new card; its SQL is run only when someone looks at it."""
        if body.entity_id and any(
            card["entity_id"] == body.entity_id for card in self._records.store.all("card")
        ):
            raise ApiError(400, errors={"entity_id": f"another card has the entity id {body.entity_id}"})
        self._records.find_named("collection", body.collection_id)
        self._records.find("database", body.dataset_query.database)
        defaults = {"description": None, "collection_id": None, "archived": False, "query_type": "native"}
        fields = {name: value for name, value in given(body).items() if name != "entity_id" or value}
        return self._records.added(
            "card", {**defaults, **fields, "type": "question", "database_id": body.dataset_query.database}
        )

    def update(self, identity: int, body: models.CardUpdate) -> Document:
        """Change a card."""
        self._records.find_named("collection", body.collection_id)
        changed = changes(body)
        if body.dataset_query:
            self._records.find("database", body.dataset_query.database)
            changed["database_id"] = body.dataset_query.database
        return self._records.changed("card", identity, changed)

    def run(self, card: Document, values: Values | None = None, limit: int = ROW_LIMIT) -> Result:
        """Run a card's SQL with values of its variables; WarehouseError says why it did not work."""
        return self._databases.run(card["dataset_query"], values or {}, limit)
