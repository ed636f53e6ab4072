"""Reconciliation of one workspace: sources, destinations, connections."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from .api import CONFIGURATION, Api
from .applied import Applied
from .comparison import differences, in_words_of, merge, ordered
from .errors import AirbyteError, UnreachableError
from .refresh import failure_of

Item = dict[str, Any]
NOT_YET_MADE = "(made by this run)"
#: What source-postgres says at every sync while its slot is lost (ReplicationSlotManager.kt in airbytehq/airbyte). A slot that
#: is missing, or newer than the last sync, may be that of another server: then a refresh is for a person to ask for.
LOST_SLOT = re.compile(r"Replication slot '[^']*' is not valid: wal_status = 'lost'")


class Workspace:
    """Reconciles one workspace; collects what it did, or would do in check mode."""

    def __init__(self, api: Api, applied: Applied, name: str, check_mode: bool) -> None:
        self._api = api
        self._applied = applied
        self._check_mode = check_mode
        self.actions: list[str] = []
        #: Connections that must be read again from the start: see `connections`.
        self.read_again: list[str] = []
        self.before: Item = {}
        self.after: Item = {}
        try:
            workspaces = [one for one in api.get_all("/workspaces") if name in ("", one["name"])]
            self._empty = False
        except UnreachableError:
            if not check_mode:
                raise
            workspaces = [{"workspaceId": NOT_YET_MADE}]
            self._empty = True
        if len(workspaces) != 1:
            raise AirbyteError(
                f"Airbyte has {len(workspaces)} workspaces{' named ' + name if name else ''}: "
                "name one that it has once"
            )
        self.id: str = workspaces[0]["workspaceId"]

    def actors(self, kind: str, declared: list[Item]) -> Item:
        """Sources or destinations. Returns name -> id."""
        existing = self._by_name(f"/{kind}s", kind, declared)
        return {one["name"]: self._actor(kind, one, existing.get(one["name"])) for one in declared}

    def connections(
        self, declared: list[Item], sources: Item, destinations: Item, slot_replaced: Collection[str] = ()
    ) -> Item:
        """Connections. Returns name -> id.

        One must be read again that was made again since it was read, for the destination still has the rows of the old one;
        and one that has lost changes: its last job says so, or it is in `slot_replaced`.
        """
        existing = self._by_name("/connections", "connection", declared)
        ids = {}
        for one in declared:
            for kind, known in (("source", sources), ("destination", destinations)):
                if one[kind] not in known:
                    raise AirbyteError(f"connection {one['name']}: the {kind} {one[kind]} is not declared")
            ends = {"sourceId": sources[one["source"]], "destinationId": destinations[one["destination"]]}
            id_ = ids[one["name"]] = self._connection(one, ends, existing.get(one["name"]))
            known = self._applied.connection(one["name"])
            if self._check_mode:
                continue
            if known is None:
                self._applied.remember_connection(one["name"], id_)
            elif known != id_ or self._lost_changes(id_, one["name"] in slot_replaced):
                self.read_again.append(one["name"])
        return ids

    def _lost_changes(self, id_: str, slot_replaced: bool) -> bool:
        """Whether the slot was lost since the last sync."""
        query = f"connectionId={id_}&limit=1&orderBy=createdAt%7CDESC"
        jobs = self._api.call("GET", f"/jobs?{query}")["data"]
        if not jobs:
            return False  # it has not been read yet
        failed = jobs[0]["status"] == "failed"
        return slot_replaced or (failed and bool(LOST_SLOT.search(failure_of(self._api, jobs[0]["jobId"]))))

    def _by_name(self, path: str, what: str, declared: list[Item]) -> dict[str, Item]:
        names = [one["name"] for one in declared]
        if twice := {name for name in names if names.count(name) > 1}:
            raise AirbyteError(f"declared twice: {what} {', '.join(sorted(twice))}")
        found: dict[str, Item] = {}
        if not names or self._empty:
            return found
        for item in self._api.get_all(path, workspaceIds=self.id):
            if item["name"] in found and item["name"] in names:
                raise AirbyteError(
                    f"Airbyte has more than one {what} named {item['name']}: rename or delete all but one"
                )
            found[item["name"]] = item
        return found

    def _actor(self, kind: str, declared: Item, actual: Item | None) -> str:
        id_ = self._reconcile_actor(kind, declared, actual)
        if not self._check_mode:
            self._check_version(kind, declared, id_)
        return id_

    def _check_version(self, kind: str, declared: Item, id_: str) -> None:
        """Refuse a connector of another version than declared: `4` is any 4.x. Raises AirbyteError."""
        wanted = declared.get("version") or ""
        if not wanted:
            return
        path, body = f"/actor_definition_versions/get_for_{kind}", {f"{kind}Id": id_}
        found = str(self._api.call("POST", path, body, CONFIGURATION)["dockerImageTag"])
        if found != wanted and not found.startswith((f"{wanted}.", f"{wanted}-")):
            raise AirbyteError(
                f"Airbyte runs version {found} of the connector of the {kind} {declared['name']}, and {wanted} is declared. "
                f"No connection was changed. Set the connector's version in Airbyte, under Settings, {kind.title()}s; or read "
                f"the changelog of the {declared['type']} connector, see that the columns in the destination stay what your "
                f"queries expect, and declare version {found.split('.')[0]}."
            )

    def _reconcile_actor(self, kind: str, declared: Item, actual: Item | None) -> str:
        name, given = declared["name"], declared["secrets"]
        configuration = merge(declared["configuration"], given)
        if actual is None:
            body = {
                "name": name,
                "workspaceId": self.id,
                "configuration": {f"{kind}Type": declared["type"], **configuration},
            }
            id_ = self._write(f"create {kind} {name}", "POST", f"/{kind}s", body, f"{kind}Id")
            self._note(kind, name, {}, declared["configuration"])
        else:
            id_ = actual[f"{kind}Id"]
            if actual[f"{kind}Type"] != declared["type"]:
                raise AirbyteError(
                    f"the {kind} {name} is of type {actual[f'{kind}Type']}, not {declared['type']}: "
                    "rename or delete it"
                )
            changed = differences(declared["configuration"], actual["configuration"])
            stale = not self._applied.knows(id_, given)
            if changed is None and not stale:
                return str(id_)
            what = ", ".join([*(changed or {}), *(["secrets"] if stale else [])])
            # Airbyte merges what a PATCH says into what it has. A field that differs goes whole, with its secrets.
            fields = {*(changed or {}), *(given if stale else {})}
            body = {"configuration": {field: configuration[field] for field in sorted(fields)}}
            self._write(f"change {kind} {name}: {what}", "PATCH", f"/{kind}s/{id_}", body)
            self._note(
                kind,
                name,
                {
                    **in_words_of(changed or {}, actual["configuration"]),
                    **({"secrets": "(other)"} if stale else {}),
                },
                {**(changed or {}), **({"secrets": "(declared)"} if stale else {})},
            )
        if not self._check_mode:
            self._applied.remember(id_, given)
        return str(id_)

    def _connection(self, declared: Item, ends: Item, actual: Item | None) -> str:
        name = declared["name"]
        wanted = {**declared["options"], "configurations": {"streams": ordered(declared["streams"])}}
        if actual is None:
            self._note("connection", name, {}, wanted)
            body = {"name": name, **ends, **wanted}
            return str(self._write(f"create connection {name}", "POST", "/connections", body, "connectionId"))
        for field, id_ in ends.items():
            if actual[field] != id_:
                raise AirbyteError(
                    f"the connection {name} has another {field.removesuffix('Id')} than declared, and "
                    "Airbyte cannot change that: delete the connection"
                )
        id_ = actual["connectionId"]
        have = {
            **actual,
            "configurations": {"streams": ordered(actual["configurations"].get("streams") or [])},
        }
        changed = differences(wanted, have)
        if changed is not None:
            body = {field: wanted[field] for field in changed}
            self._write(
                f"change connection {name}: {', '.join(changed)}", "PATCH", f"/connections/{id_}", body
            )
            self._note("connection", name, in_words_of(body, have), body)
        return str(id_)

    def _write(self, action: str, method: str, path: str, body: Item, id_field: str = "") -> str:
        self.actions.append(action)
        if self._check_mode:
            return NOT_YET_MADE
        return str(self._api.call(method, path, body).get(id_field, ""))

    def _note(self, kind: str, name: str, before: Item, after: Item) -> None:
        self.before[f"{kind} {name}"] = before
        self.after[f"{kind} {name}"] = after
