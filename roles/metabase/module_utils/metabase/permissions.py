"""Who reads the declared collections and asks questions of the database."""

from __future__ import annotations

from typing import Any

from .items import Item
from .writer import Writer

ALL_USERS = "all-internal-users"  # the group that everybody is in


def apply_group(
    writer: Writer,
    name: str,
    database: Item,
    database_id: int | None,
    collections: list[int | None],
    server: bool,
) -> None:
    """Let one group read the collections and the database, and take both from those who are in no other group."""
    groups = writer.api("GET", "/api/permissions/group") if server else []
    group = next((one["id"] for one in groups if one["name"] == name), None)
    if group is None:
        made = writer.write(f"create group {name}", "POST", "/api/permissions/group", {"name": name})
        group = made.get("id")
    everybody = next((one["id"] for one in groups if one.get("magic_group_type") == ALL_USERS), 1)
    seen = {"view-data": "unrestricted"}
    _limit(
        writer,
        f"limit database {database['name']} to group {name}",
        "/api/permissions/graph" if server else "",
        {
            everybody: {database_id: dict(seen, **{"create-queries": "no"})},
            group: {database_id: dict(seen, **{"create-queries": "query-builder"})},
        },
    )
    _limit(
        writer,
        f"limit collections to group {name}",
        "/api/collection/graph" if server else "",
        {everybody: dict.fromkeys(collections, "none"), group: dict.fromkeys(collections, "read")},
    )


def _limit(writer: Writer, label: str, path: str, wanted: dict[int | None, dict[int | None, Any]]) -> None:
    """Write what a graph has otherwise; a permission that it leaves out is the least one."""
    graph = writer.api("GET", path) if path else {"revision": 0, "groups": {}}
    before: Item = {}
    after: Item = {}
    for group, permissions in wanted.items():
        for one, permission in permissions.items():
            actual = graph["groups"].get(str(group), {}).get(str(one))
            if isinstance(permission, dict):
                actual = {name: (actual or {}).get(name, "no") for name in permission}
            if (actual or "none") != permission:
                before.setdefault(str(group), {})[str(one)] = actual
                after.setdefault(str(group), {})[str(one)] = permission
    if after:
        body = {"revision": graph["revision"], "groups": after}
        changes = {f"group {group}": (before[group], after[group]) for group in after}
        writer.write(label, "PUT", path, body, changes)
