"""Events of the emulated Lambda: tried again, kept where they failed, counted, and seen by the alarm."""

from __future__ import annotations

import importlib
import io
import json
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import small_play
from retailflow_emulators.ports import free_port
from server_support import process

MOTO = Path(__file__).parents[2] / "images/moto"
#: The server with a function that fails as often as its payload says; `calls` counts them per payload.
SERVER = f"""
import collections, json, sys
sys.path.insert(0, {str(MOTO)!r})
import server
from moto.awslambda.models import LambdaFunction
calls = collections.Counter()
def run(self, event=None):
    text = self.function_name + json.dumps(event, sort_keys=True)
    calls[text] += 1
    failed = calls[text] <= event.get("failures", 0)
    error = {{"errorMessage": "no", "errorType": "DatabaseUnavailableError"}}
    return json.dumps(error if failed else {{"calls": calls[text]}}), failed, ""
LambdaFunction._invoke_lambda = run
sys.argv = ["server.py", "-H", "127.0.0.1", "-p", sys.argv[1]]
server.main()
"""
SCALE = 0.01  # a retry comes after 0.6 and 1.2 s


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    settings = {"EMULATED_LAMBDA_TIME_SCALE": str(SCALE)}
    log = tmp_path_factory.mktemp("moto") / "moto.log"
    with process([sys.executable, "-c", SERVER, str(port)], settings, log, f"{address}/moto-api/"):
        yield address


class Cloud:
    """A function of its own with a queue for its failed events and an alarm on its errors."""

    def __init__(self, url: str, name: str, **config: Any) -> None:
        self.name = name
        services = ("lambda", "sqs", "iam", "cloudwatch")
        options = {
            "endpoint_url": url,
            "region_name": "eu-central-1",
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
        }
        self.clients: dict[str, Any] = {one: boto3.client(one, **options) for one in services}  # type: ignore[call-overload]
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("f.py", "")
        role = self.clients["iam"].create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        self.clients["lambda"].create_function(
            FunctionName=name,
            Runtime="python3.11",
            Role=role,
            Handler="f.f",
            Code={"ZipFile": code.getvalue()},
        )
        self.queue = self.clients["sqs"].create_queue(QueueName=f"{name}-failed")["QueueUrl"]
        found = self.clients["sqs"].get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])
        destination = {"OnFailure": {"Destination": found["Attributes"]["QueueArn"]}}
        self.clients["lambda"].put_function_event_invoke_config(
            FunctionName=name, DestinationConfig=destination, **config
        )
        self.clients["cloudwatch"].put_metric_alarm(
            AlarmName=f"{name}-errors",
            Namespace="AWS/Lambda",
            MetricName="Errors",
            Dimensions=[{"Name": "FunctionName", "Value": name}],
            Statistic="Sum",
            Period=300,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="notBreaching",
        )

    def invoke(self, payload: Any, kind: str = "Event") -> Any:
        return self.clients["lambda"].invoke(
            FunctionName=self.name, InvocationType=kind, Payload=json.dumps(payload)
        )

    def calls(self, payload: Any) -> int:
        """How often the function was called with a payload."""
        return int(json.loads(self.invoke(payload, "RequestResponse")["Payload"].read())["calls"]) - 1

    def failed(self) -> list[dict[str, Any]]:
        found = self.clients["sqs"].receive_message(
            QueueUrl=self.queue, VisibilityTimeout=0, MaxNumberOfMessages=10
        )
        return [json.loads(message["Body"]) for message in found.get("Messages", [])]

    def alarm(self) -> str:
        (found,) = self.clients["cloudwatch"].describe_alarms(AlarmNames=[f"{self.name}-errors"])[
            "MetricAlarms"
        ]
        return str(found["StateValue"])

    def errors(self) -> float:
        now = time.time()
        found = self.clients["cloudwatch"].get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName="Errors",
            Dimensions=[{"Name": "FunctionName", "Value": self.name}],
            StartTime=now - 600,
            EndTime=now + 60,
            Period=3600,
            Statistics=["Sum"],
        )["Datapoints"]
        return sum(one["Sum"] for one in found)


