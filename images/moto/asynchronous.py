"""Asynchronous invocations, Lambda's metrics and the alarms on them, which moto leaves out.

- An invocation of the type `Event` is answered with 202 at once and carried out by a worker of the function, one at a time. An
  error of the function is tried again after one and after two minutes, as often as `MaximumRetryAttempts` says, until
  `MaximumEventAgeInSeconds`; then the event goes to the SQS queue of `OnFailure` in the shape that Lambda's developer guide gives
  ("How Lambda handles errors and retries with asynchronous invocation", "Capturing records of Lambda asynchronous invocations").
- Every invocation counts in the metrics `Invocations` and `Errors` of AWS/Lambda.
- An alarm on them is evaluated after each invocation and every ten seconds ("Alarm evaluation", CloudWatch's user guide).

`EMULATED_LAMBDA_TIME_SCALE` (1) shortens the waiting: with 0.01 a retry comes after 0.6 s and an event of 60 s is given up after
0.6 s. Not emulated, and said in the log: destinations other than SQS, actions of alarms. Events that wait are lost with the
server, as is everything else in moto.
"""

from __future__ import annotations

import heapq
import itertools
import json
import logging
import os
import threading
import time
import uuid
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.awslambda.models import LambdaBackend
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.exceptions import JsonRESTError
from moto.sqs.models import sqs_backends

log = logging.getLogger("retailflow.lambda")

SCALE = float(os.environ.get("EMULATED_LAMBDA_TIME_SCALE", "1"))
RETRY_SECONDS = (60, 120)
DEFAULTS = {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 21_600}
EVALUATE_SECONDS = 10
METRICS = ("Errors", "Invocations")
#: The longest period that an alarm can look back: a day (PutMetricAlarm).
KEPT_SECONDS = 86_400

_invoke = LambdaBackend.invoke


@dataclass
class Event:
    """One event that waits for the function; times are those of time.monotonic()."""

    backend: LambdaBackend
    function: str
    qualifier: str | None
    body: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    began: float = field(default_factory=time.monotonic)
    tries: int = 0
    answer: str = ""

    @property
    def age(self) -> float:
        """Seconds of emulated time since the event came."""
        return (time.monotonic() - self.began) / SCALE


