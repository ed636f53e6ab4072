"""What the server knows and does, without HTTP: set-up, sessions, databases, collections, cards, dashboards."""

from __future__ import annotations

import base64
import datetime
import hmac
import logging
import math
import secrets
import string
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from retailflow_emulators.dashboards import models
from retailflow_emulators.dashboards.permissions import ADMINISTRATORS, ALL_USERS, Permissions, StaleError
from retailflow_emulators.dashboards.queries import Values, bind
from retailflow_emulators.dashboards.settings import Settings
from retailflow_emulators.dashboards.store import Document, Store
from retailflow_emulators.dashboards.throttle import ATTEMPTS_OF_A_NAME, ATTEMPTS_OF_AN_ADDRESS, Throttle
from retailflow_emulators.dashboards.vault import (
    Vault,
    hash_password,
    hash_token,
    mask,
    password_matches,
    unmask,
)
from retailflow_emulators.dashboards.warehouse import Result, Value, Warehouse, WarehouseError

log = logging.getLogger("retailflow.dashboards")

ROW_LIMIT = 2_000  # as many rows as Metabase gives of a native query
FILTER_LIMIT = 1_000  # values that a filter offers
_EMPTY: Document = {"parameters": [], "last_dashcard_id": 0, "last_tab_id": 0, "public_uuid": None}
_NULLABLE = ("description", "collection_id")
_NANOID = string.ascii_letters + string.digits + "_-"
_NOBODY = hash_password(secrets.token_hex(16))  # checked where a user is unknown, so that both take as long


class ApiError(Exception):
    """An answer other than success: ``errors`` by field, or one ``message``."""

    def __init__(self, status: int, message: str = "", errors: dict[str, str] | None = None) -> None:
        super().__init__(message or str(errors))
        self.status, self.message, self.errors = status, message, errors


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _entity_id() -> str:
    return "".join(secrets.choice(_NANOID) for _ in range(21))


def _given(body: BaseModel) -> Document:
    return body.model_dump(by_alias=True, exclude_unset=True)


def _changes(body: BaseModel) -> Document:
    return {name: value for name, value in _given(body).items() if value is not None or name in _NULLABLE}


