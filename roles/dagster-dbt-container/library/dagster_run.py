"""Ansible module: launch a Dagster job through GraphQL, wait for it, and bring back what it found."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: dagster_run
short_description: Launch a Dagster job and wait until it has ended
description:
  - Launches a job over the webserver's GraphQL API, waits, and returns the durations of its steps, the
    metadata of its assets and the outcome of its asset checks.
  - Fails with the error of the step that failed, or with the check that did not pass.
options:
  url: {description: Address of the webserver., type: str, required: true}
  location: {description: Code location of the job., type: str, required: true}
  repository: {description: Repository within the location., type: str, default: __repository__}
  job: {description: Name of the job., type: str, required: true}
  timeout: {description: Seconds until the run must have ended., type: int, default: 1200}
  poll: {description: Seconds between two questions., type: float, default: 2}
  tags: {description: More tags of the run., type: dict, default: {}}
author: RetailFlow
attributes:
  check_mode: {support: full, description: Launches nothing.}
  diff_mode: {support: none, description: There is no diff.}
"""

EXAMPLES = r"""
- name: Run one cycle now
  dagster_run:
    url: http://localhost:3000
    location: retailflow
    job: sales_job
"""

RETURN = r"""
run:
  description: The run that ended.
  type: dict
  returned: when a run was launched
  contains:
    run_id: {description: Its id., type: str}
    status: {description: How it ended., type: str}
    seconds: {description: From launch to end, the queue included., type: float}
    steps: {description: Step to seconds., type: dict}
    assets: {description: Asset to metadata of its materialization., type: dict}
    checks: {description: "Asset check to passed, description and metadata.", type: dict}
"""

READY = """
{
  runsOrError(limit: 1) { __typename ... on Runs { results { runId } } ... on PythonError { message } }
  assetsOrError(limit: 1) { __typename ... on PythonError { message } }
}
"""
#: How long a webserver is waited for whose storage does not answer.
READY_SECONDS = 30
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PipelineNotFoundError { message }
    ... on InvalidSubsetError { message }
    ... on UnauthorizedError { message }
  }
}
"""
STATUS = """
query Status($runId: ID!) {
  runOrError(runId: $runId) {
    __typename
    ... on Run { status stepStats { stepKey status startTime endTime } }
  }
}
"""
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
        }
      }
    }
  }
}
""".replace("METADATA", _METADATA).replace("ERROR", _ERROR)
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}

Json = dict[str, Any]
Ask = Callable[[str, Json], Json]


class RunError(Exception):
    """What went wrong, for a person; `run` holds what is known of the run."""

    def __init__(self, message: str, run: Json | None = None) -> None:
        super().__init__(message)
        self.run = run


def graphql(url: str) -> Ask:
    """A function that asks the webserver one GraphQL question. It raises RunError where there is no
    answer.
    """

    def ask(query: str, variables: Json) -> Json:
        request = urllib.request.Request(
            f"{url.rstrip('/')}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            body = error.read(2000).decode(errors="replace")
            raise RunError(f"Dagster's webserver at {url} does not answer: {error}: {body}") from error
        except (OSError, ValueError) as error:
            raise RunError(f"Dagster's webserver at {url} does not answer: {error}") from error
        if answer.get("errors"):
            raise RunError(f"Dagster refused the question: {answer['errors'][0]['message']}")
        data: Json = answer["data"]
        return data

    return ask


def patient(ask: Ask, deadline: float, pause: float) -> Ask:
    """Asks again until the deadline while the webserver does not answer: it may be restarting."""

    def again(query: str, variables: Json) -> Json:
        return until(deadline, pause, lambda: ask(query, variables))

    return again


def until(deadline: float, pause: float, work: Callable[[], Any]) -> Any:
    """Does the work again, with pauses, while it raises RunError and the deadline has not passed."""
    while True:
        try:
            return work()
        except RunError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(pause)


def ready(ask: Ask) -> None:
    """Reads a little from each storage; raises RunError where one fails.

    After a restart of PostgreSQL the webserver's pools hold dead connections, and only a question finds that out. A
    question may be asked again, a launch may not: it could be the second.
    """
    for answer in ask(READY, {}).values():
        if answer["__typename"] == "PythonError":
            raise RunError(f"Dagster cannot read its storage: {answer['message']}")


def launch(ask: Ask, params: Json) -> str:
    """Launches a run and returns its id."""
    selector = {
        "repositoryLocationName": params["location"],
        "repositoryName": params["repository"],
        "jobName": params["job"],
    }
    tags = [{"key": key, "value": str(value)} for key, value in params["tags"].items()]
    answer = ask(
        LAUNCH, {"params": {"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": tags}}}
    )["launchRun"]
    if answer["__typename"] != "LaunchRunSuccess":
        reason = answer.get("message") or "; ".join(e["message"] for e in answer.get("errors", []))
        raise RunError(f"Job {params['job']} cannot be launched: {answer['__typename']} {reason}".strip())
    return str(answer["run"]["runId"])


