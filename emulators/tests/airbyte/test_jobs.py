"""Jobs: what reaches the destination, what is saved, and what happens when something dies."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from retailflow_emulators.airbyte.words import ago, took

from .conftest import Client, Server, wait_for

DEDUP = {"name": "things", "syncMode": "incremental_deduped_history"}


class Setup:
    def __init__(self, client: Client, folder: Path, stream: dict[str, Any] = DEDUP, **more: Any) -> None:
        self.client = client
        self.path = folder / "out.jsonl"
        self.source = client.actor("source", "fake", {"rows": 25, **more.pop("source", {})})
        self.destination = client.actor(
            "destination", "fake", {"path": str(self.path), **more.pop("destination", {})}
        )
        self.connection = client.connection(self.source, self.destination, [stream], **more)

    def messages(self, type_: str) -> list[dict[str, Any]]:
        lines = self.path.read_text().splitlines()
        return [message for message in map(json.loads, lines) if message["type"] == type_]

    def ids(self) -> list[int]:
        return [message["record"]["data"]["id"] for message in self.messages("RECORD")]

    def reconfigure(self, **configuration: Any) -> None:
        self.client.call("PUT", f"/sources/{self.source}", {"name": "one", "configuration": configuration})


def test_a_sync_loads_all_and_the_next_one_goes_on(client: Client, tmp_path: Path) -> None:
    setup = Setup(client, tmp_path)
    job = client.sync(setup.connection)
    assert (job["status"], job["rowsSynced"], job["failures"]) == ("succeeded", 25, [])
    assert setup.ids() == list(range(1, 26))
    assert "fake begins" not in "".join(job["logs"]) and any(
        "source: read begins" in line for line in job["logs"]
    )
    setup.reconfigure(rows=30)
    assert client.sync(setup.connection)["rowsSynced"] == 10  # from the last state, which was at 20
    assert setup.ids()[25:] == list(range(21, 31))


def test_the_page_shows_a_job_as_people_read_it(client: Client, tmp_path: Path) -> None:
    setup = Setup(client, tmp_path)
    setup.reconfigure(rows=1_234)
    job = client.start(setup.connection)
    client.ended(job)
    page = httpx.get(client.url).text
    assert f'data-label="Job">{job}<' in page
    assert 'data-label="Rows">1,234<' in page
    assert re.search(r'<time datetime="[^"]*Z" title="[^"]*Z">(just now|\d+ minutes? ago)<', page)
    assert re.search(r'data-label="Took">(\d+\.\d s|\d+ min \d+ s)<', page)


@pytest.mark.parametrize(
    ("seconds", "as_took", "as_ago"),
    [
        (2.61, "2.6 s", "just now"),
        (65, "1 min 5 s", "1 minute ago"),
        (3_900, "1 h 5 min", "1 hour ago"),
        (180_000, "50 h 0 min", "2 days ago"),
        (-1, "0.0 s", "just now"),
    ],
)
def test_times_are_written_for_people(seconds: float, as_took: str, as_ago: str) -> None:
    assert (took(seconds), ago(seconds)) == (as_took, as_ago)


def test_streams_are_renamed_on_their_way(client: Client, tmp_path: Path) -> None:
    names = {
        "namespaceDefinition": "custom_format",
        "namespaceFormat": "lake_${SOURCE_NAMESPACE}",
        "prefix": "raw_",
    }
    setup = Setup(client, tmp_path, **names)
    assert client.sync(setup.connection)["status"] == "succeeded"
    expected = {("raw_things", "lake_")}
    catalog = setup.messages("CATALOG")[0]["catalog"]["streams"]
    assert {(entry["stream"]["name"], entry["stream"]["namespace"]) for entry in catalog} == expected
    assert {(m["record"]["stream"], m["record"]["namespace"]) for m in setup.messages("RECORD")} == expected
    states = [message["state"]["stream"]["stream_descriptor"] for message in setup.messages("STATE")]
    assert states == [{"name": "raw_things", "namespace": "lake_"}] * 2
    statuses = [m["trace"]["stream_status"]["stream_descriptor"]["name"] for m in setup.messages("TRACE")]
    assert statuses == ["raw_things", "raw_things"]
    assert client.sync(setup.connection)["rowsSynced"] == 5  # the state was saved under the source's own name


def test_a_dying_source_is_tried_again_from_the_last_state(client: Client, tmp_path: Path) -> None:
    setup = Setup(client, tmp_path, source={"fail_at": 24})
    job = client.sync(setup.connection)
    assert job["status"] == "failed"
    assert job["failures"] == ["the source connector ended with exit code 3"] * 3
    assert setup.ids() == [*range(1, 24), *range(21, 24), *range(21, 24)]
    setup.reconfigure(rows=25)
    assert client.sync(setup.connection)["status"] == "succeeded"
    assert set(setup.ids()) == set(range(1, 26))


def test_a_dying_destination_is_named(client: Client, tmp_path: Path) -> None:
    setup = Setup(client, tmp_path, source={"rows": 100_000}, destination={"die_at": 15})
    job = client.sync(setup.connection)
    assert (job["status"], job["failures"][0]) == (
        "failed",
        "the destination connector ended with exit code 7",
    )
    # Every attempt began where the last state was; 15 is never seen again after the first.
    assert setup.ids()[:15] == list(range(1, 16))


def test_a_configuration_error_is_not_tried_again(client: Client, tmp_path: Path) -> None:
    setup = Setup(client, tmp_path, source={"error": "no such table", "failure_type": "config_error"})
    job = client.sync(setup.connection)
    assert (job["status"], job["failures"]) == ("failed", ["no such table"])


def sources_reading(folder: Path) -> list[str]:
    """Command lines of the sources that read now, of the server that keeps its data below a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = file.read_bytes().replace(b"\0", b" ").decode()
            if "fake_source.py read" in command and str(folder) in command:
                found.append(command)
    return found


