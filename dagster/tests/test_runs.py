"""What a run does at its edges: Airbyte busy, slow or broken; dbt hanging; the module that launches runs."""

from __future__ import annotations

import json
import re
import runpy
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from ansible.module_utils.dagster_graphql import DagsterError

import dagster_run
import dbt_support
from retailflow_dagster.lib import dbt as dbt_lib
from retailflow_dagster.lib.airbyte import AirbyteSync


class Airbyte:
    """The calls of Airbyte's API that a sync makes. `results` are the ends of our jobs, in order."""

    def __init__(self) -> None:
        self.workspaces, self.names = ["w1"], ["shop to lake"]
        self.jobs: dict[int, dict[str, Any]] = {}
        self.results = ["succeeded"]
        self.started = 0
        self.polls_until_end = 2
        self.intruder: int | None = None  # a job that appears just before ours would

    def add(self, job_id: int, end: str, polls: int) -> dict[str, Any]:
        self.jobs[job_id] = {"jobId": job_id, "status": "running", "jobType": "sync", "connectionId": "c0"}
        self.jobs[job_id] |= {"end": end, "polls": polls}
        return self.jobs[job_id]

    def look(self) -> list[dict[str, Any]]:
        for job in self.jobs.values():
            job["polls"] -= 1
            if job["polls"] <= 0 and job["status"] == "running":
                job["status"] = job["end"]
        return [{k: v for k, v in job.items() if k not in ("end", "polls")} for job in self.jobs.values()]

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        if path.endswith("/applications/token"):
            return 200, {"access_token": "t"}
        if path.endswith("/workspaces"):
            return 200, {"data": [{"workspaceId": w} for w in self.workspaces]}
        if path.endswith("/connections"):
            return 200, {"data": [{"connectionId": f"c{i}", "name": n} for i, n in enumerate(self.names)]}
        if path.endswith("/connections/get"):
            return 200, {"connectionId": "c0"}
        if method == "POST" and path.endswith("/jobs"):
            if self.intruder:
                self.add(self.intruder, "succeeded", 6)
                self.intruder = None
            if any(job["status"] == "running" for job in self.jobs.values()):
                return 409, {"title": "conflict"}
            self.started += 1
            job = self.add(100 + self.started, self.results.pop(0), self.polls_until_end)
            return 200, {"jobId": job["jobId"], "status": "running", "jobType": "sync"}
        if method == "GET" and path.endswith("/jobs"):
            return 200, {"data": self.look()}
        job_id = int(path.rsplit("/", 1)[1])
        if method == "DELETE":
            self.jobs[job_id] |= {"status": "cancelled", "end": "cancelled"}
        (job,) = [job for job in self.look() if job["jobId"] == job_id]
        return 200, job | {"rowsSynced": 7, "bytesSynced": 70}


@pytest.fixture
def airbyte() -> Iterator[tuple[Airbyte, AirbyteSync]]:
    fake = Airbyte()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            status, body = fake.answer(self.command, self.path.partition("?")[0])
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = _serve

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield (
        fake,
        AirbyteSync(
            url=f"http://127.0.0.1:{server.server_port}/",
            client_id="id",
            client_secret="secret",
            connection_name="shop to lake",
            sync_timeout=10,
            poll_interval=0.01,
        ),
    )
    server.shutdown()


def test_a_sync_is_started_and_waited_for(airbyte: tuple[Airbyte, AirbyteSync]) -> None:
    fake, sync = airbyte
    told: list[tuple[int, str]] = []
    result = sync.run(lambda job_id: told.append((job_id, fake.jobs[job_id]["status"])))
    assert (result.job_id, result.rows, result.bytes, fake.started) == (101, 7, 70, 1)
    assert told == [(101, "running")], "the run learns the job's id when it starts"


def test_a_job_under_way_is_waited_for_and_ours_is_started_then(airbyte: tuple[Airbyte, AirbyteSync]) -> None:
    fake, sync = airbyte
    fake.add(5, "succeeded", 4)
    assert sync.run().job_id == 101
    assert fake.jobs[5]["status"] == "succeeded"


def test_a_refresh_under_way_is_waited_for_too(airbyte: tuple[Airbyte, AirbyteSync]) -> None:
    fake, sync = airbyte
    fake.add(5, "succeeded", 4)["jobType"] = "refresh"
    assert sync.run().job_id == 101
    assert fake.jobs[5]["status"] == "succeeded"


