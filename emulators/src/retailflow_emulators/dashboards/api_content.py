"""Paths of the API about content: collections, cards and dashboards."""

from __future__ import annotations

from typing import Any

from . import answers, models
from .calls import Call
from .endpoints import Access, Routes
from .errors import ApiError
from .service import Service
from .store import Document
from .warehouse import WarehouseError


def add_routes(here: Routes, service: Service) -> None:
    """Add the paths."""
    readers, administrators = Access.READERS, Access.ADMINISTRATORS
    here.add("GET", "/collection", readers, _collections)
    here.add("GET", "/collection/tree", readers, lambda call: service.collections.tree(call.sees))
    here.add("GET", "/collection/{ref}", readers, _collection)
    here.add("GET", "/collection/{ref}/items", readers, _items)
    here.add(
        "POST",
        "/collection",
        administrators,
        lambda call: service.collections.add(call.body(models.NewCollection)),
    )
    here.add(
        "PUT",
        "/collection/{ref}",
        administrators,
        lambda call: service.collections.update(call.ref("collection"), call.body(models.CollectionUpdate)),
    )
    here.add("GET", "/card", readers, _cards)
    here.add("GET", "/card/{ref}", readers, _card)
    here.add("POST", "/card", administrators, _add_card)
    here.add("PUT", "/card/{id:int}", administrators, _update_card)
    here.add("GET", "/dashboard", readers, _dashboards)
    here.add("GET", "/dashboard/{ref}", readers, lambda call: _dashboard(call, call.ref("dashboard")))
    here.add("GET", "/dashboard/{id:int}/params/{parameter}/values", readers, _filter_values)
    here.add("GET", "/dashboard/{id:int}/params/{parameter}/search/{text:path}", readers, _filter_values)
    here.add("POST", "/dashboard", administrators, _add_dashboard)
    here.add("PUT", "/dashboard/{id:int}", administrators, _update_dashboard)


def _archived(call: Call) -> bool:
    asked = call.request.query_params
    return asked.get("f") == "archived" or asked.get("archived") == "true"


def _only_of(call: Call, found: list[Document]) -> list[Document]:
    """What the caller may read of a list, by the filter ``f`` that it asks for."""
    wanted = call.request.query_params.get("f", "all")
    if wanted not in ("all", "mine", "archived"):
        raise models.not_here(f"the filter f={wanted}")
    mine = [one for one in found if wanted != "mine" or one.get("creator_id") == call.caller["id"]]
    return [one for one in mine if call.sees(one)]


def _collections(call: Call) -> list[Document]:
    if call.request.query_params.get("personal-only") == "true":
        return []  # there are no personal collections
    return [
        found
        for found in call.service.collections.all(_archived(call))
        if call.sees({"collection_id": None if found["id"] == "root" else found["id"]})
    ]


def _folder(call: Call) -> int | None:
    """The collection in the path, None for the root; ApiError 403 where the caller may not read it."""
    ref = call.request.path_params["ref"]
    if ref == "trash":
        raise models.not_here("the trash collection; ask for archived=true")
    identity = None if ref == "root" else call.ref("collection")
    call.seen({"collection_id": identity})
    return identity


def _collection(call: Call) -> Document:
    identity = _folder(call)
    return dict(answers.ROOT) if identity is None else call.service.collections.get(identity)


def _items(call: Call) -> dict[str, Any]:
    identity = _folder(call)
    asked = call.request.query_params
    kinds = set(asked.getlist("models"))
    found = call.service.collections.items(identity, kinds, _archived(call))
    items = [
        call.service.answers.item(kind, item)
        for kind, item in found
        if kind != "collection" or call.sees({"collection_id": item["id"]})
    ]
    limit, offset = call.number("limit"), call.number("offset")
    page = items[offset or 0 :] if limit is None else items[offset or 0 : (offset or 0) + limit]
    models_there = sorted({item["model"] for item in items})
    return {"data": page, "total": len(items), "limit": limit, "offset": offset, "models": models_there}


def _cards(call: Call) -> list[Document]:
    found = call.service.cards.all(_archived(call))
    return [call.service.answers.card(one) for one in _only_of(call, found)]


def _card(call: Call) -> Document:
    if call.request.query_params.get("legacy-mbql") == "true":
        raise models.not_here("queries in legacy MBQL")
    return call.service.answers.card(call.seen(call.service.cards.get(call.ref("card"))))


def _add_card(call: Call) -> Document:
    body = call.body(models.NewCard)
    return call.service.answers.card(call.service.cards.add(body, call.caller["id"]))


def _update_card(call: Call) -> Document:
    return call.service.answers.card(call.service.cards.update(call.id, call.body(models.CardUpdate)))


def _dashboards(call: Call) -> list[Document]:
    found = call.service.dashboards.all(_archived(call))
    return [call.service.answers.dashboard_listed(one) for one in _only_of(call, found)]


def _dashboard(call: Call, identity: int) -> Document:
    return call.service.dashboards.with_cards(call.user, identity)


def _add_dashboard(call: Call) -> Document:
    added = call.service.dashboards.add(call.body(models.NewDashboard), call.caller["id"])
    return _dashboard(call, added["id"])


def _update_dashboard(call: Call) -> Document:
    call.service.dashboards.update(call.id, call.body(models.DashboardUpdate))
    return _dashboard(call, call.id)


def _filter_values(call: Call) -> dict[str, Any]:
    dashboard = call.seen(call.service.dashboards.get(call.id))
    try:
        values, more = call.service.dashboards.filter_values(
            call.user, dashboard, call.request.path_params["parameter"]
        )
    except WarehouseError as error:
        raise ApiError(400, str(error)) from error
    text = call.request.path_params.get("text", "").lower()
    return {"values": [[value] for value in values if text in str(value).lower()], "has_more_values": more}
