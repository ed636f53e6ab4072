"""The module lambda_operation against moto: what is made once, repaired, described, paused, removed and refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

import lambda_operation
import moto_support

SERVICES = ("lambda", "events", "sqs", "cloudwatch", "logs", "iam", "ssm")
TAGS = {"Project": "shop"}
PARAMS: dict[str, Any] = {
    "function": "report",
    "tags": TAGS,
    "rule": "report-schedule",
    "schedule": "rate(1 hour)",
    "enabled": True,
    "concurrency": 1,
    "retries": 1,
    "event_age": 600,
    "queue": "report-failed",
    "alarm": "report-errors",
    "alarm_actions": [],
    "log_group": "/aws/lambda/report",
    "secrets_path": "/shop/report",
}


@pytest.fixture
def clients() -> Iterator[dict[str, Any]]:
    with moto_support.account(*SERVICES) as made:
        yield made


def deploy(clients: dict[str, Any], tags: dict[str, str]) -> None:
    """Make the function with its role and log group, as the role does before it calls the module."""
    role = clients["iam"].create_role(
        RoleName="report",
        AssumeRolePolicyDocument="{}",
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )
    clients["logs"].create_log_group(logGroupName="/aws/lambda/report", tags=tags)
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("report.py", "def handler(event, context): return event\n")
    clients["lambda"].create_function(
        FunctionName="report",
        Runtime="python3.11",
        Role=role["Role"]["Arn"],
        Handler="report.handler",
        Code={"ZipFile": code.getvalue()},
        Tags=tags,
    )


def operation(clients: dict[str, Any], check: bool = False, **changes: Any) -> Any:
    return lambda_operation.Operation(clients, PARAMS | changes, check)


def ensure(clients: dict[str, Any], check: bool = False, **changes: Any) -> list[str]:
    made = operation(clients, check, **changes)
    made.ensure()
    return list(made.actions)


def remove(clients: dict[str, Any]) -> list[str]:
    removed = operation(clients)
    removed.remove()
    return list(removed.actions)


def test_everything_is_made_once_and_tagged(clients: dict[str, Any]) -> None:
    deploy(clients, TAGS)
    planned = ensure(clients, check=True)
    assert clients["sqs"].list_queues().get("QueueUrls", []) == [], "check mode makes nothing"
    assert ensure(clients) == planned
    assert ensure(clients) == []
    assert operation(clients).untagged() == [], "nothing lacks the tags"

    found = operation(clients).describe()
    assert (found["concurrency"], found["retries"], found["event_age_s"]) == (1, 1, 600)
    assert (found["schedule"], found["scheduled"]) == ("rate(1 hour)", True)
    assert (found["queue"], found["failed_events"]) == ("report-failed", 0)
    assert found["alarm_state"] in ("OK", "INSUFFICIENT_DATA")
    config = clients["lambda"].get_function_event_invoke_config(FunctionName="report")
    queue = operation(clients).queue()
    assert config["DestinationConfig"]["OnFailure"]["Destination"] == queue["QueueArn"]
    assert queue["MessageRetentionPeriod"] == "1209600"
    (target,) = clients["events"].list_targets_by_rule(Rule="report-schedule")["Targets"]
    assert (
        target["Arn"] == clients["lambda"].get_function(FunctionName="report")["Configuration"]["FunctionArn"]
    )
    (statement,) = json.loads(clients["lambda"].get_policy(FunctionName="report")["Policy"])["Statement"]
    assert operation(clients).rule()["Arn"] in json.dumps(statement["Condition"])


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({"concurrency": 3}, "reserve a concurrency of 3"),
        ({"concurrency": -1}, "reserve no concurrency"),
        ({"retries": 0}, "set retries and the queue of failed events"),
        ({"alarm_actions": ["arn:aws:sns:us-east-1:123456789012:people"]}, "change the alarm report-errors"),
        ({"schedule": "rate(2 hours)"}, "change the rule report-schedule"),
        ({"enabled": False}, "change the rule report-schedule"),
    ],
)
def test_a_changed_setting_changes_that_alone(
    clients: dict[str, Any], changes: dict[str, Any], action: str
) -> None:
    deploy(clients, TAGS)
    ensure(clients)
    assert ensure(clients, **changes) == [action]
    assert ensure(clients, **changes) == []


def test_what_was_damaged_is_repaired(clients: dict[str, Any]) -> None:
    deploy(clients, TAGS)
    ensure(clients)
    clients["lambda"].remove_permission(FunctionName="report", StatementId="report-schedule")
    clients["events"].put_targets(Rule="report-schedule", Targets=[{"Id": "other", "Arn": "arn:aws:sqs:::x"}])
    clients["lambda"].delete_function_event_invoke_config(FunctionName="report")
    assert ensure(clients) == [
        "set retries and the queue of failed events",
        "remove other targets of the rule",
        "let the rule invoke the function",
    ]
    assert ensure(clients) == []


def test_a_pause_disables_the_rule_and_the_next_run_enables_it(clients: dict[str, Any]) -> None:
    deploy(clients, TAGS)
    ensure(clients)
    paused = operation(clients)
    paused.pause()
    assert paused.actions and clients["events"].describe_rule(Name="report-schedule")["State"] == "DISABLED"
    again = operation(clients)
    again.pause()
    assert again.actions == []
    assert ensure(clients) == ["change the rule report-schedule"]
    assert clients["events"].describe_rule(Name="report-schedule")["State"] == "ENABLED"


def test_removal_takes_what_is_there_and_works_twice(clients: dict[str, Any]) -> None:
    assert remove(clients) == [], "nothing was made yet"
    deploy(clients, TAGS)
    ensure(clients)
    clients["cloudwatch"].delete_alarms(AlarmNames=["report-errors"])  # half-made
    assert len(remove(clients)) == 3
    found = operation(clients)
    assert (found.rule(), found.queue(), found.alarm()) == (None, None, None)
    assert remove(clients) == []


def test_removal_refuses_what_is_not_ours_and_touches_nothing(clients: dict[str, Any]) -> None:
    deploy(clients, {"Project": "other"})
    clients["sqs"].create_queue(QueueName="report-failed")
    for refuse in (remove, ensure):
        with pytest.raises(lambda_operation.ForeignError) as refused:
            refuse(clients)
        for what in ("the function report", "the queue report-failed", "the log group", "the role report"):
            assert what in str(refused.value)
    assert clients["sqs"].list_queues()["QueueUrls"], "it is still there"
    assert clients["events"].list_rules()["Rules"] == [], "nothing was made beside it"


def of_somebody_else(clients: dict[str, Any], kind: str) -> None:
    """Make one thing that has our name and somebody else's tag."""
    tags = [{"Key": "Project", "Value": "other"}]
    match kind:
        case "queue":
            clients["sqs"].create_queue(QueueName="report-failed", tags={"Project": "other"})
        case "rule":
            clients["events"].put_rule(Name="report-schedule", ScheduleExpression="rate(1 hour)", Tags=tags)
        case "log group":
            clients["logs"].create_log_group(logGroupName="/aws/lambda/report", tags={"Project": "other"})
        case "role":
            clients["iam"].create_role(RoleName="report", AssumeRolePolicyDocument="{}", Tags=tags)
        case "parameter":
            name = "/shop/report/DB_PASSWORD"
            clients["ssm"].put_parameter(Name=name, Value="theirs", Type="SecureString", Tags=tags)
        case _:
            clients["cloudwatch"].put_metric_alarm(
                AlarmName="report-errors",
                Namespace="AWS/Lambda",
                MetricName="Errors",
                Statistic="Sum",
                Period=300,
                EvaluationPeriods=1,
                Threshold=1.0,
                ComparisonOperator="GreaterThanThreshold",
                Tags=tags,
            )


@pytest.mark.parametrize("kind", ["queue", "rule", "log group", "role", "parameter", "alarm"])
def test_one_thing_of_somebody_else_stops_everything(clients: dict[str, Any], kind: str) -> None:
    of_somebody_else(clients, kind)
    for check in (True, False):
        with pytest.raises(lambda_operation.ForeignError, match=f"nothing was changed: the {kind} "):
            operation(clients, check).check()


def test_without_a_function_it_says_so(clients: dict[str, Any]) -> None:
    assert "schedule and watch report" in ensure(clients, check=True)
    with pytest.raises(lambda_operation.OperationError, match="no function report"):
        ensure(clients)
    with pytest.raises(lambda_operation.OperationError, match="no function report"):
        operation(clients).describe()