def test_one_job_at_a_time_and_cancel(client: Client, tmp_path: Path) -> None:
    setup = Setup(client, tmp_path, source={"sleep": 0.2, "rows": 10_000})
    job = client.start(setup.connection)
    client.call("POST", "/jobs", {"connectionId": setup.connection, "jobType": "sync"}, status=409)
    wait_for(lambda: setup.path.exists() and setup.ids())
    assert client.call("GET", f"/jobs/{job}")["status"] == "running"
    assert client.call("DELETE", f"/jobs/{job}")["status"] == "cancelled"
    assert client.call("GET", f"/jobs/{job}")["status"] == "cancelled"
    client.call("DELETE", f"/jobs/{job}", status=409)
    # The cancelled one no longer holds its place, but the next waits until its processes have ended.
    following = client.start(setup.connection)
    wait_for(lambda: client.call("GET", f"/jobs/{following}")["status"] == "running")
    assert len(sources_reading(tmp_path)) <= 1
    client.call("DELETE", f"/jobs/{following}")
    setup.reconfigure(rows=5)
    assert client.sync(setup.connection)["status"] == "succeeded"


def test_a_job_that_takes_too_long_ends(make_server: Callable[..., Server], tmp_path: Path) -> None:
    client = make_server(job_timeout=1).client
    setup = Setup(client, tmp_path, source={"sleep": 0.2, "rows": 10_000})
    job = client.sync(setup.connection)
    assert (job["status"], job["failures"]) == ("failed", ["the job took longer than 1 s"])


def test_jobs_of_a_dead_server_failed_and_the_next_sync_repairs(server: Server, tmp_path: Path) -> None:
    setup = Setup(server.client, tmp_path, source={"sleep": 0.05})
    job = server.client.start(setup.connection)
    wait_for(lambda: len(setup.ids()) > 12)
    server.stop()
    server.start()
    setup.client = server.client
    ended = server.client.ended(job)
    assert ended["status"] == "failed"
    assert ended["failures"], "the failure is told"
    setup.reconfigure(rows=25)
    assert server.client.sync(setup.connection)["status"] == "succeeded"
    assert set(setup.ids()) == set(range(1, 26))
    assert setup.ids().count(1) == 1, "the state that was saved before is kept"


def test_refresh_and_clear_begin_new_generations(client: Client, tmp_path: Path) -> None:
    setup = Setup(client, tmp_path)
    client.sync(setup.connection)
    assert client.sync(setup.connection, "refresh")["rowsSynced"] == 25
    assert client.sync(setup.connection, "clear")["rowsSynced"] == 0
    assert client.sync(setup.connection)["rowsSynced"] == 25
    assert client.sync(setup.connection)["rowsSynced"] == 5  # from its state on, in the same generation
    told = [m["catalog"]["streams"][0] for m in setup.messages("CATALOG")]
    numbers = [(entry["generation_id"], entry["minimum_generation_id"]) for entry in told]
    assert numbers == [(1, 1), (2, 2), (3, 3), (4, 4), (4, 0)]


