"""What the page of a dashboard shows: filters, tabs and drawn cards, without HTTP."""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from markupsafe import Markup

from .charts import NOTHING, Drawing, draw, sort
from .errors import ApiError
from .permissions import FORBIDDEN
from .plots import plot
from .queries import Values, by_mapping
from .service import Service
from .store import Document
from .warehouse import WarehouseError

log = logging.getLogger("retailflow.dashboards")

_queries = ThreadPoolExecutor(max_workers=4, thread_name_prefix="card")


SCREEN_WIDTH, ROW_HEIGHT = 1_296, 62  # pixels of the grid's 24 columns, and of a row
FRAME = 126  # pixels of a card around its body
LINES = {"table": 36, "bars": 26}  # pixels of a row
PHONE = (340, 220)
TAB, SORT = "tab", "sort"  # what the page's address calls the open tab, and the order of a table


@dataclass(frozen=True)
class Tile:
    """A card on the page: its place on the grid and its drawing, or why there is none."""

    place: Document
    drawing: Drawing | None = None
    rows: int = 0
    truncated: bool = False
    error: str = ""
    plots: tuple[Markup, Markup] | None = None  # for a screen, and for a phone
    orders: tuple[Order, ...] = ()  # a link per column of a table
    parameters: str = "[]"  # the filters, as the API's exports take them

    @property
    def scrolls(self) -> bool:
        """Whether a screen shows only some of the rows of a table."""
        if self.drawing is None or self.drawing.kind not in LINES:
            return False
        room: int = self.place["size_y"] * ROW_HEIGHT - FRAME
        return len(self.drawing.rows) * LINES[self.drawing.kind] + LINES["table"] > room

    @property
    def is_nothing(self) -> bool:
        """Whether a tile has no figure, as a sum of no rows."""
        return bool(
            self.drawing and self.drawing.kind == "scalar" and self.drawing.rows[0][0].text == NOTHING
        )


@dataclass(frozen=True)
class Order:
    """How a column's heading sorts: the query string that does it, and what the order is now (as aria-sort says it)."""

    query: str
    now: str


@dataclass(frozen=True)
class Filter:
    """A filter above the cards: what it offers and what is chosen; without an offer one types text, or a date.

    ``is_unmatched``: what is chosen does not go with the other filters.
    """

    name: str
    slug: str
    offered: list[str]
    chosen: str
    is_date: bool = False
    is_unmatched: bool = False


@dataclass(frozen=True)
class Tab:
    """A tab: its title, the query string that opens it with the same filters, and whether it is open."""

    name: str
    query: str
    is_open: bool


@dataclass(frozen=True)
class View:
    """A dashboard as one person sees it now; ``tab`` is the id of the open tab, empty without tabs.

    ``kept`` are the filters that no card of the open tab has: they are not shown, as in Metabase, and not lost.
    """

    dashboard: Document
    filters: list[Filter]
    tabs: list[Tab]
    tab: str
    tiles: list[Tile]
    at: datetime.datetime
    reset: str  # the query string without filters, empty where none is set
    chosen: str  # the query string of the filters
    kept: dict[str, str]
    colors: list[str]  # of cells, as #rrggbbaa


def in_order(query: Mapping[str, str]) -> tuple[str, str, bool]:
    """Dashcard, column and whether descending, of ``7.NET_REVENUE.desc`` in a page's address; empty where it is odd."""
    place, _, rest = query.get(SORT, "").partition(".")
    name, _, direction = rest.rpartition(".")
    return (place, name, direction == "desc") if direction in ("asc", "desc") else ("", "", False)


def slug_of(parameter: Document) -> str:
    """The name of a filter in the page's address: its slug, with its id where the page needs that name itself."""
    slug = str(parameter.get("slug") or parameter["id"])
    return slug if slug not in (TAB, SORT) else f"{slug}_{parameter['id']}"


