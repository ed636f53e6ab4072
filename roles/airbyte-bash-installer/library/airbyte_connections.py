# Copyright the RetailFlow authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: make sources, destinations and connections of Airbyte what they are declared to be."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

DOCUMENTATION = r"""
module: airbyte_connections
short_description: Reconcile sources, destinations and connections of an Airbyte workspace
description:
  - Works over Airbyte's public API. Everything is found again by its name; two of one name are an error.
    Only fields that differ are written, objects that are not declared are left alone.
  - Airbyte never shows a secret again, so O(state_file) keeps a salted hash of those that were applied last.
author: RetailFlow
attributes:
  check_mode: {support: full, description: Writes nothing; an Airbyte that does not answer is taken as empty.}
  diff_mode: {support: full, description: Shows the fields that differ, secrets excepted.}
options:
  url:
    description: Address of Airbyte, such as V(http://localhost:8000).
    type: str
    required: true
  client_id:
    description: Client id of an application of this Airbyte.
    type: str
    required: true
  client_secret:
    description: Its client secret.
    type: str
    required: true
  workspace:
    description: Name of the workspace; empty takes the only one there is.
    type: str
    default: ""
  sources:
    description: Declared objects of this kind.
    type: list
    elements: dict
    default: []
    suboptions: &actor
      name: {description: Name., type: str, required: true}
      type: {description: "Connector, such as V(postgres).", type: str, required: true}
      configuration: {description: Configuration without secrets., type: dict, default: {}}
      secrets: {description: Secrets; merged into the configuration., type: dict, default: {}}
  destinations:
    description: Declared objects of this kind.
    type: list
    elements: dict
    default: []
    suboptions: *actor
  connections:
    description: Declared connections.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name., type: str, required: true}
      source: {description: Name of the source., type: str, required: true}
      destination: {description: Name of the destination., type: str, required: true}
      streams:
        description: Stream configurations in the API's words; exactly these are selected.
        type: list
        elements: dict
        required: true
      options: {description: Other fields of the connection in the API's words., type: dict, default: {}}
  state_file:
    description: File that keeps the hashes of the secrets applied last.
    type: path
    required: true
  timeout:
    description: Seconds to wait for one answer; making a connection makes Airbyte read the source's schema.
    type: int
    default: 300
  retries:
    description: How often a request is repeated while Airbyte is unreachable or answers 429, 502, 503 or 504.
    type: int
    default: 6
"""

EXAMPLES = r"""
- name: Replicate sales
  airbyte_connections:
    url: http://localhost:8000
    client_id: "{{ client_id }}"
    client_secret: "{{ client_secret }}"
    sources:
      - name: shop
        type: postgres
        configuration: {host: db.example.com, port: 5432, database: shop, username: airbyte}
        secrets: {password: "{{ password }}"}
    destinations: "{{ destinations }}"
    connections:
      - name: shop to warehouse
        source: shop
        destination: warehouse
        streams: [{name: sales, syncMode: incremental_deduped_history, cursorField: [updated_at]}]
    state_file: /var/lib/airbyte/applied.json
"""

RETURN = r"""
actions:
  description: Every write, in order, as a person would say it.
  type: list
  elements: str
  returned: always
workspace_id: {description: Id of the workspace., type: str, returned: always}
sources: {description: Name to id., type: dict, returned: always}
destinations: {description: Name to id., type: dict, returned: always}
connections: {description: Name to id., type: dict, returned: always}
"""

Item = dict[str, Any]
PAGE = 100
BUSY = {429, 502, 503, 504}
NOT_YET_MADE = "(made by this run)"


class Failure(Exception):
    """What went wrong and what to do about it."""


class Unreachable(Failure):
    """Nobody answers at the address."""


