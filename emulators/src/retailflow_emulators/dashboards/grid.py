"""Whole arrays of dashcards and tabs in the place of the old ones."""

from __future__ import annotations

from .errors import ApiError
from .records import entity_id
from .store import Document


def replace_grid(old: Document, places: list[Document] | None, tabs: list[Document] | None) -> Document:
    """Tabs and dashcards in the place of the old ones, None keeps those; a tab that goes takes its dashcards along."""
    tabs = old["tabs"] if tabs is None else tabs
    names, last_tab = _numbered(tabs, [tab["id"] for tab in old["tabs"]], old.get("last_tab_id", 0), "tab")
    if places is None:
        places = [place for place in old["dashcards"] if not tabs or place.get("dashboard_tab_id") in names]
    numbers, last = _numbered(
        places, [place["id"] for place in old["dashcards"]], old["last_dashcard_id"], "dashcard"
    )
    entities = {
        kind: {one["id"]: one.get("entity_id") for one in old[kind]} for kind in ("dashcards", "tabs")
    }
    for place in places:
        tab = place.get("dashboard_tab_id")
        if (tab is None) != (not tabs) or (tab is not None and tab not in names):
            raise ApiError(400, errors={"dashcards": "every dashcard must be on a tab where there are tabs"})
        place["id"], place["dashboard_id"] = numbers[place["id"]], old["id"]
        place["dashboard_tab_id"] = None if tab is None else names[tab]
        place["entity_id"] = entities["dashcards"].get(place["id"]) or entity_id()
    kept = [
        {
            "id": names[tab["id"]],
            "name": tab["name"],
            "position": position,
            "dashboard_id": old["id"],
            "entity_id": entities["tabs"].get(names[tab["id"]]) or entity_id(),
        }
        for position, tab in enumerate(tabs)
    ]
    return {"dashcards": places, "last_dashcard_id": last, "tabs": kept, "last_tab_id": last_tab}


def _numbered(items: list[Document], known: list[int], last: int, what: str) -> tuple[dict[int, int], int]:
    """Id as given -> id as kept, where negative ids get the next ones; and the last id."""
    numbers: dict[int, int] = {}
    for item in items:
        given = item["id"]
        if given >= 0 and given not in known:
            raise ApiError(400, errors={f"{what}s": f"this dashboard has no {what} {given}"})
        if given in numbers:
            raise ApiError(400, errors={f"{what}s": f"the id {given} is there twice"})
        last += given < 0
        numbers[given] = last if given < 0 else given
    return numbers, last
