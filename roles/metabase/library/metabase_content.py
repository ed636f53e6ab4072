# Copyright the RetailFlow authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: make a Metabase server hold what files of content declare."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: metabase_content
short_description: Set up a Metabase server and make its content match files
description:
  - Does the first-run set-up where it is still open, connects the Snowflake database, waits for its first
    sync, and makes collections, cards and dashboards match what O(content) declares. A second run writes nothing.
  - Content is checked as a whole before the first write.
  - Cards are found again by their C(entity_id); the database and collections by name, a dashboard by name
    within its collection, because Metabase takes no entity id for these. What O(content) does not name is
    never touched.
author: RetailFlow
attributes:
  check_mode: {support: full, description: Writes nothing; a server that does not answer is taken as empty.}
  diff_mode: {support: full, description: Shows every field that would change, secrets excepted.}
options:
  url:
    description: Address of the server.
    type: str
    required: true
  admin:
    description: The administrator whom the first-run set-up creates and who logs in afterwards.
    type: dict
    required: true
    suboptions:
      email: {description: Address to log in with., type: str, required: true}
      password: {description: Password., type: str, required: true}
      first_name: {description: First name., type: str, required: true}
      last_name: {description: Last name., type: str, required: true}
  site_name:
    description: Title of the site; set by the first-run set-up.
    type: str
    default: RetailFlow
  database:
    description: The Snowflake connection that every card reads.
    type: dict
    required: true
    suboptions:
      name: {description: Name in Metabase., type: str, required: true}
      details: {description: Connection details without secrets., type: dict, required: true}
      private_key: {description: Unencrypted PKCS#8 key in PEM., type: str, required: true}
  content:
    description: File name to parsed content, with the maps C(collections), C(cards) and C(dashboards).
    type: dict
    required: true
  state:
    description: V(present) makes the content match; V(queried) only runs every card and returns its rows.
    type: str
    choices: [present, queried]
    default: present
  state_file:
    description: Where the host keeps a hash of the private key applied last; Metabase never shows it again.
    type: path
    required: true
  timeout:
    description: Seconds to wait for one answer; the warehouse may have to wake up first.
    type: int
    default: 120
  sync_timeout:
    description: Seconds to wait for the first sync of the database.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Make the dashboards match the files
  metabase_content:
    url: http://localhost:3000
    admin: {email: admin@example.com, password: "{{ secret }}", first_name: Retail, last_name: Flow}
    database:
      name: Snowflake
      details: {account: xy12345, user: METABASE, role: REPORTER, warehouse: REPORTING, db: ANALYTICS}
      private_key: "{{ key }}"
    content: {net_revenue.yml: "{{ lookup('ansible.builtin.file', 'net_revenue.yml') | from_yaml }}"}
    state_file: /var/lib/retailflow/metabase/applied.json
"""

RETURN = r"""
actions:
  description: Every write, in order, as a person would say it.
  type: list
  elements: str
  returned: always
database_id: {description: Id of the database., type: int, returned: when it exists}
cards:
  description: Key of a card to its C(id) and, with O(state=queried), C(columns) and C(rows) or C(truncated).
  type: dict
  returned: always
dashboards: {description: Key of a dashboard to its C(id) and C(path)., type: dict, returned: always}
"""

Item = dict[str, Any]

TEXT, TEXTS, NUMBER = "text", "a map", "a whole number"
CHECKS: dict[str, Callable[[Any], bool]] = {
    TEXT: lambda value: isinstance(value, str) and bool(value.strip()),
    TEXTS: lambda value: isinstance(value, dict),
    NUMBER: lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    "a list": lambda value: isinstance(value, list),
    "21 letters, digits, - or _": lambda value: (
        isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z0-9_-]{21}", value))
    ),
}
# kind -> field -> (what it must be, whether it is needed)
FIELDS: dict[str, dict[str, tuple[str, bool]]] = {
    "collections": {"name": (TEXT, True), "description": (TEXT, False)},
    "cards": {
        "entity_id": ("21 letters, digits, - or _", True),
        "collection": (TEXT, True),
        "name": (TEXT, True),
        "description": (TEXT, False),
        "display": (TEXT, True),
        "sql": (TEXT, True),
        "settings": (TEXTS, False),
        "columns": (TEXTS, False),
    },
    "dashboards": {
        "collection": (TEXT, True),
        "name": (TEXT, True),
        "description": (TEXT, False),
        "cards": ("a list", True),
    },
}
PLACE = {"card": (TEXT, True), **dict.fromkeys(("row", "col", "size_x", "size_y"), (NUMBER, True))}
GRID = 24  # columns


class Failure(Exception):
    """What went wrong and what to do about it."""


class Unreachable(Failure):
    """Nothing answers at the address."""


# Content


def load(files: dict[str, Any]) -> dict[str, dict[str, Item]]:
    """Kind -> key -> item, with ``where`` it was declared; Failure names the wrong file and key."""
    found: dict[str, dict[str, Item]] = {kind: {} for kind in FIELDS}
    for file, body in sorted(files.items()):
        if not isinstance(body, dict):
            raise Failure(f"{file}: must be a map of {', '.join(FIELDS)}")
        for kind, items in body.items():
            if kind not in FIELDS or not isinstance(items, dict):
                raise Failure(f"{file}: {kind}: expected a map under one of {', '.join(FIELDS)}")
            for key, item in items.items():
                where = f"{file}: {kind}.{key}"
                _check_fields(where, item, FIELDS[kind])
                if key in found[kind]:
                    raise Failure(f"{where}: declared already in {found[kind][key]['where']}")
                found[kind][key] = dict(item, where=where)
    _check_unique("collections", "name", found["collections"], lambda item: item["name"])
    _check_unique("cards", "entity_id", found["cards"], lambda item: item["entity_id"])
    _check_unique("cards", "name", found["cards"], lambda item: (item["collection"], item["name"]))
    _check_unique("dashboards", "name", found["dashboards"], lambda item: (item["collection"], item["name"]))
    for item in list(found["cards"].values()) + list(found["dashboards"].values()):
        if item["collection"] not in found["collections"]:
            raise Failure(f"{item['where']}.collection: there is no collection {item['collection']!r}")
    for item in found["dashboards"].values():
        for index, place in enumerate(item["cards"]):
            where = f"{item['where']}.cards[{index}]"
            _check_fields(where, place, PLACE)
            if place["card"] not in found["cards"]:
                raise Failure(f"{where}.card: there is no card {place['card']!r}")
            if not 1 <= place["size_x"] <= GRID - place["col"] or place["size_y"] < 1:
                raise Failure(
                    f"{where}: col + size_x must stay within {GRID} columns, and sizes be at least 1"
                )
    return found


def _check_fields(where: str, item: Any, fields: dict[str, tuple[str, bool]]) -> None:
    if not isinstance(item, dict):
        raise Failure(f"{where}: must be a map")
    for name in item:
        if name not in fields:
            raise Failure(f"{where}.{name}: unknown; known are {', '.join(fields)}")
    for name, (kind, needed) in fields.items():
        if name in item and not CHECKS[kind](item[name]):
            raise Failure(f"{where}.{name}: must be {kind}")
        if needed and name not in item:
            raise Failure(f"{where}.{name}: is missing")


def _check_unique(kind: str, field: str, items: dict[str, Item], identity: Callable[[Item], Any]) -> None:
    seen: dict[Any, str] = {}
    for item in items.values():
        other = seen.setdefault(identity(item), item["where"])
        if other != item["where"]:
            raise Failure(f"{item['where']}.{field}: {other} has the same")


# What to send, and what differs


def card_body(item: Item, database_id: int | None, collection_id: int | None) -> Item:
    """A card as the API takes it; column options are keyed as Metabase keys them."""
    columns = {
        json.dumps(["name", name], separators=(",", ":")): options
        for name, options in item.get("columns", {}).items()
    }
    return {
        "name": item["name"],
        "description": item.get("description"),
        "display": item["display"],
        "collection_id": collection_id,
        "archived": False,
        "dataset_query": {
            "lib/type": "mbql/query",
            "database": database_id,
            "stages": [{"lib/type": "mbql.stage/native", "native": item["sql"].strip()}],
        },
        "visualization_settings": dict(
            item.get("settings", {}), **({"column_settings": columns} if columns else {})
        ),
    }


def query_of(card: Item) -> Item:
    """``database`` and ``sql`` of a card, whichever dialect of MBQL the server answers in."""
    query = card.get("dataset_query") or {}
    if "stages" in query:
        sql = query["stages"][0].get("native") if query["stages"] else None
    else:
        sql = (query.get("native") or {}).get("query")
    return {"database": query.get("database"), "sql": sql}


def differences(desired: Item, actual: Item) -> dict[str, tuple[Any, Any]]:
    """Field -> (before, after), for the fields of ``desired`` that ``actual`` has otherwise."""
    changed = {}
    for name, after in desired.items():
        before = actual.get(name)
        if name == "dataset_query":
            before, after = query_of(actual), query_of(desired)
        elif name in ("details", "visualization_settings"):
            before = {key: (before or {}).get(key) for key in after}
        if before != after:
            changed[name] = (before, after)
    return changed


def dashcards_body(places: list[Item], existing: list[Item], card_ids: dict[str, int | None]) -> list[Item]:
    """The whole array of dashcards: a card that is there keeps its id, a new one gets a negative id."""
    left = list(existing)
    body = []
    for number, place in enumerate(places, start=1):
        card_id = card_ids[place["card"]]
        kept = next((old for old in left if card_id is not None and old.get("card_id") == card_id), None)
        if kept is not None:
            left.remove(kept)
        grid = {name: place[name] for name in ("row", "col", "size_x", "size_y")}
        options: Item = {
            name: (kept or {}).get(name) or empty
            for name, empty in (("visualization_settings", {}), ("parameter_mappings", []))
        }
        body.append(dict(grid, id=kept["id"] if kept else -number, card_id=card_id, **options))
    return body


def grid_of(dashcards: list[Item]) -> list[tuple[Any, ...]]:
    """What makes two arrays of dashcards the same to a person."""
    fields = ("row", "col", "size_x", "size_y", "card_id")
    return sorted(tuple(place.get(name) or 0 for name in fields) for place in dashcards)


# The server


class Api:
    """Metabase's HTTP API with one session; every refusal is a Failure that quotes the server."""

    def __init__(self, url: str, timeout: int) -> None:
        self._url, self._timeout = url.rstrip("/"), timeout
        # Not open_url: it reads all CA certificates again for every request.
        self._opener = build_opener(ProxyHandler({}))
        self.session = ""

    def __call__(self, method: str, path: str, body: Any = None, refusals: tuple[int, ...] = ()) -> Any:
        """The parsed answer; None where the status is one of ``refusals``."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.session:
            headers["X-Metabase-Session"] = self.session
        data = None if body is None else json.dumps(body).encode()
        try:
            request = Request(self._url + path, data, headers, method=method)
            with self._opener.open(request, timeout=self._timeout) as response:
                text = response.read().decode()
        except HTTPError as error:
            if error.code in refusals:
                return None
            raise Failure(f"{method} {path}: HTTP {error.code}: {_words(error.read().decode())}") from None
        except (OSError, HTTPException) as error:
            raise Unreachable(f"{self._url} does not answer: {error}") from None
        return json.loads(text) if text else None


def _words(text: str) -> str:
    """The server's reason, without JSON around it."""
    try:
        body = json.loads(text)
    except ValueError:
        return text.strip()[:500]
    if isinstance(body, dict) and isinstance(body.get("errors"), dict) and body["errors"]:
        return "; ".join(f"{name}: {reason}" for name, reason in sorted(body["errors"].items()))
    return str(body.get("message", body) if isinstance(body, dict) else body)[:500]


class Reconciler:
    """Compares and, outside check mode, writes; ``actions`` and ``diffs`` tell what it did or would do."""

    def __init__(self, api: Api, params: Item, content: dict[str, dict[str, Item]], check_mode: bool) -> None:
        self.api, self.params, self.content, self.check_mode = api, params, content, check_mode
        self.actions: list[str] = []
        self.diffs: list[Item] = []
        self.collections: dict[str, int | None] = {}
        self.cards: dict[str, int | None] = {}
        self.dashboards: dict[str, int | None] = {}
        self.database_id: int | None = None

    def write(self, label: str, method: str, path: str, body: Item, changes: Any = None) -> Item:
        """Record the write and, outside check mode, send it."""
        self.actions.append(label)
        if changes is not None:
            before, after = ({name: pair[side] for name, pair in changes.items()} for side in (0, 1))
        else:
            before, after = {}, {}
        self.diffs.append(
            {
                "before_header": label,
                "after_header": label,
                "before": _pretty(before),
                "after": _pretty(after),
            }
        )
        if self.check_mode:
            return {}
        answer = self.api(method, path, body)
        return answer if isinstance(answer, dict) else {}

    def log_in(self) -> bool:
        """Open a session, after set-up where that is due; False where check mode has no server to ask."""
        admin = self.params["admin"]
        try:
            properties = self.api("GET", "/api/session/properties")
        except Unreachable:
            if self.check_mode:
                self.actions.append("set up the server and all content")
                return False
            raise
        if not properties.get("has-user-setup"):
            body = {
                "token": properties.get("setup-token"),
                "user": dict(admin),
                "prefs": {"site_name": self.params["site_name"], "allow_tracking": False},
            }
            session = self.write(
                f"do the first-run set-up as {admin['email']}", "POST", "/api/setup", body
            ).get("id")
            self.api.session = session or ""
            return bool(session)
        login = {"username": admin["email"], "password": admin["password"]}
        session = self.api("POST", "/api/session", login, refusals=(400, 401))
        if session is None:
            raise Failure(
                f"the server is set up already, but not with the given password of {admin['email']} (option admin):"
                " put the secret back that it was set up with, or change the password in the server"
            )
        self.api.session = session["id"]
        return True

    def log_out(self) -> None:
        """Leave no session behind."""
        if self.api.session:
            self.api("DELETE", "/api/session", refusals=(401, 404))

    def apply_database(self, server: bool) -> None:
        """The Snowflake connection, and its first sync."""
        wanted = self.params["database"]
        key = wanted["private_key"].strip() + "\n"
        details = dict(wanted["details"], **{"use-password": False, "private-key-options": "uploaded"})
        found = _only(
            [known for known in self.api("GET", "/api/database")["data"] if known["name"] == wanted["name"]]
            if server
            else [],
            f"option database.name: the server has two databases named {wanted['name']!r}",
        )
        body = {"name": wanted["name"], "engine": "snowflake", "details": details}
        fingerprint = hashlib.sha256(key.encode()).hexdigest()
        uploaded = f"data:application/octet-stream;base64,{base64.b64encode(key.encode()).decode()}"
        secret = dict(body, details=dict(details, **{"private-key-value": uploaded}))
        label = f"database {wanted['name']}"
        if found is None:
            new = dict(secret, is_full_sync=True, is_on_demand=False, connection_source="admin")
            changes: dict[str, tuple[Any, Any]] = {name: (None, value) for name, value in body.items()}
            self.database_id = self.write(f"create {label}", "POST", "/api/database", new, changes).get("id")
        else:
            self.database_id = found["id"]
            changes = differences(body, found)
            if self._applied() != {"database_id": found["id"], "private_key_sha256": fingerprint}:
                changes["private key"] = ("unknown or other", "given")
            if changes:
                self.write(f"update {label}", "PUT", f"/api/database/{found['id']}", secret, changes)
            elif found.get("initial_sync_status") == "complete":
                return
        if self.check_mode or self.database_id is None:
            return
        self._remember({"database_id": self.database_id, "private_key_sha256": fingerprint})
        self.write(f"sync {label}", "POST", f"/api/database/{self.database_id}/sync_schema", {})
        self._await_sync(label)

    def _await_sync(self, label: str) -> None:
        deadline = time.monotonic() + self.params["sync_timeout"]
        while True:
            status = self.api("GET", f"/api/database/{self.database_id}")["initial_sync_status"]
            if status == "complete":
                return
            if status == "aborted" or time.monotonic() > deadline:
                raise Failure(
                    f"the sync of {label} is {status}: look at the server's log; database.details.role needs"
                    " USAGE on the database and its schemas and SELECT on the marts"
                )
            time.sleep(0.5)

    def _applied(self) -> Any:
        try:
            with open(self.params["state_file"], encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError):
            return None

    def _remember(self, applied: Item) -> None:
        path = self.params["state_file"]
        with os.fdopen(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(applied, file)
        os.replace(path + ".new", path)

    def _put(self, kind: str, item: Item, desired: Item, found: Item | None, extra: Item) -> int | None:
        """Create or update one item; its id, or None where check mode would create it."""
        label = f"{kind} {item['name']}"
        try:
            if found is None:
                new = {
                    name: value
                    for name, value in dict(desired, **extra).items()
                    if name != "archived" and value is not None
                }
                changes = {name: (None, value) for name, value in new.items()}
                identity = self.write(f"create {label}", "POST", f"/api/{kind}", new, changes).get("id")
                return identity if isinstance(identity, int) else None
            changes = differences(desired, found)
            if changes:
                body = {name: desired[name] for name in changes}
                self.write(f"update {label}", "PUT", f"/api/{kind}/{found['id']}", body, changes)
        except Unreachable:
            raise
        except Failure as failure:
            raise Failure(f"{item['where']}: {failure}") from None
        return int(found["id"])

    def apply_collections(self, server: bool) -> None:
        """Collections, found by their name."""
        known = self.api("GET", "/api/collection") if server else []
        for key, item in self.content["collections"].items():
            same = [
                found for found in known if found["name"] == item["name"] and isinstance(found["id"], int)
            ]
            found = _only(same, f"{item['where']}.name: the server has two such collections")
            desired = {"name": item["name"], "description": item.get("description")}
            self.collections[key] = self._put("collection", item, desired, found, {})

    def apply_cards(self, server: bool) -> None:
        """Cards, found by their entity id, in the bin too."""
        known = self.api("GET", "/api/card") + self.api("GET", "/api/card?f=archived") if server else []
        by_entity = {found.get("entity_id"): found for found in known}
        for key, item in self.content["cards"].items():
            desired = card_body(item, self.database_id, self.collections[item["collection"]])
            found = by_entity.get(item["entity_id"])
            self.cards[key] = self._put("card", item, desired, found, {"entity_id": item["entity_id"]})

    def apply_dashboards(self) -> None:
        """Dashboards, found by their name within their collection, and their grids."""
        for key, item in self.content["dashboards"].items():
            collection_id = self.collections[item["collection"]]
            found = self._dashboard(item, collection_id)
            desired = {"name": item["name"], "description": item.get("description")}
            identity = self._put("dashboard", item, desired, found, {"collection_id": collection_id})
            self.dashboards[key] = identity
            existing = found["dashcards"] if found else []
            body = dashcards_body(item["cards"], existing, self.cards)
            if grid_of(body) != grid_of(existing):
                changes = {
                    "cards": ([list(row) for row in grid_of(existing)], [list(row) for row in grid_of(body)])
                }
                path = f"/api/dashboard/{identity}"
                self.write(
                    f"place the cards of dashboard {item['name']}",
                    "PUT",
                    path,
                    {"dashcards": body, "tabs": []},
                    changes,
                )

    def _dashboard(self, item: Item, collection_id: int | None) -> Item | None:
        if collection_id is None:
            return None
        items = self.api("GET", f"/api/collection/{collection_id}/items?models=dashboard")["data"]
        found = _only(
            [one for one in items if one["name"] == item["name"]],
            f"{item['where']}.name: its collection has two such dashboards",
        )
        return self.api("GET", f"/api/dashboard/{found['id']}") if found else None

    def apply(self) -> None:
        """Everything, in the order in which things refer to each other."""
        server = self.log_in()
        try:
            self.apply_database(server)
            self.apply_collections(server)
            self.apply_cards(server)
            self.apply_dashboards()
        finally:
            self.log_out()

    def query(self) -> dict[str, Item]:
        """Key -> id, columns and rows of every declared card; Failure names the card that does not run."""
        if not self.api("GET", "/api/session/properties").get("has-user-setup"):
            raise Failure("the server is not set up yet: run the wire step first")
        self.log_in()
        try:
            ids = {card["entity_id"]: card["id"] for card in self.api("GET", "/api/card")}
            return {
                key: self._rows(item, ids.get(item["entity_id"]))
                for key, item in self.content["cards"].items()
            }
        finally:
            self.log_out()

    def _rows(self, item: Item, identity: int | None) -> Item:
        if identity is None:
            raise Failure(f"{item['where']}: the server has no such card: run the wire step first")
        answer = self.api("POST", f"/api/card/{identity}/query", {})
        if answer.get("status") != "completed":
            raise Failure(f"{item['where']}: the card does not run: {answer.get('error', 'no reason given')}")
        data = answer["data"]
        return {
            "id": identity,
            "columns": [column["name"] for column in data["cols"]],
            "rows": data["rows"],
            "truncated": "rows_truncated" in data,
        }


def _only(found: list[Item], message: str) -> Item | None:
    if len(found) > 1:
        raise Failure(message)
    return found[0] if found else None


def _pretty(fields: Item) -> str:
    """Fields as lines, SQL as it was written, so that a diff reads well."""
    lines = []
    for name, value in sorted(fields.items()):
        if name == "dataset_query" and value:
            value = query_of({"dataset_query": value}) if "lib/type" in value else value
            lines += [f"database: {value.get('database')}", "sql:"] + [
                "  " + line for line in str(value.get("sql")).splitlines()
            ]
        else:
            lines.append(f"{name}: {json.dumps(value, sort_keys=True)}")
    return "".join(line + "\n" for line in lines)


def main() -> None:
    """Run as an Ansible module."""
    text = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "url": text,
            "admin": {
                "type": "dict",
                "required": True,
                "options": {
                    "email": text,
                    "password": dict(text, no_log=True),
                    "first_name": text,
                    "last_name": text,
                },
            },
            "site_name": {"type": "str", "default": "RetailFlow"},
            "database": {
                "type": "dict",
                "required": True,
                "options": {
                    "name": text,
                    "details": {"type": "dict", "required": True},
                    "private_key": dict(text, no_log=True),
                },
            },
            "content": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "queried"], "default": "present"},
            "state_file": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 120},
            "sync_timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        content = load(params["content"])
        work = Reconciler(Api(params["url"], params["timeout"]), params, content, module.check_mode)
        if params["state"] == "queried":
            module.exit_json(changed=False, actions=[], cards=work.query(), dashboards={})
        work.apply()
    except Failure as failure:
        module.fail_json(msg=str(failure))
    module.exit_json(
        changed=bool(work.actions),
        actions=work.actions,
        diff=work.diffs,
        database_id=work.database_id,
        cards={key: {"id": identity} for key, identity in work.cards.items()},
        dashboards={key: {"id": i, "path": f"/dashboard/{i}"} for key, i in work.dashboards.items()},
    )


if __name__ == "__main__":
    main()
