"""What the page of a dashboard shows: filters, tabs and drawn cards, without HTTP."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlencode

from markupsafe import Markup

from .charts import Drawing, draw
from .errors import ApiError
from .permissions import FORBIDDEN
from .plots import plot
from .queries import Values, by_mapping
from .service import Service
from .store import Document
from .warehouse import WarehouseError

log = logging.getLogger("retailflow.dashboards")

_queries = ThreadPoolExecutor(max_workers=4, thread_name_prefix="card")


SCREEN_WIDTH, ROW_HEIGHT = 1_296, 58  # pixels of the grid's 24 columns, and of a row
PHONE = (340, 220)
TAB = "tab"  # names the open tab in the page's address


@dataclass(frozen=True)
class Tile:
    """A card on the page: its place on the grid and its drawing, or why there is none."""

    place: Document
    drawing: Drawing | None = None
    rows: int = 0
    truncated: bool = False
    error: str = ""
    plots: tuple[Markup, Markup] | None = None  # for a screen, and for a phone


@dataclass(frozen=True)
class Filter:
    """A filter above the cards: what it offers and what is chosen; without an offer one types."""

    name: str
    slug: str
    offered: list[str]
    chosen: str


@dataclass(frozen=True)
class Tab:
    """A tab: its title, the query string that opens it with the same filters, and whether it is open."""

    name: str
    query: str
    is_open: bool


@dataclass(frozen=True)
class View:
    """A dashboard as one person sees it now; ``tab`` is the id of the open tab, empty without tabs."""

    dashboard: Document
    filters: list[Filter]
    tabs: list[Tab]
    tab: str
    tiles: list[Tile]
    at: datetime.datetime
    reset: str  # the query string without filters, empty where none is set


def slug_of(parameter: Document) -> str:
    """The name of a filter in the page's address: its slug, or its id where the page needs that name itself."""
    slug = str(parameter.get("slug") or parameter["id"])
    return slug if slug != TAB else f"{TAB}_{parameter['id']}"


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

    def offer(one: Document) -> Filter:
        others: Values = {
            slug_of(other): chosen.get(other["id"], "") for other in parameters if other is not one
        }
        mine = chosen.get(one["id"], str(one.get("default") or ""))
        return _filter(service, user, dashboard, one, mine, others)

    def run(place: Document) -> Tile:
        return _tile(service, user, place, by_mapping(sent, parameters, place["parameter_mappings"]))

    filters, tiles = _queries.map(offer, parameters), _queries.map(run, places)
    kept = {name: value for name, value in asked.items() if value and name != TAB}
    return View(
        dashboard,
        list(filters),
        [Tab(name, urlencode({**kept, TAB: one}), one == tab) for one, name in names.items()],
        tab,
        list(tiles),
        datetime.datetime.now(datetime.UTC),
        urlencode({TAB: tab}) if any(chosen.values()) else "",
    )


def _tile(service: Service, user: Document, place: Document, values: Values) -> Tile:
    try:
        if place["card_id"] is None:  # a heading or a text
            text = str(place["visualization_settings"].get("text") or "")
            return Tile({**place, "visualization_settings": {"text": text}})
        if "dataset_query" not in place["card"]:
            return Tile(place, error=FORBIDDEN)
        card = service.cards.get(place["card_id"])
        result = service.cards.run(card, values)
        drawing = draw(card, result)
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
    today = datetime.datetime.now(datetime.UTC).date()
    width = round(place["size_x"] / 24 * SCREEN_WIDTH) - 34
    height = max(place["size_y"] * ROW_HEIGHT - 110, 120)
    return plot(drawing.series, width, height, today), plot(drawing.series, *PHONE, today)


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
    if chosen and offered and chosen not in offered:
        offered = [chosen, *offered]
    return Filter(parameter.get("name") or parameter["id"], slug_of(parameter), offered, chosen)
