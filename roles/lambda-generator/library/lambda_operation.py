"""Ansible module: what makes a Lambda function operate: schedule, concurrency, retries, failed events, alarm."""

from __future__ import annotations

import json
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.retailflow_aws import AwsWork, ForeignError
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict

DOCUMENTATION = r"""
---
module: lambda_operation
short_description: Schedule, limit and watch a Lambda function
description:
  - The EventBridge rule that invokes the function, its reserved concurrency, the retries of an event, the queue for events
    that failed for good, and the alarm on errors. All of it is tagged when it is made, and looked up before it is changed.
  - O(state=paused) disables the rule, O(state=described) reads how everything is, O(state=absent) removes rule, queue and
    alarm, and refuses to where anything of the function's lacks the tags.
options:
  function: {description: Name of the function., type: str, required: true}
  state:
    description: What to do.
    type: str
    choices: [present, paused, described, absent]
    default: present
  tags: {description: Tags that mark everything as ours., type: dict, default: {}}
  rule: {description: Name of the rule., type: str, required: true}
  schedule: {description: Schedule expression of the rule., type: str, default: ""}
  enabled: {description: Whether the rule invokes the function., type: bool, default: true}
  concurrency: {description: Invocations at a time; -1 reserves none., type: int, default: -1}
  retries: {description: How often a failed event is tried again., type: int, default: 2}
  event_age: {description: Seconds after which an event is given up., type: int, default: 3600}
  queue: {description: Name of the queue for events that were given up., type: str, required: true}
  alarm: {description: Name of the alarm on errors., type: str, required: true}
  alarm_actions: {description: ARNs that the alarm calls., type: list, elements: str, default: []}
  log_group: {description: Name of the function's log group., type: str, required: true}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be done.}
"""

EXAMPLES = r"""
- name: Invoke a function every hour, one at a time
  lambda_operation:
    function: report
    rule: report-schedule
    schedule: rate(1 hour)
    concurrency: 1
    queue: report-failed
    alarm: report-errors
    log_group: /aws/lambda/report
    tags: {Project: shop}
"""

RETURN = r"""
actions: {description: What was done, or would be., type: list, returned: success}
description: {description: How everything is., type: dict, returned: state is described}
"""

# Why an event is in the queue is worth knowing for as long as SQS keeps anything: 14 days.
QUEUE_ATTRIBUTES = {"MessageRetentionPeriod": "1209600"}
TARGET_ID = "generator"


class OperationError(Exception):
    """What stands in the way, in words for the person who runs the play."""


