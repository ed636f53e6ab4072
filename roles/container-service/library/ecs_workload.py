"""Ansible module: one service of the container-service contract as an ECS service that is pinned to its host."""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)

DOCUMENTATION = r"""
---
module: ecs_workload
short_description: Run a service by ECS on one host
description:
  - Makes the task definition, the service, the log group, the secrets (SSM parameters) and the role that reads them, tags all
    of it, and looks it up before it is changed.
  - The service has one task and may have none for a moment, but never two. An update ends the old task before the new one
    starts, so that nothing ever runs twice on one volume.
  - Refuses a service of that name that lacks O(tags).
options:
  state:
    description: Whether it is there; swept removes what services of any name left behind when the cluster is gone.
    type: str
    choices: [present, absent, swept]
    default: present
  cluster: {description: Name of the cluster., type: str, required: true}
  name: {description: Name of the service; needed but for sweeping., type: str, default: ""}
  tags: {description: Tags that mark everything as ours., type: dict, default: {}}
  placement: {description: "Expression that names the host, such as C(attribute:role == postgres)", type: str, default: ""}
  spec: {description: "The service, with the keys of the role's variables.", type: dict, default: {}}
  secrets: {description: Environment whose values are secret., type: dict, default: {}}
  log_group: {description: Name of the log group; needed but for sweeping., type: str, default: ""}
  log_days: {description: Days that the log is kept., type: int, default: 14}
  wait: {description: Seconds to wait until the task is healthy; 0 does not wait., type: int, default: 0}
  drain_timeout: {description: Seconds that the task has to end on removal., type: int, default: 120}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports what would be done.}
"""

EXAMPLES = r"""
- name: Run a database on the host whose role is db
  ecs_workload:
    cluster: shop
    name: db
    placement: attribute:role == db
    spec:
      image: postgres:15
      ports: ["5432:5432"]
      volumes: ["db-data:/var/lib/postgresql/data"]
    secrets: {POSTGRES_PASSWORD: "{{ shop_db_password }}"}
    log_group: /shop/db
    tags: {Project: shop}
"""

RETURN = r"""
actions: {description: What was done, or would be., type: list, returned: success}
"""

PAUSE = 5
# A task definition is compared by a hash of what was asked for: what AWS answers with is filled up with its defaults.
HASH_TAG = "Definition"


class WorkloadError(Exception):
    """What stands in the way, in words for the person who runs the play."""


def seconds(value: Any, low: int, high: int, default: int) -> int:
    """Return a duration such as 5s, 1m or 30 as whole seconds within what ECS takes."""
    if value in (None, ""):
        return default
    found = re.fullmatch(r"(\d+)(ms|s|m|h)?", str(value))
    if not found:
        raise WorkloadError(f"{value!r} is no duration such as 5s or 1m")
    factor = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, None: 1}[found[2]]
    return int(min(max(int(found[1]) * factor, low), high))


def megabytes(value: str) -> int:
    """Return a size such as 512m or 2g as MiB."""
    found = re.fullmatch(r"(\d+)([mg])i?b?", str(value).lower())
    if not found:
        raise WorkloadError(f"{value!r} is no size such as 512m or 2g")
    return int(found[1]) * (1024 if found[2] == "g" else 1)