@pytest.mark.timeout(60)
def test_a_job_that_comes_in_between_is_waited_for(airbyte: tuple[Airbyte, AirbyteSync]) -> None:
    fake, sync = airbyte
    fake.intruder = 6
    assert sync.run().job_id == 101
    assert fake.jobs[6]["status"] == "succeeded"


def test_a_failed_sync_fails(airbyte: tuple[Airbyte, AirbyteSync]) -> None:
    fake, sync = airbyte
    fake.results = ["failed"]
    with pytest.raises(dg.Failure, match="Job failed: 101"):
        sync.run()


def test_a_sync_that_hangs_is_cancelled_in_time(airbyte: tuple[Airbyte, AirbyteSync]) -> None:
    fake, sync = airbyte
    fake.polls_until_end = 10**9
    with pytest.raises(dg.Failure, match="not ready after the timeout"):
        AirbyteSync(**{**sync.model_dump(), "sync_timeout": 0.3}).run()
    assert fake.jobs[101]["status"] == "cancelled"


def test_a_foreign_job_that_hangs_ends_the_wait_and_is_left_alone(
    airbyte: tuple[Airbyte, AirbyteSync],
) -> None:
    fake, sync = airbyte
    fake.add(5, "succeeded", 10**9)
    with pytest.raises(dg.Failure, match=r"Airbyte job 5 .* still running after"):
        AirbyteSync(**{**sync.model_dump(), "sync_timeout": 0.2}).run()
    assert fake.jobs[5]["status"] == "running"


def test_a_name_that_is_missing_or_used_twice_is_refused(airbyte: tuple[Airbyte, AirbyteSync]) -> None:
    fake, sync = airbyte
    fake.names = ["other"]
    with pytest.raises(
        dg.Failure, match=r"0 Airbyte connections are named 'shop to lake' \(there are: other\)"
    ):
        sync.run()
    fake.names = ["shop to lake", "shop to lake"]
    with pytest.raises(dg.Failure, match="2 Airbyte connections"):
        sync.run()


def test_the_latest_syncs_are_listed_newest_first(airbyte: tuple[Airbyte, AirbyteSync]) -> None:
    fake, sync = airbyte
    for job_id, status in {5: "succeeded", 7: "running", 6: "failed"}.items():
        fake.add(job_id, "succeeded", 10**9)
        times = {"startTime": "2026-01-01T00:00:01Z", "lastUpdatedAt": f"2026-01-01T00:00:0{job_id}Z"}
        fake.jobs[job_id] |= {"status": status} | times
    fake.jobs[6]["jobType"] = "refresh"
    fake.add(8, "succeeded", 10**9)["jobType"] = "clear"
    found = [(job.id, job.succeeded, job.under_way) for job in sync.latest_syncs()]
    assert found == [(7, False, True), (6, False, False), (5, True, False)]
    last = sync.latest_syncs()[2]
    assert (last.started, last.ended) == (1767225601, 1767225605)


def test_whoever_asks_for_the_latest_syncs_need_not_be_patient() -> None:
    began = time.monotonic()
    absent = AirbyteSync(url="http://127.0.0.1:1", client_id="id", client_secret="s", connection_name="c")
    with pytest.raises(dg.Failure, match="Max retries"):
        absent.latest_syncs()
    assert time.monotonic() - began < 2


def test_a_choice_of_workspaces_is_refused(airbyte: tuple[Airbyte, AirbyteSync]) -> None:
    fake, sync = airbyte
    fake.workspaces = ["w1", "w2"]
    with pytest.raises(dg.Failure, match="has 2 workspaces: set AIRBYTE_WORKSPACE_ID"):
        sync.run()


HANG = "import time; print('up', flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {HANG}"


@pytest.mark.parametrize(("program", "again"), [(HANG, True), (DEAF, False)], ids=["polite", "deaf"])
def test_a_dbt_that_hangs_is_ended_and_the_failure_says_so(
    program: str, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbt_lib, "GRACE_SECONDS", 0.3)
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout and process.stdout.readline() == b"up\n"
        with (
            pytest.raises(dg.Failure, match="dbt build had not finished after 0 s and was stopped") as caught,
            dbt_lib.deadline(process, 0.2, "dbt build", again),
        ):
            process.stdout.read()  # as dagster-dbt does: until the process has ended
            raise RuntimeError("dbt exited with an error")
    assert caught.value.allow_retries is again
    assert time.monotonic() - began < 30


