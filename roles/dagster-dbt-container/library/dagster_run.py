"""Ansible module: launch a Dagster job through GraphQL, wait for it, and return its results."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dagster_graphql import ENDED, Ask, DagsterError, Json, graphql, outcome, reasons

DOCUMENTATION = r"""
---
module: dagster_run
short_description: Launch a Dagster job and wait until it has ended
description:
  - Launches a job over the webserver's GraphQL API, waits, and returns the durations of its steps, the
    metadata of its assets and the outcome of its asset checks.
  - Fails with the error of the step that failed, or with the check that did not pass, in one short message.
  - Within its role an action plugin of the same name calls it again and again, and prints how far the run is.
options:
  url: {description: Address of the webserver., type: str, required: true}
  location: {description: Code location of the job., type: str, required: true}
  repository: {description: Repository within the location., type: str, default: __repository__}
  job: {description: Name of the job., type: str, required: true}
  timeout: {description: Seconds until the run must have ended., type: int, default: 1200}
  poll: {description: Seconds between two questions., type: float, default: 2}
  tags: {description: More tags of the run., type: dict, default: {}}
  run_id: {description: Wait for this run instead of launching one., type: str, default: ""}
  partial:
    description: Return a run that has not ended after O(timeout) as it is, instead of failing.
    type: bool
    default: false
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
  description: The run that ended; of one that did not succeed only C(run_id) and C(status).
  type: dict
  returned: when a run was launched
  contains:
    run_id: {description: Its id., type: str}
    status: {description: How it ended., type: str}
    seconds: {description: "From launch to end, the queue included.", type: float}
    steps: {description: Step to seconds., type: dict}
    assets: {description: Asset to metadata of its materialization., type: dict}
    checks: {description: "Asset check to passed, description and metadata.", type: dict}
progress: {description: "How far a run is that has not ended.", type: str, returned: "with O(partial)"}
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
  ahead: runsOrError(
    filter: {statuses: [STARTING, STARTED, CANCELING], tags: [{key: "retailflow/pipeline", value: "sales"}]}, limit: 1
  ) {
    ... on Runs { results { runId jobName startTime } }
  }
}
"""
#: Reasons that a message quotes, and characters of each.
REASONS, ENOUGH = 2, 700


def patient(ask: Ask, deadline: float, pause: float) -> Ask:
    """Asks again until the deadline while the webserver does not answer: it may be restarting."""

    def again(query: str, variables: Json) -> Json:
        return until(deadline, pause, lambda: ask(query, variables))

    return again


def until(deadline: float, pause: float, work: Callable[[], Any]) -> Any:
    """Does the work again, with pauses, while it raises DagsterError and the deadline has not passed."""
    while True:
        try:
            return work()
        except DagsterError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(pause)


def ready(ask: Ask) -> None:
    """Reads a little from each storage; raises DagsterError where one fails.

    After a restart of PostgreSQL the webserver's pools hold dead connections, and only a question finds that out. A
    question may be asked again, a launch may not: it could be the second.
    """
    for answer in ask(READY, {}).values():
        if answer["__typename"] == "PythonError":
            raise DagsterError(f"Dagster cannot read its storage: {answer['message']}")


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
        raise DagsterError(f"Job {params['job']} cannot be launched: {answer['__typename']} {reason}".strip())
    return str(answer["run"]["runId"])


def progress(answer: Json, run_id: str) -> str:
    """How far the run is, for a person."""
    run = answer["runOrError"]
    now = time.time()
    if run["status"] in ("QUEUED", "NOT_STARTED"):
        for other in (answer.get("ahead") or {}).get("results", []):
            if other["runId"] != run_id:
                since = f", which started {now - other['startTime']:.0f} s ago" if other["startTime"] else ""
                return f"queued behind run {other['runId']} of {other['jobName']}{since}"
        return "queued"
    running = [
        f"in step {step['stepKey']}" + (f" for {now - step['startTime']:.0f} s" if step["startTime"] else "")
        for step in run["stepStats"]
        if step["status"] == "IN_PROGRESS"
    ]
    return ", ".join(running) or str(run["status"]).lower()


def wait(ask: Ask, run_id: str, timeout: float, poll: float) -> Json:
    """Waits until the run has ended, or for `timeout` seconds; returns its id, status, the seconds of its steps, and
    `progress` where it has not ended.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = ask(STATUS, {"runId": run_id})
        run = answer["runOrError"]
        if run["__typename"] != "Run":
            raise DagsterError(f"Run {run_id} is gone: somebody deleted it. Launch another one.")
        steps = {
            step["stepKey"]: round(step["endTime"] - step["startTime"], 1)
            for step in run["stepStats"]
            if step["startTime"] and step["endTime"]
        }
        found: Json = {"run_id": run_id, "status": run["status"], "steps": steps}
        if run["status"] in ENDED:
            return found
        if time.monotonic() >= deadline:
            return found | {"progress": progress(answer, run_id)}
        time.sleep(poll)


def run_job(ask: Ask, params: Json) -> Json:
    """Launches, waits, reads. Raises DagsterError with the reason when the run did not succeed."""
    began = time.monotonic()
    run_id = params["run_id"]
    if not run_id:
        until(began + min(READY_SECONDS, params["timeout"]), params["poll"], lambda: ready(ask))
        run_id = launch(ask, params)
        if params["partial"]:
            return {"run_id": run_id, "status": "QUEUED", "progress": "launched"}
    steady = patient(ask, began + params["timeout"], params["poll"])
    run = wait(steady, run_id, params["timeout"], params["poll"])
    if "progress" in run:
        if params["partial"]:
            return run
        raise DagsterError(
            f"Run {run_id} of {params['job']} had not ended after {params['timeout']:.0f} s"
            f" ({run['progress']}). It goes on. Look at it in Dagster.",
            {"run_id": run_id, "status": run["status"]},
        )
    assets, checks, errors = outcome(steady, run_id)
    run.update(seconds=round(time.monotonic() - began, 1), assets=assets, checks=checks)
    if run["status"] != "SUCCESS":
        raise DagsterError(
            f"Run {run_id} of {params['job']} ended with {run['status']}. {told(reasons(checks, errors))}",
            {"run_id": run_id, "status": run["status"]},
        )
    return run


def told(why: list[str]) -> str:
    """The first reasons, short, and how many more there are."""
    lines = [" ".join(reason.split()) for reason in why]
    short = [line if len(line) <= ENOUGH else f"{line[: ENOUGH - 1]}…" for line in lines[:REASONS]]
    more = len(lines) - len(short)
    if not short:
        short = ["No reason was recorded; look at the run in Dagster."]
    return " ".join(short) + (f" And {more} more, see the run in Dagster." if more > 0 else "")


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
            "run_id": {"type": "str", "default": ""},
            "partial": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True)
    try:
        run = run_job(graphql(module.params["url"]), module.params)
    except DagsterError as problem:
        module.fail_json(msg=str(problem), **({"run": problem.run} if problem.run else {}))
    else:
        module.exit_json(changed=True, run=run, progress=run.pop("progress", ""))


if __name__ == "__main__":
    main()
