"""Makes a server hold what files of content declare, and reads its cards back."""

from __future__ import annotations

from typing import Any

from .bodies import card_body, differences, grid_body, layout_of
from .client import Api
from .database import apply_database
from .errors import MetabaseError, UnreachableError
from .items import Item, only
from .memory import Memory
from .permissions import apply_group
from .writer import Writer


class Reconciler:
    """Compares and, outside check mode, writes; its ``writer`` lists what was written or would be."""

    def __init__(self, api: Api, params: Item, content: dict[str, dict[str, Item]], check_mode: bool) -> None:
        self.api, self.params, self.content = api, params, content
        self.writer = Writer(api, check_mode)
        self.memory = Memory(params["state_file"], check_mode)
        self.collections: dict[str, int | None] = {}
        self.cards: dict[str, int | None] = {}
        self.dashboards: dict[str, int | None] = {}
        self.database_id: int | None = None

    def _put(
        self, kind: str, key: str, item: Item, desired: Item, found: Item | None, extra: Item
    ) -> int | None:
        """Create or update one item, and own it; its id, or None where check mode would create it."""
        label = f"{kind} {item['name']}"
        try:
            if found is None:
                new = {
                    name: value
                    for name, value in dict(desired, **extra).items()
                    if name != "archived" and value is not None
                }
                changes = {name: (None, value) for name, value in new.items()}
                made = self.writer.write(f"create {label}", "POST", f"/api/{kind}", new, changes)
                self.memory.own(kind, key, made.get("entity_id"))
                return made.get("id")
            changes = differences(desired, found)
            if changes:
                body = {name: desired[name] for name in changes}
                self.writer.write(f"update {label}", "PUT", f"/api/{kind}/{found['id']}", body, changes)
        except UnreachableError:
            raise
        except MetabaseError as error:
            raise MetabaseError(f"{item['where']}: {error}") from None
        self.memory.own(kind, key, found.get("entity_id"))
        return int(found["id"])

    def _known(self, kind: str, server: bool) -> list[Item]:
        """Everything of a kind on the server, what is archived last."""
        if not server:
            return []
        archived = "archived=true" if kind == "collection" else "f=archived"
        known: list[Item] = self.api("GET", f"/api/{kind}") + self.api("GET", f"/api/{kind}?{archived}")
        return [found for found in known if isinstance(found["id"], int)]

    def _find(self, kind: str, key: str, item: Item, known: list[Item], **same: Any) -> Item | None:
        """The item that was ours before, else the only one that is not archived and has this name."""
        entity = self.memory.entity_of(kind, key)
        ours = [found for found in known if entity and found.get("entity_id") == entity]
        if ours or None in same.values():
            return ours[0] if ours else None
        named = [
            found
            for found in known
            if not found.get("archived")
            and found["name"] == item["name"]
            and all(found.get(name) == value for name, value in same.items())
        ]
        return only(named, f"{item['where']}.name: the server has two such {kind}s")

    def apply_collections(self, server: bool) -> None:
        """Collections."""
        known = self._known("collection", server)
        for key, item in self.content["collections"].items():
            found = self._find("collection", key, item, known)
            desired = {"name": item["name"], "description": item.get("description"), "archived": False}
            self.collections[key] = self._put("collection", key, item, desired, found, {})

    def apply_cards(self, server: bool) -> None:
        """Cards, found by their entity id, in the bin too."""
        known = {found.get("entity_id"): found for found in self._known("card", server)}
        for key, item in self.content["cards"].items():
            desired = card_body(item, self.database_id, self.collections[item["collection"]])
            found = known.get(item["entity_id"])
            self.cards[key] = self._put("card", key, item, desired, found, {"entity_id": item["entity_id"]})

    def apply_dashboards(self, server: bool) -> None:
        """Dashboards, their filters, tabs and grids."""
        known = self._known("dashboard", server)
        for key, item in self.content["dashboards"].items():
            collection_id = self.collections[item["collection"]]
            found = self._find("dashboard", key, item, known, collection_id=collection_id)
            desired = {
                "name": item["name"],
                "description": item.get("description"),
                "collection_id": collection_id,
                "archived": False,
            }
            identity = self._put("dashboard", key, item, desired, found, {})
            self.dashboards[key] = identity
            actual = self.api("GET", f"/api/dashboard/{identity}") if found else {}
            body = grid_body(key, item, actual, self.content["cards"], self.cards)
            changes = differences(layout_of(body), layout_of(actual))
            if changes:
                label = f"place the cards of dashboard {item['name']}"
                self.writer.write(label, "PUT", f"/api/dashboard/{identity}", body, changes)

    def archive_leftovers(self, server: bool) -> None:
        """What an earlier run made and no file names any more goes into the bin; the rest is not ours."""
        current = {
            "dashboard": {self.memory.entity_of("dashboard", key) for key in self.content["dashboards"]},
            "card": {item["entity_id"] for item in self.content["cards"].values()},
            "collection": {self.memory.entity_of("collection", key) for key in self.content["collections"]},
        }
        for kind, wanted in current.items():
            left = [entity for entity in self.memory.ours(kind) if entity not in wanted]
            known = {found.get("entity_id"): found for found in self._known(kind, server and bool(left))}
            for entity in left:
                found = known.get(entity)
                if found and not found.get("archived"):
                    if kind == "collection" and self._holds_more(found["id"]):
                        continue  # a person keeps something in it
                    label = f"archive {kind} {found['name']}"
                    changes = {"archived": (False, True)}
                    self.writer.write(label, "PUT", f"/api/{kind}/{found['id']}", {"archived": True}, changes)
                self.memory.disown(kind, entity)

    def _holds_more(self, collection_id: int) -> bool:
        """Whether a collection holds anything that is not ours."""
        ours = set(self.memory.ours("card")) | set(self.memory.ours("dashboard"))
        items = self.api("GET", f"/api/collection/{collection_id}/items")["data"]
        return any(one.get("entity_id") not in ours for one in items)

    def assert_role(self) -> None:
        """Compare the card that shows the role, where anything was written or it was not right the last time."""
        wanted = str(self.params["database"]["details"].get("role", ""))
        if self.writer.check_mode or not (self.writer.actions or self.memory.get("role") != wanted):
            return
        for key, item in self.content["cards"].items():
            if item.get("shows") == "role":
                self.memory.set(role=None)
                self._compare_role(item, self._rows(item, self.cards[key]), wanted)
        self.memory.set(role=wanted)

    def _compare_role(self, item: Item, answer: Item, wanted: str) -> None:
        if [[str(cell).upper() for cell in row] for row in answer["rows"]] != [[wanted.upper()]]:
            raise MetabaseError(
                f"{item['where']}: cards run as {answer['rows']}, not as {wanted!r} (option database.details.role,"
                " metabase_snowflake_role): look at the default role of the user and its grants"
            )

    def _log_in(self) -> bool:
        return self.writer.log_in(self.params["admin"], self.params["site_name"])

    def set_up(self) -> None:
        """The first-run set-up alone; a server that has an administrator is left as it is."""
        try:
            done = self.api("GET", "/api/session/properties").get("has-user-setup")
        except UnreachableError:
            done = False  # the log-in says so
        if not done:
            self._log_in()
            self.writer.log_out()

    def apply(self) -> None:
        """Everything, in the order in which things refer to each other."""
        server = self._log_in()
        try:
            self.database_id = apply_database(
                self.writer, self.memory, self.params["database"], self.params["sync_timeout"], server
            )
            self.apply_content(server)
            self.assert_role()
        finally:
            self.writer.log_out()

    def apply_content(self, server: bool) -> None:
        """Collections, who reads them, cards and dashboards; then what no file names any more goes."""
        self.apply_collections(server)
        if group := self.params["group"]:
            collections = list(self.collections.values())
            apply_group(self.writer, group, self.params["database"], self.database_id, collections, server)
        self.apply_cards(server)
        self.apply_dashboards(server)
        self.archive_leftovers(server)

    def query(self) -> dict[str, Item]:
        """Key -> id, columns and rows of every declared card; MetabaseError names the card that does not run."""
        if not self.api("GET", "/api/session/properties").get("has-user-setup"):
            raise MetabaseError("the server is not set up yet: run the wire step first")
        self._log_in()
        try:
            ids = {card["entity_id"]: card["id"] for card in self.api("GET", "/api/card")}
            answers = {
                key: self._rows(item, ids.get(item["entity_id"]))
                for key, item in self.content["cards"].items()
            }
            for key, item in self.content["cards"].items():
                if item.get("shows") == "role":
                    self._compare_role(
                        item, answers[key], str(self.params["database"]["details"].get("role", ""))
                    )
            return answers
        finally:
            self.writer.log_out()

    def _rows(self, item: Item, identity: int | None) -> Item:
        if identity is None:
            raise MetabaseError(f"{item['where']}: the server has no such card: run the wire step first")
        answer = self.api("POST", f"/api/card/{identity}/query", {})
        if answer.get("status") != "completed":
            raise MetabaseError(
                f"{item['where']}: the card does not run: {answer.get('error', 'no reason given')}"
            )
        data = answer["data"]
        return {
            "id": identity,
            "columns": [column["name"] for column in data["cols"]],
            "rows": data["rows"],
            "truncated": "rows_truncated" in data,
        }