class Api:
    """Airbyte's public API: tokens renewed when they expire, requests repeated while it is busy."""

    def __init__(self, url: str, client_id: str, client_secret: str, timeout: int, retries: int) -> None:
        self._base = url.rstrip("/") + "/api/public/v1"
        self._credentials = {"client_id": client_id, "client_secret": client_secret}
        self._timeout = timeout
        self._retries = retries
        self._token: str | None = None

    def get_all(self, path: str, **query: str) -> Iterator[Item]:
        """Every object of a list, page by page."""
        offset = 0
        while True:
            page = self.call("GET", f"{path}?{urlencode({**query, 'limit': PAGE, 'offset': offset})}")["data"]
            yield from page
            if len(page) < PAGE:
                return
            offset += PAGE

    def call(self, method: str, path: str, body: Item | None = None) -> Item:
        try:
            return self._send(method, path, body, self._authorization())
        except HTTPError as error:
            if error.code != 401:
                raise self._failure(method, path, error) from error
        self._token = None  # it has expired
        try:
            return self._send(method, path, body, self._authorization())
        except HTTPError as error:
            raise self._failure(method, path, error) from error

    def _authorization(self) -> str:
        if self._token is None:
            try:
                self._token = self._send("POST", "/applications/token", self._credentials)["access_token"]
            except HTTPError as error:
                if error.code in (401, 403):
                    raise Failure(
                        "Airbyte refuses the client id and secret: set those of this installation"
                    ) from error
                raise self._failure("POST", "/applications/token", error) from error
        return f"Bearer {self._token}"

    def _send(self, method: str, path: str, body: Item | None, authorization: str | None = None) -> Item:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if authorization:
            headers["Authorization"] = authorization
        data = None if body is None else json.dumps(body)
        for attempt in range(self._retries + 1):
            try:
                with open_url(
                    self._base + path, method=method, data=data, headers=headers, timeout=self._timeout
                ) as response:
                    answer: Item = json.loads(response.read() or b"{}")
                    return answer
            except HTTPError as error:
                if error.code not in BUSY or attempt == self._retries:
                    raise
            except (URLError, ConnectionError, TimeoutError) as error:
                # Only a read may be repeated blindly: a write may have been carried out.
                if attempt == self._retries or (method != "GET" and not _refused(error)):
                    raise Unreachable(
                        f"Airbyte at {self._base} does not answer: {error}. Is it running?"
                    ) from error
            time.sleep(min(2**attempt, 30))
        raise AssertionError("unreachable")

    @staticmethod
    def _failure(method: str, path: str, error: HTTPError) -> Failure:
        text = error.read().decode(errors="replace")
        try:
            text = json.loads(text).get("detail") or text
        except (ValueError, AttributeError):
            pass
        return Failure(f"Airbyte answers {error.code} to {method} {path.partition('?')[0]}: {text}")


def _refused(error: Exception) -> bool:
    return isinstance(getattr(error, "reason", error), ConnectionRefusedError)