def mounts(volumes: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return ECS's volumes and mount points of mounts in Docker's notation.

    A named volume is shared and made on demand under its own name, so that it is the very volume that Docker would use.
    """
    listed, points = [], []
    for mount in volumes:
        source, path, *options = mount.split(":")
        if source.startswith("/"):
            name = re.sub(r"[^A-Za-z0-9_-]+", "-", source).strip("-")
            volume: dict[str, Any] = {"name": name, "host": {"sourcePath": source}}
        else:
            name = source
            docker = {"scope": "shared", "autoprovision": True, "driver": "local"}
            volume = {"name": name, "dockerVolumeConfiguration": docker}
        if volume not in listed:
            listed.append(volume)
        points.append({"sourceVolume": name, "containerPath": path, "readOnly": options == ["ro"]})
    return listed, points


def port_mapping(published: str) -> dict[str, Any]:
    """Return ECS's mapping of a port that is published as host:container."""
    host, _, container = str(published).rpartition(":")
    return {"hostPort": int(host or container), "containerPort": int(container), "protocol": "tcp"}


def container(
    name: str, spec: dict[str, Any], secrets: dict[str, str], log: dict[str, str]
) -> dict[str, Any]:
    """Return the container definition: spec has the role's variables, secrets the parameters' ARNs."""
    _, points = mounts(spec.get("volumes") or [])
    made: dict[str, Any] = {
        "name": name,
        "image": spec["image"],
        "essential": True,
        "environment": [
            {"name": key, "value": str(value)} for key, value in sorted((spec.get("env") or {}).items())
        ],
        "secrets": [{"name": key, "valueFrom": arn} for key, arn in sorted(secrets.items())],
        "portMappings": [port_mapping(port) for port in spec.get("ports") or []],
        "mountPoints": points,
        "stopTimeout": min(int(spec.get("stop_timeout") or 30), 120),
        "dockerLabels": {key: str(value) for key, value in (spec.get("labels") or {}).items()},
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": log["group"],
                "awslogs-region": log["region"],
                "awslogs-stream-prefix": name,
            },
        },
    }
    if spec.get("command"):
        made["command"] = [str(word) for word in spec["command"]]
    if spec.get("user"):
        made["user"] = str(spec["user"])
    if spec.get("dns"):
        made["dnsServers"] = list(spec["dns"])
    if spec.get("shm_size"):
        made["linuxParameters"] = {"sharedMemorySize": megabytes(spec["shm_size"])}
    # ECS wants one of the two: a limit where there is one, else what the container is sure to need.
    if spec.get("memory"):
        made["memory"] = megabytes(spec["memory"])
    else:
        made["memoryReservation"] = 128
    health = spec.get("health") or {}
    if health:
        test = health["test"]
        made["healthCheck"] = {
            "command": list(test) if isinstance(test, list) else ["CMD-SHELL", test],
            "interval": seconds(health.get("interval"), 5, 300, 30),
            "timeout": seconds(health.get("timeout"), 2, 60, 5),
            "retries": min(max(int(health.get("retries") or 3), 1), 10),
            "startPeriod": seconds(health.get("start_period"), 0, 300, 0),
        }
    return made


def definition(
    family: str, name: str, params: dict[str, Any], secrets: dict[str, str], region: str
) -> dict[str, Any]:
    """Return the task definition as it is registered, without tags and the role that reads secrets."""
    spec = params["spec"]
    volumes, _ = mounts(spec.get("volumes") or [])
    placement = params["placement"]
    return {
        "family": family,
        "networkMode": "bridge",
        "requiresCompatibilities": ["EC2"],
        "placementConstraints": [{"type": "memberOf", "expression": placement}] if placement else [],
        "volumes": volumes,
        "containerDefinitions": [
            container(name, spec, secrets, {"group": params["log_group"], "region": region})
        ],
    }


def digest(made: dict[str, Any]) -> str:
    """Return a short hash of a task definition."""
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:32]


# One task at most, and none for a moment while it is replaced.
DEPLOYMENT = {"maximumPercent": 100, "minimumHealthyPercent": 0}