def test_a_dbt_that_ends_in_time_keeps_its_own_error() -> None:
    with (
        subprocess.Popen([sys.executable, "-c", ""]) as process,
        pytest.raises(ValueError, match="its own"),
        dbt_lib.deadline(process, 60, "dbt build"),
    ):
        raise ValueError("its own")


@pytest.mark.parametrize(("statuses", "only_tests"), [(["pass", "fail"], True), (["fail", "error"], False)])
def test_a_failed_build_names_its_nodes_and_tells_data_from_machinery(
    statuses: list[str], only_tests: bool, tmp_path: Path
) -> None:
    results = [{"unique_id": f"n.{s}", "status": s, "message": f"it  is\n{s}"} for s in statuses]
    (tmp_path / "run_results.json").write_text(json.dumps({"results": results}))
    expected = [f"n.{s}: {s}: it is {s}" for s in statuses if s != "pass"]
    assert dbt_lib.failed_nodes(tmp_path) == (expected, only_tests)


def test_a_dbt_that_never_ran_names_no_node(tmp_path: Path) -> None:
    assert dbt_lib.failed_nodes(tmp_path) == ([], False)


def test_dbt_is_asked_neither_for_its_version_nor_for_an_adapter() -> None:
    resource = dbt_lib.dbt_resource()
    assert resource._cli_version.major == 1
    assert resource._initialize_dbt_core_adapter([]) is None


PARAMS: dict[str, Any] = {
    "location": "retailflow",
    "repository": "__repository__",
    "job": "sales_job",
    "tags": {"why": "test"},
}
PARAMS |= {"timeout": 5, "poll": 0.01, "run_id": "", "partial": False}
READY = {"runsOrError": {"__typename": "Runs"}, "assetsOrError": {"__typename": "AssetConnection"}}
RECONCILED: dict[str, Any] = {
    "__typename": "AssetCheckEvaluationEvent",
    "evaluation": {
        "checkName": "reconcile",
        "assetKey": {"path": ["MARTS", "fct_sales"]},
        "success": True,
        "description": "5 levels agree",
        "metadataEntries": [
            {"label": "totals", "jsonString": '{"RAW": {"orders": 3}}'},
            {"label": "orders_changed_since_sync", "intRepr": "0"},
            {"label": "link"},
        ],
    },
}


