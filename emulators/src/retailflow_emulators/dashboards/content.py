"""Collections and cards."""

from __future__ import annotations

from collections.abc import Callable

from . import answers, models
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
        found = [one for one in self._records.store.all("collection") if one["archived"] == archived]
        root = [] if archived else [dict(answers.ROOT)]
        return root + [answers.collection(one) for one in found]

    def tree(self, readable: Callable[[Document], bool]) -> list[Document]:
        """The collections that somebody may read, each with its children."""
        shown = [one for one in self.all() if one["id"] != "root" and readable({"collection_id": one["id"]})]
        nodes: dict[int, Document] = {one["id"]: {**one, "children": []} for one in shown}
        for node in nodes.values():
            if node["parent_id"] in nodes:
                nodes[node["parent_id"]]["children"].append(node)
        return [node for node in nodes.values() if node["parent_id"] not in nodes]

    def add(self, body: models.NewCollection) -> Document:
        """A new collection."""
        parent = self._records.find("collection", body.parent_id) if body.parent_id else None
        location = f"{parent['location']}{parent['id']}/" if parent else "/"
        document = {"name": body.name, "description": body.description, "location": location}
        return answers.collection(self._records.added("collection", {**document, "archived": False}))

    def update(self, identity: int, body: models.CollectionUpdate) -> Document:
        """Change a collection."""
        return answers.collection(self._records.changed("collection", identity, changes(body)))

    def get(self, identity: int) -> Document:
        """One collection."""
        return answers.collection(self._records.find("collection", identity))

    def items(
        self, identity: int | None, kinds: set[str], archived: bool = False
    ) -> list[tuple[str, Document]]:
        """Kind and document of what a collection holds; None is the root."""
        if identity is not None:
            self._records.find("collection", identity)

        def holder(kind: str, item: Document) -> int | None:
            holds: int | None = (
                answers.collection(item)["parent_id"] if kind == "collection" else item["collection_id"]
            )
            return holds

        return [
            (kind, item)
            for kind in ("collection", "dashboard", "card")
            if not kinds or kind in kinds
            for item in self._records.store.all(kind)
            if holder(kind, item) == identity and item["archived"] == archived
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

    def add(self, body: models.NewCard, creator_id: int) -> Document:
        """A new card; its SQL is run only when someone looks at it."""
        if body.entity_id and any(
            card["entity_id"] == body.entity_id for card in self._records.store.all("card")
        ):
            raise ApiError(400, errors={"entity_id": f"another card has the entity id {body.entity_id}"})
        self._records.find_named("collection", body.collection_id)
        self._records.find("database", body.dataset_query.database)
        fields = {name: value for name, value in given(body).items() if value is not None}
        return self._records.added(
            "card",
            {
                "description": None,
                "collection_id": None,
                "archived": False,
                **fields,
                "type": "question",
                "creator_id": creator_id,
                "database_id": body.dataset_query.database,
            },
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
