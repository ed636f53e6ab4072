"""What belongs to a service in AWS: its secrets, its log group, its task definition, and with roles.py its roles."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.retailflow_parameters import Parameters
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict

from .roles import Roles
from .task_definition import definition, digest

# A task definition is compared by a hash of what was asked for, because AWS adds its defaults to what it answers with. The
# versions of its secrets are in it: a changed secret is a new revision, and reaches the task even if a run is cut off in between.
HASH_TAG = "Definition"


@dataclass(frozen=True)
class Made:
    """What a task needs, as it is there now; in check mode an ARN of what is still to be made is empty."""

    definition: str
    execution_role: str
    task_role: str
    log_group: str
    role_made: bool  # IAM knows it, ECS may not yet


class Resources(Roles):
    """What belongs to one service; clients by service."""

    def prepare(self) -> Made:
        """Bring secrets, log group, roles and task definition to what was asked for."""
        secrets, versions = self.ensure_secrets()
        self.ensure_log_group()
        before = len(self.made)
        execution = self.ensure_execution_role(secrets)
        task = self.ensure_task_role()
        arn = self.ensure_definition(secrets, versions, execution, task)
        group = self.arn("logs", f"log-group:{self.params['log_group']}")
        return Made(arn, execution, task, group, len(self.made) > before)

    @functools.cached_property
    def secrets(self) -> Parameters:
        """Its secrets, as SSM parameters by the name of the environment variable."""
        return Parameters(self, self.clients["ssm"], self.prefix)

    def ensure_secrets(self) -> tuple[dict[str, str], dict[str, int]]:
        """Bring the parameters to the secrets; return their ARNs and their versions, which count the values."""
        versions = self.secrets.ensure(self.params["secrets"])
        return {key: self.arn("ssm", f"parameter{self.prefix}{key}") for key in versions}, versions

    def log_group(self) -> dict[str, Any] | None:
        """Return the log group, or None."""
        name = self.params["log_group"]
        found = self.clients["logs"].describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        return next((one for one in found if one["logGroupName"] == name), None)

    def ensure_log_group(self) -> None:
        """Make the log group with its retention."""
        logs, name, days = self.clients["logs"], self.params["log_group"], self.params["log_days"]
        found = self.log_group()
        if found is None:
            self.act(f"make the log group {name}", logs.create_log_group, logGroupName=name, tags=self.tags)
        if found is None or found.get("retentionInDays") != days:
            self.act(
                f"keep logs for {days} days",
                logs.put_retention_policy,
                logGroupName=name,
                retentionInDays=days,
            )

    def ensure_definition(
        self, secrets: dict[str, str], versions: dict[str, int], execution_role: str, task_role: str
    ) -> str:
        """Register the task definition where it differs from the newest one; return its ARN."""
        ecs = self.clients["ecs"]
        wanted = definition(self.family, self.name, self.params, secrets, self.region)
        if secrets:
            wanted["executionRoleArn"] = execution_role
        if self.params["permissions"]:
            wanted["taskRoleArn"] = task_role
        mark = digest(wanted | {"secrets": versions})
        try:
            newest = ecs.describe_task_definition(taskDefinition=self.family, include=["TAGS"])
            tags = boto3_tag_list_to_ansible_dict(newest.get("tags", []))
            if tags.get(HASH_TAG) == mark and newest["taskDefinition"].get("status", "ACTIVE") == "ACTIVE":
                return str(newest["taskDefinition"]["taskDefinitionArn"])
        except is_boto3_error_code("ClientException"):
            pass  # there is none yet
        answer = self.act(
            f"register the task definition {self.family}",
            ecs.register_task_definition,
            tags=[*self.ecs_tag_list, {"key": HASH_TAG, "value": mark}],
            **wanted,
        )
        return str(answer.get("taskDefinition", {}).get("taskDefinitionArn", ""))

    def retire(self, family: str) -> None:
        """Deregister every revision of a task definition."""
        ecs = self.clients["ecs"]
        pages = ecs.get_paginator("list_task_definitions").paginate(familyPrefix=family, status="ACTIVE")
        for arn in [arn for page in pages for arn in page["taskDefinitionArns"]]:
            revision = arn.rsplit("/", 1)[1]
            if revision.rsplit(":", 1)[0] == family:
                self.act(f"retire {revision}", ecs.deregister_task_definition, taskDefinition=arn)

    def remove_log_group(self) -> None:
        """Remove the log group with the log."""
        if self.log_group() is not None:
            name = self.params["log_group"]
            self.act(f"remove the log group {name}", self.clients["logs"].delete_log_group, logGroupName=name)
