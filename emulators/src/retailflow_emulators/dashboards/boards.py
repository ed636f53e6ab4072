"""Dashboards: cards on a grid, with filters and tabs."""

from __future__ import annotations

from . import models
from .content import Cards
from .errors import ApiError
from .grid import replace_grid
from .permissions import Permissions
from .records import Records, changes, given
from .store import Document
from .warehouse import Value, WarehouseError

FILTER_LIMIT = 1_000  # values that a filter offers
_EMPTY: Document = {"parameters": [], "last_dashcard_id": 0, "last_tab_id": 0}


class Dashboards:
    """Every refusal is an ApiError."""

    def __init__(self, records: Records, cards: Cards, permissions: Permissions) -> None:
        self._records, self._cards, self._permissions = records, cards, permissions

    def all(self, archived: bool = False) -> list[Document]:
        """All dashboards that are, or are not, archived."""
        return [found for found in self._records.store.all("dashboard") if found["archived"] == archived]

    def get(self, identity: int) -> Document:
        """A dashboard with its cards."""
        document = self._records.find("dashboard", identity)
        cards = {card["id"]: card for card in self._records.store.all("card")}
        placed = [{**place, "card": cards[place["card_id"]]} for place in document["dashcards"]]
        shown = [place for place in placed if not place["card"]["archived"]]
        return {"parameters": [], "public_uuid": None, **document, "dashcards": shown}

    def dashcard(self, dashboard: Document, dashcard_id: int, card_id: int) -> Document:
        """A dashcard of a dashboard, with its card."""
        for place in dashboard["dashcards"]:
            if (place["id"], place["card_id"]) == (dashcard_id, card_id):
                return dict(place)
        raise ApiError(404, "Not found.")

    def filter_values(
        self, user: Document | None, dashboard: Document, parameter_id: str
    ) -> tuple[list[Value], bool]:
        """What a filter offers a user, and whether there is more; WarehouseError where its card does not run."""
        found = next((one for one in dashboard["parameters"] if one["id"] == parameter_id), None)
        if found is None:
            raise ApiError(404, "Not found.")
        config = found.get("values_source_config") or {}
        if found.get("values_source_type") == "static-list":
            return list(config.get("values", [])), False
        if found.get("values_source_type") != "card":
            return [], False
        column = config.get("value_field", ["field", ""])[1]
        card = self._permissions.seen(user, self._cards.get(config["card_id"]))
        result = self._cards.run(card, {}, FILTER_LIMIT)
        names = [one.name for one in result.columns]
        if column not in names:
            raise WarehouseError(f"the card of the filter's values has no column {column}")
        values = {row[names.index(column)] for row in result.rows} - {None}
        return sorted(values, key=str), result.truncated

    def add(self, body: models.NewDashboard) -> Document:
        """A new, empty dashboard."""
        self._records.find_named("collection", body.collection_id)
        defaults = {"description": None, "collection_id": None, "archived": False, "width": "fixed"}
        return self._records.added(
            "dashboard", {**defaults, **given(body), **_EMPTY, "dashcards": [], "tabs": []}
        )

    def update(self, identity: int, body: models.DashboardUpdate) -> Document:
        """Change a dashboard; given arrays of dashcards and tabs replace the whole ones, negative ids are new."""
        self._records.find_named("collection", body.collection_id)
        for place in body.dashcards or []:
            self._records.find("card", place.card_id)
            if place.col + place.size_x > 24:
                raise ApiError(
                    400, errors={"dashcards": f"card {place.card_id} leaves the grid of 24 columns"}
                )
        for parameter in body.parameters or []:
            if card_id := (parameter.values_source_config or {}).get("card_id"):
                self._records.find("card", card_id)
        changed = changes(body)

        def change(old: Document) -> Document:
            new = {**old, **changed}
            if body.dashcards is not None or body.tabs is not None:
                places = None if body.dashcards is None else [one.model_dump() for one in body.dashcards]
                new.update(replace_grid(old, places, [one.model_dump() for one in body.tabs or []]))
            return new

        self._records.changed("dashboard", identity, change)
        return self.get(identity)
