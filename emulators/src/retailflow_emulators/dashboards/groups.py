"""Changes of groups and of what they may, checked against what there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import models
from .errors import ApiError
from .permissions import ADMINISTRATORS, Permissions, StaleError
from .records import Records, given
from .store import Document


class Groups:
    """Every refusal is an ApiError."""

    def __init__(self, records: Records, permissions: Permissions) -> None:
        self._records, self._permissions = records, permissions

    def add(self, body: models.NewGroup) -> Document:
        """A new group without members."""
        added = self._permissions.add_group(body.name)
        if added is None:
            raise ApiError(400, errors={"name": "A group with that name already exists."})
        return added

    def change_databases(self, body: models.PermissionsGraph) -> Document:
        """Write what groups may with databases."""
        groups = {
            group: {one: given(permission) for one, permission in databases.items()}
            for group, databases in body.groups.items()
        }
        self._check_graph(groups, "database")
        try:
            return self._permissions.change_databases(body.revision, groups)
        except StaleError as error:
            raise ApiError(409, str(error)) from None

    def change_collections(self, body: models.CollectionGraph) -> Document:
        """Write what groups may with collections."""
        self._check_graph(body.groups, "collection")
        try:
            return self._permissions.change_collections(body.revision, body.groups)
        except StaleError as error:
            raise ApiError(409, str(error)) from None

    def _check_graph(self, groups: Mapping[str, Mapping[str, Any]], kind: str) -> None:
        known = {str(one["id"]) for one in self._records.store.all(kind)} | (
            {"root"} if kind == "collection" else set()
        )
        for group, permissions in groups.items():
            if group == str(ADMINISTRATORS):
                self._check_administrators(permissions, kind)
            if not group.isdigit() or self._records.store.get("group", int(group)) is None:
                raise ApiError(400, f"There is no group {group}.")
            for unknown in set(permissions) - known:
                raise ApiError(400, f"There is no {kind} {unknown}.")

    def _check_administrators(self, permissions: Mapping[str, Any], kind: str) -> None:
        graph = self._permissions.databases() if kind == "database" else self._permissions.collections()
        whole = graph["groups"][str(ADMINISTRATORS)]
        if any(whole.get(one) != permission for one, permission in permissions.items()):
            raise ApiError(400, "You cannot change the permissions of administrators. Nothing was changed.")
