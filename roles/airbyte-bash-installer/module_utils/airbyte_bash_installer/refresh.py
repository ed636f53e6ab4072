"""A refresh of a connection's streams: asked for, watched, explained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from .api import CONFIGURATION, Api
from .errors import AirbyteError

Item = dict[str, Any]
ENDED = ("succeeded", "failed", "cancelled")
POLL_SECONDS = 2


def find_connection(api: Api, workspace: str, name: str) -> Item:
    """The connection of that name, or the only one there is. Raises AirbyteError."""
    ids = [one["workspaceId"] for one in api.get_all("/workspaces") if workspace in ("", one["name"])]
    found = [one for id_ in ids for one in api.get_all("/connections", workspaceIds=id_)]
    wanted = [one for one in found if name in ("", one["name"])]
    if len(wanted) == 1:
        return wanted[0]
    names = ", ".join(sorted(one["name"] for one in found)) or "none"
    what = f"{len(wanted)} connections{' named ' + name if name else ''}"
    raise AirbyteError(
        f"Airbyte has {what}; its connections: {names}. Nothing was refreshed. Name one of them."
    )


def streams_of(api: Api, connection: Item) -> list[tuple[str, str]]:
    """The namespace and name of every stream that the connection replicates."""
    # The public API leaves out the namespace, which a refresh has to name.
    details = api.call(
        "POST", "/connections/get", {"connectionId": connection["connectionId"]}, CONFIGURATION
    )
    return sorted(
        (one["stream"].get("namespace") or "", one["stream"]["name"])
        for one in details["syncCatalog"]["streams"]
        if one.get("config", {}).get("selected", True)
    )


def choose(wanted: Sequence[str], present: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The streams of those names, `name` or `namespace.name`; every one without names. Raises AirbyteError."""
    shown = [f"{namespace}.{name}" if namespace else name for namespace, name in present]
    chosen = []
    for text in dict.fromkeys(wanted):
        found = [stream for stream, whole in zip(present, shown, strict=True) if text in (stream[1], whole)]
        if len(found) != 1:
            problem = "no stream" if not found else "more than one stream"
            raise AirbyteError(
                f"The connection has {problem} named {text!r}. Nothing was refreshed."
                f" Its streams: {', '.join(shown) or 'none'}."
            )
        if found[0] not in chosen:
            chosen.append(found[0])
    return chosen or present


def start(api: Api, connection: Item, streams: list[tuple[str, str]]) -> int | None:
    """Ask for the job; returns its id, or None while another job of the connection runs. Raises AirbyteError."""
    # Airbyte's public API answers "Refreshes are not supported in the public API" (airbyte-platform,
    # JobsController.kt); the configuration API takes them (ConnectionApiController.kt, refreshConnectionStream).
    body = {
        "connectionId": connection["connectionId"],
        "refreshMode": "Truncate",  # rows that the source no longer has go, once the new ones are complete
        "streams": [
            {"streamName": name, **({"streamNamespace": namespace} if namespace else {})}
            for namespace, name in streams
        ],
    }
    try:
        job = api.call("POST", "/connections/refresh", body, CONFIGURATION).get("job")
    except AirbyteError as error:
        if error.status == 409:
            return None
        raise
    if not job:
        raise AirbyteError(
            "Airbyte started no job. Nothing was refreshed. Its destination connector does not support refreshes:"
            " use a newer one."
        )
    return int(job["id"])


def watch(api: Api, job_id: int, seconds: float) -> Item:
    """The public API's job when it has ended, or as it is after so many seconds. Raises AirbyteError."""
    until = time.monotonic() + seconds
    while True:
        job = api.call("GET", f"/jobs/{job_id}")
        if job["status"] in ENDED or time.monotonic() >= until:
            return job
        time.sleep(POLL_SECONDS)


def failure_of(api: Api, job_id: int) -> str:
    """Why a job failed, in Airbyte's words; empty where it says nothing."""
    attempts = api.call("POST", "/jobs/get", {"id": job_id}, CONFIGURATION).get("attempts") or []
    for one in reversed(attempts):
        failures = (one["attempt"].get("failureSummary") or {}).get("failures") or []
        for failure in failures:
            if text := failure.get("externalMessage") or failure.get("internalMessage"):
                return str(text)
    return ""
