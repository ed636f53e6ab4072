"""What makes a function operate: made, paused, described, removed."""

from __future__ import annotations

import json
from typing import Any

from ansible.module_utils.retailflow_aws import ForeignError
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict

from .errors import OperationError
from .parts import Parts

# Why an event is in the queue is worth knowing for as long as SQS keeps anything: 14 days.
QUEUE_ATTRIBUTES = {"MessageRetentionPeriod": "1209600"}
TARGET_ID = "generator"


class Operation(Parts):
    """Brings the parts to what was asked for, or away; clients by service."""

    def ensure(self) -> None:
        """Bring everything to what was asked for; ForeignError, and nothing is touched, where something is not ours."""
        self.check()
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
            targets = events.list_targets_by_rule(Rule=name)["Targets"]
        target = {"Id": TARGET_ID, "Arn": function_arn}
        others = [one["Id"] for one in targets if one["Id"] != TARGET_ID]
        if others:
            self.act("remove other targets of the rule", events.remove_targets, Rule=name, Ids=others)
        if target not in targets:
            self.act(
                "set the function as the target of the rule", events.put_targets, Rule=name, Targets=[target]
            )
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

    def pause(self) -> None:
        """Disable the rule, where there is one."""
        found = self.rule()
        if found is not None and found["State"] != "DISABLED":
            self.act("disable the rule", self.clients["events"].disable_rule, Name=self.params["rule"])

    def describe(self) -> dict[str, Any]:
        """Return the present state; raise OperationError where there is no function."""
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

    def check(self) -> None:
        """Raise ForeignError where something has the function's names and not our tags."""
        untagged = self.untagged()
        if untagged:
            raise ForeignError(
                f"nothing was changed: {', '.join(untagged)} lack the tag {self.mark}. Remove them by hand, or give them the "
                "tag if they are this site's: then they are removed with it."
            )

    def untagged(self) -> list[str]:
        """Name everything that has one of the names but is not marked as ours."""
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
        untagged = [what for what, tags in found.items() if not self.is_ours(tags)]
        return untagged + [f"the parameter {name}" for name in self.untagged_parameters()]

    def remove(self) -> None:
        """Remove rule, queue and alarm; ForeignError, and nothing is touched, where something is not ours."""
        self.check()
        events = self.clients["events"]
        rule = self.rule()
        if rule is not None:
            name = self.params["rule"]
            targets = [one["Id"] for one in events.list_targets_by_rule(Rule=name)["Targets"]]
            if targets:
                self.act("remove the target of the rule", events.remove_targets, Rule=name, Ids=targets)
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