class Applied:
    """Salted hashes of the secrets that were applied last, by object id."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            with open(path, encoding="utf-8") as file:
                self._content: Item = json.load(file)
        except (FileNotFoundError, ValueError):
            self._content = {"salt": secrets.token_hex(16), "secrets": {}}

    def knows(self, id_: str, given: Item) -> bool:
        return self._content["secrets"].get(id_) == self._hash(given)

    def remember(self, id_: str, given: Item) -> None:
        self._content["secrets"][id_] = self._hash(given)
        temporary = self._path + ".new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(self._content, file, indent=2)
        os.replace(temporary, self._path)

    def _hash(self, given: Item) -> str:
        text = json.dumps(given, sort_keys=True)
        return hashlib.scrypt(text.encode(), salt=self._content["salt"].encode(), n=2**12, r=8, p=1).hex()


def merge(one: Item, other: Item) -> Item:
    """A new dictionary with all of both; `other` wins."""
    merged = copy.deepcopy(one)
    for name, value in other.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both else copy.deepcopy(value)
    return merged


def differences(declared: Any, actual: Any) -> Any:
    """What of `declared` is not in `actual`, None for nothing. Fields that are not declared do not count."""
    if isinstance(declared, dict) and isinstance(actual, dict):
        parts = {name: differences(value, actual.get(name)) for name, value in declared.items()}
        return {name: part for name, part in parts.items() if part is not None} or None
    if isinstance(declared, list) and isinstance(actual, list) and len(declared) == len(actual):
        same = all(differences(one, other) is None for one, other in zip(declared, actual, strict=True))
        return None if same else declared
    return None if declared == actual else declared


def in_words_of(pattern: Any, value: Any) -> Any:
    """The part of `value` that `pattern` speaks of: the other side of a diff."""
    if isinstance(pattern, dict) and isinstance(value, dict):
        return {name: in_words_of(part, value.get(name)) for name, part in pattern.items()}
    return value


def ordered(streams: list[Item]) -> list[Item]:
    return sorted(streams, key=lambda stream: (stream["name"], stream.get("namespace") or ""))


class Workspace:
    """Reconciles one workspace; collects what it did, or would do in check mode."""

    def __init__(self, api: Api, applied: Applied, name: str, check_mode: bool) -> None:
        self._api = api
        self._applied = applied
        self._check_mode = check_mode
        self.actions: list[str] = []
        self.before: Item = {}
        self.after: Item = {}
        try:
            workspaces = [one for one in api.get_all("/workspaces") if name in ("", one["name"])]
            self._empty = False
        except Unreachable:
            if not check_mode:
                raise
            workspaces = [{"workspaceId": NOT_YET_MADE}]
            self._empty = True
        if len(workspaces) != 1:
            raise Failure(
                f"Airbyte has {len(workspaces)} workspaces{' named ' + name if name else ''}: "
                "name one that it has once"
            )
        self.id: str = workspaces[0]["workspaceId"]

    def actors(self, kind: str, declared: list[Item]) -> Item:
        """Sources or destinations. Returns name -> id."""
        existing = self._by_name(f"/{kind}s", kind, declared)
        return {one["name"]: self._actor(kind, one, existing.get(one["name"])) for one in declared}

    def connections(self, declared: list[Item], sources: Item, destinations: Item) -> Item:
        """Connections. Returns name -> id."""
        existing = self._by_name("/connections", "connection", declared)
        ids = {}
        for one in declared:
            for kind, known in (("source", sources), ("destination", destinations)):
                if one[kind] not in known:
                    raise Failure(f"connection {one['name']}: the {kind} {one[kind]} is not declared")
            ends = {"sourceId": sources[one["source"]], "destinationId": destinations[one["destination"]]}
            ids[one["name"]] = self._connection(one, ends, existing.get(one["name"]))
        return ids

    def _by_name(self, path: str, what: str, declared: list[Item]) -> dict[str, Item]:
        names = [one["name"] for one in declared]
        if twice := {name for name in names if names.count(name) > 1}:
            raise Failure(f"declared twice: {what} {', '.join(sorted(twice))}")
        found: dict[str, Item] = {}
        if not names or self._empty:
            return found
        for item in self._api.get_all(path, workspaceIds=self.id):
            if item["name"] in found and item["name"] in names:
                raise Failure(
                    f"Airbyte has more than one {what} named {item['name']}: rename or delete all but one"
                )
            found[item["name"]] = item
        return found

    def _actor(self, kind: str, declared: Item, actual: Item | None) -> str:
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
                raise Failure(
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
                raise Failure(
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


def run(parameters: Item, check_mode: bool) -> Item:
    """Reconcile; returns the module's result."""
    api = Api(
        parameters["url"],
        parameters["client_id"],
        parameters["client_secret"],
        parameters["timeout"],
        parameters["retries"],
    )
    workspace = Workspace(api, Applied(parameters["state_file"]), parameters["workspace"], check_mode)
    sources = workspace.actors("source", parameters["sources"])
    destinations = workspace.actors("destination", parameters["destinations"])
    connections = workspace.connections(parameters["connections"], sources, destinations)
    return {
        "changed": bool(workspace.actions),
        "actions": workspace.actions,
        "workspace_id": workspace.id,
        "sources": sources,
        "destinations": destinations,
        "connections": connections,
        "diff": {"before": workspace.before, "after": workspace.after},
    }


def main() -> None:
    actor = {
        "name": {"type": "str", "required": True},
        "type": {"type": "str", "required": True},
        "configuration": {"type": "dict", "default": {}},
        "secrets": {"type": "dict", "default": {}, "no_log": True},
    }
    connection = {
        "name": {"type": "str", "required": True},
        "source": {"type": "str", "required": True},
        "destination": {"type": "str", "required": True},
        "streams": {"type": "list", "elements": "dict", "required": True},
        "options": {"type": "dict", "default": {}},
    }
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "client_id": {"type": "str", "required": True},
            "client_secret": {"type": "str", "required": True, "no_log": True},
            "workspace": {"type": "str", "default": ""},
            "sources": {"type": "list", "elements": "dict", "default": [], "options": actor},
            "destinations": {"type": "list", "elements": "dict", "default": [], "options": actor},
            "connections": {"type": "list", "elements": "dict", "default": [], "options": connection},
            "state_file": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 300},
            "retries": {"type": "int", "default": 6},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module.params, module.check_mode))
    except Failure as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
