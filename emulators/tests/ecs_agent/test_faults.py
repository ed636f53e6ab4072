"""Answers that are lost, and threads that go on."""

from __future__ import annotations

from typing import Any

import docker.errors
import pytest
import requests

from retailflow_emulators.ecs_agent import work
from retailflow_emulators.ecs_agent.api import ApiAwayError
from retailflow_emulators.ecs_agent.engine import EngineAwayError

from .conftest import Host, wait_until, wanted


def lost(host: Host, monkeypatch: pytest.MonkeyPatch, name: str, *, done: bool = True) -> None:
    """The engine does the next request of this name (or will), and its answer does not arrive."""
    real = getattr(host.docker, name)

    def without_answer(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(host.docker, name, real)
        if done:
            real(*arguments, **options)
        raise requests.exceptions.ReadTimeout("Read timed out")

    monkeypatch.setattr(host.docker, name, without_answer)


@pytest.mark.parametrize("name", ["create_container_from_config", "start"])
def test_a_lost_answer_makes_no_second_container(
    host: Host, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lost(host, monkeypatch, name)
    with pytest.raises(EngineAwayError):
        host.run(wanted())
    host.run()
    assert len(host.docker.made) == 1 and len(host.docker.called("start")) == 1
    assert host.task().status == "RUNNING"


@pytest.mark.parametrize("done", [True, False])
def test_a_start_that_may_still_come_does_not_outlive_its_task(
    host: Host, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    lost(host, monkeypatch, "start", done=done)
    with pytest.raises(EngineAwayError):
        host.run(wanted())
    host.run(wanted(desired="STOPPED"))
    assert host.task().status == "STOPPED"
    assert [one["State"]["Status"] for one in host.docker.made.values()] == (["exited"] if done else [])


def test_a_start_that_a_killed_agent_has_asked_for_does_not_outlive_its_task(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost(host, monkeypatch, "start", done=False)
    with pytest.raises(EngineAwayError):
        host.run(wanted())
    [identity] = host.docker.made
    host.restart()
    host.run(wanted(desired="STOPPED"))
    assert host.task().status == "STOPPED"
    with pytest.raises(docker.errors.NotFound):
        host.docker.start(identity)


def test_events_that_the_end_of_the_engine_cuts_off_end_no_thread(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def events(**_: Any) -> Any:
        yield {"id": "1"}
        raise docker.errors.StreamParseError(ValueError("Unterminated string"))

    monkeypatch.setattr(host.docker, "events", events, raising=False)
    with pytest.raises(EngineAwayError):
        list(host.agent.engine.events("shop"))


def test_a_lost_answer_makes_no_second_instance(host: Host) -> None:
    host.api.down = True
    tokens = []

    def call(operation: str, **request: Any) -> Any:
        tokens.append(request["clientToken"])
        raise ApiAwayError("Read timed out")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host.api, "call", call)
        for _ in range(2):
            with pytest.raises(ApiAwayError):
                host.agent.register()
    host.api.down = False
    host.agent.register()
    assert tokens == [host.api.sent("RegisterContainerInstance")[-1]["clientToken"]] * 2


def test_the_thread_of_a_task_goes_on_when_the_engine_is_back(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "PAUSES", (0.01,))
    host.restart(threads=True)
    host.agent.register()
    host.docker.down = True
    host.api.tasks = [wanted()]
    host.agent.poll(0)
    wait_until(lambda: host.agent.workers, "the task has a thread")
    host.docker.down = False
    wait_until(lambda: host.task().status == "RUNNING", "the task runs")
    host.docker.dies(host.made()["Id"], 1)
    host.agent.wake(host.made()["Id"])
    wait_until(lambda: host.task().status == "STOPPED", "an event of the engine wakes it")
    wait_until(lambda: not host.agent.workers, "its thread has ended")


def test_what_is_wrong_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    pauses: list[float] = []
    answers = [ApiAwayError("a"), ApiAwayError("a"), ApiAwayError("b"), None]

    def do() -> None:
        if fault := answers.pop(0):
            raise fault

    with caplog.at_level("INFO"):
        work.patiently("the API is away", do, ApiAwayError, pause=pauses.append)
    assert [one.getMessage() for one in caplog.records] == [
        "the API is away: a",
        "the API is away: b",
        "it answers again",
    ]
    assert pauses == [0.5, 1.0, 2.0]