def wait_for(condition: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


def test_an_event_that_fails_is_tried_three_times_and_then_queued(url: str) -> None:
    cloud = Cloud(url, "thrice")
    began = time.monotonic()
    payload = {"failures": 99, "detail-type": "Scheduled Event", "id": "e1"}
    answer = cloud.invoke(payload)
    assert (answer["StatusCode"], answer.get("FunctionError")) == (202, None)
    assert time.monotonic() - began < 0.5, "the caller does not wait"
    (record,) = wait_for(cloud.failed)
    assert time.monotonic() - began > (60 + 120) * SCALE, "after one and after two minutes"
    assert record["requestPayload"] == payload
    context = record["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("RetriesExhausted", 3)
    assert context["functionArn"].endswith(":function:thrice:$LATEST") and context["requestId"]
    assert record["responseContext"]["functionError"] == "Unhandled"
    assert record["responsePayload"]["errorType"] == "DatabaseUnavailableError"
    assert cloud.alarm() == "ALARM"
    assert cloud.errors() == 3


@pytest.mark.parametrize(("failures", "retries", "kept"), [(0, 2, 0), (2, 2, 0), (1, 0, 1), (2, 1, 1)])
def test_as_many_tries_as_the_function_says(url: str, failures: int, retries: int, kept: int) -> None:
    cloud = Cloud(url, f"tries-{failures}-{retries}", MaximumRetryAttempts=retries)
    cloud.invoke({"failures": failures})
    errors = min(failures, retries + 1)
    wait_for(lambda: cloud.errors() == errors)
    time.sleep(130 * SCALE)
    assert (len(cloud.failed()), cloud.errors()) == (kept, errors)


def test_an_event_that_is_too_old_is_given_up(url: str) -> None:
    cloud = Cloud(url, "old", MaximumEventAgeInSeconds=100)
    cloud.invoke({"failures": 99})
    (record,) = wait_for(cloud.failed)
    context = record["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("EventAgeExceeded", 2)


def test_a_function_that_works_leaves_the_alarm_and_the_queue_alone(url: str) -> None:
    cloud = Cloud(url, "well")
    cloud.invoke({"failures": 0})
    time.sleep(1)
    assert (cloud.alarm(), cloud.failed(), cloud.errors()) == ("OK", [], 0)


def test_a_failed_invocation_that_was_waited_for_counts_and_is_not_repeated(url: str) -> None:
    cloud = Cloud(url, "waited")
    answer = cloud.invoke({"failures": 1}, "RequestResponse")
    assert answer["FunctionError"]
    assert (cloud.alarm(), cloud.errors()) == ("ALARM", 1)
    time.sleep(70 * SCALE)
    assert cloud.failed() == []
    assert cloud.calls({"failures": 1}) == 1


def test_events_of_a_function_come_one_after_the_other_and_each_is_kept(url: str) -> None:
    cloud = Cloud(url, "many", MaximumRetryAttempts=0)
    for number in range(5):
        cloud.invoke({"failures": 99, "number": number})
    wait_for(lambda: len(cloud.failed()) == 5)
    assert [one["requestPayload"]["number"] for one in cloud.failed()] == list(range(5))


def test_an_event_for_no_function_and_one_that_is_no_json_are_refused(url: str) -> None:
    cloud = Cloud(url, "there")
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        cloud.clients["lambda"].invoke(FunctionName="nowhere", InvocationType="Event", Payload="{}")
    for kind in ("Event", "RequestResponse"):
        with pytest.raises(ClientError, match="InvalidRequestContentException"):
            cloud.clients["lambda"].invoke(FunctionName="there", InvocationType=kind, Payload="{rows: 5}")
    assert cloud.errors() == 0


@pytest.mark.parametrize(
    ("ages", "changes", "state"),
    [
        ([10], {}, "ALARM"),
        ([400], {}, "OK"),  # a period ago
        ([], {}, "OK"),
        ([], {"treat_missing_data": "breaching"}, "ALARM"),
        ([], {"treat_missing_data": None}, "INSUFFICIENT_DATA"),
        ([], {"treat_missing_data": "ignore"}, None),
        ([10], {"threshold": 2}, "OK"),
        ([10, 20], {"threshold": 2}, "ALARM"),
        ([10, 20], {"threshold": 1, "statistic": "Average"}, "ALARM"),
        ([10], {"evaluation_periods": 3}, "OK"),
        ([10, 400, 700], {"evaluation_periods": 3}, "ALARM"),
        ([10, 700], {"evaluation_periods": 3, "datapoints_to_alarm": 2}, "ALARM"),
        ([10], {"metric_name": "Throttles"}, None),  # nobody measures it
        ([10], {"namespace": "AWS/EC2"}, None),
        ([10], {"dimensions": []}, None),
    ],
)
def test_the_state_of_an_alarm_follows_from_its_periods(
    monkeypatch: pytest.MonkeyPatch, ages: list[int], changes: dict[str, Any], state: str | None
) -> None:
    monkeypatch.syspath_prepend(str(MOTO))
    asynchronous = importlib.import_module("asynchronous")
    measures = asynchronous.Measures()
    found = measures._found["123456789012", "eu-central-1", "shop"]
    found.extend(sorted((time.time() - age, 1) for age in ages))
    alarm = {
        "namespace": "AWS/Lambda",
        "metric_name": "Errors",
        "dimensions": [SimpleNamespace(name="FunctionName", value="shop")],
        "statistic": "Sum",
        "period": 300,
        "evaluation_periods": 1,
        "datapoints_to_alarm": None,
        "threshold": 1.0,
        "comparison_operator": "GreaterThanOrEqualToThreshold",
        "treat_missing_data": "notBreaching",
    }
    alarms = asynchronous.Alarms(measures)
    answer = alarms._state("123456789012", "eu-central-1", SimpleNamespace(**alarm | changes))
    assert (answer and answer[0]) == state


def test_the_role_reports_an_error_of_the_function_in_one_sentence(url: str, tmp_path: Path) -> None:
    Cloud(url, "invoked")
    include = {"include_role": {"name": "lambda-generator", "tasks_from": "invoke"}}

    def invoke(payload: dict[str, Any]) -> dict[str, Any]:
        given = {"lambda_generator_name": "invoked", "lambda_generator_payload": payload}
        return include | {"vars": given}

    def write(name: str, value: str) -> dict[str, Any]:
        return {
            "copy": {"content": "{{ " + value + " | to_json }}", "dest": str(tmp_path / name), "mode": "0600"}
        }

    failing = {"failures": 1, "batch_id": "one"}
    tasks = [
        {"block": [invoke(failing)], "rescue": [write("refused", "ansible_failed_result")]},
        invoke(failing),
        write("answer", "lambda_generator_invocation"),
    ]
    api = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "eu-central-1"}
    api |= {
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    small_play.run(tmp_path, tasks, play={"environment": api})
    refused = json.loads((tmp_path / "refused").read_text())
    assert refused["msg"].startswith("The function invoked ended with DatabaseUnavailableError: no.")
    assert "no row was written" in refused["msg"] and "Stack Trace" not in json.dumps(refused)
    assert json.loads((tmp_path / "answer").read_text()) == {"calls": 2}