class Service:
    """The operations behind the API and the pages; every refusal is an ApiError."""

    def __init__(self, settings: Settings, store: Store, warehouse: Warehouse) -> None:
        """WrongKeyError when stored secrets cannot be decrypted with the key of ``settings``."""
        self._settings, self._store, self._warehouse = settings, store, warehouse
        self._vault = Vault(settings.encryption_key)
        self.permissions = Permissions(store)
        self._names, self._addresses = Throttle(ATTEMPTS_OF_A_NAME), Throttle(ATTEMPTS_OF_AN_ADDRESS)
        for database in store.all("database"):
            self._vault.open(database["details"])
        if not store.setting("setup-token"):
            store.set_setting("setup-token", str(uuid.uuid4()))

    # Set-up and sessions

    def properties(self) -> Document:
        """What anyone may read; the set-up token only until the first user exists."""
        ready = self.has_user_setup()
        return {
            "has-user-setup": ready,
            "setup-token": None if ready else self._store.setting("setup-token"),
            "site-name": self.site_name(),
            "anon-tracking-enabled": False,
            "engines": {"snowflake": {"driver-name": "Snowflake"}},
            "version": {
                "tag": "embedded",
                "description": "RetailFlow's embedded dashboard server, not Metabase",
            },
        }

    def has_user_setup(self) -> bool:
        """Whether the first-run set-up is done, and so closed."""
        return bool(self._store.all("user"))

    def site_name(self) -> str:
        """The site's title."""
        return self._store.setting("site-name") or self._settings.site_name

    def set_up(self, body: models.Setup) -> str:
        """Create the first user, once; the token of a session for it."""
        if self.has_user_setup():
            raise ApiError(403, "The /api/setup route can only be used to create the first user; one exists.")
        if not hmac.compare_digest(body.token, self._store.setting("setup-token") or ""):
            raise ApiError(400, errors={"token": "Token does not match the setup token."})
        user = {
            "email": body.user.email,
            "first_name": body.user.first_name,
            "last_name": body.user.last_name,
            "password": hash_password(body.user.password),
            "is_superuser": True,
            "date_joined": _now(),
        }
        added = self._store.add("user", user, only_if_none=True)
        if added is None:
            raise ApiError(403, "The /api/setup route can only be used to create the first user; one exists.")
        self._store.set_setting("site-name", body.prefs.site_name)
        return self._open_session(added)

    def log_in(self, username: str, password: str, address: str = "") -> str:
        """The token of a new session; after too many failures nobody is heard for a while, right or wrong."""
        email = username.strip().lower()
        wait = max(self._names.wait(email), self._addresses.wait(address))
        if wait > 0:
            seconds = math.ceil(wait)
            raise ApiError(
                401,
                errors={
                    "username": f"Too many attempts! You must wait {seconds} seconds before trying again."
                },
            )
        user = next((user for user in self._store.all("user") if user["email"] == email), None)
        if not password_matches(password, user["password"] if user else _NOBODY) or user is None:
            self._names.failed(email)
            self._addresses.failed(address)
            log.warning("a log-in from %s failed", address or "somewhere")
            raise ApiError(401, errors={"password": "did not match stored password"})
        self._names.succeeded(email)
        return self._open_session(user)

    def _open_session(self, user: Document) -> str:
        token = str(uuid.uuid4())
        self._store.add_session(hash_token(token), user["id"], self.session_seconds)
        return token

    @property
    def session_seconds(self) -> int:
        """How long a session lives."""
        return self._settings.session_minutes * 60

    def session_user(self, token: str) -> Document | None:
        """The user of a session, or None."""
        return self._store.session_user(hash_token(token)) if token else None

    def log_out(self, token: str) -> None:
        """End a session."""
        self._store.end_session(hash_token(token))

    # API keys

    def api_keys(self) -> list[Document]:
        """All API keys, masked."""
        return [self._public_key(key) for key in self._store.all("api_key")]

    def add_api_key(self, body: models.NewApiKey) -> Document:
        """A new key; the answer alone ever shows it."""
        self._find("group", body.group_id)
        if any(key["name"] == body.name for key in self._store.all("api_key")):
            raise ApiError(400, errors={"name": "An API key with this name already exists."})
        secret = "mb_" + base64.b64encode(secrets.token_bytes(32)).decode()
        document = {
            "name": body.name,
            "group_id": body.group_id,
            "masked_key": secret[:7] + "*" * 8,
            "hash": hash_token(secret),
            "created_at": _now(),
        }
        added = self._store.add("api_key", document)
        assert added is not None  # only `only_if_none` gives None
        return {**self._public_key(added), "unmasked_key": secret}

    def remove_api_key(self, identity: int) -> None:
        """End a key."""
        self._find("api_key", identity)
        self._store.remove("api_key", identity)

    def api_key_user(self, secret: str) -> Document | None:
        """Who calls with this key, or None."""
        hashed = hash_token(secret)
        for key in self._store.all("api_key"):
            if hmac.compare_digest(key["hash"], hashed):
                return {
                    "email": f"api-key-user-{key['id']}@api-key.invalid",
                    "first_name": key["name"],
                    "is_superuser": key["group_id"] == ADMINISTRATORS,
                    "group_ids": [ALL_USERS, key["group_id"]],
                }
        return None

    def _public_key(self, key: Document) -> Document:
        group = self._find("group", key["group_id"])
        shown = {name: key[name] for name in ("id", "name", "masked_key", "created_at")}
        return {**shown, "group": {name: group[name] for name in ("id", "name")}}

    # Permissions

    def add_group(self, body: models.NewGroup) -> Document:
        """A new group without members."""
        added = self.permissions.add_group(body.name)
        if added is None:
            raise ApiError(400, errors={"name": "A group with that name already exists."})
        return added

    def change_permissions(self, body: models.PermissionsGraph) -> Document:
        """Write what groups may with databases."""
        groups = {
            group: {one: _given(permission) for one, permission in databases.items()}
            for group, databases in body.groups.items()
        }
        self._check_graph(groups, "database")
        try:
            return self.permissions.change_databases(body.revision, groups)
        except StaleError as error:
            raise ApiError(409, str(error)) from None

    def change_collection_permissions(self, body: models.CollectionGraph) -> Document:
        """Write what groups may with collections."""
        self._check_graph(body.groups, "collection")
        try:
            return self.permissions.change_collections(body.revision, body.groups)
        except StaleError as error:
            raise ApiError(409, str(error)) from None

    def _check_graph(self, groups: Mapping[str, Mapping[str, Any]], kind: str) -> None:
        known = {str(one["id"]) for one in self._store.all(kind)} | (
            {"root"} if kind == "collection" else set()
        )
        for group, permissions in groups.items():
            if group == str(ADMINISTRATORS):
                raise ApiError(400, "The permissions of administrators cannot be changed.")
            if not group.isdigit() or self._store.get("group", int(group)) is None:
                raise ApiError(400, f"There is no group {group}.")
            for unknown in set(permissions) - known:
                raise ApiError(400, f"There is no {kind} {unknown}.")

    # Databases

    def databases(self) -> list[Document]:
        """All databases, secrets masked, without their tables."""
        return [self._public_database(document) for document in self._store.all("database")]

    def database(self, identity: int, with_tables: bool = False) -> Document:
        """One database, secrets masked."""
        return self._public_database(self._find("database", identity), with_tables)

    def add_database(self, body: models.NewDatabase) -> Document:
        """Connect to a new database and start its first sync."""
        self._check(body.details)
        document = {
            **_given(body),
            "details": self._vault.seal(body.details),
            "initial_sync_status": "incomplete",
            "tables": [],
            "created_at": _now(),
        }
        return self._public_database(self._added("database", document))

    def update_database(self, identity: int, body: models.DatabaseUpdate) -> Document:
        """Change a database, if its new details connect; masked secrets keep their stored value."""
        stored = self._find("database", identity)
        changes = _changes(body)
        if body.details is not None:
            details = unmask(body.details, self._vault.open(stored["details"]))
            self._check(details)
            changes["details"] = self._vault.seal(details)
        return self._public_database(self._store.update("database", identity, lambda old: {**old, **changes}))

    def sync_database(self, identity: int) -> None:
        """Read the names of tables in the background; `initial_sync_status` tells when it is done."""
        details = self._vault.open(self._find("database", identity)["details"])

        def sync() -> None:
            try:
                outcome: Document = {
                    "tables": self._warehouse.tables(details),
                    "initial_sync_status": "complete",
                }
            except WarehouseError as error:
                log.warning("sync of database %d failed: %s", identity, error)
                outcome = {"initial_sync_status": "aborted"}
            self._store.update("database", identity, lambda old: {**old, **outcome})

        self._store.update("database", identity, lambda old: {**old, "initial_sync_status": "incomplete"})
        threading.Thread(target=sync, name=f"sync-{identity}", daemon=True).start()

    def _public_database(self, document: Document, with_tables: bool = False) -> Document:
        hidden = () if with_tables else ("tables",)
        public = {name: value for name, value in document.items() if name not in hidden}
        return {**public, "details": mask(document["details"])}

    def _check(self, details: Document) -> None:
        try:
            self._warehouse.check(details)
        except WarehouseError as error:
            raise ApiError(400, str(error), {error.field: str(error)}) from error

    # Collections

    def collections(self, archived: bool = False) -> list[Document]:
        """All collections, the root first."""
        root: list[Document] = (
            [] if archived else [{"id": "root", "name": "Our analytics", "archived": False}]
        )
        return root + [found for found in self._store.all("collection") if found["archived"] == archived]

    def add_collection(self, body: models.NewCollection) -> Document:
        """A new collection."""
        parent = self._find("collection", body.parent_id) if body.parent_id else None
        location = f"{parent['location']}{parent['id']}/" if parent else "/"
        document = {
            "description": None,
            "parent_id": None,
            **_given(body),
            "location": location,
            "archived": False,
        }
        return self._added("collection", document)

    def collection_items(self, identity: int, kinds: set[str]) -> list[Document]:
        """What a collection holds, archived items left out."""
        self._find("collection", identity)
        return [
            {
                **{key: item[key] for key in ("id", "entity_id", "name", "description", "archived")},
                "model": kind,
            }
            for kind in ("dashboard", "card")
            if not kinds or kind in kinds
            for item in self._store.all(kind)
            if item["collection_id"] == identity and not item["archived"]
        ]

    # Cards

    def cards(self, archived: bool = False) -> list[Document]:
        """All cards that are, or are not, archived."""
        return [card for card in self._store.all("card") if card["archived"] == archived]

    def add_card(self, body: models.NewCard) -> Document:
        """A new card; its SQL is run only when someone looks at it."""
        if body.entity_id and any(card["entity_id"] == body.entity_id for card in self._store.all("card")):
            raise ApiError(400, errors={"entity_id": f"another card has the entity id {body.entity_id}"})
        self._check_references(body.collection_id, body.dataset_query)
        defaults = {"description": None, "collection_id": None, "archived": False, "query_type": "native"}
        given = {name: value for name, value in _given(body).items() if name != "entity_id" or value}
        return self._added(
            "card", {**defaults, **given, "type": "question", "database_id": body.dataset_query.database}
        )

    def update_card(self, identity: int, body: models.CardUpdate) -> Document:
        """Change a card."""
        self._check_references(body.collection_id, body.dataset_query)
        changes = _changes(body)
        if body.dataset_query:
            changes["database_id"] = body.dataset_query.database
        return self._changed("card", identity, changes)

    def _check_references(self, collection_id: int | None, query: models.Query | None = None) -> None:
        if collection_id:
            self._find("collection", collection_id)
        if query:
            self._find("database", query.database)

    def run(self, card: Document, values: Values | None = None, limit: int = ROW_LIMIT) -> Result:
        """Run a card's SQL with values of its variables; WarehouseError says why it did not work."""
        query = card["dataset_query"]
        details = self._vault.open(self._find("database", query["database"])["details"])
        sql, bound = bind(query["stages"][0], values or {})
        started = time.monotonic()
        result = self._warehouse.query(details, sql, limit, bound)
        log.info("card %d: %d rows in %.2f s", card["id"], len(result.rows), time.monotonic() - started)
        return result

    # Dashboards

    def dashboards(self, archived: bool = False) -> list[Document]:
        """All dashboards that are, or are not, archived."""
        return [found for found in self._store.all("dashboard") if found["archived"] == archived]

    def dashboard(self, identity: int) -> Document:
        """A dashboard with its cards."""
        document = self._find("dashboard", identity)
        cards = {card["id"]: card for card in self._store.all("card")}
        placed = [{**place, "card": cards[place["card_id"]]} for place in document["dashcards"]]
        shown = [place for place in placed if not place["card"]["archived"]]
        return {"parameters": [], "public_uuid": None, **document, "dashcards": shown}

    def dashcard(self, dashboard: Document, dashcard_id: int, card_id: int) -> Document:
        """A dashcard of a dashboard, with its card."""
        for place in dashboard["dashcards"]:
            if (place["id"], place["card_id"]) == (dashcard_id, card_id):
                return dict(place)
        raise ApiError(404, "Not found.")

    def filter_values(self, dashboard: Document, parameter_id: str) -> tuple[list[Value], bool]:
        """What a filter offers, and whether there is more; WarehouseError where its card does not run."""
        found = next((one for one in dashboard["parameters"] if one["id"] == parameter_id), None)
        if found is None:
            raise ApiError(404, "Not found.")
        config = found.get("values_source_config") or {}
        if found.get("values_source_type") == "static-list":
            return list(config.get("values", [])), False
        if found.get("values_source_type") != "card":
            return [], False
        column = config.get("value_field", ["field", ""])[1]
        result = self.run(self._find("card", config["card_id"]), {}, FILTER_LIMIT)
        names = [one.name for one in result.columns]
        if column not in names:
            raise WarehouseError(f"the card of the filter's values has no column {column}")
        values = {row[names.index(column)] for row in result.rows} - {None}
        return sorted(values, key=str), result.truncated

    def share(self, identity: int) -> str:
        """The identifier under which anyone who has it reads the dashboard; the same one when asked again."""
        shared = self._find("dashboard", identity).get("public_uuid") or str(uuid.uuid4())
        self._store.update("dashboard", identity, lambda old: {**old, "public_uuid": shared})
        return shared

    def unshare(self, identity: int) -> None:
        """Close the public link."""
        if not self._find("dashboard", identity).get("public_uuid"):
            raise ApiError(404, "Not found.")
        self._store.update("dashboard", identity, lambda old: {**old, "public_uuid": None})

    def public_dashboard(self, shared: str) -> Document:
        """The dashboard of a public link."""
        for found in self.dashboards():
            if hmac.compare_digest(found.get("public_uuid") or "", shared):
                return self.dashboard(found["id"])
        raise ApiError(404, "Not found.")

    def add_dashboard(self, body: models.NewDashboard) -> Document:
        """A new, empty dashboard."""
        self._check_references(body.collection_id)
        defaults = {"description": None, "collection_id": None, "archived": False, "width": "fixed"}
        return self._added("dashboard", {**defaults, **_given(body), **_EMPTY, "dashcards": [], "tabs": []})

    def update_dashboard(self, identity: int, body: models.DashboardUpdate) -> Document:
        """Change a dashboard; given arrays of dashcards and tabs replace the whole ones, negative ids are new."""
        self._check_references(body.collection_id)
        for place in body.dashcards or []:
            self._find("card", place.card_id)
            if place.col + place.size_x > 24:
                raise ApiError(
                    400, errors={"dashcards": f"card {place.card_id} leaves the grid of 24 columns"}
                )
        for parameter in body.parameters or []:
            if card_id := (parameter.values_source_config or {}).get("card_id"):
                self._find("card", card_id)
        changes = _changes(body)

        def change(old: Document) -> Document:
            new = {**old, **changes}
            if body.dashcards is not None or body.tabs is not None:
                places = None if body.dashcards is None else [one.model_dump() for one in body.dashcards]
                new.update(_replace_grid(old, places, [one.model_dump() for one in body.tabs or []]))
            return new

        self._changed("dashboard", identity, change)
        return self.dashboard(identity)

    # Documents

    def card(self, identity: int) -> Document:
        """One card."""
        return self._find("card", identity)

    def update_collection(self, identity: int, body: models.CollectionUpdate) -> Document:
        """Change a collection."""
        return self._changed("collection", identity, _changes(body))

    def collection(self, identity: int) -> Document:
        """One collection."""
        return self._find("collection", identity)

    def _find(self, kind: str, identity: int) -> Document:
        document = self._store.get(kind, identity)
        if document is None:
            raise ApiError(404, "Not found.")
        return document

    def _added(self, kind: str, document: Document) -> Document:
        now = _now()
        added = self._store.add(
            kind, {"entity_id": _entity_id(), "created_at": now, "updated_at": now, **document}
        )
        assert added is not None  # only `only_if_none` gives None
        return added

    def _changed(
        self, kind: str, identity: int, changes: Document | Callable[[Document], Document]
    ) -> Document:
        self._find(kind, identity)
        change = changes if callable(changes) else lambda old: {**old, **changes}
        return self._store.update(kind, identity, lambda old: {**change(old), "updated_at": _now()})


