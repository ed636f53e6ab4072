"""The two IAM roles of a service: ECS reads its secrets and writes its log by one, its own program calls AWS by the other."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection
from typing import Any

from ansible.module_utils.retailflow_aws import AwsWork

# https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
OF_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P<name>[^:@]+)"
)
EXECUTION, TASK = "-secrets", "-task"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ecs-tasks.amazonaws.com"}}
    ],
}


class Roles(AwsWork):
    """The roles of one service, and the names of what is its own; clients by service."""

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
        self.prefix = f"/{self.cluster}/{self.name}/"
        self.made: list[str] = []  # roles of this run

    @functools.cached_property
    def account(self) -> tuple[str, str]:
        """The partition and the number of the account."""
        identity = self.clients["sts"].get_caller_identity()
        return identity["Arn"].split(":")[1], identity["Account"]

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of something in this account and region."""
        partition, account = self.account
        return f"arn:{partition}:{service}:{self.region}:{account}:{resource}"

    def ensure_execution_role(self, secrets: dict[str, str]) -> str:
        """Bring the execution role to exactly what a task with secrets needs; without secrets there is none.

        The agent of Amazon's package sends the log of a task by its execution role where it has one
        (`ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE`, which ecs-init sets): a role that reads secrets alone lets no task start.
        """
        statements = [
            {"Effect": "Allow", "Action": ["ssm:GetParameters"], "Resource": sorted(secrets.values())},
            {
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": self.arn("logs", f"log-group:{self.params['log_group']}:*"),  # its streams
            },
            *self.pulling(),
        ]
        return self.ensure_role(
            self.family + EXECUTION,
            f"Lets ECS read the secrets of {self.name}, write its log and pull its image.",
            "secrets",
            statements if secrets else [],
        )

    def pulling(self) -> list[dict[str, Any]]:
        """Return what a pull from ECR needs. The agent pulls by the execution role where ECS says so for a task that has one
        (`ShouldPullWithExecutionRole` in the agent's source), and then the host's own role does not count.
        """
        found = OF_ECR.match(self.params["spec"].get("image", ""))
        if not found:
            return []
        partition, _ = self.account
        repository = f"arn:{partition}:ecr:{found['region']}:{found['account']}:repository/{found['name']}"
        return [
            {"Effect": "Allow", "Action": ["ecr:GetAuthorizationToken"], "Resource": "*"},
            {
                "Effect": "Allow",
                "Action": [
                    "ecr:BatchCheckLayerAvailability",
                    "ecr:BatchGetImage",
                    "ecr:GetDownloadUrlForLayer",
                ],
                "Resource": repository,
            },
        ]

    def ensure_task_role(self) -> str:
        """Bring the task role to what the program may do; where that is nothing there is none."""
        return self.ensure_role(
            self.family + TASK, f"What {self.name} may do in AWS.", "task", self.params["permissions"]
        )

    def ensure_role(self, name: str, description: str, policy: str, statements: list[dict[str, Any]]) -> str:
        """Bring a role to one policy with these statements, or remove it where there are none; return its ARN."""
        iam = self.clients["iam"]
        if not statements:
            self.drop_role(name)
            return ""
        wanted = {"Version": "2012-10-17", "Statement": statements}
        try:
            arn = iam.get_role(RoleName=name)["Role"]["Arn"]
        except iam.exceptions.NoSuchEntityException:
            answer = self.act(
                f"make the role {name}",
                iam.create_role,
                RoleName=name,
                Description=description,
                AssumeRolePolicyDocument=json.dumps(TRUST),
                Tags=self.tag_list,
            )
            self.made.append(name)
            arn = answer.get("Role", {}).get("Arn", "")
        try:
            present = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        except iam.exceptions.NoSuchEntityException:
            present = None
        if present != wanted:
            self.act(
                f"say what the role {name} may do",
                iam.put_role_policy,
                RoleName=name,
                PolicyName=policy,
                PolicyDocument=json.dumps(wanted),
            )
        return str(arn)

    def drop_role(self, name: str) -> None:
        """Remove a role of ours, where there is one."""
        iam = self.clients["iam"]
        try:
            role = iam.get_role(RoleName=name)["Role"]
        except iam.exceptions.NoSuchEntityException:
            return
        if self.is_ours(role.get("Tags")):
            self.remove_role(name)

    def drop_roles(self, endings: Collection[str] = (EXECUTION, TASK)) -> None:
        """Remove both roles."""
        for ending in endings:
            self.drop_role(self.family + ending)

    def remove_role(self, name: str) -> None:
        """Remove a role with its policies."""
        iam = self.clients["iam"]
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            self.act("withdraw its policy", iam.delete_role_policy, RoleName=name, PolicyName=policy)
        self.act(f"remove the role {name}", iam.delete_role, RoleName=name)