def view(service: Service, user: Document, dashboard: Document, asked: Mapping[str, str]) -> View:
    """Run what one tab shows with the filters that ``asked`` sets, four cards at a time."""
    parameters = dashboard["parameters"]
    sent = [{"id": one["id"], "value": asked[slug_of(one)]} for one in parameters if slug_of(one) in asked]
    chosen = {one["id"]: str(one["value"]) for one in sent}
    names = {str(tab["id"]): tab["name"] for tab in dashboard["tabs"]}
    tab = asked.get(TAB, "") if asked.get(TAB) in names else next(iter(names), "")
    places = sorted(
        (place for place in dashboard["dashcards"] if str(place.get("dashboard_tab_id") or "") == tab),
        key=lambda place: (place["row"], place["col"]),
    )

    mapped = {one["parameter_id"] for place in places for one in place["parameter_mappings"]}
    shown = [one for one in parameters if one["id"] in mapped]
    kept = {slug_of(one): chosen[one["id"]] for one in parameters if chosen.get(one["id"])}
    of_the_tab = {TAB: tab} if names else {}
    order = in_order(asked)

    def offer(one: Document) -> Filter:
        others: Values = {
            slug_of(other): chosen.get(other["id"], "") for other in parameters if other is not one
        }
        mine = chosen.get(one["id"], str(one.get("default") or ""))
        return _filter(service, user, dashboard, one, mine, others)

    def run(place: Document) -> Tile:
        mine = order if order[0] == str(place["id"]) else ("", "", False)
        values = by_mapping(sent, parameters, place["parameter_mappings"])
        tile = _tile(service, user, place, values, mine)
        of_tables = tile.drawing is not None and tile.drawing.kind in LINES
        orders = tuple(_orders(tile, {**kept, **of_the_tab}, mine)) if of_tables else ()
        return replace(tile, orders=orders, parameters=_exported(sent, place))

    filters, tiles = _queries.map(offer, shown), list(_queries.map(run, places))
    return View(
        dashboard,
        list(filters),
        [Tab(name, urlencode({**kept, TAB: one}), one == tab) for one, name in names.items()],
        tab,
        tiles,
        datetime.datetime.now(datetime.UTC),
        urlencode({TAB: tab}) if kept else "",
        urlencode(kept),
        {slug_of(one): chosen[one["id"]] for one in parameters if one not in shown and chosen.get(one["id"])},
        sorted(
            {
                cell.color
                for tile in tiles
                if tile.drawing
                for row in tile.drawing.rows
                for cell in row
                if cell.color
            }
        ),
    )


def _orders(tile: Tile, kept: dict[str, str], order: tuple[str, str, bool]) -> Iterator[Order]:
    """Of each column the other order than now; numbers begin with the largest."""
    assert tile.drawing is not None
    for heading in tile.drawing.headings:
        is_now = bool(order[0]) and order[1] == heading.name
        descending = not order[2] if is_now else heading.is_number
        asked = f"{tile.place['id']}.{heading.name}.{'desc' if descending else 'asc'}"
        now = ("descending" if order[2] else "ascending") if is_now else "none"
        yield Order(urlencode({**kept, SORT: asked}), now)


def _exported(sent: list[Document], place: Document) -> str:
    values = {one["id"]: one["value"] for one in sent if one["value"]}
    return json.dumps(
        [
            {"target": mapping["target"], "value": values[mapping["parameter_id"]]}
            for mapping in place["parameter_mappings"]
            if mapping["parameter_id"] in values
        ]
    )


def _tile(
    service: Service, user: Document, place: Document, values: Values, order: tuple[str, str, bool]
) -> Tile:
    try:
        if place["card_id"] is None:  # a heading or a text
            text = str(place["visualization_settings"].get("text") or "")
            return Tile({**place, "visualization_settings": {"text": text}})
        if "dataset_query" not in place["card"]:
            return Tile(place, error=FORBIDDEN)
        card = service.cards.get(place["card_id"])
        result = service.cards.run(card, values)
        drawing = draw(card, sort(result, *order[1:]) if order[0] else result)
        if drawing.wrong:
            return Tile(place, error=drawing.wrong)
        plots = _plots(drawing, place) if drawing.series else None
        return Tile(place, drawing, len(result.rows), result.truncated, plots=plots)
    except (WarehouseError, ApiError) as error:
        return Tile(place, error=str(error))
    except Exception:  # one card must not take the others along
        log.exception("card %s cannot be drawn", place["card_id"])
        return Tile(place, error="This card cannot be drawn. The server's log says why.")


def _plots(drawing: Drawing, place: Document) -> tuple[Markup, Markup]:
    """Drawn for the room that the card has on a screen, and for a phone."""
    assert drawing.series is not None
    now = datetime.datetime.now(datetime.UTC)
    width = round(place["size_x"] / 24 * SCREEN_WIDTH) - 34
    height = max(place["size_y"] * ROW_HEIGHT - FRAME, 120)
    return plot(drawing.series, width, height, now), plot(drawing.series, *PHONE, now)


def _filter(
    service: Service, user: Document, dashboard: Document, parameter: Document, chosen: str, others: Values
) -> Filter:
    """A filter with the values that go with what the other filters say, where its card has their variables."""
    try:
        values, _ = service.dashboards.filter_values(user, dashboard, parameter["id"], others)
        offered = [str(value) for value in values]
    except (WarehouseError, ApiError):
        offered = []  # the cards say what is wrong
    except Exception:
        log.exception("the values of filter %s cannot be read", parameter["id"])
        offered = []
    unmatched = bool(chosen and offered and chosen not in offered)
    if unmatched:
        offered = [chosen, *offered]
    return Filter(
        parameter.get("name") or parameter["id"],
        slug_of(parameter),
        offered,
        chosen,
        str(parameter.get("type")).startswith("date/"),
        unmatched,
    )