class Operation(AwsWork):
    """One function and what belongs to it; clients by service."""

    def __init__(self, clients: dict[str, Any], params: dict[str, Any], check_mode: bool = False) -> None:
        super().__init__(params["tags"], check_mode)
        self.clients = clients
        self.params = params
        self.name: str = params["function"]

    def ask(self, call: Any, missing: tuple[str, ...], **arguments: Any) -> dict[str, Any] | None:
        """Return an answer, or None where the API says that there is no such thing."""
        try:
            answer: dict[str, Any] = call(**arguments)
            return answer
        except is_boto3_error_code(missing):
            return None

    # --- looking -----------------------------------------------------------------------------------------------

    def function(self) -> dict[str, Any] | None:
        """Return the function's configuration, or None."""
        found = self.ask(
            self.clients["lambda"].get_function, ("ResourceNotFoundException",), FunctionName=self.name
        )
        return None if found is None else found["Configuration"] | {"Tags": found.get("Tags") or {}}

    def rule(self) -> dict[str, Any] | None:
        """Return the rule, or None."""
        return self.ask(
            self.clients["events"].describe_rule, ("ResourceNotFoundException",), Name=self.params["rule"]
        )

    def queue(self) -> dict[str, Any] | None:
        """Return the attributes of the queue with its URL and tags, or None."""
        sqs = self.clients["sqs"]
        missing = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
        found = self.ask(sqs.get_queue_url, missing, QueueName=self.params["queue"])
        if found is None:
            return None
        url = found["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return dict(attributes) | {"url": url, "tags": sqs.list_queue_tags(QueueUrl=url).get("Tags") or {}}

    def alarm(self) -> dict[str, Any] | None:
        """Return the alarm, or None."""
        found = self.clients["cloudwatch"].describe_alarms(AlarmNames=[self.params["alarm"]])["MetricAlarms"]
        return found[0] if found else None

    def log_group(self) -> dict[str, Any] | None:
        """Return the log group with its tags, or None."""
        logs = self.clients["logs"]
        name = self.params["log_group"]
        for group in logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]:
            if group["logGroupName"] == name:
                arn = group["arn"].removesuffix(":*")
                return dict(group) | {"tags": logs.list_tags_for_resource(resourceArn=arn).get("tags") or {}}
        return None

    def tags_of(self, service: str, arn: str) -> dict[str, str]:
        """Return the tags of a rule or an alarm."""
        found = self.clients[service].list_tags_for_resource(ResourceARN=arn)["Tags"]
        return boto3_tag_list_to_ansible_dict(found)

    def concurrency(self) -> int:
        """Return the reserved concurrency, -1 for none."""
        found = self.clients["lambda"].get_function_concurrency(FunctionName=self.name)
        return int(found.get("ReservedConcurrentExecutions", -1))

    def event_config(self) -> dict[str, Any]:
        """Return what becomes of an event that fails."""
        found = self.ask(
            self.clients["lambda"].get_function_event_invoke_config,
            ("ResourceNotFoundException",),
            FunctionName=self.name,
        )
        return found or {}

    # --- making ------------------------------------------------------------------------------------------------

    def ensure(self) -> None:
        """Bring everything to what was asked for."""
        found = self.function()
        queue_arn = self.ensure_queue()
        if found is None:
            if not self.check_mode:
                raise OperationError(f"there is no function {self.name}")
            self.actions.append(f"schedule and watch {self.name}")
            return
        if found.get("State", "Active") != "Active" or found.get("LastUpdateStatus") == "InProgress":
            # A new function in a VPC gets its network interface only after a while.
            for waiter in ("function_active_v2", "function_updated_v2"):
                self.clients["lambda"].get_waiter(waiter).wait(FunctionName=self.name)
        arn = found["FunctionArn"]
        self.ensure_concurrency()
        self.ensure_retries(queue_arn)
        self.ensure_alarm()
        self.ensure_permission(self.ensure_rule(arn), arn)

    def ensure_queue(self) -> str:
        """Make the queue of failed events; return its ARN, empty in check mode before the first run."""
        found = self.queue()
        sqs = self.clients["sqs"]
        if found is None:
            answer = self.act(
                f"make the queue {self.params['queue']}",
                sqs.create_queue,
                QueueName=self.params["queue"],
                Attributes=QUEUE_ATTRIBUTES,
                tags=self.tags,
            )
            if not answer:
                return ""
            attributes = sqs.get_queue_attributes(QueueUrl=answer["QueueUrl"], AttributeNames=["QueueArn"])
            return str(attributes["Attributes"]["QueueArn"])
        if not QUEUE_ATTRIBUTES.items() <= found.items():
            self.act(
                "set how long failed events are kept",
                sqs.set_queue_attributes,
                QueueUrl=found["url"],
                Attributes=QUEUE_ATTRIBUTES,
            )
        if not self.is_ours(found["tags"]):
            self.act("tag the queue", sqs.tag_queue, QueueUrl=found["url"], Tags=self.tags)
        return str(found["QueueArn"])

    def ensure_concurrency(self) -> None:
        """Reserve as many invocations at a time as asked for, or none."""
        wanted, present = self.params["concurrency"], self.concurrency()
        client = self.clients["lambda"]
        if wanted == present:
            return
        if wanted < 0:
            self.act("reserve no concurrency", client.delete_function_concurrency, FunctionName=self.name)
        else:
            self.act(
                f"reserve a concurrency of {wanted}",
                client.put_function_concurrency,
                FunctionName=self.name,
                ReservedConcurrentExecutions=wanted,
            )

    def ensure_retries(self, queue_arn: str) -> None:
        """Say how often a failed event is tried again, for how long, and where it goes then."""
        found = self.event_config()
        wanted = {
            "MaximumRetryAttempts": self.params["retries"],
            "MaximumEventAgeInSeconds": self.params["event_age"],
        }
        target = found.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", "")
        if not wanted.items() <= found.items() or target != queue_arn:
            client = self.clients["lambda"]
            if found and not self.check_mode:
                # AWS would overwrite it; moto would go on answering with the old one.
                client.delete_function_event_invoke_config(FunctionName=self.name)
            self.act(
                "set retries and the queue of failed events",
                client.put_function_event_invoke_config,
                FunctionName=self.name,
                DestinationConfig={"OnFailure": {"Destination": queue_arn}},
                **wanted,
            )

    def ensure_alarm(self) -> None:
        """Make the alarm: one failed invocation in five minutes is enough."""
        found = self.alarm()
        wanted = {
            "AlarmName": self.params["alarm"],
            "AlarmDescription": f"An invocation of {self.name} failed; its log group is {self.params['log_group']}.",
            "Namespace": "AWS/Lambda",
            "MetricName": "Errors",
            "Dimensions": [{"Name": "FunctionName", "Value": self.name}],
            "Statistic": "Sum",
            "Period": 300,
            "EvaluationPeriods": 1,
            "Threshold": 1.0,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "notBreaching",
            "AlarmActions": self.params["alarm_actions"],
        }
        cloudwatch = self.clients["cloudwatch"]
        if found is None:
            self.act(
                f"make the alarm {wanted['AlarmName']}",
                cloudwatch.put_metric_alarm,
                **wanted,
                Tags=self.tag_list,
            )
            return
        if any(found.get(key) != value for key, value in wanted.items()):
            self.act(f"change the alarm {wanted['AlarmName']}", cloudwatch.put_metric_alarm, **wanted)
        if not self.is_ours(self.tags_of("cloudwatch", found["AlarmArn"])):
            self.act(
                "tag the alarm",
                cloudwatch.tag_resource,
                ResourceARN=found["AlarmArn"],
                Tags=self.tag_list,
            )

    def ensure_rule(self, function_arn: str) -> str:
        """Make the rule and its target; return the rule's ARN, empty in check mode before the first run."""
        events = self.clients["events"]
        name = self.params["rule"]
        found = self.rule()
        wanted = {
            "ScheduleExpression": self.params["schedule"],
            "State": "ENABLED" if self.params["enabled"] else "DISABLED",
            "Description": f"Invokes {self.name}.",
        }
        if found is None:
            answer = self.act(
                f"make the rule {name}", events.put_rule, Name=name, Tags=self.tag_list, **wanted
            )
            arn = str(answer.get("RuleArn", ""))
            targets = []
        else:
            arn = found["Arn"]
            if not wanted.items() <= found.items():
                self.act(f"change the rule {name}", events.put_rule, Name=name, **wanted)
            if not self.is_ours(self.tags_of("events", arn)):
                self.act("tag the rule", events.tag_resource, ResourceARN=arn, Tags=self.tag_list)
            targets = events.list_targets_by_rule(Rule=name)["Targets"]
        target = {"Id": TARGET_ID, "Arn": function_arn}
        others = [one["Id"] for one in targets if one["Id"] != TARGET_ID]
        if others:
            self.act("remove other targets of the rule", events.remove_targets, Rule=name, Ids=others)
        if target not in targets:
            self.act("aim the rule at the function", events.put_targets, Rule=name, Targets=[target])
        return arn

    def ensure_permission(self, rule_arn: str, function_arn: str) -> None:
        """Let the rule, and no other, invoke the function."""
        client = self.clients["lambda"]
        found = self.ask(client.get_policy, ("ResourceNotFoundException",), FunctionName=self.name)
        statements = json.loads(found["Policy"])["Statement"] if found else []
        sid = self.params["rule"]
        mine = next((one for one in statements if one.get("Sid") == sid), None)
        if mine is not None:
            condition = mine.get("Condition", {})
            sources = [*condition.get("ArnLike", {}).values(), *condition.get("ArnEquals", {}).values()]
            if sources == [rule_arn]:
                return
            self.act(
                "withdraw an old permission",
                client.remove_permission,
                FunctionName=self.name,
                StatementId=sid,
            )
        self.act(
            "let the rule invoke the function",
            client.add_permission,
            FunctionName=self.name,
            StatementId=sid,
            Action="lambda:InvokeFunction",
            Principal="events.amazonaws.com",
            SourceArn=rule_arn,
        )

    # --- pausing, describing, removing -------------------------------------------------------------------------

    def pause(self) -> None:
        """Disable the rule, where there is one."""
        found = self.rule()
        if found is not None and found["State"] != "DISABLED":
            self.act("disable the rule", self.clients["events"].disable_rule, Name=self.params["rule"])

    def describe(self) -> dict[str, Any]:
        """Return how everything is; raise OperationError where there is no function."""
        found = self.function()
        if found is None:
            raise OperationError(f"there is no function {self.name}")
        rule, queue, alarm, group = self.rule(), self.queue(), self.alarm(), self.log_group()
        events = self.event_config()
        vpc = found.get("VpcConfig") or {}
        return {
            "name": self.name,
            "runtime": found["Runtime"],
            "handler": found["Handler"],
            "memory_mb": found["MemorySize"],
            "timeout_s": found["Timeout"],
            "code_size": found["CodeSize"],
            "code_sha256": found["CodeSha256"],
            "deployed": found["LastModified"],
            "environment": (found.get("Environment") or {}).get("Variables") or {},
            "kms_key": found.get("KMSKeyArn") or "",
            "subnets": vpc.get("SubnetIds") or [],
            "security_groups": vpc.get("SecurityGroupIds") or [],
            "concurrency": self.concurrency(),
            "retries": events.get("MaximumRetryAttempts"),
            "event_age_s": events.get("MaximumEventAgeInSeconds"),
            "schedule": rule["ScheduleExpression"] if rule else "",
            "scheduled": bool(rule) and rule["State"] == "ENABLED",
            "queue": self.params["queue"] if queue else "",
            "failed_events": int(queue["ApproximateNumberOfMessages"]) if queue else 0,
            "alarm": self.params["alarm"] if alarm else "",
            "alarm_state": alarm["StateValue"] if alarm else "",
            "log_group": self.params["log_group"] if group else "",
            "log_days": group.get("retentionInDays") if group else None,
        }

    def untagged(self) -> list[str]:
        """Name everything that would be removed but is not marked as ours."""
        function, rule, queue, alarm, group = (
            self.function(),
            self.rule(),
            self.queue(),
            self.alarm(),
            self.log_group(),
        )
        role = self.ask(self.clients["iam"].get_role, ("NoSuchEntity",), RoleName=self.name)
        found: dict[str, dict[str, str]] = {}
        if function is not None:
            found[f"the function {self.name}"] = function["Tags"]
        if rule is not None:
            found[f"the rule {self.params['rule']}"] = self.tags_of("events", rule["Arn"])
        if queue is not None:
            found[f"the queue {self.params['queue']}"] = queue["tags"]
        if alarm is not None:
            found[f"the alarm {self.params['alarm']}"] = self.tags_of("cloudwatch", alarm["AlarmArn"])
        if group is not None:
            found[f"the log group {self.params['log_group']}"] = group["tags"]
        if role is not None:
            tags = role["Role"].get("Tags") or []
            found[f"the role {self.name}"] = boto3_tag_list_to_ansible_dict(tags)
        return [what for what, tags in found.items() if not self.is_ours(tags)]

    def remove(self) -> None:
        """Remove rule, queue and alarm; ForeignError, and nothing is touched, where something is not ours."""
        untagged = self.untagged()
        if untagged:
            raise ForeignError(
                f"nothing was removed: {', '.join(untagged)} lack the tag {self.mark}. Remove them by hand, "
                "or give them the tag so that they are removed with the site."
            )
        events = self.clients["events"]
        rule = self.rule()
        if rule is not None:
            name = self.params["rule"]
            targets = [one["Id"] for one in events.list_targets_by_rule(Rule=name)["Targets"]]
            if targets:
                self.act("stop aiming the rule", events.remove_targets, Rule=name, Ids=targets)
            self.act(f"remove the rule {name}", events.delete_rule, Name=name)
        if self.alarm() is not None:
            self.act(
                f"remove the alarm {self.params['alarm']}",
                self.clients["cloudwatch"].delete_alarms,
                AlarmNames=[self.params["alarm"]],
            )
        queue = self.queue()
        if queue is not None:
            self.act(
                f"remove the queue {self.params['queue']}",
                self.clients["sqs"].delete_queue,
                QueueUrl=queue["url"],
            )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "function": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": ["present", "paused", "described", "absent"],
                "default": "present",
            },
            "tags": {"type": "dict", "default": {}},
            "rule": {"type": "str", "required": True},
            "schedule": {"type": "str", "default": ""},
            "enabled": {"type": "bool", "default": True},
            "concurrency": {"type": "int", "default": -1},
            "retries": {"type": "int", "default": 2},
            "event_age": {"type": "int", "default": 3600},
            "queue": {"type": "str", "required": True},
            "alarm": {"type": "str", "required": True},
            "alarm_actions": {"type": "list", "elements": "str", "default": []},
            "log_group": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    services = ("lambda", "events", "sqs", "cloudwatch", "logs", "iam")
    operation = Operation(
        {service: module.client(service) for service in services}, module.params, module.check_mode
    )
    result: dict[str, Any] = {}
    try:
        match module.params["state"]:
            case "present":
                operation.ensure()
            case "paused":
                operation.pause()
            case "described":
                result["description"] = operation.describe()
            case _:
                operation.remove()
    except (OperationError, ForeignError) as error:
        module.fail_json(msg=f"The function {module.params['function']}: {error}")
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(
            error, msg=f"The AWS API refused work on the function {module.params['function']}"
        )
    module.exit_json(changed=bool(operation.actions), actions=operation.actions, **result)


if __name__ == "__main__":
    main()
