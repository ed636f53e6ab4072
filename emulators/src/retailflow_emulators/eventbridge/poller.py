"""Reads scheduled rules and their Lambda targets from the AWS API and invokes each target when it is due.

The API is that of the usual AWS variables (``AWS_ENDPOINT_URL``, credentials, region);
``EVENTBRIDGE_POLL_SECONDS`` (5) is how often the rules are read.

Emulated: ``rate(…)`` schedules, Lambda targets, and a target's constant ``Input``. A rule is due at whole
multiples of its period since 1970, so a restart shifts nothing, and the id of an event follows from rule and due
time, so that a delivery after a restart is the same event. What came due while the API was down is delivered
once, for the latest due time. A delivery is an asynchronous invocation, as EventBridge's is: the emulated
Lambda tries an event again whose function failed, keeps it in the queue of failed events and sets the alarm
(``images/moto/asynchronous.py``).
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import re
import signal
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

log = logging.getLogger("retailflow.eventbridge")

_RATE = re.compile(r"rate\(\s*(\d+)\s+(minute|hour|day)s?\s*\)")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}
_CLIENT = Config(connect_timeout=3, read_timeout=30, retries={"total_max_attempts": 1})


def parse_rate(expression: str) -> int:
    """Seconds of a ``rate(…)`` expression; ValueError for every other expression."""
    match = _RATE.fullmatch(expression.strip())
    if not match or int(match[1]) < 1:
        raise ValueError(f"only rate(N minutes|hours|days) is emulated, not {expression!r}")
    return int(match[1]) * _SECONDS[match[2]]


@dataclass(frozen=True)
class Rule:
    """An enabled scheduled rule; ``period`` in seconds."""

    name: str
    arn: str
    period: int

    def due_before(self, now: dt.datetime) -> dt.datetime:
        """The latest due time that is not after ``now``."""
        return dt.datetime.fromtimestamp(int(now.timestamp()) // self.period * self.period, dt.UTC)


def scheduled_event(rule: Rule, due: dt.datetime) -> dict[str, Any]:
    """The event that EventBridge delivers for a schedule."""
    _, _, _, region, account, _ = rule.arn.split(":", 5)
    return {
        "version": "0",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{rule.arn}@{due.isoformat()}")),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account,
        "time": due.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": [rule.arn],
        "detail": {},
    }


class Poller:
    """Delivers what is due; ``tick`` does everything, so that a test can turn the clock."""

    def __init__(self, events: Any, functions: Any, clock: Callable[[], dt.datetime]) -> None:
        self._events = events
        self._functions = functions
        self._clock = clock
        self._delivered: dict[Rule, dt.datetime] = {}
        self._complained: deque[str] = deque(maxlen=100)

    def _complain_once(self, text: str) -> None:
        if text not in self._complained:
            self._complained.append(text)
            log.warning(text)

    def rules(self) -> Iterator[Rule]:
        """The enabled rules whose schedule is emulated."""
        for page in self._events.get_paginator("list_rules").paginate():
            for rule in page["Rules"]:
                if rule["State"] != "ENABLED" or not rule.get("ScheduleExpression"):
                    continue
                try:
                    yield Rule(rule["Name"], rule["Arn"], parse_rate(rule["ScheduleExpression"]))
                except ValueError as error:
                    self._complain_once(f"rule {rule['Name']} is never delivered: {error}")

    def tick(self) -> None:
        """Read the rules and deliver what came due since the last tick.

        A rule seen for the first time waits for its next due time. A delivery that the API does not take is
        tried again at the next tick, until the next due time takes its place. BotoCoreError or ClientError
        when the rules cannot be read.
        """
        rules = list(self.rules())
        self._delivered = {rule: due for rule, due in self._delivered.items() if rule in rules}
        for rule in rules:
            due = rule.due_before(self._clock())
            if due <= self._delivered.setdefault(rule, due):
                continue
            try:
                self._deliver(rule, due)
            except (BotoCoreError, ClientError) as error:
                self._complain_once(
                    f"rule {rule.name} due {due.isoformat()} is tried again until delivered: {error}"
                )
            else:
                self._delivered[rule] = due

    def _deliver(self, rule: Rule, due: dt.datetime) -> None:
        for page in self._events.get_paginator("list_targets_by_rule").paginate(Rule=rule.name):
            for target in page["Targets"]:
                unsupported = sorted({"InputPath", "InputTransformer"} & target.keys())
                if ":lambda:" not in target["Arn"] or unsupported:
                    self._complain_once(
                        f"target {target['Id']} of rule {rule.name} is never invoked: only Lambda functions with the "
                        "whole event or a constant Input are emulated"
                    )
                    continue
                payload = target.get("Input") or json.dumps(scheduled_event(rule, due))
                self._invoke(rule, due, target["Arn"], payload)

    def _invoke(self, rule: Rule, due: dt.datetime, function: str, payload: str) -> None:
        self._functions.invoke(FunctionName=function, InvocationType="Event", Payload=payload)
        fields = {"rule": rule.name, "due": due.isoformat(), "function": function}
        log.info("event delivered", extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Render the record and its ``fields``."""
        fields = {"time": self.formatTime(record), "level": record.levelname, "message": record.getMessage()}
        return json.dumps(fields | getattr(record, "fields", {}))


def _stop(_number: int, _frame: object) -> None:
    # A handler may run inside a write to the log, where a second write raises RuntimeError ("reentrant call"), or inside a
    # finalizer, where Python drops SystemExit. Either way the signal would be lost, and nothing here needs a clean-up.
    os._exit(0)


def main() -> int:
    """Poll until SIGTERM or SIGINT, which stop at once; returns 2 on bad configuration."""
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(JsonFormatter())
    log.addHandler(output)
    log.setLevel(logging.INFO)
    try:
        seconds = float(os.environ.get("EVENTBRIDGE_POLL_SECONDS", "5"))
        if not 0 < seconds <= 60:
            raise ValueError("EVENTBRIDGE_POLL_SECONDS must be more than 0 and at most 60")
        poller = Poller(
            boto3.client("events", config=_CLIENT),
            boto3.client("lambda", config=_CLIENT),
            lambda: dt.datetime.now(dt.UTC),
        )
    except (ValueError, BotoCoreError) as error:
        log.error("%s", error)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    log.info("emulated EventBridge schedules, reading rules every %g s", seconds)
    reachable = True
    while True:
        try:
            poller.tick()
            if not reachable:
                log.info("the AWS API answers again")
            reachable = True
        except (BotoCoreError, ClientError) as error:
            if reachable:
                log.warning("the AWS API does not answer, trying on: %s", error)
            reachable = False
        time.sleep(seconds)
