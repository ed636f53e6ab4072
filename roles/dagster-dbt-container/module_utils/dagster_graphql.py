"""Questions to Dagster's webserver over GraphQL, and what the events of a run say, for this role's modules."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Ask = Callable[[str, Json], Json]

#: How a run can end.
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}

_METADATA = """
metadataEntries {
  label
  ... on IntMetadataEntry { intRepr }
  ... on FloatMetadataEntry { floatValue }
  ... on TextMetadataEntry { text }
  ... on JsonMetadataEntry { jsonString }
}
"""
_ERROR = "error { message cause { message } errorChain { error { message } } }"
EVENTS = """
query Events($runId: ID!, $cursor: String) {
  runOrError(runId: $runId) {
    ... on Run {
      eventConnection(afterCursor: $cursor) {
        cursor
        hasMore
        events {
          __typename
          ... on MaterializationEvent { assetKey { path } METADATA }
          ... on AssetCheckEvaluationEvent {
            evaluation { checkName assetKey { path } success description METADATA }
          }
          ... on ExecutionStepFailureEvent { stepKey ERROR }
          ... on RunFailureEvent { message ERROR }
          ... on RunCanceledEvent { message }
        }
      }
    }
  }
}
""".replace("METADATA", _METADATA).replace("ERROR", _ERROR)


class DagsterError(Exception):
    """What went wrong, for a person. `run` holds what is known of the run; `answered` says whether anybody answered."""

    def __init__(self, message: str, run: Json | None = None, answered: bool = True) -> None:
        super().__init__(message)
        self.run = run
        self.answered = answered


def graphql(url: str, timeout: float = 60) -> Ask:
    """A function that asks the webserver one GraphQL question and waits `timeout` seconds for each part of the answer.
    It raises DagsterError where there is no answer.
    """

    def ask(query: str, variables: Json) -> Json:
        request = urllib.request.Request(
            f"{url.rstrip('/')}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            body = error.read(2000).decode(errors="replace")
            raise DagsterError(f"Dagster's webserver at {url} does not answer: {error}: {body}") from error
        except (OSError, ValueError) as error:
            raise DagsterError(
                f"Dagster's webserver at {url} does not answer: {error}", answered=False
            ) from error
        if answer.get("errors"):
            raise DagsterError(f"Dagster refused the question: {answer['errors'][0]['message']}")
        data: Json = answer["data"]
        return data

    return ask


def outcome(ask: Ask, run_id: str) -> tuple[Json, Json, list[str]]:
    """Assets with their metadata, checks with their outcome, and the errors of the run's events, oldest first."""
    assets: Json = {}
    checks: Json = {}
    errors: list[str] = []
    cursor = None
    while True:
        page = ask(EVENTS, {"runId": run_id, "cursor": cursor})["runOrError"]["eventConnection"]
        for event in page["events"]:
            kind = event["__typename"]
            if kind == "MaterializationEvent":
                assets["/".join(event["assetKey"]["path"])] = metadata(event["metadataEntries"])
            elif kind == "AssetCheckEvaluationEvent":
                check = event["evaluation"]
                checks[f"{'/'.join(check['assetKey']['path'])}:{check['checkName']}"] = {
                    "passed": check["success"],
                    "description": check["description"] or "",
                    "metadata": metadata(check["metadataEntries"]),
                }
            elif kind == "ExecutionStepFailureEvent":
                errors.append(f"Step {event['stepKey']} failed: {root_cause(event['error'])}")
            elif kind == "RunFailureEvent" and event["error"]:
                errors.append(root_cause(event["error"]))
            elif kind in ("RunFailureEvent", "RunCanceledEvent") and not errors and event.get("message"):
                errors.append(event["message"].strip())
        if not page["hasMore"]:
            return assets, checks, errors
        cursor = page["cursor"]


def reasons(checks: Json, errors: list[str]) -> list[str]:
    """Why a run did not succeed, the most telling first; empty where nothing was recorded."""
    broken = [
        f"Check {name}: {check['description']}" for name, check in checks.items() if not check["passed"]
    ]
    return [reason for reason in broken if not reason.endswith(": ")] or errors or broken


def metadata(entries: list[Json]) -> Json:
    """Label to value; entries of other kinds (schemas, links) are left out."""
    values: Json = {}
    for entry in entries:
        if "intRepr" in entry:
            values[entry["label"]] = int(entry["intRepr"])
        elif "floatValue" in entry:
            values[entry["label"]] = entry["floatValue"]
        elif "text" in entry:
            values[entry["label"]] = entry["text"]
        elif "jsonString" in entry:
            values[entry["label"]] = json.loads(entry["jsonString"])
    return values


def root_cause(error: Json | None) -> str:
    """The innermost message: the outer ones only say which step was being executed."""
    if not error:
        return "no error was recorded; look at the run in Dagster"
    chain = [link["error"]["message"] for link in error.get("errorChain") or []]
    return str((chain or [error["message"]])[-1]).strip()
