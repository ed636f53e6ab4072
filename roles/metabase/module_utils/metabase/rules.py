"""What files of content may say; everything is checked before the first write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from .errors import MetabaseError
from .items import Item
from .sql import variables

TEXT, NAME, MAP, LIST, NUMBER, ENTITY = (
    "text",
    "text of at most 254 characters",
    "a map of named values",
    "a list",
    "a whole number",
    "21 letters, digits, - or _",
)
ROLE = "the word role"
NAME_BOUND = 254  # characters that Metabase's tables hold of the name of a card or a dashboard
#: What a variable may be, and the type of the filter that sets it.
#: https://www.metabase.com/docs/latest/questions/native-editor/basic-sql-parameters
VARIABLES = {"text": "string/=", "date": "date/single"}
TAB = "tab"  # what Metabase's addresses call the tab of a dashboard


def _is_text(value: Any) -> bool:
    """Whether PostgreSQL and JSON hold it: no NUL, no half of a surrogate pair."""
    return isinstance(value, str) and bool(value.strip()) and not re.search("[\0\ud800-\udfff]", value)


CHECKS: dict[str, Callable[[Any], bool]] = {
    TEXT: _is_text,
    NAME: lambda value: _is_text(value) and len(value.strip()) <= NAME_BOUND,
    MAP: lambda value: isinstance(value, dict) and all(_is_text(key) for key in value),
    LIST: lambda value: isinstance(value, list),
    NUMBER: lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    ENTITY: lambda value: isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z0-9_-]{21}", value)),
    ROLE: lambda value: value == "role",
}
# kind -> field -> (what it must be, whether it is needed)
FIELDS: dict[str, dict[str, tuple[str, bool]]] = {
    "collections": {"name": (TEXT, True), "description": (TEXT, False)},
    "cards": {
        "entity_id": (ENTITY, True),
        "collection": (TEXT, True),
        "name": (NAME, True),
        "description": (TEXT, False),
        "display": (TEXT, True),
        "sql": (TEXT, True),
        "settings": (MAP, False),
        "columns": (MAP, False),
        "variables": (MAP, False),
        "shows": (ROLE, False),
    },
    "dashboards": {
        "collection": (TEXT, True),
        "name": (NAME, True),
        "description": (TEXT, False),
        "filters": (MAP, False),
        "tabs": (LIST, False),
        "cards": (LIST, True),
    },
}
FILTER = {"name": (TEXT, True), "card": (TEXT, False), "column": (TEXT, False)}
PLACE = {
    "card": (TEXT, True),
    "tab": (TEXT, False),
    **dict.fromkeys(("row", "col", "size_x", "size_y"), (NUMBER, True)),
}
GRID = 24  # columns


def load(files: dict[str, Any]) -> dict[str, dict[str, Item]]:
    """Kind -> key -> item, with ``where`` it was declared; MetabaseError names the wrong file and key."""
    found: dict[str, dict[str, Item]] = {kind: {} for kind in FIELDS}
    for file, body in sorted(files.items()):
        if not isinstance(body, dict):
            raise MetabaseError(f"{file}: must be a map of {', '.join(FIELDS)}")
        for kind, items in body.items():
            if kind not in FIELDS or not isinstance(items, dict):
                raise MetabaseError(f"{file}: {kind}: expected a map under one of {', '.join(FIELDS)}")
            for key, item in items.items():
                where = f"{file}: {kind}.{key}"
                if not _is_text(key):
                    raise MetabaseError(f"{where}: a key must be {TEXT}")
                _check_fields(where, item, FIELDS[kind])
                if key in found[kind]:
                    raise MetabaseError(f"{where}: declared already in {found[kind][key]['where']}")
                found[kind][key] = dict(_trimmed(item), where=where)
    _check_unique("collections", "name", found["collections"], lambda item: item["name"])
    _check_unique("cards", "entity_id", found["cards"], lambda item: item["entity_id"])
    _check_unique("cards", "name", found["cards"], lambda item: (item["collection"], item["name"]))
    _check_unique("dashboards", "name", found["dashboards"], lambda item: (item["collection"], item["name"]))
    for item in list(found["cards"].values()) + list(found["dashboards"].values()):
        if item["collection"] not in found["collections"]:
            raise MetabaseError(f"{item['where']}.collection: there is no collection {item['collection']!r}")
    for item in found["cards"].values():
        _check_card(item)
    for item in found["dashboards"].values():
        _check_dashboard(item, found["cards"])
    return found


def _trimmed(item: Item) -> Item:
    """An item without the blanks around names, which nobody means and a ``|`` block brings along."""
    trimmed = dict(item)
    for name in ("name", "description", "sql", "tab"):
        if name in item:
            trimmed[name] = item[name].strip()
    if "tabs" in item:
        trimmed["tabs"] = [tab.strip() if isinstance(tab, str) else tab for tab in item["tabs"]]
    if "filters" in item:
        trimmed["filters"] = {
            key: _trimmed(one) if isinstance(one, dict) and _is_text(one.get("name")) else one
            for key, one in item["filters"].items()
        }
    if isinstance(item.get("cards"), list):
        trimmed["cards"] = [
            _trimmed(place) if isinstance(place, dict) and _is_text(place.get("tab")) else place
            for place in item["cards"]
        ]
    return trimmed


def kind_of(card: Item, name: str) -> str:
    """What a variable of a card is, one of VARIABLES."""
    return str(card.get("variables", {}).get(name, "text"))


def _check_card(item: Item) -> None:
    where = item["where"]
    try:
        names = variables(item["sql"])
    except MetabaseError as error:
        raise MetabaseError(f"{where}.sql: {error}") from None
    for name, kind in item.get("variables", {}).items():
        if name not in names:
            raise MetabaseError(f"{where}.variables.{name}: the SQL has no variable {{{{{name}}}}}")
        if kind not in VARIABLES:
            raise MetabaseError(f"{where}.variables.{name}: must be one of {', '.join(VARIABLES)}")
    for name, options in item.get("columns", {}).items():
        if not CHECKS[MAP](options):
            raise MetabaseError(f"{where}.columns.{name}: must be {MAP}")
    try:
        json.dumps([item.get("settings"), item.get("columns")], allow_nan=False)
    except (TypeError, ValueError) as error:
        raise MetabaseError(f"{where}: settings or columns hold what JSON cannot: {error}") from None


def _check_dashboard(item: Item, cards: dict[str, Item]) -> None:
    tabs, where = item.get("tabs", []), item["where"]
    if not all(CHECKS[TEXT](tab) for tab in tabs) or len(set(tabs)) < len(tabs):
        raise MetabaseError(f"{where}.tabs: must be names, each there once")
    for index, place in enumerate(item["cards"]):
        at = f"{where}.cards[{index}]"
        _check_fields(at, place, PLACE)
        if place["card"] not in cards:
            raise MetabaseError(f"{at}.card: there is no card {place['card']!r}")
        if not 1 <= place["size_x"] <= GRID - place["col"] or place["size_y"] < 1:
            raise MetabaseError(
                f"{at}: col + size_x must stay within {GRID} columns, and sizes be at least 1"
            )
        if place.get("tab") not in (tabs or [None]):
            raise MetabaseError(
                f"{at}.tab: must be one of {', '.join(tabs)}" if tabs else f"{at}.tab: there are no tabs"
            )
    placed = {name for place in item["cards"] for name in variables(cards[place["card"]]["sql"])}
    labels: dict[str, str] = {}
    for name, one in item.get("filters", {}).items():
        at = f"{where}.filters.{name}"
        _check_fields(at, one, FILTER)
        if TAB in (name.lower(), one["name"].lower()):
            raise MetabaseError(f"{at}: Metabase keeps the name {TAB!r} for the tabs of a dashboard")
        if (other := labels.setdefault(one["name"], name)) != name:
            raise MetabaseError(f"{at}.name: the filter {other} has the same")
        if name not in placed:
            raise MetabaseError(f"{at}: no card of this dashboard has the variable {{{{{name}}}}}")
        if ("card" in one) != ("column" in one):
            raise MetabaseError(f"{at}: card and column go together")
        kinds = {
            kind_of(cards[place["card"]], name)
            for place in item["cards"]
            if name in variables(cards[place["card"]]["sql"])
        }
        if len(kinds) > 1:
            raise MetabaseError(f"{at}: the cards take {{{{{name}}}}} as {' and as '.join(sorted(kinds))}")
        if "card" in one and one["card"] not in cards:
            raise MetabaseError(f"{at}.card: there is no card {one['card']!r}")


def _check_fields(where: str, item: Any, fields: dict[str, tuple[str, bool]]) -> None:
    if not isinstance(item, dict):
        raise MetabaseError(f"{where}: must be a map")
    for name in item:
        if name not in fields:
            raise MetabaseError(f"{where}.{name}: unknown; known are {', '.join(fields)}")
    for name, (kind, needed) in fields.items():
        if name in item and not CHECKS[kind](item[name]):
            raise MetabaseError(f"{where}.{name}: must be {kind}")
        if needed and name not in item:
            raise MetabaseError(f"{where}.{name}: is missing")


def _check_unique(kind: str, field: str, items: dict[str, Item], identity: Callable[[Item], Any]) -> None:
    seen: dict[Any, str] = {}
    for item in items.values():
        other = seen.setdefault(identity(item), item["where"])
        if other != item["where"]:
            raise MetabaseError(f"{item['where']}.{field}: {other} has the same")
