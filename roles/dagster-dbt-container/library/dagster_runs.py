"""Ansible module: the last runs of Dagster, read through GraphQL within a few seconds, whatever its state."""

from __future__ import annotations

import datetime
import threading
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dagster_graphql import ENDED, Ask, DagsterError, Json, graphql, outcome, reasons

DOCUMENTATION = r"""
---
module: dagster_runs
short_description: Read the last runs of Dagster
description:
  - Asks the webserver's GraphQL API for the last runs, and for each that failed why it did.
  - Never fails. A Dagster that does not answer is a result, and so is one that answers in part.
options:
  url: {description: Address of the webserver., type: str, required: true}
  pipeline: {description: Value of the tag C(retailflow/pipeline) that cycles have., type: str, default: sales}
  limit: {description: Number of runs., type: int, default: 5}
  timeout: {description: "Seconds for all questions together.", type: float, default: 5}
author: RetailFlow
attributes:
  check_mode: {support: full, description: It only reads.}
  diff_mode: {support: none, description: There is no diff.}
"""

EXAMPLES = r"""
- name: Read the last runs
  dagster_runs:
    url: http://localhost:3000
  register: last
"""

RETURN = r"""
answers: {description: Whether Dagster told its last runs in time., type: bool, returned: always}
problem: {description: Why not; empty where it did., type: str, returned: always}
runs:
  description: The last runs, newest first.
  type: list
  elements: dict
  returned: always
  contains:
    run_id: {description: Its id., type: str}
    job: {description: Its job., type: str}
    source: {description: "What asked for it: schedule, airbyte, verify, ansible or hand.", type: str}
    status: {description: "Dagster's status, such as QUEUED, STARTED, SUCCESS or FAILURE.", type: str}
    created: {description: "When it was asked for, ISO 8601 in UTC.", type: str}
    start: {description: "When it started; null before that.", type: str}
    end: {description: "When it ended; null before that.", type: str}
    seconds: {description: "From start to end, or until now.", type: float}
    failure: {description: "Why it failed or was cancelled, in one line; null otherwise.", type: str}
last_success:
  description: The last cycle that succeeded, as in C(runs); null where there is none.
  type: dict
  returned: always
"""

_RUNS = """
  __typename
  ... on Runs { results { runId jobName status creationTime startTime endTime tags { key value } } }
  ... on PythonError { message }
"""
LAST = f"""
query Last($limit: Int!, $pipeline: String!) {{
  last: runsOrError(limit: $limit) {{ {_RUNS} }}
  succeeded: runsOrError(
    filter: {{statuses: [SUCCESS], tags: [{{key: "retailflow/pipeline", value: $pipeline}}]}}, limit: 10
  ) {{ {_RUNS} }}
}}
"""
#: Has the tag of a cycle without being one: it tests the whole history once a day.
HISTORY_JOB = "history_job"
#: Characters of a reason.
ENOUGH = 600
#: Seconds between two questions to a webserver whose storage does not answer.
PAUSE = 0.5


def look(ask: Ask, params: Json, found: Json, deadline: float) -> None:
    """Fills `found` step by step, so that what is known when time runs out can be used.

    After a restart of PostgreSQL the webserver's pools hold dead connections, and its first answers are errors: it is
    asked again. Where nobody answers, that is said at once.
    """
    while True:
        try:
            answer = ask(LAST, {"limit": params["limit"], "pipeline": params["pipeline"]})
            for part in answer.values():
                if part["__typename"] != "Runs":
                    raise DagsterError(f"Dagster cannot read its storage: {part.get('message', '')}".strip())
            break
        except DagsterError as error:
            found["problem"] = one_line(str(error))
            if not error.answered or time.monotonic() + PAUSE >= deadline:
                return
            time.sleep(PAUSE)
    cycles = [run for run in answer["succeeded"]["results"] if run["jobName"] != HISTORY_JOB]
    found.update(
        answers=True,
        problem="",
        runs=[described(run) for run in answer["last"]["results"]],
        last_success=described(cycles[0]) if cycles else None,
    )
    for run in found["runs"]:
        if run["status"] in ENDED - {"SUCCESS"}:
            try:
                _, checks, errors = outcome(ask, run["run_id"])
            except (DagsterError, KeyError, TypeError):
                continue  # pruned meanwhile, or the webserver stumbles: the run is told without its reason
            run["failure"] = one_line((reasons(checks, errors) or ["No reason was recorded."])[0])


def described(run: Json) -> Json:
    """A run as this module returns it."""
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    start, end = run["startTime"], run["endTime"]
    return {
        "run_id": run["runId"],
        "job": run["jobName"],
        "source": tags.get("retailflow/source", ""),
        "status": run["status"],
        "created": moment(run["creationTime"]),
        "start": moment(start),
        "end": moment(end),
        "seconds": round((end or time.time()) - start, 1) if start else None,
        "failure": None,
    }


def moment(seconds: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601 in UTC."""
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def one_line(text: str) -> str:
    """The text without line breaks, cut where it grows long."""
    line = " ".join(text.split())
    return line if len(line) <= ENOUGH else line[: ENOUGH - 1] + "…"


def last_runs(ask: Ask, params: Json) -> Json:
    """What Dagster answers within `timeout` seconds; never raises."""
    timeout = float(params["timeout"])
    found: Json = {"answers": False, "problem": "", "runs": [], "last_success": None}

    def work() -> None:
        try:
            look(ask, params, found, time.monotonic() + timeout)
        except Exception as error:  # an answer that is not Dagster's
            found["problem"] = one_line(
                f"Dagster's answer is not understood: {type(error).__name__}: {error}"
            )

    # The time limit of a request counts from byte to byte; the thread makes it one for all questions together.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout)
    result = dict(found)
    if not result["answers"] and not result["problem"]:
        result["problem"] = f"Dagster's webserver at {params['url']} did not answer within {timeout:g} s."
    result["runs"] = [dict(run) for run in result["runs"]]
    return result


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "pipeline": {"type": "str", "default": "sales"},
            "limit": {"type": "int", "default": 5},
            "timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    params: dict[str, Any] = module.params
    module.exit_json(changed=False, **last_runs(graphql(params["url"], params["timeout"]), params))


if __name__ == "__main__":
    main()
