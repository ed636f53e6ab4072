"""Documents in the shape in which the pinned version of Metabase answers them.

Fields and their types are those that Metabase's own client of its API checks (npm ``@metabase/cli`` 0.3.1, its
schemas of Card, Dashboard, Collection, Database, Table and Field) and that docs/api.json and
docs/developers-guide/api-changelog.md of metabase/metabase describe: since 0.56.13 a graph leaves out what is not
permitted, since 0.57 queries are MBQL 5, since 0.63 ``template-tags`` are a list (pull request 77133). A field of a
feature that is not here has the value that it has where nobody uses the feature.
"""

from __future__ import annotations

from typing import Any

from .records import Records
from .store import Document

API_VERSION = "v0.64.6"  # the version whose API this is; the inventory pins the same one
ROOT: Document = {
    "id": "root",
    "name": "Our analytics",
    "archived": False,
    "authority_level": None,
    "can_write": True,
    "effective_ancestors": [],
    "effective_location": None,
    "is_personal": False,
    "parent_id": None,
}
_CARD: Document = {
    "archived": False,
    "cache_ttl": None,
    "can_write": True,
    "collection_position": None,
    "collection_preview": True,
    "dashboard": None,
    "dashboard_id": None,
    "embedding_params": None,
    "enable_embedding": False,
    "made_public_by_id": None,
    "moderation_reviews": [],
    "parameter_mappings": [],
    "parameters": [],
    "public_uuid": None,
    "query_type": "native",
    "result_metadata": None,
    "source_card_id": None,
    "table_id": None,
    "type": "question",
}
_DASHBOARD: Document = {
    "archived": False,
    "auto_apply_filters": True,
    "cache_ttl": None,
    "can_write": True,
    "caveats": None,
    "collection_position": None,
    "embedding_params": None,
    "enable_embedding": False,
    "made_public_by_id": None,
    "points_of_interest": None,
    "position": None,
    "public_uuid": None,
    "show_in_getting_started": False,
    "width": "fixed",
}
_DASHCARD: Document = {
    "action_id": None,
    "card_id": None,
    "inline_parameters": [],
    "parameter_mappings": [],
    "series": [],
    "visualization_settings": {},
}
_COLLECTION: Document = {
    "archived": False,
    "authority_level": None,
    "can_write": True,
    "is_personal": False,
    "is_sample": False,
    "namespace": None,
    "personal_owner_id": None,
    "type": None,
}
_DATABASE: Document = {
    "auto_run_queries": True,
    "cache_ttl": None,
    "caveats": None,
    "description": None,
    "features": ["native-parameters"],
    "is_audit": False,
    "is_attached_dwh": False,
    "is_full_sync": True,
    "is_on_demand": False,
    "is_sample": False,
    "native_permissions": "write",
    "points_of_interest": None,
    "refingerprint": None,
    "settings": None,
    "timezone": "UTC",
    "uploads_enabled": False,
}
_INTERNAL = ("last_dashcard_id", "last_tab_id")  # what only this server keeps


def user(document: Document) -> Document:
    """A person or the user of an API key, without secrets."""
    names = [name for name in (document.get("first_name"), document.get("last_name")) if name]
    shown = {name: document.get(name) for name in ("id", "email", "first_name", "last_name", "date_joined")}
    return {
        **shown,
        "common_name": " ".join(names) or document["email"],
        "is_active": True,
        "is_qbnewb": False,
        "is_superuser": document["is_superuser"],
        "last_login": document.get("last_login"),
        "locale": None,
        "login_attributes": None,
        "sso_source": None,
        "updated_at": document.get("updated_at") or document.get("date_joined"),
    }


def query(stored: Document) -> Document:
    """A native query in MBQL 5; its template tags are a list in the order of their names."""
    stages = []
    for stage in stored["stages"]:
        tags = stage.get("template-tags")
        shown = {name: value for name, value in stage.items() if name != "template-tags"}
        stages.append({**shown, "template-tags": list(tags.values())} if tags else shown)
    return {**stored, "stages": stages}


