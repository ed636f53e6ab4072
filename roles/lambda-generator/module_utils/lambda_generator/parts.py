"""One function and what belongs to it, as the AWS API has them."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.retailflow_aws import AwsWork
from ansible.module_utils.retailflow_parameters import Parameters
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict


class Parts(AwsWork):
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

    def untagged_parameters(self) -> list[str]:
        """Return the names of the function's parameters that lack our tags."""
        if not self.params["secrets_path"]:
            return []
        return Parameters(self, self.clients["ssm"], f"{self.params['secrets_path'].rstrip('/')}/").untagged()

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
