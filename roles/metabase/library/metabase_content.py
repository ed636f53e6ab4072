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
import uuid
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
    sync, and makes permissions, collections, cards and dashboards match what O(content) declares. A second run
    writes nothing. Where something was written, the card that O(content) says shows the role is run and compared.
  - Content is checked as a whole before the first write.
  - Cards are found again by their C(entity_id). Metabase takes no entity id for collections and dashboards but
    gives them one; O(state_file) remembers it, and without that they are found by name, a dashboard within its
    collection.
  - What an earlier run made and O(content) no longer names is archived. What a person made is never touched.
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
    description: The Snowflake connection that every card reads. Needed unless O(state=set_up).
    type: dict
    suboptions:
      name: {description: Name in Metabase., type: str, required: true}
      details: {description: Connection details without secrets., type: dict, required: true}
      private_key: {description: Unencrypted PKCS#8 key in PEM., type: str, required: true}
  group:
    description:
      - Permissions group that reads the declared collections and asks questions of the database without SQL. Whoever
        is in no other group then sees neither. Empty leaves permissions alone. Nobody is put into the group.
    type: str
    default: ""
  content:
    description: >-
      File name to parsed content, with the maps C(collections), C(cards) and C(dashboards). Needed
      unless O(state=set_up).
    type: dict
  state:
    description: >-
      V(present) makes the content match; V(queried) only runs every card and returns its rows; V(set_up) only
      does the first-run set-up.
    type: str
    choices: [present, queried, set_up]
    default: present
  state_file:
    description:
      - Where the host keeps a hash of the private key applied last, which Metabase never shows again, and the
        entity ids of what this module made.
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

TEXT, MAP, LIST, NUMBER, ENTITY = (
    "text",
    "a map",
    "a list",
    "a whole number",
    "21 letters, digits, - or _",
)
ROLE = "the word role"
CHECKS: dict[str, Callable[[Any], bool]] = {
    TEXT: lambda value: isinstance(value, str) and bool(value.strip()),
    MAP: lambda value: isinstance(value, dict),
    LIST: lambda value: isinstance(value, list),
    NUMBER: lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    ENTITY: lambda value: isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z0-9_-]{21}", value)),
    ROLE: lambda value: value == "role",
}
# kind -> field -> (what it must be, whether it is needed)
FIELDS: dict[str, dict[str, tuple[str, bool]]] = {
    "collections": {"name": (TEXT, True), "description": (TEXT, False)},
    "cards": {
        "entity_id": (ENTITY, True),
        "collection": (TEXT, True),
        "name": (TEXT, True),
        "description": (TEXT, False),
        "display": (TEXT, True),
        "sql": (TEXT, True),
        "settings": (MAP, False),
        "columns": (MAP, False),
        "shows": (ROLE, False),
    },
    "dashboards": {
        "collection": (TEXT, True),
        "name": (TEXT, True),
        "description": (TEXT, False),
        "filters": (MAP, False),
        "tabs": (LIST, False),
        "cards": (LIST, True),
    },
}
FILTER = {"name": (TEXT, True), "card": (TEXT, False), "column": (TEXT, False)}
PLACE = {
    "card": (TEXT, True),
    "tab": (TEXT, False),
    **dict.fromkeys(("row", "col", "size_x", "size_y"), (NUMBER, True)),
}
GRID = 24  # columns
ALL_USERS = "all-internal-users"  # the group that everybody is in
VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
OPTIONAL = re.compile(r"\[\[.*?\]\]", re.DOTALL)


class Failure(Exception):
    """What went wrong and what to do about it."""

    status = 0  # of HTTP, where a server refused


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
    for item in found["cards"].values():
        if left := VARIABLE.search(OPTIONAL.sub("", item["sql"])):
            raise Failure(
                f"{item['where']}.sql: put the condition with {left[0]} into [[ ]], so that it runs without a value"
            )
    for item in found["dashboards"].values():
        _check_dashboard(item, found["cards"])
    return found


