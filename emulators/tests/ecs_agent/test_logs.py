"""Lines of containers in CloudWatch Logs: all of them, once, whatever restarts."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from retailflow_emulators.ecs_agent import logs
from retailflow_emulators.ecs_agent.api import ApiAwayError
from retailflow_emulators.ecs_agent.logs import Follower, Line, batches, parse

from .conftest import KEYS, Host, container, wait_until, wanted

OPTIONS = {"awslogs-group": "/shop", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "db"}
LOG = {"logDriver": "awslogs", "options": OPTIONS}
ROLE = {"executionRoleArn": "arn:aws:iam::123456789012:role/reads"}


def entry(text: str, second: float = 1.0) -> bytes:
    """As the engine gives it, with nanoseconds."""
    minutes, rest = divmod(second, 60)
    return f"2026-11-30T08:{int(minutes):02}:{rest:012.9f}Z {text}\n".encode()


def task(host: Host, **changes: Any) -> dict[str, Any]:
    """A task whose container logs to CloudWatch."""
    definition = ROLE | changes.pop("definition", {})
    return wanted(
        1,
        container(logConfiguration=LOG),
        definition=definition,
        **({"executionRoleCredentials": KEYS} | changes),
    )


def follow(host: Host) -> Follower:
    """The follower of the only container, whose threads are not begun."""
    [follower] = host.agent._followers.values()
    return follower


def stored(host: Host) -> list[str]:
    """What is in the stream."""
    return host.services.streams["/shop", f"db/db/{host.task().identity}"]


def end(host: Host, *entries: bytes) -> None:
    """The container writes, and ends; all is read and sent by this thread."""
    runtime_id = host.made()["Id"]
    host.docker.entries.setdefault(runtime_id, []).extend(entries)
    host.docker.dies(runtime_id, 0)
    follower = follow(host)
    follower.read()
    follower.send()
    assert follower.done.is_set()


def test_lines_arrive_in_their_order_by_the_execution_role(host: Host) -> None:
    host.run(task(host))
    end(host, entry("one", 1.5), entry("", 2), entry("two é", 2.25))
    assert stored(host) == ["one", "two é"]
    assert ("logs", "ASIA1") in host.services.seen and ("logs", "instance") not in host.services.seen
    assert parse(entry("x", 2.25), False).milliseconds == 1796025602250


def test_without_the_override_the_instances_role_sends(host: Host) -> None:
    host.restart(logs_by_execution_role=False)
    host.run(task(host))
    end(host, entry("one"))
    assert {keys for service, keys in host.services.seen if service == "logs"} == {"instance"}


def test_for_a_task_without_an_execution_role_the_instances_role_sends(host: Host) -> None:
    host.run(wanted(1, container(logConfiguration=LOG)))
    assert host.task().status == "RUNNING"
    end(host, entry("one"))
    assert stored(host) == ["one"]
    assert {keys for service, keys in host.services.seen if service == "logs"} == {"instance"}


def test_credentials_of_the_execution_role_are_waited_for(host: Host) -> None:
    with pytest.raises(ApiAwayError, match="not here yet"):
        host.run(wanted(1, container(logConfiguration=LOG), definition=ROLE))
    assert not host.services.seen
    host.run(wanted(1, container(logConfiguration=LOG), definition=ROLE, executionRoleCredentials=KEYS))
    assert host.task().status == "RUNNING"


def test_a_missing_group_is_a_start_that_fails(host: Host) -> None:
    host.services.groups.clear()
    host.run(task(host))
    told = host.api.sent("SubmitTaskStateChange")[-1]
    assert told["reason"].startswith(
        "CannotStartContainerError: Error response from daemon: failed to initialize logging"
    )
    assert "ResourceNotFoundException" in told["reason"]


def test_a_missing_group_is_made_where_the_definition_says_so(host: Host) -> None:
    host.services.groups.clear()
    log = LOG | {"options": OPTIONS | {"awslogs-create-group": "true"}}
    host.run(wanted(1, container(logConfiguration=log), executionRoleCredentials=KEYS))
    assert host.task().status == "RUNNING" and host.services.groups == {"/shop"}


def test_without_a_prefix_the_stream_has_the_containers_id(host: Host) -> None:
    options = {name: value for name, value in OPTIONS.items() if name != "awslogs-stream-prefix"}
    log = {"logDriver": "awslogs", "options": options}
    host.run(wanted(1, container(logConfiguration=log), executionRoleCredentials=KEYS))
    assert list(host.services.streams) == [("/shop", host.made()["Id"])]


@pytest.mark.parametrize("gap", [0.0, 0.001, 1.0, 20.0])
def test_a_restart_of_the_agent_neither_loses_nor_repeats(host: Host, gap: float) -> None:
    """Times of the two streams cross, and lines of one instant are in both halves."""
    times = [0.0, 0.0, 0.2, 0.1, 7.0, 6.9999, 7.0, 7.0]
    host.run(task(host))
    first = [entry(f"a{number}", second) for number, second in enumerate(times)]
    host.docker.entries[host.made()["Id"]] = list(first)
    follower = follow(host)
    follower._pause = lambda _: host.docker.dies(
        host.made()["Id"], 0
    )  # the loop's end: it ran while it was read
    follower.read()
    follower.send()
    assert sorted(stored(host)) == [f"a{number}" for number in range(8)]
    host.restart()
    host.run(task(host), rounds=1)
    end(host, *[entry(f"b{number}", 7.0 + gap) for number in range(3)])
    assert sorted(stored(host)) == [f"a{n}" for n in range(8)] + ["b0", "b1", "b2"]
    host.restart()
    host.run(rounds=1)
    end(host)
    assert len(stored(host)) == 11


def test_lines_wait_while_the_api_is_away_or_has_forgotten_the_group(host: Host) -> None:
    host.run(task(host))
    follower, tries = follow(host), []

    def pause(_: float) -> None:
        tries.append(host.services.puts)
        if len(tries) == 2:
            host.services.down = False
            host.services.groups.clear()
            host.services.streams.clear()
        if len(tries) == 4:
            host.services.groups.add("/shop")

    follower._pause = pause
    host.services.down = True
    end(host, entry("one"), entry("two"))
    assert stored(host) == ["one", "two"] and len(tries) == 4


def test_after_a_restart_lines_wait_for_the_execution_roles_credentials(host: Host) -> None:
    host.run(task(host))
    host.restart()
    host.steps()
    follower = follow(host)
    follower._pause = lambda _: host.agent.apply([task(host)])
    end(host, entry("one"))
    assert stored(host) == ["one"]
    assert ("logs", "instance") not in host.services.seen


def test_the_threads_send_while_the_container_runs(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "GATHER_SECONDS", 0.02)
    host.run(task(host))
    release = threading.Event()

    def following(*_: Any, **__: Any) -> Any:
        yield entry("one")
        release.wait(5)

    host.docker.logs = following  # type: ignore[method-assign]
    follower = follow(host)
    follower._pause = lambda _: release.wait(0.05)
    follower.start()
    wait_until(lambda: stored(host) == ["one"], "the line is there before the container's end")
    host.docker.dies(host.made()["Id"], 0)
    release.set()
    wait_until(follower.done.is_set, "the threads end with the container")


def test_batches_keep_to_the_bounds_of_cloudwatch() -> None:
    def lines(count: int, text: str = "x", apart: int = 0) -> list[Line]:
        return [Line(n, n * apart, text, False) for n in range(count)]

    assert [len(one) for one in batches(lines(25_000))] == [10_000, 10_000, 5_000]
    assert [len(one) for one in batches(lines(7, "é" * 131_000))] == [4, 3]
    assert [len(one) for one in batches(lines(5, apart=12 * 3600 * 1000))] == [2, 2, 1]
    assert list(batches([])) == []


def test_containers_are_removed_only_when_their_lines_were_sent(host: Host) -> None:
    for number in (1, 2):
        one = wanted(number, container(logConfiguration=LOG), executionRoleCredentials=KEYS)
        host.time += 1
        host.run(one)
        host.docker.dies(host.made()["Id"], 1)
        host.run()
    host.api.tasks = []
    host.run()
    host.time += 4 * 3600
    host.agent.sweep()
    assert len(host.docker.made) == 2
    for follower in host.agent._followers.values():
        follower.read()
        follower.send()
    host.agent.sweep()
    assert len(host.docker.made) == 1


@pytest.mark.parametrize(("away", "kept"), [(600.0, ["one"]), (2000.0, [])])
def test_lines_of_what_has_ended_wait_for_their_group_for_a_while(
    host: Host, away: float, kept: list[str]
) -> None:
    """A service that is removed takes its group with it, and its containers have to be removed some day."""
    host.run(task(host))
    follower, waited = follow(host), 0.0

    def pause(seconds: float) -> None:
        nonlocal waited
        waited += seconds
        if waited > away:
            host.services.groups.add("/shop")

    follower._pause = pause
    host.services.groups.clear()
    host.services.streams.clear()
    end(host, entry("one"))
    assert host.services.streams.get(("/shop", f"db/db/{host.task().identity}"), []) == kept
    assert waited < 1000
