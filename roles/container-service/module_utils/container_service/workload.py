"""One service of the container contract by ECS: run, stopped, only defined, or removed."""

from __future__ import annotations

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code

from .deployment import Deployments
from .errors import UnstableError
from .resources import Made

# One task at most, and none for a moment while it is replaced. Who asked for a change goes back where it fails: a rollback by ECS
# would start an older program on data that a newer one may have changed.
DEPLOYMENT: dict[str, Any] = {
    "maximumPercent": 100,
    "minimumHealthyPercent": 0,
    "deploymentCircuitBreaker": {"enable": True, "rollback": False},
}


def holds(found: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is in what was found; ECS adds its own defaults."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            key in found and holds(found[key], value) for key, value in wanted.items()
        )
    return bool(found == wanted)


class Workload(Deployments):
    """One service and what belongs to it."""

    def define(self) -> Made:
        """Bring everything but the service to what was asked for: for tasks that others start, or before a service moves."""
        made = self.prepare()
        if self.params["wait"]:
            self.wait_for_agent()
        return made

    def ensure(self) -> Made:
        """Bring everything to what was asked for, and wait until the task is healthy."""
        found = self.service()
        if found is not None and found["status"] == "DRAINING":  # a removal that was cut off
            self.wait_until_ended()
            found = None
        made = self.prepare()
        deployed = self.deploy(found, made)
        if self.check_mode or not self.params["wait"]:
            return made
        try:
            self.wait_until_stable()
        except UnstableError as error:
            # Once more, and only where this run has not just shown that it does not help: for what was stuck before it, and for a
            # role that ECS does not know yet although IAM does.
            if deployed and not (error.refused_role and made.role_made):
                raise
            self.deploy_again()
            self.wait_until_stable()
        return made

    def deploy(self, found: dict[str, Any] | None, made: Made) -> bool:
        """Make or change the service, or deploy again what ECS has given up; return whether that was needed."""
        ecs = self.clients["ecs"]
        before = len(self.actions)
        if found is None:
            self.act(
                f"make the service {self.name}",
                ecs.create_service,
                cluster=self.cluster,
                serviceName=self.name,
                taskDefinition=made.definition,
                desiredCount=1,
                launchType="EC2",
                deploymentConfiguration=DEPLOYMENT,
                tags=self.ecs_tag_list,
                propagateTags="SERVICE",
            )
        elif (
            found["taskDefinition"] != made.definition
            or found["desiredCount"] != 1
            or not holds(found.get("deploymentConfiguration", DEPLOYMENT), DEPLOYMENT)
        ):
            self.act(
                f"replace the task of {self.name}",
                ecs.update_service,
                cluster=self.cluster,
                service=self.name,
                taskDefinition=made.definition,
                desiredCount=1,
                deploymentConfiguration=DEPLOYMENT,
                forceNewDeployment=self.has_failed(found),
            )
        elif self.has_failed(found):
            self.deploy_again()
        return len(self.actions) > before

    def deploy_again(self) -> None:
        """Start the same task definition once more, as a new deployment."""
        self.act(
            f"deploy {self.name} again, which was stuck",
            self.clients["ecs"].update_service,
            cluster=self.cluster,
            service=self.name,
            forceNewDeployment=True,
        )

    def stop(self) -> None:
        """Let the task end, and wait until it has; the service stays, and so does what belongs to it."""
        found = self.service()
        if found is None:
            return
        if found["desiredCount"]:
            self.act(
                f"stop the service {self.name}",
                self.clients["ecs"].update_service,
                cluster=self.cluster,
                service=self.name,
                desiredCount=0,
            )
        self.wait_until_ended()

    def remove(self) -> None:
        """End the task, then remove service, secrets, roles, log group and, last, what names the service: its task definitions.

        Volumes stay.
        """
        found = self.service()
        if found is not None:
            self.stop()
            if found["status"] != "DRAINING":
                self.act(
                    f"delete the service {self.name}",
                    self.clients["ecs"].delete_service,
                    cluster=self.cluster,
                    service=self.name,
                    force=True,
                )
        self.secrets.forget()
        self.drop_roles()
        self.remove_log_group()
        self.retire(self.family)

    def names(self) -> list[str]:
        """Return the names of which ECS has a service or a task definition in this cluster, whoever made them."""
        ecs = self.clients["ecs"]
        try:
            pages = ecs.get_paginator("list_services").paginate(cluster=self.cluster)
            services = {arn.rsplit("/", 1)[1] for page in pages for arn in page["serviceArns"]}
        except is_boto3_error_code("ClusterNotFoundException"):
            services = set()
        prefix = f"{self.cluster}-"
        pages = ecs.get_paginator("list_task_definition_families").paginate(
            familyPrefix=prefix, status="ACTIVE"
        )
        return sorted(
            services | {family.removeprefix(prefix) for page in pages for family in page["families"]}
        )