class Measures:
    """What the functions did, by account, region and name: the moments and the errors of the last day."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], deque[tuple[float, int]]] = defaultdict(deque)
        self._lock = threading.Lock()

    def count(self, backend: LambdaBackend, name: str, errors: int) -> None:
        """Note an invocation, for the alarms and for whoever asks CloudWatch for the metric."""
        now = time.time()
        with self._lock:
            known = self._found[backend.account_id, backend.region_name, name]
            known.append((now, errors))
            while known[0][0] < now - KEPT_SECONDS:
                known.popleft()
        dimensions = [{"Name": "FunctionName", "Value": name}]
        data = [
            {"MetricName": metric, "Dimensions": dimensions, "Value": value, "Unit": "Count"}
            for metric, value in (("Invocations", 1), ("Errors", errors))
        ]
        cloudwatch_backends[backend.account_id][backend.region_name].put_metric_data("AWS/Lambda", data)

    def periods(
        self, key: tuple[str, str, str], metric: str, period: int, count: int
    ) -> list[list[float] | None]:
        """The values of the last periods, the newest first; None for one without a value."""
        now = time.time()
        found: list[list[float] | None] = [None] * count
        with self._lock:
            for moment, errors in self._found.get(key, ()):
                index = int((now - moment) // period)
                if 0 <= index < count:
                    values = found[index] = found[index] or []
                    values.append(float(errors) if metric == "Errors" else 1.0)
        return found


class Alarms:
    """Sets the state of every alarm on a metric that is measured here."""

    _statistics = {
        "Sum": sum,
        "Maximum": max,
        "Minimum": min,
        "SampleCount": len,
        "Average": lambda values: sum(values) / len(values),
    }
    _comparisons = {
        "GreaterThanOrEqualToThreshold": lambda value, limit: value >= limit,
        "GreaterThanThreshold": lambda value, limit: value > limit,
        "LessThanThreshold": lambda value, limit: value < limit,
        "LessThanOrEqualToThreshold": lambda value, limit: value <= limit,
    }

    def __init__(self, measures: Measures) -> None:
        self._measures = measures
        self._lock = threading.Lock()

    def evaluate(self) -> None:
        """Look at every alarm of every account and region."""
        with self._lock:
            for account_id, regions in list(cloudwatch_backends.items()):
                for region, backend in list(regions.items()):
                    for alarm in list(backend.alarms.values()):
                        if state := self._state(account_id, region, alarm):
                            self._set(backend, alarm, *state)

    def _state(self, account_id: str, region: str, alarm: Any) -> tuple[str, str] | None:
        """The state and its reason, or None where it stays or nobody measures."""
        dimensions = {one.name: one.value for one in alarm.dimensions or []}
        statistic = self._statistics.get(alarm.statistic)
        breaches = self._comparisons.get(alarm.comparison_operator)
        if (
            alarm.namespace != "AWS/Lambda"
            or alarm.metric_name not in METRICS
            or set(dimensions) != {"FunctionName"}
        ):
            return None
        if statistic is None or breaches is None:
            return None
        count, limit = int(alarm.evaluation_periods), float(alarm.threshold)
        needed = int(alarm.datapoints_to_alarm or count)
        key = (account_id, region, dimensions["FunctionName"])
        found = self._measures.periods(key, alarm.metric_name, int(alarm.period), count)
        values = [None if period is None else float(statistic(period)) for period in found]
        missing = alarm.treat_missing_data or "missing"
        if all(value is None for value in values):
            states = {"breaching": "ALARM", "notBreaching": "OK", "missing": "INSUFFICIENT_DATA"}
            state = states.get(missing)
            return (state, f"no datapoints were received and missing data are {missing}") if state else None
        breaching = sum(
            missing == "breaching" if value is None else breaches(value, limit) for value in values
        )
        shown = ", ".join("no value" if value is None else f"{value:g}" for value in values)
        reason = f"{breaching} of the last {count} datapoints [{shown}] breach the threshold ({limit:g})"
        return ("ALARM" if breaching >= needed else "OK"), reason

    @staticmethod
    def _set(backend: Any, alarm: Any, state: str, reason: str) -> None:
        if alarm.state_value == state:
            return
        backend.set_alarm_state(alarm.name, f"Threshold crossed: {reason}.", "{}", state)
        log.warning("alarm %s is %s: %s", alarm.name, state, reason)
        actions = {"ALARM": alarm.alarm_actions, "OK": alarm.ok_actions}.get(
            state, alarm.insufficient_data_actions
        )
        if actions:
            log.warning("not emulated: the actions of the alarm %s: %s", alarm.name, ", ".join(actions))


class Worker:
    """Carries out the events of one function, one at a time, each when it is due."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Event]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        threading.Thread(target=self._work, daemon=True, name="asynchronous invocations").start()

    def add(self, event: Event, seconds: float = 0) -> None:
        """Let an event come in so many seconds of emulated time."""
        with self._changed:
            due = time.monotonic() + seconds * SCALE
            heapq.heappush(self._waiting, (due, next(self._numbers), event))
            self._changed.notify()

    def _next(self) -> Event:
        with self._changed:
            while not self._waiting or self._waiting[0][0] > time.monotonic():
                rest = self._waiting[0][0] - time.monotonic() if self._waiting else None
                self._changed.wait(rest)
            return heapq.heappop(self._waiting)[2]

    def _work(self) -> None:
        while True:
            event = self._next()
            try:
                self._carry_out(event)
            except Exception:
                log.exception("event %s of %s is lost", event.id, event.function)

    def _carry_out(self, event: Event) -> None:
        config = config_of(event)
        oldest = int(config["MaximumEventAgeInSeconds"])
        if event.tries and event.age >= oldest:
            give_up(event, config, "EventAgeExceeded")
            return
        event.tries += 1
        headers: dict[str, Any] = {}
        try:
            answer = _invoke(event.backend, event.function, event.qualifier, event.body, {}, headers)
            failed = bool(headers.get("x-amz-function-error"))
        except Exception as error:  # the function could not be run at all
            answer, failed = json.dumps({"errorType": type(error).__name__, "errorMessage": str(error)}), True
        event.answer = answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)
        MEASURES.count(event.backend, event.function, int(failed))
        ALARMS.evaluate()
        if not failed:
            record(event, config, "OnSuccess", "Success")
        elif event.tries > int(config["MaximumRetryAttempts"]):
            give_up(event, config, "RetriesExhausted")
        else:
            delay = RETRY_SECONDS[min(event.tries, len(RETRY_SECONDS)) - 1]
            log.warning(
                "event %s of %s failed, again in %s s: %s",
                event.id,
                event.function,
                delay,
                event.answer[:500],
            )
            self.add(event, min(delay, max(0.0, oldest - event.age)))