def test_a_refresh_is_of_the_streams_that_were_named(client: Client, tmp_path: Path) -> None:
    setup = Setup(client, tmp_path)
    client.sync(setup.connection)
    for answer, words in (
        (client.refresh(setup.connection, "nothing"), "no stream nothing"),
        (client.refresh(setup.connection, mode="Merge"), "not emulated"),
        (client.refresh("none"), "no connection none"),
    ):
        assert answer.status_code in (400, 404, 422) and words in answer.json()["detail"]
    body = {"connectionId": setup.connection, "jobType": "refresh"}
    refused = client.call("POST", "/jobs", body, status=422)
    assert refused["detail"] == "Refreshes are not supported in the public API"
    assert client.sync(setup.connection)["rowsSynced"] == 5, "what was refused has changed nothing"
    job = client.refresh(setup.connection, "things").json()["job"]
    assert job["configType"] == "refresh"
    assert client.ended(job["id"])["rowsSynced"] == 25


def test_a_refresh_waits_for_its_turn_and_changes_nothing_before(client: Client, tmp_path: Path) -> None:
    setup = Setup(client, tmp_path)
    client.sync(setup.connection)
    setup.reconfigure(sleep=0.2, rows=10_000)
    job = client.start(setup.connection)
    assert client.refresh(setup.connection).status_code == 409
    client.call("DELETE", f"/jobs/{job}")
    setup.reconfigure(rows=25)
    assert client.sync(setup.connection)["rowsSynced"] < 25, "it went on from a state"


def test_full_refresh_overwrites(client: Client, tmp_path: Path) -> None:
    setup = Setup(client, tmp_path, {"name": "things", "syncMode": "full_refresh_overwrite"})
    assert [client.sync(setup.connection)["rowsSynced"] for _ in range(2)] == [25, 25]
    told = [m["catalog"]["streams"][0] for m in setup.messages("CATALOG")]
    assert [(e["generation_id"], e["minimum_generation_id"], e["sync_mode"]) for e in told] == [
        (1, 1, "full_refresh"),
        (2, 2, "full_refresh"),
    ]


def test_jobs_are_listed_newest_first_and_filtered(client: Client, tmp_path: Path) -> None:
    setup = Setup(client, tmp_path)
    jobs = [client.sync(setup.connection)["jobId"] for _ in range(3)]
    listed = client.call("GET", f"/jobs?connectionId={setup.connection}&limit=2")
    assert [job["jobId"] for job in listed["data"]] == jobs[:0:-1]
    assert listed["next"]
    assert client.call("GET", "/jobs?status=failed")["data"] == []
    assert client.call("GET", "/jobs?createdAtStart=2999-01-01T00:00:00Z")["data"] == []
    ascending = client.call("GET", "/jobs?orderBy=createdAt|ASC")["data"]
    assert [job["jobId"] for job in ascending] == jobs


@pytest.mark.parametrize(("days", "most", "left"), [(-1, 500, 3), (30, 4, 4), (30, 500, 5)])
def test_old_jobs_go_with_their_logs(
    make_server: Callable[..., Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    days: int,
    most: int,
    left: int,
) -> None:
    monkeypatch.setattr("retailflow_emulators.airbyte.jobs.runner.LEAST_JOBS", 3)
    monkeypatch.setattr("retailflow_emulators.airbyte.jobs.runner.MOST_JOBS", most)
    server = make_server(job_days=days)
    setup = Setup(server.client, tmp_path)
    jobs = [server.client.sync(setup.connection)["jobId"] for _ in range(5)]

    def kept() -> list[int]:
        found = server.client.call("GET", "/jobs?limit=20")["data"]
        return sorted(job["jobId"] for job in found)

    def folders() -> list[int]:
        return sorted(int(path.name) for path in (server.settings.data_dir / "jobs").iterdir())

    wait_for(lambda: kept() == folders() == jobs[-left:])
    assert server.client.sync(setup.connection)["jobId"] == jobs[-1] + 1, "numbers are never given twice"
