"""What services by ECS leave in AWS when their cluster is gone, whatever their names."""

from __future__ import annotations

from .resources import Resources
from .roles import EXECUTION, TASK


class Sweep(Resources):
    """Removes what carries the cluster's name and our tags."""

    def remove(self) -> None:
        """Remove task definitions, secrets, roles and log groups."""
        self.remove_definitions()
        self.remove_parameters()
        self.remove_roles()
        self.remove_log_groups()

    def remove_definitions(self) -> None:
        ecs = self.clients["ecs"]
        families = ecs.get_paginator("list_task_definition_families").paginate(
            familyPrefix=f"{self.cluster}-", status="ACTIVE"
        )
        for family in [family for page in families for family in page["families"]]:
            found = ecs.describe_task_definition(taskDefinition=family, include=["TAGS"])
            if self.is_ours(found.get("tags")):
                self.retire(family)

    def remove_parameters(self) -> None:
        ssm = self.clients["ssm"]
        parameters = ssm.get_paginator("get_parameters_by_path").paginate(
            Path=f"/{self.cluster}/", Recursive=True
        )
        for name in [one["Name"] for page in parameters for one in page["Parameters"]]:
            if name.count("/") < 3:  # /cluster/service/variable; others keep what is theirs beside them
                continue
            found = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
            if self.is_ours(found):
                self.act(f"forget {name}", ssm.delete_parameter, Name=name)

    def remove_roles(self) -> None:
        iam = self.clients["iam"]
        roles = [
            role["RoleName"] for page in iam.get_paginator("list_roles").paginate() for role in page["Roles"]
        ]
        for name in roles:
            if name.startswith(f"{self.cluster}-") and name.endswith((EXECUTION, TASK)):
                found = iam.list_role_tags(RoleName=name)["Tags"]
                if self.is_ours(found):
                    self.remove_role(name)

    def remove_log_groups(self) -> None:
        logs = self.clients["logs"]
        groups = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=f"/{self.cluster}/")
        for group in [group for page in groups for group in page["logGroups"]]:
            arn = group["arn"].removesuffix(":*")
            if self.is_ours(logs.list_tags_for_resource(resourceArn=arn).get("tags")):
                name = group["logGroupName"]
                self.act(f"remove the log group {name}", logs.delete_log_group, logGroupName=name)
