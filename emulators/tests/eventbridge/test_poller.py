"""Schedules against the emulated AWS API's rules, with a clock that the tests turn."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from moto.server import ThreadedMotoServer

from retailflow_emulators.eventbridge.poller import Poller, parse_rate

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:generator"
AWS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Clock:
    """Time that passes when it is told to."""

    now = dt.datetime(2026, 11, 22, 12, 1, 0, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.now

    def forward(self, **delta: float) -> None:
        self.now += dt.timedelta(**delta)


class Functions:
    """Records invocations; ``down`` of them fail as if the API were gone."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []
        self.down = 0

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: str) -> dict[str, Any]:
        assert (FunctionName, InvocationType) == (FUNCTION, "Event"), (
            "EventBridge does not wait for the function"
        )
        if self.down:
            self.down -= 1
            raise EndpointConnectionError(endpoint_url="http://aws")
        self.payloads.append(json.loads(Payload))
        return {"StatusCode": 202}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def events(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("events", endpoint_url=endpoint)
    yield client
    for rule in client.list_rules()["Rules"]:
        targets = client.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        if targets:
            client.remove_targets(Rule=rule["Name"], Ids=[target["Id"] for target in targets])
        client.delete_rule(Name=rule["Name"])


def put_rule(events: Any, name: str = "every-3", schedule: str = "rate(3 minutes)", **target: str) -> str:
    arn: str = events.put_rule(Name=name, ScheduleExpression=schedule, State="ENABLED")["RuleArn"]
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": FUNCTION, **target}])
    return arn


def test_a_target_is_invoked_once_each_period(events: Any) -> None:
    arn, clock, functions = put_rule(events), Clock(), Functions()
    poller = Poller(events, functions, clock)
    poller.tick()
    assert functions.payloads == [], "a rule seen for the first time waits for its next due time"
    for _ in range(60):  # ten minutes
        clock.forward(seconds=10)
        poller.tick()
    assert [p["time"][11:] for p in functions.payloads] == ["12:03:00Z", "12:06:00Z", "12:09:00Z"]
    assert len({p["id"] for p in functions.payloads}) == 3
    assert functions.payloads[0] | {"id": ""} == {
        "version": "0",
        "id": "",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": "2026-11-22T12:03:00Z",
        "region": "us-east-1",
        "resources": [arn],
        "detail": {},
    }


def test_a_restart_delivers_the_same_event(events: Any) -> None:
    put_rule(events)
    ids = []
    for _ in range(2):
        clock, functions = Clock(), Functions()
        poller = Poller(events, functions, clock)
        poller.tick()
        clock.forward(minutes=2)
        poller.tick()
        ids.append([payload["id"] for payload in functions.payloads])
    assert ids[0] == ids[1] != []


def test_an_outage_is_made_up_for_once(events: Any, caplog: pytest.LogCaptureFixture) -> None:
    put_rule(events)
    clock, functions = Clock(), Functions()
    poller = Poller(events, functions, clock)
    poller.tick()
    clock.forward(hours=5)
    functions.down = 2
    for _ in range(5):
        clock.forward(seconds=5)
        poller.tick()
    assert [p["time"][11:] for p in functions.payloads] == ["17:00:00Z"]
    assert sum("tried again" in record.getMessage() for record in caplog.records) == 1


def test_a_delivery_that_fails_does_not_hold_up_another_rule(events: Any) -> None:
    put_rule(events, "first")
    put_rule(events, "second")
    clock, functions = Clock(), Functions()
    poller = Poller(events, functions, clock)
    poller.tick()
    clock.forward(minutes=3)
    functions.down = 1
    poller.tick()
    assert len(functions.payloads) == 1
    poller.tick()
    assert len({payload["resources"][0] for payload in functions.payloads}) == 2


def test_a_disabled_rule_is_silent_and_does_not_fire_when_enabled(events: Any) -> None:
    put_rule(events)
    clock, functions = Clock(), Functions()
    poller = Poller(events, functions, clock)
    poller.tick()
    events.disable_rule(Name="every-3")
    clock.forward(minutes=10)
    poller.tick()
    events.enable_rule(Name="every-3")
    poller.tick()
    assert functions.payloads == []
    clock.forward(minutes=3)
    poller.tick()
    assert len(functions.payloads) == 1


def test_a_constant_input_replaces_the_event(events: Any) -> None:
    put_rule(events, Input='{"rows": 7}')
    clock, functions = Clock(), Functions()
    poller = Poller(events, functions, clock)
    poller.tick()
    clock.forward(minutes=3)
    poller.tick()
    assert functions.payloads == [{"rows": 7}]


def test_what_is_not_emulated_is_said_once(events: Any, caplog: pytest.LogCaptureFixture) -> None:
    put_rule(events, "nightly", "cron(0 2 * * ? *)")
    put_rule(events, "queue")
    events.put_targets(Rule="queue", Targets=[{"Id": "1", "Arn": "arn:aws:sqs:us-east-1:123456789012:q"}])
    clock, functions = Clock(), Functions()
    poller = Poller(events, functions, clock)
    for _ in range(3):
        poller.tick()
        clock.forward(minutes=3)
    assert functions.payloads == []
    assert [r.getMessage()[:30] for r in caplog.records if "never" in r.getMessage()] == [
        "rule nightly is never delivere",
        "target 1 of rule queue is neve",
    ]


@pytest.mark.parametrize(
    ("expression", "seconds"), [("rate(1 minute)", 60), ("rate(3 minutes)", 180), ("rate(2 hours)", 7200)]
)
def test_rates(expression: str, seconds: int) -> None:
    assert parse_rate(expression) == seconds


@pytest.mark.parametrize(
    "expression", ["rate(0 minutes)", "rate(5)", "rate(x minutes)", "cron(0 2 * * ? *)", ""]
)
def test_other_schedules_are_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="only rate"):
        parse_rate(expression)


def run_process(**env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "retailflow_emulators.eventbridge"],
        env=os.environ | AWS | env,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_process_waits_for_the_api_and_stops_at_once() -> None:
    process = run_process(AWS_ENDPOINT_URL="http://127.0.0.1:9", EVENTBRIDGE_POLL_SECONDS="60")
    assert process.stderr
    first, second = json.loads(process.stderr.readline()), json.loads(process.stderr.readline())
    assert "emulated" in first["message"]
    assert "does not answer" in second["message"]
    process.send_signal(signal.SIGTERM)
    with process:
        assert process.wait(50) == 0, "before the 60 seconds between two ticks are over"


# The log's raw stream gets SIGTERM during a write, as when a reader stops the process on its line.
SIGNALLED = """
import io, signal, sys, time
from retailflow_emulators.eventbridge import poller

class Raw(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        if b"does not answer" in bytes(data):
            signal.raise_signal(signal.SIGTERM)
        return len(data)

def sleep(seconds):
    raise SystemExit("the signal was lost")

time.sleep = sleep
sys.stderr = io.TextIOWrapper(io.BufferedWriter(Raw()), line_buffering=True)
sys.exit(poller.main())
"""


def test_a_signal_during_a_write_to_the_log_stops_the_process() -> None:
    environment = os.environ | AWS | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    assert subprocess.run([sys.executable, "-c", SIGNALLED], env=environment, check=False).returncode == 0


def test_bad_configuration_ends_the_process() -> None:
    process = run_process(EVENTBRIDGE_POLL_SECONDS="600")
    assert "EVENTBRIDGE_POLL_SECONDS" in process.communicate(timeout=60)[1]
    assert process.returncode == 2
