"""One service of the container contract by ECS: made, waited for, removed."""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.retailflow_aws import ForeignError
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code

from .errors import WorkloadError
from .resources import Resources

PAUSE = 5
# One task at most, and none for a moment while it is replaced.
DEPLOYMENT = {"maximumPercent": 100, "minimumHealthyPercent": 0}


class Workload(Resources):
    """One service and what belongs to it."""

    def service(self) -> dict[str, Any] | None:
        """Return the service, or None; ForeignError where it is not ours."""
        ecs = self.clients["ecs"]
        try:
            found = ecs.describe_services(cluster=self.cluster, services=[self.name], include=["TAGS"])
        except is_boto3_error_code("ClusterNotFoundException"):
            return None
        alive = next((one for one in found["services"] if one["status"] != "INACTIVE"), None)
        if alive is not None and not self.is_ours(alive.get("tags")):
            raise ForeignError(
                f"the cluster {self.cluster} has a service {self.name} without the tag {self.mark}; it is left alone"
            )
        return alive

    def ensure(self) -> None:
        """Bring everything to what was asked for, and wait until the task is healthy."""
        found = self.service()
        secrets, renewed = self.ensure_secrets()
        role_arn = self.ensure_role(secrets) if secrets else ""
        self.ensure_log_group()
        task = self.ensure_definition(secrets, role_arn)
        ecs = self.clients["ecs"]
        if found is None:
            self.act(
                f"make the service {self.name}",
                ecs.create_service,
                cluster=self.cluster,
                serviceName=self.name,
                taskDefinition=task,
                desiredCount=1,
                launchType="EC2",
                deploymentConfiguration=DEPLOYMENT,
                tags=self.ecs_tag_list,
                propagateTags="SERVICE",
            )
        elif (
            renewed
            or found["taskDefinition"] != task
            or found["desiredCount"] != 1
            or not DEPLOYMENT.items() <= found.get("deploymentConfiguration", DEPLOYMENT).items()
        ):
            self.act(
                f"replace the task of {self.name}",
                ecs.update_service,
                cluster=self.cluster,
                service=self.name,
                taskDefinition=task,
                desiredCount=1,
                deploymentConfiguration=DEPLOYMENT,
                forceNewDeployment=renewed,
            )
        if not self.check_mode and self.params["wait"]:
            self.wait_until_healthy()

    def wait_until_healthy(self) -> None:
        """Wait for the one task; WorkloadError with what ECS says where it does not come up."""
        end = time.monotonic() + self.params["wait"]
        while True:
            found = self.service() or {}
            deployments = found.get("deployments", [])
            if len(deployments) == 1 and found.get("runningCount") == 1 and self.is_healthy():
                return
            if time.monotonic() >= end:
                events = [event["message"] for event in found.get("events", [])[:3]]
                raise WorkloadError(
                    f"the service {self.name} is not healthy after {self.params['wait']} s. ECS says: "
                    f"{' / '.join(events) or 'nothing'}. Its log is the group {self.params['log_group']}"
                )
            time.sleep(PAUSE)

    def is_healthy(self) -> bool:
        """Whether the task's health check passes, as far as it has one."""
        ecs = self.clients["ecs"]
        arns = ecs.list_tasks(cluster=self.cluster, serviceName=self.name, desiredStatus="RUNNING")[
            "taskArns"
        ]
        if not arns:
            return False
        (task, *_) = ecs.describe_tasks(cluster=self.cluster, tasks=arns)["tasks"]
        return bool(
            task.get("lastStatus") == "RUNNING"
            and (not self.params["spec"].get("health") or task.get("healthStatus") == "HEALTHY")
        )

    def remove(self) -> None:
        """End the task, then remove service, task definitions, secrets, role and log group; volumes stay."""
        ecs, iam = self.clients["ecs"], self.clients["iam"]
        if self.service() is not None:
            self.act(
                f"drain the service {self.name}",
                ecs.update_service,
                cluster=self.cluster,
                service=self.name,
                desiredCount=0,
            )
            end = time.monotonic() + self.params["drain_timeout"]
            while not self.check_mode and time.monotonic() < end:
                if not (self.service() or {}).get("runningCount"):
                    break
                time.sleep(PAUSE)
            self.act(
                f"delete the service {self.name}",
                ecs.delete_service,
                cluster=self.cluster,
                service=self.name,
                force=True,
            )
        self.retire(self.family)
        names = [one["Name"] for one in self.parameters().values()]
        if names:
            self.act("forget its secrets", self.clients["ssm"].delete_parameters, Names=sorted(names))
        try:
            iam.get_role(RoleName=self.role)
        except iam.exceptions.NoSuchEntityException:
            pass
        else:
            self.remove_role(self.role)
        if self.log_group() is not None:
            name = self.params["log_group"]
            self.act(f"remove the log group {name}", self.clients["logs"].delete_log_group, logGroupName=name)

    def sweep(self) -> None:
        """Remove what services of any name left behind, as far as it carries our tags."""
        ecs, ssm, iam, logs = (self.clients[service] for service in ("ecs", "ssm", "iam", "logs"))
        families = ecs.get_paginator("list_task_definition_families").paginate(
            familyPrefix=f"{self.cluster}-", status="ACTIVE"
        )
        for family in [family for page in families for family in page["families"]]:
            found = ecs.describe_task_definition(taskDefinition=family, include=["TAGS"])
            if self.is_ours(found.get("tags")):
                self.retire(family)
        parameters = ssm.get_paginator("get_parameters_by_path").paginate(
            Path=f"/{self.cluster}/", Recursive=True
        )
        for name in [one["Name"] for page in parameters for one in page["Parameters"]]:
            if name.count("/") < 3:  # /cluster/service/variable; others keep what is theirs beside them
                continue
            found = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
            if self.is_ours(found):
                self.act(f"forget {name}", ssm.delete_parameter, Name=name)
        roles = [
            role["RoleName"] for page in iam.get_paginator("list_roles").paginate() for role in page["Roles"]
        ]
        for name in roles:
            if name.startswith(f"{self.cluster}-") and name.endswith("-secrets"):
                found = iam.list_role_tags(RoleName=name)["Tags"]
                if self.is_ours(found):
                    self.remove_role(name)
        groups = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=f"/{self.cluster}/")
        for group in [group for page in groups for group in page["logGroups"]]:
            arn = group["arn"].removesuffix(":*")
            if self.is_ours(logs.list_tags_for_resource(resourceArn=arn).get("tags")):
                name = group["logGroupName"]
                self.act(f"remove the log group {name}", logs.delete_log_group, logGroupName=name)