def collection(document: Document) -> Document:
    """A collection; ``slug`` is made from its name."""
    parent = document["location"].strip("/").rpartition("/")[2]
    return {
        **_COLLECTION,
        **document,
        "effective_location": document["location"],
        "parent_id": int(parent) if parent else None,
        "slug": _slug(document["name"]),
    }


def table(document: Document) -> Document:
    """A table without its fields."""
    return {name: value for name, value in document.items() if name != "fields"}


class Answers:
    """Cards, dashboards and their like, which name the people who made them."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def creator(self, document: Document) -> Document:
        """Who made something; the first administrator where that was not kept."""
        found = self._records.store.get("user", document.get("creator_id") or 1)
        kept = ("id", "email", "first_name", "last_name", "common_name", "is_superuser", "is_qbnewb")
        whole = user(found) if found else {}
        return {name: whole.get(name) for name in (*kept, "date_joined", "last_login")}

    def collection_of(self, document: Document) -> Document | None:
        """The collection that something lies in, None for the root."""
        identity = document.get("collection_id")
        found = self._records.store.get("collection", identity) if identity else None
        return collection(found) if found else None

    def card(self, document: Document) -> Document:
        """A card."""
        return {
            **_CARD,
            **document,
            "creator_id": document.get("creator_id") or 1,
            "creator": self.creator(document),
            "collection": self.collection_of(document),
            "dataset_query": query(document["dataset_query"]),
        }

    def dashboard_listed(self, document: Document) -> Document:
        """A dashboard of a list, which has neither cards nor tabs."""
        hidden = (*_INTERNAL, "dashcards", "tabs")
        return {
            **_DASHBOARD,
            **{name: value for name, value in document.items() if name not in hidden},
            "creator_id": document.get("creator_id") or 1,
            "creator": self.creator(document),
        }

    def dashboard(self, document: Document, shown: dict[int, Document | None]) -> Document:
        """A dashboard with its cards; ``shown`` are those by id, None where the caller may not read one."""
        listed = self.dashboard_listed(document)
        del listed["creator"]
        return {
            **listed,
            "collection": self.collection_of(document),
            "dashcards": [self._dashcard(place, document, shown) for place in document["dashcards"]],
            "last_used_param_values": {},
            "param_fields": {},
            "tabs": [
                {"created_at": document["created_at"], "updated_at": document["updated_at"], **tab}
                for tab in document["tabs"]
            ],
        }

    def _dashcard(self, place: Document, of: Document, shown: dict[int, Document | None]) -> Document:
        card_id = place.get("card_id")
        card = shown.get(card_id) if card_id else None
        hidden: Any = {"id": card_id} if card_id else None
        return {
            **_DASHCARD,
            "created_at": of["created_at"],
            "updated_at": of["updated_at"],
            "entity_id": None,
            **place,
            "card": self.card(card) if card else hidden,
            "collection_authority_level": None,
        }

    def item(self, kind: str, document: Document) -> Document:
        """Something that a collection holds."""
        shown = {name: document.get(name) for name in ("id", "entity_id", "name", "description", "archived")}
        item = {
            **shown,
            "model": kind,
            "collection_id": document.get("collection_id"),
            "collection_position": None,
            "can_write": True,
            "last-edit-info": None,
        }
        if kind == "card":
            item |= {"display": document["display"], "database_id": document["database_id"]}
            item |= {"dashboard_id": None, "moderated_status": None, "type": "question"}
        if kind == "collection":
            item |= {"location": document["location"], "collection_id": collection(document)["parent_id"]}
            item |= {"authority_level": None, "type": None}
        return item


def database(document: Document) -> Document:
    """A connection, without its tables."""
    return {**_DATABASE, **{name: value for name, value in document.items() if name != "tables"}}


def _slug(name: str) -> str:
    return "".join(one if one.isalnum() else "_" for one in name.lower())[:254]