def wait(ask: Ask, run_id: str, timeout: float, poll: float) -> Json:
    """Waits until the run has ended; returns its status and the seconds of its steps."""
    deadline = time.monotonic() + timeout
    while True:
        answer = ask(STATUS, {"runId": run_id})["runOrError"]
        if answer["__typename"] != "Run":
            raise RunError(f"Run {run_id} is gone.")
        steps = {
            step["stepKey"]: round(step["endTime"] - step["startTime"], 1)
            for step in answer["stepStats"]
            if step["startTime"] and step["endTime"]
        }
        if answer["status"] in ENDED:
            return {"run_id": run_id, "status": answer["status"], "steps": steps}
        if time.monotonic() >= deadline:
            running = [s["stepKey"] for s in answer["stepStats"] if s["status"] == "IN_PROGRESS"]
            where = f"in step {', '.join(running)}" if running else f"{answer['status'].lower()}"
            raise RunError(
                f"Run {run_id} had not ended after {timeout:.0f} s ({where}); it goes on. See it in Dagster.",
                {"run_id": run_id, "status": answer["status"], "steps": steps},
            )
        time.sleep(poll)


def outcome(ask: Ask, run_id: str) -> tuple[Json, Json, list[str]]:
    """Assets with their metadata, checks with their outcome, and the errors of the run's events."""
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
        if not page["hasMore"]:
            return assets, checks, errors
        cursor = page["cursor"]


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


def run_job(ask: Ask, params: Json) -> Json:
    """Launches, waits, reads. Raises RunError with the reason when the run did not succeed."""
    began = time.monotonic()
    until(began + min(READY_SECONDS, params["timeout"]), params["poll"], lambda: ready(ask))
    run_id = launch(ask, params)
    steady = patient(ask, began + params["timeout"], params["poll"])
    run = wait(steady, run_id, params["timeout"], params["poll"])
    assets, checks, errors = outcome(steady, run_id)
    run.update(seconds=round(time.monotonic() - began, 1), assets=assets, checks=checks)
    if run["status"] != "SUCCESS":
        broken = [f"Check {name}: {c['description']}" for name, c in checks.items() if not c["passed"]]
        reasons = [reason for reason in broken if not reason.endswith(": ")] or errors or broken
        raise RunError(
            f"Run {run_id} of {params['job']} ended with {run['status']}. "
            + (" ".join(reasons) or "No error was recorded; look at the run in Dagster."),
            run,
        )
    return run


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "location": {"type": "str", "required": True},
            "repository": {"type": "str", "default": "__repository__"},
            "job": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 1200},
            "poll": {"type": "float", "default": 2},
            "tags": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True)
    try:
        run = run_job(graphql(module.params["url"]), module.params)
    except RunError as problem:
        module.fail_json(msg=str(problem), run=problem.run)
    else:
        module.exit_json(changed=True, run=run)


if __name__ == "__main__":
    main()
