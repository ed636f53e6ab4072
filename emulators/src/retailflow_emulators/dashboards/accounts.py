"""Who may call: the first-run set-up, sessions and API keys."""

from __future__ import annotations

import base64
import hmac
import logging
import math
import secrets
import uuid

from . import models
from .answers import API_VERSION, user
from .errors import ApiError
from .permissions import ADMINISTRATORS, ALL_USERS
from .records import Records, now
from .settings import Settings
from .store import Document
from .throttle import ATTEMPTS_OF_A_NAME, ATTEMPTS_OF_AN_ADDRESS, Throttle
from .vault import hash_password, hash_token, password_matches

log = logging.getLogger("retailflow.dashboards")

_NOBODY = hash_password(secrets.token_hex(16))  # checked where a user is unknown, so that both take as long


class Accounts:
    """The first administrator, sessions and API keys; every refusal is an ApiError."""

    def __init__(self, settings: Settings, records: Records) -> None:
        self._settings, self._records = settings, records
        self._names, self._addresses = Throttle(ATTEMPTS_OF_A_NAME), Throttle(ATTEMPTS_OF_AN_ADDRESS)
        for key in records.store.all("api_key"):
            if "user_id" not in key:  # of an earlier release, whose keys had no user
                added = self._key_user(key["name"], key["group_id"])
                records.changed("api_key", key["id"], {"user_id": added["id"]})
        if not records.store.setting("setup-token"):
            records.store.set_setting("setup-token", str(uuid.uuid4()))

    def properties(self) -> Document:
        """What anyone may read; the set-up token only until the first user exists."""
        ready = self.has_user_setup()
        return {
            "has-user-setup": ready,
            "setup-token": None if ready else self._records.store.setting("setup-token"),
            "site-name": self.site_name(),
            "anon-tracking-enabled": False,
            "engines": {"snowflake": {"driver-name": "Snowflake"}},
            "token-features": {},
            # Clients choose by the tag what they send.
            "version": {
                "tag": API_VERSION,
                "description": "RetailFlow's embedded dashboard server, not Metabase",
            },
        }

    def has_user_setup(self) -> bool:
        """Whether the first-run set-up is done, and so closed."""
        return any(self._people())

    def _people(self) -> list[Document]:
        return [one for one in self._records.store.all("user") if "password" in one]

    def site_name(self) -> str:
        """The site's title."""
        return self._records.store.setting("site-name") or self._settings.site_name

    def set_up(self, body: models.Setup) -> str:
        """Create the first user, once; the token of a session for it."""
        if self.has_user_setup():
            raise ApiError(403, "The /api/setup route can only be used to create the first user; one exists.")
        if not hmac.compare_digest(body.token, self._records.store.setting("setup-token") or ""):
            raise ApiError(400, errors={"token": "Token does not match the setup token."})
        first = {
            "email": body.user.email,
            "first_name": body.user.first_name,
            "last_name": body.user.last_name,
            "password": hash_password(body.user.password),
            "is_superuser": True,
            "date_joined": now(),
        }
        added = self._records.store.add("user", first, only_if_none=True)
        if added is None:
            raise ApiError(403, "The /api/setup route can only be used to create the first user; one exists.")
        self._records.store.set_setting("site-name", body.prefs.site_name)
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
        found = next((one for one in self._people() if one["email"] == email), None)
        if not password_matches(password, found["password"] if found else _NOBODY) or found is None:
            self._names.failed(email)
            self._addresses.failed(address)
            log.warning("a log-in from %s failed", address or "somewhere")
            raise ApiError(401, errors={"password": "did not match stored password"})
        self._names.succeeded(email)
        return self._open_session(found)

    def change_password(self, identity: int, body: models.PasswordChange, caller: Document) -> str | None:
        """A person's new password, which ends all sessions; the token of a new one where it is the caller's own.

        An administrator need not know the old one (``PUT /api/user/:id/password`` in ``src/metabase/users_rest/api.clj``).
        """
        who = self._records.find("user", identity)
        if "password" not in who:
            raise ApiError(404, "Not found.")
        if not caller["is_superuser"] and not password_matches(body.old_password or "", who["password"]):
            raise ApiError(400, errors={"old_password": "Invalid password"})
        self._records.changed("user", identity, {"password": hash_password(body.password)})
        self._records.store.end_sessions(identity)
        return self._open_session(who) if identity == caller["id"] else None

    def _open_session(self, who: Document) -> str:
        token = str(uuid.uuid4())
        self._records.store.add_session(hash_token(token), who["id"], self.session_seconds)
        return token

    @property
    def session_seconds(self) -> int:
        """How long a session lives."""
        return self._settings.session_minutes * 60

    def session_user(self, token: str) -> Document | None:
        """The user of a session, or None."""
        return self._records.store.session_user(hash_token(token)) if token else None

    def log_out(self, token: str) -> None:
        """End a session."""
        self._records.store.end_session(hash_token(token))

    def api_keys(self) -> list[Document]:
        """All API keys, masked."""
        return [self._public_key(key) for key in self._records.store.all("api_key")]

    def users(self) -> list[Document]:
        """The people, without the users of API keys."""
        return [user(one) for one in self._people()]

    def user(self, identity: int) -> Document:
        """A person or the user of an API key."""
        return user(self._records.find("user", identity))

    def add_api_key(self, body: models.NewApiKey, creator: Document) -> Document:
        """A new key with a user of its own; the answer alone ever shows the key."""
        self._records.find("group", body.group_id)
        if any(key["name"] == body.name for key in self._records.store.all("api_key")):
            raise ApiError(400, errors={"name": "An API key with this name already exists."})
        secret = "mb_" + base64.b64encode(secrets.token_bytes(32)).decode()
        document = {
            "name": body.name,
            "group_id": body.group_id,
            "masked_key": secret[:7] + "*" * 8,
            "hash": hash_token(secret),
            "user_id": self._key_user(body.name, body.group_id)["id"],
            "updated_by": {"id": creator["id"], "common_name": user(creator)["common_name"]},
        }
        added = self._records.added("api_key", document)
        return {**self._public_key(added), "unmasked_key": secret}

    def _key_user(self, name: str, group_id: int) -> Document:
        fields = {
            "email": f"api-key-user-{uuid.uuid4()}@api-key.invalid",
            "first_name": name,
            "last_name": "",
            "is_superuser": group_id == ADMINISTRATORS,
            "group_ids": [ALL_USERS, group_id],
            "date_joined": now(),
        }
        return self._records.added("user", fields)

    def remove_api_key(self, identity: int) -> None:
        """End a key; what its user made keeps naming that user."""
        self._records.find("api_key", identity)
        self._records.store.remove("api_key", identity)

    def api_key_user(self, secret: str) -> Document | None:
        """Who calls with this key, or None."""
        hashed = hash_token(secret)
        for key in self._records.store.all("api_key"):
            if hmac.compare_digest(key["hash"], hashed):
                return self._records.store.get("user", key["user_id"])
        return None

    def _public_key(self, key: Document) -> Document:
        group = self._records.find("group", key["group_id"])
        shown = {name: key.get(name) for name in ("id", "name", "masked_key", "created_at", "updated_at")}
        shown["updated_by"] = key.get("updated_by")
        return {**shown, "group": {name: group[name] for name in ("id", "name")}}
