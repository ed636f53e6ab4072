"""The only place that writes: it records every write, and sends it outside check mode."""

from __future__ import annotations

import json
from typing import Any

from .bodies import query_of
from .client import Api
from .errors import MetabaseError, UnreachableError
from .items import Item

Changes = dict[str, tuple[Any, Any]]  # field -> (before, after)


class Writer:
    """A session with the server; ``actions`` and ``diffs`` say what it wrote or, in check mode, would write."""

    def __init__(self, api: Api, check_mode: bool) -> None:
        self.api, self.check_mode = api, check_mode
        self.actions: list[str] = []
        self.diffs: list[Item] = []

    def write(self, label: str, method: str, path: str, body: Item, changes: Changes | None = None) -> Item:
        """Record the write and, outside check mode, send it."""
        self.actions.append(label)
        before, after = ({name: pair[side] for name, pair in (changes or {}).items()} for side in (0, 1))
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

    def log_in(self, admin: Item, site_name: str) -> bool:
        """Open a session, after the first-run set-up where that is still open; False in check mode without a server."""
        try:
            properties = self.api("GET", "/api/session/properties")
        except UnreachableError:
            if self.check_mode:
                self.actions.append("set up the server and all content")
                return False
            raise
        if not properties.get("has-user-setup"):
            body = {
                "token": properties.get("setup-token"),
                "user": {name: value for name, value in admin.items() if name != "former_password"},
                "prefs": {"site_name": site_name, "allow_tracking": False},
            }
            label = f"do the first-run set-up as {admin['email']}"
            self.api.session = self.write(label, "POST", "/api/setup", body).get("id") or ""
            return bool(self.api.session)
        try:
            self._open(admin["email"], admin["password"])
        except MetabaseError as error:
            if error.status not in (400, 401):
                raise
            if self._change_password(admin):
                return True
            raise MetabaseError(
                f"the server is set up already, and refuses the given password of {admin['email']} (option admin,"
                f" metabase_admin_password): {error}. Put the secret back that it was set up with, or change the"
                " password in the server"
            ) from None
        return True

    def _open(self, email: str, password: str) -> None:
        self.api.session = self.api("POST", "/api/session", {"username": email, "password": password})["id"]

    def _change_password(self, admin: Item) -> bool:
        """Give the administrator the wanted password where the former one still opens a session; whether one is open now.

        Metabase asks an administrator for no old password, and ends the sessions of who gets a new one
        (``PUT /api/user/:id/password`` in ``src/metabase/users_rest/api.clj``).
        """
        if not admin.get("former_password"):
            return False
        try:
            self._open(admin["email"], admin["former_password"])
        except MetabaseError as error:
            if error.status not in (400, 401):
                raise
            return False
        own = self.api("GET", "/api/user/current")["id"]
        label = f"change the password of {admin['email']}"
        answer = self.write(label, "PUT", f"/api/user/{own}/password", {"password": admin["password"]})
        self.api.session = answer.get("session_id") or self.api.session
        return True

    def log_out(self) -> None:
        """Leave no session behind."""
        if self.api.session:
            self.api("DELETE", "/api/session", refusals=(401, 404))


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
