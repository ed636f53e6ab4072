"""Groups and what they may: the two graphs of Metabase's open-source edition, one of databases, one of collections."""

from __future__ import annotations

import json
from typing import Any

from .errors import ApiError
from .store import Document, Store

ALL_USERS, ADMINISTRATORS = 1, 2
FORBIDDEN = "You don't have permissions to do that."
_BUILT_IN = (
    {"name": "All Users", "magic_group_type": "all-internal-users"},
    {"name": "Administrators", "magic_group_type": "admin"},
)
# What a group that no graph names may: as in Metabase everybody sees everything until an administrator says otherwise.
_OF_ALL_USERS: Document = {"view-data": "unrestricted", "create-queries": "query-builder-and-native"}
_OF_OTHERS: Document = {"view-data": "unrestricted"}


class StaleError(Exception):
    """Somebody else changed the graph since it was read."""


class Permissions:
    """Reads and writes groups and graphs; a graph is ``{"revision", "groups": {group: {object: permission}}}``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        if not store.all("group"):
            for group in _BUILT_IN:
                store.add("group", group)

    def groups(self) -> list[Document]:
        """Every group, the built-in ones first."""
        users = self._store.all("user")
        return [
            {
                "magic_group_type": None,
                **group,
                "member_count": sum(
                    group["id"] in (*one.get("group_ids", [ALL_USERS]), ADMINISTRATORS * one["is_superuser"])
                    for one in users
                    if "password" in one
                ),
            }
            for group in self._store.all("group")
        ]

    def add_group(self, name: str) -> Document | None:
        """A new group, or None where one has that name."""
        if any(group["name"].lower() == name.lower() for group in self._store.all("group")):
            return None
        return self._store.add("group", {"name": name, "magic_group_type": None})

    def databases(self) -> Document:
        """Group -> database -> ``view-data`` and ``create-queries``; what is not permitted is left out."""
        graph = self._graph("permissions-graph", [str(one["id"]) for one in self._store.all("database")])
        for databases in graph["groups"].values():
            for one, permissions in databases.items():
                databases[one] = {name: value for name, value in permissions.items() if value != "no"}
        return graph

    def collections(self) -> Document:
        """Group -> collection, or ``root`` -> ``read`` or ``write``; what is not permitted is left out."""
        known = ["root", *(str(one["id"]) for one in self._store.all("collection"))]
        graph = self._graph("collection-graph", known)
        graph["groups"] = {
            group: {one: permission for one, permission in permissions.items() if permission != "none"}
            for group, permissions in graph["groups"].items()
        }
        return graph

    def change_databases(self, revision: int | None, groups: dict[str, Any]) -> Document:
        """Write the named permissions and leave the others; StaleError where ``revision`` is not the latest."""
        self._change("permissions-graph", revision, groups)
        return self.databases()

    def change_collections(self, revision: int | None, groups: dict[str, Any]) -> Document:
        """See ``change_databases``."""
        self._change("collection-graph", revision, groups)
        return self.collections()

    def may_read(self, user: Document, collection_id: int | None) -> bool:
        """Whether one of the user's groups reads the collection; None is the root."""
        if user["is_superuser"]:
            return True
        graph, key = self.collections()["groups"], str(collection_id or "root")
        return any(
            graph.get(str(group), {}).get(key, "none") != "none"
            for group in user.get("group_ids", [ALL_USERS])
        )

    def sees(self, user: Document | None, item: Document) -> bool:
        """Whether a user may read a card or dashboard, by its collection."""
        return user is not None and self.may_read(user, item.get("collection_id"))

    def seen(self, user: Document | None, item: Document) -> Document:
        """The item; ApiError 403 where the user may not read it."""
        if not self.sees(user, item):
            raise ApiError(403, FORBIDDEN)
        return item

    def _stored(self, name: str) -> Document:
        stored: Document = json.loads(self._store.setting(name) or '{"revision": 0, "groups": {}}')
        return stored

    def _default(self, name: str, group: int) -> Any:
        if name == "permissions-graph":
            return _OF_OTHERS if group not in (ALL_USERS, ADMINISTRATORS) else _OF_ALL_USERS
        return "write" if group in (ALL_USERS, ADMINISTRATORS) else "none"

    def _graph(self, name: str, objects: list[str]) -> Document:
        stored = self._stored(name)
        groups = {
            str(group["id"]): {
                one: stored["groups"].get(str(group["id"]), {}).get(one, self._default(name, group["id"]))
                for one in objects
            }
            for group in self._store.all("group")
        }
        return {"revision": stored["revision"], "groups": groups}

    def _change(self, name: str, revision: int | None, groups: dict[str, Any]) -> None:
        stored = self._stored(name)
        if revision != stored["revision"]:
            raise StaleError(f"the graph is at revision {stored['revision']}")
        for group, permissions in groups.items():
            known = stored["groups"].setdefault(group, {})
            for one, permission in permissions.items():
                if isinstance(permission, dict):
                    before = known.get(one, self._default(name, int(group)))
                    known[one] = {**before, **permission}
                else:
                    known[one] = permission
        self._store.set_setting(name, json.dumps({**stored, "revision": stored["revision"] + 1}))
