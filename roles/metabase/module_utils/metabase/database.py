"""The Snowflake connection and its first sync."""

from __future__ import annotations

import base64
import hashlib
import time

from .bodies import differences
from .errors import MetabaseError, UnreachableError
from .items import Item, only
from .memory import Memory
from .writer import Changes, Writer


def apply_database(
    writer: Writer, memory: Memory, wanted: Item, sync_timeout: int, server: bool
) -> int | None:
    """Create or update the connection and sync it where it changed; its id, None where check mode would create it."""
    key = wanted["private_key"].strip() + "\n"
    details = dict(wanted["details"], **{"use-password": False, "private-key-options": "uploaded"})
    known = writer.api("GET", "/api/database")["data"] if server else []
    found = only(
        [one for one in known if one["name"] == wanted["name"]],
        f"option database.name: the server has two databases named {wanted['name']!r}",
    )
    body = {"name": wanted["name"], "engine": "snowflake", "details": details}
    fingerprint = hashlib.sha256(key.encode()).hexdigest()
    uploaded = f"data:application/octet-stream;base64,{base64.b64encode(key.encode()).decode()}"
    secret = dict(body, details=dict(details, **{"private-key-value": uploaded}))
    label = f"database {wanted['name']}"
    changes: Changes
    identity: int | None
    try:
        if found is None:
            new = dict(secret, is_full_sync=True, is_on_demand=False, connection_source="admin")
            changes = {name: (None, value) for name, value in body.items()}
            identity = writer.write(f"create {label}", "POST", "/api/database", new, changes).get("id")
        else:
            identity = found["id"]
            changes = differences(body, found)
            if (memory.get("database_id"), memory.get("private_key_sha256")) != (identity, fingerprint):
                changes["private key"] = ("unknown or other", "given")
            if changes:
                writer.write(f"update {label}", "PUT", f"/api/database/{identity}", secret, changes)
            elif found.get("initial_sync_status") == "complete":
                return identity
    except UnreachableError:
        raise
    except MetabaseError as error:
        raise MetabaseError(
            f"option database (metabase_snowflake_*): {error}. Account, user, role, warehouse, database and key"
            " must fit together. None of them was kept; the next run goes on here"
        ) from None
    if writer.check_mode or identity is None:
        return identity
    memory.set(database_id=identity, private_key_sha256=fingerprint)
    writer.write(f"sync {label}", "POST", f"/api/database/{identity}/sync_schema", {})
    _await_sync(writer, identity, label, sync_timeout)
    return identity


def _await_sync(writer: Writer, identity: int, label: str, seconds: int) -> None:
    deadline = time.monotonic() + seconds
    while True:
        status = writer.api("GET", f"/api/database/{identity}")["initial_sync_status"]
        if status == "complete":
            return
        if status == "aborted" or time.monotonic() > deadline:
            raise MetabaseError(
                f"the sync of {label} is {status}: look at the server's log; database.details.role needs"
                " USAGE on the database and its schemas and SELECT on the marts"
            )
        time.sleep(0.5)