@dataclass
class Workload:
    """One service and what belongs to it; clients by service; collects what it does in actions."""

    clients: dict[str, Any]
    params: dict[str, Any]
    region: str
    check_mode: bool = False
    actions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cluster: str = self.params["cluster"]
        self.name: str = self.params["name"]
        self.family = f"{self.cluster}-{self.name}"
        self.role = f"{self.family}-secrets"
        self.prefix = f"/{self.cluster}/{self.name}/"
        self.tags = {key: str(value) for key, value in self.params["tags"].items()}

    def act(self, action: str, call: Any, **arguments: Any) -> dict[str, Any]:
        """Note an action and, outside of check mode, call the API."""
        self.actions.append(action)
        return {} if self.check_mode else call(**arguments)

    def listed(self, low: bool = False) -> list[dict[str, str]]:
        """Return the tags as lists; ECS spells their keys low."""
        key, value = ("key", "value") if low else ("Key", "Value")
        listed: list[dict[str, str]] = ansible_dict_to_boto3_tag_list(self.tags, key, value)
        return listed

    def service(self) -> dict[str, Any] | None:
        """Return the service, or None; WorkloadError where it is not ours."""
        ecs = self.clients["ecs"]
        try:
            found = ecs.describe_services(cluster=self.cluster, services=[self.name], include=["TAGS"])
        except is_boto3_error_code("ClusterNotFoundException"):
            return None
        alive = next((one for one in found["services"] if one["status"] != "INACTIVE"), None)
        if alive is not None:
            present = boto3_tag_list_to_ansible_dict(alive.get("tags", []))
            if not self.tags.items() <= present.items():
                marks = ", ".join(f"{key}={value}" for key, value in sorted(self.tags.items()))
                raise WorkloadError(
                    f"the cluster {self.cluster} has a service {self.name} without the tag {marks}; it is left alone"
                )
        return alive

    # --- what belongs to it --------------------------------------------------------------------------------------

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
                    Tags=self.listed(),
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
                Tags=self.listed(),
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
            tags=[*self.listed(low=True), {"key": HASH_TAG, "value": mark}],
            **wanted,
        )
        return str(answer.get("taskDefinition", {}).get("taskDefinitionArn", ""))

    # --- the service ---------------------------------------------------------------------------------------------

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
                tags=self.listed(low=True),
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

    def retire(self, family: str) -> None:
        """Deregister every revision of a task definition."""
        ecs = self.clients["ecs"]
        pages = ecs.get_paginator("list_task_definitions").paginate(familyPrefix=family, status="ACTIVE")
        for arn in [arn for page in pages for arn in page["taskDefinitionArns"]]:
            revision = arn.rsplit("/", 1)[1]
            if revision.rsplit(":", 1)[0] == family:
                self.act(f"retire {revision}", ecs.deregister_task_definition, taskDefinition=arn)

    def remove_role(self, name: str) -> None:
        """Remove a role with its policies."""
        iam = self.clients["iam"]
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            self.act("withdraw its policy", iam.delete_role_policy, RoleName=name, PolicyName=policy)
        self.act(f"remove the role {name}", iam.delete_role, RoleName=name)

    def sweep(self) -> None:
        """Remove what services of any name left behind, as far as it carries our tags."""
        ecs, ssm, iam, logs = (self.clients[service] for service in ("ecs", "ssm", "iam", "logs"))
        mine = self.tags.items()
        families = ecs.get_paginator("list_task_definition_families").paginate(
            familyPrefix=f"{self.cluster}-", status="ACTIVE"
        )
        for family in [family for page in families for family in page["families"]]:
            found = ecs.describe_task_definition(taskDefinition=family, include=["TAGS"])
            if mine <= boto3_tag_list_to_ansible_dict(found.get("tags", [])).items():
                self.retire(family)
        parameters = ssm.get_paginator("get_parameters_by_path").paginate(
            Path=f"/{self.cluster}/", Recursive=True
        )
        for name in [one["Name"] for page in parameters for one in page["Parameters"]]:
            found = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
            if mine <= boto3_tag_list_to_ansible_dict(found).items():
                self.act(f"forget {name}", ssm.delete_parameter, Name=name)
        roles = [
            role["RoleName"] for page in iam.get_paginator("list_roles").paginate() for role in page["Roles"]
        ]
        for name in roles:
            if name.startswith(f"{self.cluster}-") and name.endswith("-secrets"):
                found = iam.list_role_tags(RoleName=name)["Tags"]
                if mine <= boto3_tag_list_to_ansible_dict(found).items():
                    self.remove_role(name)
        groups = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=f"/{self.cluster}/")
        for group in [group for page in groups for group in page["logGroups"]]:
            arn = group["arn"].removesuffix(":*")
            if mine <= (logs.list_tags_for_resource(resourceArn=arn).get("tags") or {}).items():
                name = group["logGroupName"]
                self.act(f"remove the log group {name}", logs.delete_log_group, logGroupName=name)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent", "swept"], "default": "present"},
            "cluster": {"type": "str", "required": True},
            "name": {"type": "str", "default": ""},
            "tags": {"type": "dict", "default": {}},
            "placement": {"type": "str", "default": ""},
            "spec": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "log_group": {"type": "str", "default": ""},
            "log_days": {"type": "int", "default": 14},
            "wait": {"type": "int", "default": 0},
            "drain_timeout": {"type": "int", "default": 120},
        },
        required_if=[("state", state, ("name", "log_group")) for state in ("present", "absent")],
        supports_check_mode=True,
    )
    clients = {service: module.client(service) for service in ("ecs", "ssm", "iam", "logs", "sts")}
    workload = Workload(clients, module.params, clients["ecs"].meta.region_name, module.check_mode)
    try:
        if module.params["state"] == "present":
            workload.ensure()
        elif module.params["state"] == "absent":
            workload.remove()
        else:
            workload.sweep()
    except WorkloadError as error:
        module.fail_json(msg=str(error))
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"The AWS API refused work on the service {module.params['name']}")
    module.exit_json(changed=bool(workload.actions), actions=workload.actions)


if __name__ == "__main__":
    main()
