"""What belongs to a service in AWS: its secrets with the role that reads them, its log group, its task definition."""

from __future__ import annotations

import json
from typing import Any

from ansible.module_utils.retailflow_aws import AwsWork
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict

from .task_definition import definition, digest

# A task definition is compared by a hash of what was asked for: AWS adds its defaults to what it answers with.
HASH_TAG = "Definition"


class Resources(AwsWork):
    """What belongs to one service; clients by service."""

    def __init__(
        self, clients: dict[str, Any], params: dict[str, Any], region: str, check_mode: bool = False
    ) -> None:
        super().__init__(params["tags"], check_mode)
        self.clients = clients
        self.params = params
        self.region = region
        self.cluster: str = params["cluster"]
        self.name: str = params["name"]
        self.family = f"{self.cluster}-{self.name}"
        self.role = f"{self.family}-secrets"
        self.prefix = f"/{self.cluster}/{self.name}/"

    def parameters(self) -> dict[str, dict[str, Any]]:
        """Return the SSM parameters that there are, by the name of the environment variable."""
        pages = (
            self.clients["ssm"]
            .get_paginator("get_parameters_by_path")
            .paginate(Path=self.prefix, WithDecryption=True)
        )
        return {one["Name"].rsplit("/", 1)[1]: one for page in pages for one in page["Parameters"]}

    def ensure_secrets(self) -> tuple[dict[str, str], bool]:
        """Bring the parameters to the secrets; return their ARNs and whether a value changed."""
        ssm = self.clients["ssm"]
        wanted = {key: str(value) for key, value in self.params["secrets"].items()}
        present = self.parameters()
        changed = False
        for key, value in sorted(wanted.items()):
            name = self.prefix + key
            if key not in present:
                self.act(
                    f"keep the secret {key}",
                    ssm.put_parameter,
                    Name=name,
                    Value=value,
                    Type="SecureString",
                    Tags=self.tag_list,
                )
            elif present[key]["Value"] != value:
                changed = True
                self.act(
                    f"change the secret {key}",
                    ssm.put_parameter,
                    Name=name,
                    Value=value,
                    Type="SecureString",
                    Overwrite=True,
                )
        gone = sorted(set(present) - set(wanted))
        if gone:
            self.act(
                f"forget {', '.join(gone)}", ssm.delete_parameters, Names=[self.prefix + key for key in gone]
            )
        account = self.clients["sts"].get_caller_identity()
        partition = account["Arn"].split(":")[1]
        base = f"arn:{partition}:ssm:{self.region}:{account['Account']}:parameter{self.prefix}"
        return {key: base + key for key in wanted}, changed

    def ensure_role(self, arns: dict[str, str]) -> str:
        """Make the role by which ECS reads these secrets and nothing else; return its ARN."""
        iam = self.clients["iam"]
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": ["ssm:GetParameters"], "Resource": sorted(arns.values())}
            ],
        }
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": "sts:AssumeRole",
                    "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                }
            ],
        }
        try:
            arn = iam.get_role(RoleName=self.role)["Role"]["Arn"]
        except iam.exceptions.NoSuchEntityException:
            answer = self.act(
                f"make the role {self.role}",
                iam.create_role,
                RoleName=self.role,
                Description=f"Lets ECS read the secrets of {self.name}.",
                AssumeRolePolicyDocument=json.dumps(trust),
                Tags=self.tag_list,
            )
            arn = answer.get("Role", {}).get("Arn", "")
        try:
            present = iam.get_role_policy(RoleName=self.role, PolicyName="secrets")["PolicyDocument"]
        except iam.exceptions.NoSuchEntityException:
            present = None
        if present != policy:
            self.act(
                "say what it may read",
                iam.put_role_policy,
                RoleName=self.role,
                PolicyName="secrets",
                PolicyDocument=json.dumps(policy),
            )
        return str(arn)

    def remove_role(self, name: str) -> None:
        """Remove a role with its policies."""
        iam = self.clients["iam"]
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            self.act("withdraw its policy", iam.delete_role_policy, RoleName=name, PolicyName=policy)
        self.act(f"remove the role {name}", iam.delete_role, RoleName=name)

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

    def ensure_definition(self, secrets: dict[str, str], role_arn: str) -> str:
        """Register the task definition where it differs from the newest one; return its ARN."""
        ecs = self.clients["ecs"]
        wanted = definition(self.family, self.name, self.params, secrets, self.region)
        if secrets:
            wanted["executionRoleArn"] = role_arn
        mark = digest(wanted)
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