def _check_dashboard(item: Item, cards: dict[str, Item]) -> None:
    tabs, where = item.get("tabs", []), item["where"]
    if not all(CHECKS[TEXT](tab) for tab in tabs) or len(set(tabs)) < len(tabs):
        raise Failure(f"{where}.tabs: must be names, each there once")
    for index, place in enumerate(item["cards"]):
        at = f"{where}.cards[{index}]"
        _check_fields(at, place, PLACE)
        if place["card"] not in cards:
            raise Failure(f"{at}.card: there is no card {place['card']!r}")
        if not 1 <= place["size_x"] <= GRID - place["col"] or place["size_y"] < 1:
            raise Failure(f"{at}: col + size_x must stay within {GRID} columns, and sizes be at least 1")
        if place.get("tab") not in (tabs or [None]):
            raise Failure(
                f"{at}.tab: must be one of {', '.join(tabs)}" if tabs else f"{at}.tab: there are no tabs"
            )
    placed = {name for place in item["cards"] for name in variables(cards[place["card"]])}
    for name, one in item.get("filters", {}).items():
        at = f"{where}.filters.{name}"
        _check_fields(at, one, FILTER)
        if name not in placed:
            raise Failure(f"{at}: no card of this dashboard has the variable {{{{{name}}}}}")
        if ("card" in one) != ("column" in one):
            raise Failure(f"{at}: card and column go together")
        if "card" in one and one["card"] not in cards:
            raise Failure(f"{at}.card: there is no card {one['card']!r}")


def variables(card: Item) -> list[str]:
    """Names of the variables in a card's SQL, each once."""
    return sorted(set(VARIABLE.findall(card["sql"])))


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
    tags = {
        name: {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{item['entity_id']}/{name}")),
            "name": name,
            "display-name": _title(name),
            "type": "text",
        }
        for name in variables(item)
    }
    stage = {"lib/type": "mbql.stage/native", "native": item["sql"].strip()}
    return {
        "name": item["name"],
        "description": item.get("description"),
        "display": item["display"],
        "collection_id": collection_id,
        "archived": False,
        "dataset_query": {
            "lib/type": "mbql/query",
            "database": database_id,
            "stages": [dict(stage, **({"template-tags": tags} if tags else {}))],
        },
        "visualization_settings": dict(
            item.get("settings", {}), **({"column_settings": columns} if columns else {})
        ),
    }


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def query_of(card: Item) -> Item:
    """``database``, ``sql`` and ``variables`` of a card, whichever dialect of MBQL the server answers in."""
    query = card.get("dataset_query") or {}
    if "stages" in query:
        native = query["stages"][0] if query["stages"] else {}
        sql = native.get("native")
    else:
        native = query.get("native") or {}
        sql = native.get("query")
    tags = native.get("template-tags") or {}
    shown = {
        name: [tag.get("type"), bool(tag.get("required")), tag.get("default")] for name, tag in tags.items()
    }
    return {"database": query.get("database"), "sql": sql, "variables": shown}


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


def parameters_body(key: str, item: Item, card_ids: dict[str, int | None]) -> list[Item]:
    """The filters of a dashboard: text fields, or a list of what a card's column holds."""
    body = []
    for name, one in item.get("filters", {}).items():
        parameter: Item = {
            "id": _filter_id(key, name),
            "name": one["name"],
            "slug": name,
            "type": "string/=",
            "sectionId": "string",
            "isMultiSelect": False,
        }
        if "card" in one:
            parameter["values_query_type"] = "list"
            parameter["values_source_type"] = "card"
            parameter["values_source_config"] = {
                "card_id": card_ids[one["card"]],
                "value_field": ["field", one["column"], {"base-type": "type/Text"}],
            }
        body.append(parameter)
    return body


def _filter_id(key: str, name: str) -> str:
    return hashlib.sha256(f"{key}/{name}".encode()).hexdigest()[:8]


