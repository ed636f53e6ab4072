"""Dashboards: cards on a grid, with filters and tabs."""

from __future__ import annotations

from . import models
from .answers import Answers
from .content import Cards
from .errors import ApiError
from .grid import replace_grid
from .permissions import Permissions
from .queries import Values
from .records import Records, changes
from .store import Document
from .warehouse import Value, WarehouseError

FILTER_LIMIT = 1_000  # values that a filter offers
_COUNTERS: Document = {"last_dashcard_id": 0, "last_tab_id": 0}


class Dashboards:
    """Every refusal is an ApiError."""

    def __init__(self, records: Records, cards: Cards, permissions: Permissions, answers: Answers) -> None:
        self._records, self._cards, self._permissions = records, cards, permissions
        self._answers = answers

    def all(self, archived: bool = False) -> list[Document]:
        """All dashboards that are, or are not, archived."""
        return [found for found in self._records.store.all("dashboard") if found["archived"] == archived]

    def get(self, identity: int) -> Document:
        """A dashboard as it is kept."""
        return self._records.find("dashboard", identity)

    def with_cards(self, user: Document | None, identity: int) -> Document:
        """A dashboard with its cards as a user sees it: without what is archived, and of what the user may not read
        the id alone; ApiError 403 where the user may not read the dashboard."""
        document = self._permissions.seen(user, self.get(identity))
        cards = {card["id"]: card for card in self._records.store.all("card")}
        places = [
            place
            for place in document["dashcards"]
            if not place["card_id"] or not cards[place["card_id"]]["archived"]
        ]
        shown = {one: card if self._permissions.sees(user, card) else None for one, card in cards.items()}
        return self._answers.dashboard({**document, "dashcards": places}, shown)

    def dashcard(self, dashboard: Document, dashcard_id: int, card_id: int) -> Document:
        """A dashcard of a dashboard."""
        for place in dashboard["dashcards"]:
            if (place["id"], place["card_id"]) == (dashcard_id, card_id):
                return dict(place)
        raise ApiError(404, "Not found.")

    def filter_values(
        self, user: Document | None, dashboard: Document, parameter_id: str, values: Values | None = None
    ) -> tuple[list[Value], bool]:
        """What a filter offers a user, and whether there is more; WarehouseError where its card does not run.

        ``values`` of the variables of the card that the offer comes from narrow it.
        """
        found = next((one for one in dashboard["parameters"] if one["id"] == parameter_id), None)
        if found is None:
            raise ApiError(404, "Not found.")
        config = found.get("values_source_config") or {}
        if found.get("values_source_type") == "static-list":
            return list(config.get("values", [])), False
        if found.get("values_source_type") != "card":
            return [], False
        match config.get("value_field"):
            case ["field", str(column), *_] | ["field", dict(), str(column)]:
                pass
            case _:
                raise WarehouseError("the filter's value_field names no column")
        card = self._permissions.seen(user, self._cards.get(config["card_id"]))
        result = self._cards.run(card, values or {}, FILTER_LIMIT)
        names = [one.name for one in result.columns]
        if column not in names:
            raise WarehouseError(f"the card of the filter's values has no column {column}")
        found = {row[names.index(column)] for row in result.rows} - {None}
        return sorted(found, key=str), result.truncated

    def add(self, body: models.NewDashboard, creator_id: int) -> Document:
        """A new, empty dashboard."""
        self._records.find_named("collection", body.collection_id)
        document = {
            "name": body.name,
            "description": body.description,
            "collection_id": body.collection_id,
            "archived": False,
            "width": "fixed",
            "creator_id": creator_id,
            "parameters": [one.model_dump(exclude_unset=True) for one in body.parameters or []],
            "dashcards": [],
            "tabs": [],
        }
        return self._records.added("dashboard", {**document, **_COUNTERS})

    def update(self, identity: int, body: models.DashboardUpdate) -> None:
        """Change a dashboard; given arrays of dashcards and tabs replace the whole ones, negative ids are new."""
        self._records.find_named("collection", body.collection_id)
        for place in body.dashcards or []:
            self._records.find_named("card", place.card_id)
            if place.col + place.size_x > 24:
                raise ApiError(
                    400, errors={"dashcards": f"dashcard {place.id} leaves the grid of 24 columns"}
                )
        for parameter in body.parameters or []:
            card_id = (parameter.values_source_config or {}).get("card_id")
            if parameter.values_source_type == "card" and not isinstance(card_id, int):
                raise ApiError(
                    400, errors={"parameters": f"{parameter.id}: card_id must be the id of a card"}
                )
            if isinstance(card_id, int):
                self._records.find("card", card_id)
        changed = changes(body)

        def change(old: Document) -> Document:
            new = {**old, **changed}
            if body.dashcards is not None or body.tabs is not None:
                places = None if body.dashcards is None else list(map(_place, body.dashcards))
                tabs = None if body.tabs is None else [one.model_dump() for one in body.tabs]
                new.update(replace_grid(old, places, tabs))
            return new

        self._records.changed("dashboard", identity, change)


def _place(body: models.Dashcard) -> Document:
    given = body.model_dump()
    empty: Document = {"visualization_settings": {}, "parameter_mappings": [], "series": []}
    return {**given, **{name: given[name] or nothing for name, nothing in empty.items()}}