def _replace_grid(old: Document, places: list[Document] | None, tabs: list[Document]) -> Document:
    """Tabs and dashcards in the place of the old ones; a tab that goes takes its dashcards along."""
    names, last_tab = _numbered(tabs, [tab["id"] for tab in old["tabs"]], old.get("last_tab_id", 0), "tab")
    if places is None:
        places = [place for place in old["dashcards"] if not tabs or place.get("dashboard_tab_id") in names]
    numbers, last = _numbered(
        places, [place["id"] for place in old["dashcards"]], old["last_dashcard_id"], "dashcard"
    )
    for place in places:
        tab = place.get("dashboard_tab_id")
        if (tab is None) != (not tabs) or (tab is not None and tab not in names):
            raise ApiError(400, errors={"dashcards": "every dashcard must be on a tab where there are tabs"})
        place["id"], place["dashboard_id"] = numbers[place["id"]], old["id"]
        place["dashboard_tab_id"] = None if tab is None else names[tab]
    kept = [
        {"id": names[tab["id"]], "name": tab["name"], "position": position, "dashboard_id": old["id"]}
        for position, tab in enumerate(tabs)
    ]
    return {"dashcards": places, "last_dashcard_id": last, "tabs": kept, "last_tab_id": last_tab}


def _numbered(items: list[Document], known: list[int], last: int, what: str) -> tuple[dict[int, int], int]:
    """Id as given -> id as kept, where negative ids get the next ones; and the last id."""
    numbers: dict[int, int] = {}
    for item in items:
        given = item["id"]
        if given >= 0 and given not in known:
            raise ApiError(400, errors={f"{what}s": f"this dashboard has no {what} {given}"})
        if given in numbers:
            raise ApiError(400, errors={f"{what}s": f"the id {given} is there twice"})
        last += given < 0
        numbers[given] = last if given < 0 else given
    return numbers, last