def grid_body(
    key: str, item: Item, found: Item, cards: dict[str, Item], card_ids: dict[str, int | None]
) -> Item:
    """Filters and the whole arrays of tabs and dashcards: what is there keeps its id, what is new gets a negative one."""
    tab_ids = {tab["name"]: tab["id"] for tab in found.get("tabs") or []}
    tabs = [
        {"id": tab_ids.get(name, -number), "name": name}
        for number, name in enumerate(item.get("tabs", []), 1)
    ]
    tab_ids = {tab["name"]: tab["id"] for tab in tabs}
    left = list(found.get("dashcards") or [])
    dashcards = []
    for number, place in enumerate(item["cards"], 1):
        card_id = card_ids[place["card"]]
        kept = next((old for old in left if card_id is not None and old.get("card_id") == card_id), None)
        if kept is not None:
            left.remove(kept)
        mappings = [
            {
                "parameter_id": _filter_id(key, name),
                "card_id": card_id,
                "target": ["variable", ["template-tag", name]],
            }
            for name in variables(cards[place["card"]])
            if name in item.get("filters", {})
        ]
        dashcards.append(
            {
                "id": kept["id"] if kept else -number,
                "card_id": card_id,
                **{name: place[name] for name in ("row", "col", "size_x", "size_y")},
                "dashboard_tab_id": tab_ids[place["tab"]] if tabs else None,
                "visualization_settings": (kept or {}).get("visualization_settings") or {},
                "parameter_mappings": mappings,
            }
        )
    return {
        "parameters": parameters_body(key, item, card_ids),
        "tabs": tabs,
        "dashcards": dashcards,
    }


def layout_of(dashboard: Item) -> Item:
    """What makes two dashboards the same to a person: ``filters``, ``tabs`` and ``cards``."""
    tabs = {tab["id"]: tab["name"] for tab in dashboard.get("tabs") or []}
    grid = ("row", "col", "size_x", "size_y", "card_id")
    cards = [
        [tabs.get(place.get("dashboard_tab_id")) or ""]
        + [place.get(name) or 0 for name in grid]
        + [
            sorted(
                [mapping["parameter_id"], str(mapping["target"][1][1])]
                for mapping in place.get("parameter_mappings") or []
            )
        ]
        for place in dashboard.get("dashcards") or []
    ]
    filters = [
        [one.get(name) for name in ("id", "name", "slug", "type", "default", "values_source_type")]
        + [(one.get("values_source_config") or {}).get("card_id")]
        for one in dashboard.get("parameters") or []
    ]
    return {"filters": filters, "tabs": list(tabs.values()), "cards": sorted(cards)}


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
            failure = Failure(f"{method} {path}: HTTP {error.code}: {_words(error.read().decode())}")
            failure.status = error.code
            raise failure from None
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