def webserver(status: str, events: list[dict[str, Any]]) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """Dagster's GraphQL for one run: queued, started, then ended; its events come one per page."""
    states = iter(["QUEUED", "STARTED", status, *[status] * 1000])

    def ask(query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if query == dagster_run.READY:
            return READY
        if "launchRun" in query:
            assert variables["params"]["selector"]["jobName"] == "sales_job"
            assert variables["params"]["executionMetadata"]["tags"] == [{"key": "why", "value": "test"}]
            return {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": "r1"}}}
        if "stepStats" in query:
            step = {"stepKey": "dbt_models", "status": "SUCCESS", "startTime": 10.0, "endTime": 12.5}
            waiting = {"stepKey": "later", "status": "IN_PROGRESS", "startTime": 13.0, "endTime": None}
            other = {"runId": "r0", "jobName": "history_job", "startTime": time.time() - 90}
            run = {"__typename": "Run", "status": next(states), "stepStats": [step, waiting]}
            return {"runOrError": run, "ahead": {"results": [other]}}
        at = int(variables["cursor"] or 0)
        page = {"events": events[at : at + 1], "cursor": str(at + 1), "hasMore": at + 1 < len(events)}
        return {"runOrError": {"eventConnection": page}}

    return ask


def test_a_run_brings_back_its_steps_and_checks() -> None:
    rows = [{"label": "dagster/row_count", "intRepr": "3"}]
    synced = {
        "__typename": "MaterializationEvent",
        "assetKey": {"path": ["retail", "sales"]},
        "metadataEntries": rows,
    }
    run = dagster_run.run_job(
        webserver("SUCCESS", [synced, {"__typename": "LogMessageEvent"}, RECONCILED]), PARAMS
    )
    assert (run["run_id"], run["status"], run["steps"]) == ("r1", "SUCCESS", {"dbt_models": 2.5})
    assert run["assets"] == {"retail/sales": {"dagster/row_count": 3}}
    check = run["checks"]["MARTS/fct_sales:reconcile"]
    assert check["passed"] and check["metadata"]["totals"] == {"RAW": {"orders": 3}}


def test_a_failed_run_fails_with_the_innermost_error_of_the_step() -> None:
    error = {
        "message": "outer",
        "errorChain": [{"error": {"message": "middle"}}, {"error": {"message": "inner\n"}}],
    }
    failed = {"__typename": "ExecutionStepFailureEvent", "stepKey": "dbt_models", "error": error}
    with pytest.raises(DagsterError, match=r"ended with FAILURE\. Step dbt_models failed: inner$") as caught:
        dagster_run.run_job(webserver("FAILURE", [failed]), PARAMS)
    assert caught.value.run["status"] == "FAILURE"


def test_a_failed_run_fails_with_the_check_that_did_not_pass() -> None:
    evaluation = {**RECONCILED["evaluation"], "success": False, "description": "sync: RAW differs"}
    event = {"__typename": "AssetCheckEvaluationEvent", "evaluation": evaluation}
    blocked = {
        "__typename": "ExecutionStepFailureEvent",
        "stepKey": "reconcile",
        "error": {"message": "blocked"},
    }
    with pytest.raises(DagsterError, match=r"Check MARTS/fct_sales:reconcile: sync: RAW differs$"):
        dagster_run.run_job(webserver("FAILURE", [event, blocked]), PARAMS)


def test_a_run_that_never_ends_is_left_and_the_step_named() -> None:
    with pytest.raises(
        DagsterError, match=r"had not ended after 0 s \(in step later for \d+ s\)\. It goes on\."
    ):
        dagster_run.run_job(webserver("STARTED", []), PARAMS | {"timeout": 0.1})


def test_a_failure_is_one_short_message_and_brings_no_pages_along() -> None:
    """What Ansible prints of a failed task: the reason, not hundreds of lines of what went well before it."""
    evaluations = [
        {
            **RECONCILED["evaluation"],
            "success": False,
            "checkName": f"c{number}",
            "description": "one\n two " * 300,
        }
        for number in range(9)
    ]
    events = [
        RECONCILED,
        *({"__typename": "AssetCheckEvaluationEvent", "evaluation": one} for one in evaluations),
    ]
    with pytest.raises(DagsterError) as caught:
        dagster_run.run_job(webserver("FAILURE", events), PARAMS)
    message = str(caught.value)
    assert message.startswith("Run r1 of sales_job ended with FAILURE. Check MARTS/fct_sales:c0: one two one")
    assert len(message) < 1600 and "\n" not in message
    assert message.endswith("And 7 more, see the run in Dagster.")
    assert caught.value.run == {"run_id": "r1", "status": "FAILURE"}


def test_a_part_of_the_wait_shows_how_far_the_run_is() -> None:
    ask = webserver("STARTED", [])
    part = PARAMS | {"partial": True, "timeout": 0}
    assert dagster_run.run_job(ask, part)["progress"] == "launched"
    part["run_id"] = "r1"
    queued = dagster_run.run_job(ask, part)
    assert re.fullmatch(r"queued behind run r0 of history_job, which started 9\d s ago", queued["progress"])
    started = dagster_run.run_job(ask, part)
    assert re.fullmatch(r"in step later for \d+ s", started["progress"])
    assert started["status"] == "STARTED"


class Display:
    """Keeps what a person would read."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def display(self, line: str) -> None:
        self.lines.append(line)


def play(
    answers: list[dict[str, Any]], timeout: int = 60
) -> tuple[dict[str, Any], list[str], list[dict[str, Any]]]:
    """The action plugin with a module that answers so: the task's result, what was printed, what was asked."""
    path = dbt_support.ROOT / "roles/dagster-dbt-container/action_plugins/dagster_run.py"
    plugin = runpy.run_path(str(path))["ActionModule"]
    asked: list[dict[str, Any]] = []

    class Plugin(plugin):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            self._task = SimpleNamespace(
                args={"job": "sales_job", "timeout": timeout}, async_val=0, check_mode=False
            )
            self._display, self._connection = Display(), SimpleNamespace(has_pipelining=True)

        def _execute_module(self, **call: Any) -> dict[str, Any]:
            asked.append(call["module_args"])
            return answers.pop(0) if len(answers) > 1 else answers[0]

    made = Plugin()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
        result = made.run(None, {})
    return result, made._display.lines, asked


LAUNCHED = {"changed": True, "run": {"run_id": "r1", "status": "QUEUED"}, "progress": "launched"}


def test_a_person_reads_how_far_the_run_is() -> None:
    going = {"changed": True, "run": {"run_id": "r1"}, "progress": "in step dbt_models for 9 s"}
    ended = {"changed": True, "run": {"run_id": "r1", "status": "SUCCESS", "seconds": 0.1}, "progress": ""}
    result, lines, asked = play([LAUNCHED, going, ended])
    assert result["run"]["status"] == "SUCCESS" and not result.get("failed")
    assert lines[0] == "dagster_run: run r1 of sales_job is launched."
    assert re.fullmatch(r"dagster_run: \d+ s: in step dbt_models for 9 s", lines[1]) and len(lines) == 2
    assert [one.get("run_id", "") for one in asked] == ["", "r1", "r1"]
    assert all(one["partial"] for one in asked)


def test_a_wait_that_is_over_says_what_the_run_waits_for() -> None:
    behind = {
        "changed": True,
        "run": {"run_id": "r1", "status": "QUEUED"},
        "progress": "queued behind run r0",
    }
    result, _, asked = play([LAUNCHED, behind], timeout=0)
    assert result["failed"]
    assert result["msg"].startswith(
        "Run r1 of sales_job had not ended after 0 s (queued behind run r0). It goes on."
    )
    assert asked[1]["timeout"] == 0


def test_a_failure_of_the_module_is_the_task_s() -> None:
    refused = {"failed": True, "msg": "Job sales_job cannot be launched"}
    assert play([refused])[0] == refused
    failed = {
        "failed": True,
        "msg": "Run r1 ended with FAILURE.",
        "run": {"run_id": "r1", "status": "FAILURE"},
    }
    assert play([LAUNCHED, failed])[0] == failed


def test_a_job_that_is_not_there_is_named() -> None:
    missing = {"launchRun": {"__typename": "PipelineNotFoundError", "message": "Could not find it"}}
    with pytest.raises(DagsterError, match="sales_job cannot be launched: PipelineNotFoundError Could"):
        dagster_run.run_job(lambda query, _: READY if query == dagster_run.READY else missing, PARAMS)


def test_a_webserver_that_restarts_is_asked_again() -> None:
    healthy, refusals = webserver("SUCCESS", [RECONCILED]), iter([True, True])

    def ask(query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "stepStats" in query and next(refusals, False):
            raise DagsterError("connection refused")
        return healthy(query, variables)

    assert dagster_run.run_job(ask, PARAMS)["status"] == "SUCCESS"


def test_dead_connections_to_the_storage_are_found_before_the_launch() -> None:
    healthy = webserver("SUCCESS", [RECONCILED])
    lost: dict[str, Any] = {
        "runsOrError": {"__typename": "PythonError", "message": "server closed the connection"}
    }
    asked: list[str] = []

    def ask(query: str, variables: dict[str, Any]) -> dict[str, Any]:
        asked.append("launch" if "launchRun" in query else "ready" if query == dagster_run.READY else "other")
        if asked == ["ready"]:
            raise DagsterError("HTTP Error 500")
        return lost if asked == ["ready", "ready"] else healthy(query, variables)

    assert dagster_run.run_job(ask, PARAMS)["status"] == "SUCCESS"
    assert asked[:4] == ["ready", "ready", "ready", "launch"]
    assert asked.count("launch") == 1


def test_a_webserver_that_is_down_is_named() -> None:
    with pytest.raises(DagsterError, match=r"at http://127\.0\.0\.1:1 does not answer"):
        dagster_run.run_job(dagster_run.graphql("http://127.0.0.1:1"), PARAMS | {"timeout": 0})


def test_the_documentation_is_served_and_nothing_else() -> None:
    import urllib.error
    import urllib.request

    from retailflow_dagster.docs import server

    with server(b"<h1>models</h1>", 0, "127.0.0.1") as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{serving.server_port}"
        with urllib.request.urlopen(f"{address}/?g_v=1", timeout=5) as answer:
            assert (answer.read(), answer.headers["content-type"]) == (
                b"<h1>models</h1>",
                "text/html; charset=utf-8",
            )
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}/../../etc/passwd", timeout=5)
        with socket.create_connection(("127.0.0.1", serving.server_port), 5) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000000\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.0 501 "), "no body is read"
        serving.shutdown()
