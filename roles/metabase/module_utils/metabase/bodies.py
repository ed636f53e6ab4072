"""Cards, filters and grids as the API takes them, and what differs from what the server has."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from .items import Item
from .rules import VARIABLES, kind_of
from .sql import variables


def card_body(item: Item, database_id: int | None, collection_id: int | None) -> Item:
    """A card as the API takes it; column options are keyed as Metabase keys them."""
    columns = {
        # As JSON.stringify writes it, which leaves letters of every alphabet as they are.
        json.dumps(["name", name], separators=(",", ":"), ensure_ascii=False): options
        for name, options in item.get("columns", {}).items()
    }
    tags = {
        name: {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{item['entity_id']}/{name}")),
            "name": name,
            "display-name": _title(name),
            "type": kind_of(item, name),
        }
        for name in variables(item["sql"])
    }
    stage = {"lib/type": "mbql.stage/native", "native": item["sql"].strip()}
    return {
        "name": item["name"],
        "description": item.get("description"),
        "display": item["display"],
        "collection_id": collection_id,
        "archived": False,
        "dataset_query": {
            "lib/type": "mbql/query",
            "database": database_id,
            "stages": [dict(stage, **({"template-tags": tags} if tags else {}))],
        },
        "visualization_settings": dict(
            item.get("settings", {}), **({"column_settings": columns} if columns else {})
        ),
    }


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def query_of(card: Item) -> Item:
    """``database``, ``sql`` and ``variables`` of a card, whichever dialect of MBQL the server answers in."""
    query = card.get("dataset_query") or {}
    if "stages" in query:
        native = query["stages"][0] if query["stages"] else {}
        sql = native.get("native")
    else:
        native = query.get("native") or {}
        sql = native.get("query")
    tags = native.get("template-tags") or []
    # A list since 0.63, a map before it: metabase/metabase, pull request 77133.
    shown = {
        tag.get("name"): [tag.get("type"), bool(tag.get("required")), tag.get("default")]
        for tag in (tags.values() if isinstance(tags, dict) else tags)
    }
    return {"database": query.get("database"), "sql": sql, "variables": shown}


def differences(desired: Item, actual: Item) -> dict[str, tuple[Any, Any]]:
    """Field -> (before, after), for the fields of ``desired`` that ``actual`` has otherwise."""
    changed = {}
    for name, after in desired.items():
        before = actual.get(name)
        if name == "dataset_query":
            before, after = query_of(actual), query_of(desired)
        elif name == "details":
            before = {key: (before or {}).get(key) for key in after}
        elif name == "visualization_settings":
            before, after = (
                {key: value for key, value in (one or {}).items() if value != {}} for one in (before, after)
            )
        if before != after:
            changed[name] = (before, after)
    return changed


def parameters_body(
    key: str, item: Item, cards: dict[str, Item], card_ids: dict[str, int | None]
) -> list[Item]:
    """The filters of a dashboard: text fields, dates, or a list of what a card's column holds."""
    body = []
    for name, one in item.get("filters", {}).items():
        taking = (cards[place["card"]] for place in item["cards"])
        kind = next(kind_of(card, name) for card in taking if name in variables(card["sql"]))
        parameter: Item = {
            "id": _filter_id(key, name),
            "name": one["name"],
            "slug": name,
            "type": VARIABLES[kind],
            "sectionId": "date" if kind == "date" else "string",
            "isMultiSelect": False,
        }
        if "card" in one:
            parameter["values_query_type"] = "list"
            parameter["values_source_type"] = "card"
            parameter["values_source_config"] = {
                "card_id": card_ids[one["card"]],
                "value_field": ["field", one["column"], {"base-type": "type/Text"}],
            }
        body.append(parameter)
    return body


def _filter_id(key: str, name: str) -> str:
    return hashlib.sha256(f"{key}/{name}".encode()).hexdigest()[:8]


def grid_body(
    key: str, item: Item, found: Item, cards: dict[str, Item], card_ids: dict[str, int | None]
) -> Item:
    """Filters and the whole arrays of tabs and dashcards: what is there keeps its id, what is new gets a negative one."""
    tab_ids = {tab["name"]: tab["id"] for tab in found.get("tabs") or []}
    tabs = [
        {"id": tab_ids.get(name, -number), "name": name}
        for number, name in enumerate(item.get("tabs", []), 1)
    ]
    tab_ids = {tab["name"]: tab["id"] for tab in tabs}
    left = list(found.get("dashcards") or [])
    dashcards = []
    for number, place in enumerate(item["cards"], 1):
        card_id = card_ids[place["card"]]
        kept = next((old for old in left if card_id is not None and old.get("card_id") == card_id), None)
        if kept is not None:
            left.remove(kept)
        mappings = [
            {
                "parameter_id": _filter_id(key, name),
                "card_id": card_id,
                "target": ["variable", ["template-tag", name]],
            }
            for name in variables(cards[place["card"]]["sql"])
            if name in item.get("filters", {})
        ]
        dashcards.append(
            {
                "id": kept["id"] if kept else -number,
                "card_id": card_id,
                **{name: place[name] for name in ("row", "col", "size_x", "size_y")},
                "dashboard_tab_id": tab_ids[place["tab"]] if tabs else None,
                "visualization_settings": (kept or {}).get("visualization_settings") or {},
                "parameter_mappings": mappings,
            }
        )
    return {
        "parameters": parameters_body(key, item, cards, card_ids),
        "tabs": tabs,
        "dashcards": dashcards,
    }


def layout_of(dashboard: Item) -> Item:
    """What makes two dashboards the same to a person: ``filters``, ``tabs`` and ``cards``."""
    tabs = {tab["id"]: tab["name"] for tab in dashboard.get("tabs") or []}
    grid = ("row", "col", "size_x", "size_y", "card_id")
    cards = [
        [tabs.get(place.get("dashboard_tab_id")) or ""]
        + [place.get(name) or 0 for name in grid]
        + [
            sorted(
                [mapping["parameter_id"], str(mapping["target"][1][1])]
                for mapping in place.get("parameter_mappings") or []
            )
        ]
        for place in dashboard.get("dashcards") or []
    ]
    filters = [
        [one.get(name) for name in ("id", "name", "slug", "type", "default", "values_source_type")]
        + [(one.get("values_source_config") or {}).get("card_id")]
        for one in dashboard.get("parameters") or []
    ]
    return {"filters": filters, "tabs": list(tabs.values()), "cards": sorted(cards)}