class Memory:
    """What the host remembers between runs: the key applied last, and which items of the server are ours."""

    def __init__(self, path: str, read_only: bool) -> None:
        self._path, self._read_only = path, read_only
        try:
            with open(path, encoding="utf-8") as file:
                known = json.load(file)
        except (OSError, ValueError):
            known = {}
        self._known: Item = known if isinstance(known, dict) else {}

    def get(self, name: str) -> Any:
        """What ``set`` put there, or None."""
        return self._known.get(name)

    def set(self, **values: Any) -> None:
        """Remember, in a file that only its owner reads."""
        if self._read_only or all(self._known.get(name) == value for name, value in values.items()):
            return
        self._known.update(values)
        with os.fdopen(
            os.open(self._path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w"
        ) as file:
            json.dump(self._known, file)
        os.replace(self._path + ".new", self._path)

    def ours(self, kind: str) -> dict[str, str]:
        """Entity id -> key in the files, of what we made."""
        return dict(self.get(kind) or {})

    def entity_of(self, kind: str, key: str) -> str | None:
        """The entity id that an item had."""
        return next((entity for entity, known in self.ours(kind).items() if known == key), None)

    def own(self, kind: str, key: str, entity_id: str | None) -> None:
        """An item of the server is ours."""
        if entity_id:
            self.set(**{kind: {**self.ours(kind), entity_id: key}})

    def disown(self, kind: str, entity_id: str) -> None:
        """Forget an item."""
        self.set(**{kind: {one: key for one, key in self.ours(kind).items() if one != entity_id}})


class Reconciler:
    """Compares and, outside check mode, writes; ``actions`` and ``diffs`` tell what it did or would do."""

    def __init__(self, api: Api, params: Item, content: dict[str, dict[str, Item]], check_mode: bool) -> None:
        self.api, self.params, self.content, self.check_mode = api, params, content, check_mode
        self.memory = Memory(params["state_file"], check_mode)
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
        try:
            self.api.session = self.api("POST", "/api/session", login)["id"]
        except Failure as failure:
            if failure.status not in (400, 401):
                raise
            raise Failure(
                f"the server is set up already, and refuses the given password of {admin['email']} (option admin,"
                f" metabase_admin_password): {failure}. Put the secret back that it was set up with, or change the"
                " password in the server"
            ) from None
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
        try:
            if found is None:
                new = dict(secret, is_full_sync=True, is_on_demand=False, connection_source="admin")
                changes: dict[str, tuple[Any, Any]] = {name: (None, value) for name, value in body.items()}
                self.database_id = self.write(f"create {label}", "POST", "/api/database", new, changes).get(
                    "id"
                )
            else:
                self.database_id = found["id"]
                changes = differences(body, found)
                applied = (self.memory.get("database_id"), self.memory.get("private_key_sha256"))
                if applied != (found["id"], fingerprint):
                    changes["private key"] = ("unknown or other", "given")
                if changes:
                    self.write(f"update {label}", "PUT", f"/api/database/{found['id']}", secret, changes)
                elif found.get("initial_sync_status") == "complete":
                    return
        except Unreachable:
            raise
        except Failure as failure:
            raise Failure(
                f"option database (metabase_snowflake_*): {failure}. Account, user, role, warehouse, database and key"
                " must fit together; nothing of it is kept, the next run goes on here"
            ) from None
        if self.check_mode or self.database_id is None:
            return
        self.memory.set(database_id=self.database_id, private_key_sha256=fingerprint)
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
                made = self.write(f"create {label}", "POST", f"/api/{kind}", new, changes)
                self.memory.own(kind, key, made.get("entity_id"))
                return made.get("id")
            changes = differences(desired, found)
            if changes:
                body = {name: desired[name] for name in changes}
                self.write(f"update {label}", "PUT", f"/api/{kind}/{found['id']}", body, changes)
        except Unreachable:
            raise
        except Failure as failure:
            raise Failure(f"{item['where']}: {failure}") from None
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
        return _only(named, f"{item['where']}.name: the server has two such {kind}s")

    def apply_collections(self, server: bool) -> None:
        """Collections."""
        known = self._known("collection", server)
        for key, item in self.content["collections"].items():
            found = self._find("collection", key, item, known)
            desired = {"name": item["name"], "description": item.get("description"), "archived": False}
            self.collections[key] = self._put("collection", key, item, desired, found, {})

    def apply_group(self, server: bool) -> None:
        """The group that reads our collections and our database, which those in no other group then do not."""
        name = self.params["group"]
        if not name:
            return
        groups = self.api("GET", "/api/permissions/group") if server else []
        group = next((one["id"] for one in groups if one["name"] == name), None)
        if group is None:
            group = self.write(f"create group {name}", "POST", "/api/permissions/group", {"name": name}).get(
                "id"
            )
        everybody = next((one["id"] for one in groups if one.get("magic_group_type") == ALL_USERS), 1)
        seen = {"view-data": "unrestricted"}
        self._limit(
            f"limit database {self.params['database']['name']} to group {name}",
            "/api/permissions/graph" if server else "",
            {
                everybody: {self.database_id: dict(seen, **{"create-queries": "no"})},
                group: {self.database_id: dict(seen, **{"create-queries": "query-builder"})},
            },
        )
        self._limit(
            f"limit collections to group {name}",
            "/api/collection/graph" if server else "",
            {
                everybody: dict.fromkeys(self.collections.values(), "none"),
                group: dict.fromkeys(self.collections.values(), "read"),
            },
        )

    def _limit(self, label: str, path: str, wanted: dict[int | None, dict[int | None, Any]]) -> None:
        """Write what a graph has otherwise; a permission that it leaves out is the least one."""
        graph = self.api("GET", path) if path else {"revision": 0, "groups": {}}
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
            self.write(label, "PUT", path, body, changes)

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
                self.write(label, "PUT", f"/api/dashboard/{identity}", body, changes)

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
                    self.write(label, "PUT", f"/api/{kind}/{found['id']}", {"archived": True}, changes)
                self.memory.disown(kind, entity)

    def _holds_more(self, collection_id: int) -> bool:
        """Whether a collection holds anything that is not ours."""
        ours = set(self.memory.ours("card")) | set(self.memory.ours("dashboard"))
        items = self.api("GET", f"/api/collection/{collection_id}/items")["data"]
        return any(one.get("entity_id") not in ours for one in items)

    def assert_role(self) -> None:
        """Compare the card that shows the role, where anything was written or it was not right the last time."""
        wanted = str(self.params["database"]["details"].get("role", ""))
        if self.check_mode or not (self.actions or self.memory.get("role") != wanted):
            return
        for key, item in self.content["cards"].items():
            if item.get("shows") == "role":
                self.memory.set(role=None)
                self._compare_role(item, self._rows(item, self.cards[key]), wanted)
        self.memory.set(role=wanted)

    def _compare_role(self, item: Item, answer: Item, wanted: str) -> None:
        if [[str(cell).upper() for cell in row] for row in answer["rows"]] != [[wanted.upper()]]:
            raise Failure(
                f"{item['where']}: cards run as {answer['rows']}, not as {wanted!r} (option database.details.role,"
                " metabase_snowflake_role): look at the default role of the user and its grants"
            )

    def set_up(self) -> None:
        """The first-run set-up alone; a server that has an administrator is left as it is."""
        try:
            done = self.api("GET", "/api/session/properties").get("has-user-setup")
        except Unreachable:
            done = False  # to be told by the log-in
        if not done:
            self.log_in()
            self.log_out()

    def apply(self) -> None:
        """Everything, in the order in which things refer to each other."""
        server = self.log_in()
        try:
            self.apply_database(server)
            self.apply_collections(server)
            self.apply_group(server)
            self.apply_cards(server)
            self.apply_dashboards(server)
            self.archive_leftovers(server)
            self.assert_role()
        finally:
            self.log_out()

    def query(self) -> dict[str, Item]:
        """Key -> id, columns and rows of every declared card; Failure names the card that does not run."""
        if not self.api("GET", "/api/session/properties").get("has-user-setup"):
            raise Failure("the server is not set up yet: run the wire step first")
        self.log_in()
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
                "options": {
                    "name": text,
                    "details": {"type": "dict", "required": True},
                    "private_key": dict(text, no_log=True),
                },
            },
            "group": {"type": "str", "default": ""},
            "content": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "queried", "set_up"], "default": "present"},
            "state_file": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 120},
            "sync_timeout": {"type": "int", "default": 300},
        },
        required_if=[("state", state, ("database", "content")) for state in ("present", "queried")],
        supports_check_mode=True,
    )
    params = module.params
    try:
        content = load(params["content"] or {})
        work = Reconciler(Api(params["url"], params["timeout"]), params, content, module.check_mode)
        if params["state"] == "queried":
            module.exit_json(changed=False, actions=[], cards=work.query(), dashboards={})
        if params["state"] == "set_up":
            work.set_up()
        else:
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
