"""The last runs, as the role tells them: whatever Dagster's state, within its time, in questions that Dagster knows."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import ansible.module_utils.dagster_graphql as questions
import pytest
from dagster_graphql.schema import create_schema
from graphql import parse, validate

import dagster_run
import dagster_runs

PARAMS = {"url": "http://dagster:3000", "pipeline": "sales", "limit": 5, "timeout": 5}
Events = dict[str, list[dict[str, Any]]]


def run(
    run_id: str,
    status: str,
    job: str = "sales_job",
    start: float | None = 1e9,
    end: float | None = 1e9 + 20.5,
) -> Any:
    tags = [
        {"key": "retailflow/source", "value": "schedule"},
        {"key": "retailflow/pipeline", "value": "sales"},
    ]
    times = {"creationTime": 1e9 - 1, "startTime": start, "endTime": end}
    return {"runId": run_id, "jobName": job, "status": status, "tags": tags, **times}


def dagster(
    last: list[Any], succeeded: list[Any], events: Events
) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """A webserver with these runs; the events of a run come on one page."""

    def ask(query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if query == dagster_runs.LAST:
            assert variables == {"limit": 5, "pipeline": "sales"}
            return {
                name: {"__typename": "Runs", "results": runs}
                for name, runs in {"last": last, "succeeded": succeeded}.items()
            }
        page = {"events": events[variables["runId"]], "cursor": "1", "hasMore": False}
        return {"runOrError": {"eventConnection": page}}

    return ask


def test_every_question_is_one_that_dagster_knows() -> None:
    schema = create_schema().graphql_schema
    for question in (
        dagster_runs.LAST,
        dagster_run.READY,
        dagster_run.LAUNCH,
        dagster_run.STATUS,
        questions.EVENTS,
    ):
        assert validate(schema, parse(question)) == []


def test_the_last_runs_are_listed_with_their_times_and_the_last_cycle_that_succeeded() -> None:
    cycle, history = run("r2", "SUCCESS"), run("r3", "SUCCESS", job="history_job")
    waiting = run("r4", "QUEUED", start=None, end=None)
    told = dagster_runs.last_runs(dagster([waiting, history, cycle], [history, cycle], {}), PARAMS)
    assert (told["answers"], told["problem"]) == (True, "")
    assert [one["run_id"] for one in told["runs"]] == ["r4", "r3", "r2"]
    assert told["runs"][2] == {
        "run_id": "r2",
        "job": "sales_job",
        "source": "schedule",
        "status": "SUCCESS",
        "created": "2001-09-09T01:46:39Z",
        "start": "2001-09-09T01:46:40Z",
        "end": "2001-09-09T01:47:00Z",
        "seconds": 20.5,
        "failure": None,
    }
    assert (told["runs"][0]["start"], told["runs"][0]["seconds"]) == (None, None)
    assert told["last_success"]["run_id"] == "r2", "tests of the history are no cycle"


@pytest.mark.parametrize(
    ("status", "events", "reason"),
    [
        (
            "FAILURE",
            [
                {
                    "__typename": "AssetCheckEvaluationEvent",
                    "evaluation": {
                        "checkName": "reconcile",
                        "assetKey": {"path": ["MARTS", "fct_sales"]},
                        "success": False,
                        "description": "sync: RAW\ndiffers",
                        "metadataEntries": [],
                    },
                },
                {"__typename": "ExecutionStepFailureEvent", "stepKey": "s", "error": {"message": "blocked"}},
            ],
            "Check MARTS/fct_sales:reconcile: sync: RAW differs",
        ),
        (
            "FAILURE",
            [
                {
                    "__typename": "ExecutionStepFailureEvent",
                    "stepKey": "airbyte_sync",
                    "error": {"message": "gone"},
                }
            ],
            "Step airbyte_sync failed: gone",
        ),
        (
            "FAILURE",
            [{"__typename": "RunFailureEvent", "message": "Restarted.", "error": None}],
            "Restarted.",
        ),
        ("CANCELED", [{"__typename": "RunCanceledEvent", "message": "By hand."}], "By hand."),
        ("FAILURE", [], "No reason was recorded."),
    ],
    ids=["check", "step", "run", "cancelled", "nothing"],
)
def test_a_run_that_failed_says_why(status: str, events: list[dict[str, Any]], reason: str) -> None:
    told = dagster_runs.last_runs(dagster([run("r1", status)], [], {"r1": events}), PARAMS)
    assert told["runs"][0]["failure"] == reason
    assert told["last_success"] is None


def test_a_reason_that_cannot_be_read_costs_the_reason_alone() -> None:
    told = dagster_runs.last_runs(dagster([run("r1", "FAILURE"), run("r0", "SUCCESS")], [], {}), PARAMS)
    assert (told["answers"], [one["failure"] for one in told["runs"]]) == (True, [None, None])


def test_dead_connections_to_the_storage_are_asked_again() -> None:
    healthy, lost = dagster([run("r1", "SUCCESS")], [], {}), iter(["PythonError", "500"])

    def ask(query: str, variables: dict[str, Any]) -> dict[str, Any]:
        match next(lost, None):
            case "PythonError":
                return {"last": {"__typename": "PythonError", "message": "server closed the connection"}}
            case "500":
                raise questions.DagsterError("HTTP Error 500")
        return healthy(query, variables)

    assert dagster_runs.last_runs(ask, PARAMS)["answers"]


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ("nobody", "refused"),
        ("hangs", "timed out|did not answer within 1 s"),
        ("drips", "did not answer within 1 s"),
        ("foreign", "not understood"),
        ("500", "HTTP Error 500"),
    ],
)
def test_a_dagster_that_does_not_answer_is_a_line_within_the_time(state: str, problem: str) -> None:
    """Nobody listens; one who takes the question and says nothing; a byte now and then; another server's page."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if state == "hangs":
                released.wait(30)
                return
            body = json.dumps({"data": {"kind": "of another"}}).encode()
            self.send_response(500 if state == "500" else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if state == "drips" and released.wait(0.4):
                    return

        def log_message(self, *_: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Clients that give up leave broken pipes."""

    with Server(("127.0.0.1", 0), Handler) as server, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, and nobody listens
        port = unused.getsockname()[1] if state == "nobody" else server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        params = PARAMS | {"url": f"http://127.0.0.1:{port}", "timeout": 1}
        began = time.monotonic()
        told = dagster_runs.last_runs(questions.graphql(params["url"], 1), params)
        assert time.monotonic() - began < 2
        released.set()
        server.shutdown()
    assert (told["answers"], told["runs"], told["last_success"]) == (False, [], None)
    assert re.search(problem, told["problem"])