def config_of(event: Event) -> dict[str, Any]:
    """What becomes of an event that fails, with AWS's defaults."""
    function = event.backend.get_function(event.function, event.qualifier)
    configs = function.event_invoke_config
    found = configs[-1].config if configs else {}
    return DEFAULTS | {name: value for name, value in found.items() if value is not None}


def give_up(event: Event, config: dict[str, Any], condition: str) -> None:
    """Send a record of the event to where failed ones go, if there is such a place."""
    if not record(event, config, "OnFailure", condition):
        log.error("event %s of %s is lost after %s tries", event.id, event.function, event.tries)


def record(event: Event, config: dict[str, Any], outcome: str, condition: str) -> bool:
    """Send a record of the event to the destination of an outcome; False where it has none."""
    destination = ((config.get("DestinationConfig") or {}).get(outcome) or {}).get("Destination") or ""
    if not destination:
        return False
    parts = destination.split(":", 5)
    if len(parts) != 6 or parts[2] != "sqs":
        log.error("not emulated: the destination %s of an event", destination)
        return False
    function = event.backend.get_function(event.function, event.qualifier)
    error = {"functionError": "Unhandled"} if condition != "Success" else {}
    body = {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": event.id,
            "functionArn": f"{function.function_arn}:{event.qualifier or '$LATEST'}",
            "condition": condition,
            "approximateInvokeCount": event.tries,
        },
        "requestPayload": json.loads(event.body or "{}"),
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", **error},
        "responsePayload": _json(event.answer),
    }
    sqs_backends[parts[4]][parts[3]].send_message(parts[5], json.dumps(body))
    log.warning("event %s of %s is in %s: %s", event.id, event.function, parts[5], condition)
    return True


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


MEASURES = Measures()
ALARMS = Alarms(MEASURES)
_workers: dict[tuple[str, str, str], Worker] = {}
_lock = threading.Lock()


def invoke(
    self: LambdaBackend,
    function_name: str,
    qualifier: str | None,
    body: Any,
    headers: Any,
    response_headers: Any,
) -> str | bytes | None:
    """Invoke a function; an event is queued, everything is measured."""
    kind = headers.get("X-Amz-Invocation-Type") or "RequestResponse"
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        json.loads(text or "{}")
    except ValueError as error:
        words = f"Could not parse request body into json: {error}"
        raise JsonRESTError("InvalidRequestContentException", words) from error
    if kind == "Event":
        function = self.get_function(function_name, qualifier)  # an error where there is none
        key = (self.account_id, self.region_name, function.function_name)
        with _lock:
            worker = _workers.get(key) or _workers.setdefault(key, Worker())
        worker.add(Event(self, function.function_name, qualifier, text))
        response_headers["Content-Length"] = "0"
        return b""
    answer = _invoke(self, function_name, qualifier, body, headers, response_headers)
    if kind == "RequestResponse":
        name = self.get_function(function_name, qualifier).function_name
        MEASURES.count(self, name, int(bool(response_headers.get("x-amz-function-error"))))
        ALARMS.evaluate()
    return answer


def _evaluate_for_ever() -> None:
    while True:
        time.sleep(EVALUATE_SECONDS)
        try:
            ALARMS.evaluate()
        except Exception:
            log.exception("the alarms were not evaluated")


def install() -> None:
    """Put this in the place of moto's own way to invoke. ValueError for a scale that is none."""
    if not 0 < SCALE <= 1:
        raise ValueError("EMULATED_LAMBDA_TIME_SCALE must be more than 0 and at most 1")
    LambdaBackend.invoke = invoke  # type: ignore[method-assign]
    threading.Thread(target=_evaluate_for_ever, daemon=True, name="alarms").start()
