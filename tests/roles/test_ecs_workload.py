"""The module ecs_workload: what becomes of the container contract, and the API against moto."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ansible.module_utils.container_service import deployment, task_definition
from ansible.module_utils.container_service.errors import WorkloadError
from ansible.module_utils.container_service.sweep import Sweep
from ansible.module_utils.container_service.workload import Workload
from ansible.module_utils.retailflow_aws import ForeignError

import moto_support

# The contract of a database, as a role hands it over.
DATABASE: dict[str, Any] = {
    "image": "postgres:15",
    "command": ["postgres", "-c", "wal_level=logical"],
    "env": {"POSTGRES_USER": "admin", "PGDATA": "/data"},
    "ports": ["5432:5432"],
    "volumes": ["db-data:/var/lib/postgresql", "/etc/db/conf.d:/conf.d:ro"],
    "health": {"test": ["CMD", "pg_isready"], "interval": "2s", "timeout": "5s", "start_period": "60s"},
    "stop_timeout": 60,
    "memory": "1g",
    "shm_size": "256m",
    "labels": {"retailflow.site": "shop"},
}
PARAMS: dict[str, Any] = {
    "cluster": "shop",
    "name": "db",
    "tags": {"Project": "shop"},
    "placement": "attribute:role == db",
    "spec": DATABASE,
    "secrets": {"POSTGRES_PASSWORD": "s3cret-one"},
    "permissions": [],
    "log_group": "/shop/db/db",
    "log_days": 14,
    "wait": 0,
    "drain_timeout": 0,
}
SERVICES = ("ecs", "ssm", "iam", "logs", "sts")


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.setattr(deployment, "PAUSE", 0)
    with moto_support.account(*SERVICES) as made:
        made["ecs"].create_cluster(clusterName="shop", tags=[{"key": "Project", "value": "shop"}])
        yield made


def workload(clients: dict[str, Any], check: bool = False, **changes: Any) -> Any:
    return Workload(clients, PARAMS | changes, "us-east-1", check)


def ensure(clients: dict[str, Any], check: bool = False, **changes: Any) -> list[str]:
    made = workload(clients, check, **changes)
    made.ensure()
    return list(made.actions)


def policy_of(clients: dict[str, Any], role: str, policy: str) -> list[dict[str, Any]]:
    found = clients["iam"].get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    statements: list[dict[str, Any]] = found["Statement"]
    return statements


def newest(clients: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = clients["ecs"].describe_task_definition(taskDefinition="shop-db")[
        "taskDefinition"
    ]
    return found


def test_a_service_is_made_once_with_the_whole_contract(clients: dict[str, Any]) -> None:
    planned = ensure(clients, check=True)
    assert clients["ecs"].list_services(cluster="shop")["serviceArns"] == [], "check mode makes nothing"
    assert ensure(clients) == planned
    assert ensure(clients) == []

    made = newest(clients)
    assert made["networkMode"] == "bridge"
    assert made["placementConstraints"] == [{"type": "memberOf", "expression": "attribute:role == db"}]
    (one,) = made["containerDefinitions"]
    assert (one["image"], one["command"]) == ("postgres:15", ["postgres", "-c", "wal_level=logical"])
    assert one["environment"] == [
        {"name": "PGDATA", "value": "/data"},
        {"name": "POSTGRES_USER", "value": "admin"},
    ]
    assert one["portMappings"][0]["hostPort"] == 5432
    assert (one["memory"], one["stopTimeout"]) == (1024, 60)
    assert one["linuxParameters"]["sharedMemorySize"] == 256
    assert one["healthCheck"] == {
        "command": ["CMD", "pg_isready"],
        "interval": 5,  # the least that ECS takes
        "timeout": 5,
        "retries": 3,
        "startPeriod": 60,
    }
    assert one["logConfiguration"]["options"]["awslogs-group"] == "/shop/db/db"
    (group,) = clients["logs"].describe_log_groups()["logGroups"]
    assert group["retentionInDays"] == 14


def test_a_task_is_bounded_as_a_container_of_docker_is() -> None:
    bounds = {"capabilities": ["CHOWN"], "tmpfs": {"/tmp": "64m", "/run": "1g"}, "init": True}
    one = task_definition.container("db", DATABASE | bounds, {}, {"group": "g", "region": "r"})
    assert one["linuxParameters"] == {
        "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
        "initProcessEnabled": True,
        "tmpfs": [{"containerPath": "/run", "size": 1024}, {"containerPath": "/tmp", "size": 64}],
        "sharedMemorySize": 256,
    }
    assert one["dockerSecurityOptions"] == ["no-new-privileges"]
    assert one["readonlyRootFilesystem"] is True
    open_root = task_definition.container(
        "db", DATABASE | {"read_only": False}, {}, {"group": "g", "region": "r"}
    )
    assert open_root["readonlyRootFilesystem"] is False
    assert open_root["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", ["CAP_CHOWN", "PERFMON", "ALL"])
def test_a_capability_that_ecs_does_not_have_is_refused_by_name(name: str) -> None:
    with pytest.raises(WorkloadError, match=f"ECS has no capability {name}"):
        task_definition.linux_parameters({"capabilities": ["CHOWN", name]})


def test_one_volume_is_never_used_by_two_tasks(clients: dict[str, Any]) -> None:
    # moto keeps no deployment configuration, so what is sent is looked at.
    sent: list[dict[str, Any]] = []
    for call in ("CreateService", "UpdateService"):
        event = f"before-parameter-build.ecs.{call}"
        clients["ecs"].meta.events.register(event, lambda params, **_: sent.append(dict(params)))
    ensure(clients)
    clients["ecs"].update_service(cluster="shop", service="db", desiredCount=2)
    assert ensure(clients) == ["replace the task of db"]
    for one in (sent[0], sent[2]):
        assert one["deploymentConfiguration"] == {
            "maximumPercent": 100,
            "minimumHealthyPercent": 0,
            "deploymentCircuitBreaker": {"enable": True, "rollback": False},
        }
        assert one["desiredCount"] == 1
    (service,) = clients["ecs"].describe_services(cluster="shop", services=["db"])["services"]
    assert service["desiredCount"] == 1


def test_the_volume_is_the_one_that_docker_would_use() -> None:
    volumes, points = task_definition.mounts(DATABASE["volumes"])
    shared = {"scope": "shared", "autoprovision": True, "driver": "local"}
    assert volumes == [
        {"name": "db-data", "dockerVolumeConfiguration": shared},
        {"name": "etc-db-conf-d", "host": {"sourcePath": "/etc/db/conf.d"}},
    ]
    assert [(one["containerPath"], one["readOnly"]) for one in points] == [
        ("/var/lib/postgresql", False),
        ("/conf.d", True),
    ]


def test_secrets_are_parameters_that_this_service_alone_reads(clients: dict[str, Any]) -> None:
    ensure(clients)
    (one,) = newest(clients)["containerDefinitions"]
    ((secret),) = one["secrets"]
    assert secret["valueFrom"].endswith(":parameter/shop/db/POSTGRES_PASSWORD")
    assert "s3cret" not in json.dumps(newest(clients), default=str)
    parameter = clients["ssm"].get_parameter(Name="/shop/db/POSTGRES_PASSWORD", WithDecryption=True)
    assert (parameter["Parameter"]["Type"], parameter["Parameter"]["Value"]) == ("SecureString", "s3cret-one")
    group = "arn:aws:logs:us-east-1:123456789012:log-group:/shop/db/db"
    assert policy_of(clients, "shop-db-secrets", "secrets") == [
        {"Effect": "Allow", "Action": ["ssm:GetParameters"], "Resource": [secret["valueFrom"]]},
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": f"{group}:*",
        },
    ]
    assert newest(clients)["executionRoleArn"].endswith("role/shop-db-secrets")

    changed = ensure(clients, secrets={"POSTGRES_PASSWORD": "s3cret-two"})
    assert changed == [
        "change the secret POSTGRES_PASSWORD",
        "register the task definition shop-db",
        "replace the task of db",
    ]
    assert ensure(clients, secrets={"POSTGRES_PASSWORD": "s3cret-two"}) == []


def test_a_secret_that_a_run_changed_before_it_was_cut_off_reaches_the_task(clients: dict[str, Any]) -> None:
    ensure(clients)
    clients["ssm"].put_parameter(Name="/shop/db/POSTGRES_PASSWORD", Value="s3cret-two", Overwrite=True)
    again = ensure(clients, secrets={"POSTGRES_PASSWORD": "s3cret-two"})
    assert again == ["register the task definition shop-db", "replace the task of db"]
    assert ensure(clients, secrets={"POSTGRES_PASSWORD": "s3cret-two"}) == []


def test_a_task_with_secrets_may_pull_its_image_from_ecr(clients: dict[str, Any]) -> None:
    repository = "210987654321.dkr.ecr.eu-west-1.amazonaws.com/shop/db"
    for image in (f"{repository}:15", f"{repository}@sha256:{'0' * 64}"):
        ensure(clients, spec=DATABASE | {"image": image})
        token, pull = policy_of(clients, "shop-db-secrets", "secrets")[2:]
        assert (token["Action"], token["Resource"]) == (["ecr:GetAuthorizationToken"], "*")
        assert pull["Resource"] == "arn:aws:ecr:eu-west-1:210987654321:repository/shop/db"
        assert {"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"} <= set(pull["Action"])
    ensure(clients)
    assert len(policy_of(clients, "shop-db-secrets", "secrets")) == 2, "no right that is not needed any more"


def test_a_changed_image_is_a_new_revision_that_replaces_the_task(clients: dict[str, Any]) -> None:
    ensure(clients)
    before = newest(clients)["revision"]
    image = {"spec": DATABASE | {"image": "postgres:16"}}
    assert ensure(clients, **image) == ["register the task definition shop-db", "replace the task of db"]
    assert ensure(clients, **image) == []
    assert newest(clients)["revision"] == before + 1


def test_removal_leaves_nothing_and_works_twice_and_half_made(clients: dict[str, Any]) -> None:
    empty = workload(clients)
    empty.remove()
    assert empty.actions == []
    ensure(clients)
    clients["logs"].delete_log_group(logGroupName="/shop/db/db")
    removed = workload(clients)
    removed.remove()
    assert "delete the service db" in removed.actions
    assert clients["ssm"].describe_parameters()["Parameters"] == []
    assert clients["iam"].list_roles()["Roles"] == []
    assert clients["ecs"].list_task_definitions(status="ACTIVE")["taskDefinitionArns"] == []
    again = workload(clients)
    again.remove()
    assert again.actions == []


def test_a_removed_service_can_be_made_again(clients: dict[str, Any]) -> None:
    ensure(clients)
    workload(clients).remove()
    assert "make the service db" in ensure(clients)
    assert ensure(clients) == []


def test_a_sweep_takes_what_services_left_behind_and_nothing_else(clients: dict[str, Any]) -> None:
    ensure(clients)
    ensure(clients, name="cache", log_group="/shop/cache/cache", secrets={"TOKEN": "x"})
    clients["ssm"].put_parameter(Name="/shop/note", Value="somebody's", Type="String")
    clients["logs"].create_log_group(logGroupName="/shop/audit")
    clients["ecs"].register_task_definition(
        family="shop-job", containerDefinitions=[{"name": "job", "image": "job", "memory": 64}]
    )
    swept = Sweep(clients, PARAMS, "us-east-1")
    swept.remove()
    assert swept.actions
    assert [one["Name"] for one in clients["ssm"].describe_parameters()["Parameters"]] == ["/shop/note"]
    groups = clients["logs"].describe_log_groups()["logGroups"]
    assert [one["logGroupName"] for one in groups] == ["/shop/audit"]
    assert clients["iam"].list_roles()["Roles"] == []
    (left,) = clients["ecs"].list_task_definitions(status="ACTIVE")["taskDefinitionArns"]
    assert left.endswith("shop-job:1")
    again = Sweep(clients, PARAMS, "us-east-1")
    again.remove()
    assert again.actions == []


def test_a_service_that_is_not_ours_is_left_alone(clients: dict[str, Any]) -> None:
    ensure(clients, tags={"Project": "other"})
    for act in ("ensure", "remove"):
        with pytest.raises(ForeignError, match="without the tag Project=shop"):
            getattr(workload(clients), act)()


def test_what_a_program_may_do_is_a_role_of_its_own(clients: dict[str, Any]) -> None:
    look = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::shop"]}
    ensure(clients, permissions=[look])
    assert policy_of(clients, "shop-db-task", "task") == [look]
    assert newest(clients)["taskRoleArn"].endswith("role/shop-db-task")
    assert ensure(clients, permissions=[look]) == []
    more = look | {"Action": ["s3:ListBucket", "s3:GetBucketTagging"]}
    assert ensure(clients, permissions=[more]) == ["say what the role shop-db-task may do"]
    gone = ensure(clients, permissions=[])
    assert "remove the role shop-db-task" in gone and "replace the task of db" in gone
    assert "taskRoleArn" not in newest(clients)


def test_without_secrets_the_role_that_reads_them_goes(clients: dict[str, Any]) -> None:
    ensure(clients)
    assert "remove the role shop-db-secrets" in ensure(clients, secrets={})
    assert "executionRoleArn" not in newest(clients)
    assert ensure(clients, secrets={}) == []


def test_a_role_of_somebody_else_stays(clients: dict[str, Any]) -> None:
    clients["iam"].create_role(RoleName="shop-db-task", AssumeRolePolicyDocument="{}")
    ensure(clients)
    workload(clients).remove()
    assert [one["RoleName"] for one in clients["iam"].list_roles()["Roles"]] == ["shop-db-task"]


def test_a_task_is_defined_without_a_service(clients: dict[str, Any]) -> None:
    planned = workload(clients, check=True)
    assert planned.define().definition == "", "there is none in check mode"
    made = workload(clients).define()
    assert made.definition.endswith(":task-definition/shop-db:1")
    assert made.execution_role.endswith("role/shop-db-secrets") and made.task_role == ""
    assert made.log_group.endswith(":log-group:/shop/db/db")
    assert clients["ecs"].list_services(cluster="shop")["serviceArns"] == []
    again = workload(clients)
    assert again.define().definition == made.definition and again.actions == []
    workload(clients).remove()
    assert clients["ecs"].list_task_definitions(status="ACTIVE")["taskDefinitionArns"] == []


def test_names_are_those_of_services_and_of_what_a_removal_left(clients: dict[str, Any]) -> None:
    assert workload(clients).names() == []
    ensure(clients)
    workload(clients, name="run", log_group="/shop/run").define()
    assert workload(clients).names() == ["db", "run"]
    half = workload(clients)
    half.remove_log_group = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        half.remove()
    assert "db" in workload(clients).names(), "the definitions go last"
    assert workload(clients, cluster="gone").names() == []


def test_check_mode_works_before_there_is_a_cluster(clients: dict[str, Any]) -> None:
    planned = ensure(clients, check=True, cluster="later", wait=60)
    assert "make the service db" in planned
    stopped = workload(clients, check=True, cluster="later")
    stopped.stop()
    stopped.remove()
    assert stopped.actions == []


def test_names_and_ports_become_those_of_ecs() -> None:
    more = {"hosts": {"cache": "10.0.0.9"}, "ports": ["127.0.0.1:13000:3000", "4000", "5432:5432"]}
    one = task_definition.container("db", DATABASE | more, {}, {"group": "g", "region": "r"})
    assert one["extraHosts"] == [{"hostname": "cache", "ipAddress": "10.0.0.9"}]
    ports = [(port["hostPort"], port["containerPort"]) for port in one["portMappings"]]
    assert ports == [(13000, 3000), (4000, 4000), (5432, 5432)]


def test_without_a_cluster_there_is_nothing_to_remove(clients: dict[str, Any]) -> None:
    nowhere = workload(clients, cluster="gone")
    nowhere.remove()
    assert nowhere.actions == []


@pytest.mark.parametrize(
    ("value", "expected"), [("2s", 5), ("10m", 300), ("1m", 60), (45, 45), ("", 30), ("900ms", 5)]
)
def test_durations_stay_within_what_ecs_takes(value: Any, expected: int) -> None:
    assert task_definition.seconds(value, 5, 300, 30) == expected


@pytest.mark.parametrize("wrong", ["soon", "5 minutes"])
def test_a_duration_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(WorkloadError, match="is no duration"):
        task_definition.seconds(wrong, 5, 300, 30)
