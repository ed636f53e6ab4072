"""A task definition of the emulated ECS holds what is emulated; all else is refused by its name."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .ecs_support import Cloud

VOLUMES = [
    {
        "name": "data",
        "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": True, "driver": "local"},
    },
    {"name": "etc", "host": {"sourcePath": "/etc/shop"}},
]
LOGS = {
    "logDriver": "awslogs",
    "options": {"awslogs-group": "/shop", "awslogs-region": "eu-central-1", "awslogs-stream-prefix": "db"},
}
#: Whatever the role container-service asks for.
FULL: dict[str, Any] = {
    "cpu": 128,
    "memoryReservation": 256,
    "essential": True,
    "entryPoint": ["/bin/sh"],
    "command": ["-c", "true"],
    "environment": [{"name": "A", "value": "b"}],
    "secrets": [{"name": "P", "valueFrom": "arn:aws:ssm:eu-central-1:123456789012:parameter/shop/db/P"}],
    "portMappings": [{"hostPort": 5432, "containerPort": 5432, "protocol": "tcp"}],
    "mountPoints": [{"sourceVolume": "data", "containerPath": "/data", "readOnly": False}],
    "linuxParameters": {
        "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
        "initProcessEnabled": True,
        "sharedMemorySize": 64,
        "tmpfs": [{"containerPath": "/tmp", "size": 64}],
    },
    "dockerSecurityOptions": ["no-new-privileges"],
    "readonlyRootFilesystem": True,
    "stopTimeout": 30,
    "dockerLabels": {"a": "b"},
    "ulimits": [{"name": "nofile", "softLimit": 10, "hardLimit": 10}],
    "extraHosts": [{"hostname": "a", "ipAddress": "10.0.0.1"}],
    "dnsServers": ["10.0.0.2"],
    "user": "1000",
    "logConfiguration": LOGS,
    "healthCheck": {
        "command": ["CMD-SHELL", "true"],
        "interval": 5,
        "timeout": 2,
        "retries": 1,
        "startPeriod": 0,
    },
}
ROLE = "arn:aws:iam::123456789012:role/start"


def test_what_the_roles_use_is_taken(cloud: Cloud) -> None:
    whole = {
        "networkMode": "bridge",
        "requiresCompatibilities": ["EC2"],
        "volumes": VOLUMES,
        "executionRoleArn": ROLE,
        "placementConstraints": [{"type": "memberOf", "expression": "attribute:role == db"}],
    }
    arn = cloud.define(**FULL, whole=whole)
    found = cloud.ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
    assert found["volumes"] == VOLUMES and found["executionRoleArn"] == ROLE
    assert FULL.items() <= found["containerDefinitions"][0].items()


@pytest.mark.parametrize(
    "container",
    [
        {"links": ["a"]},
        {"privileged": True},
        {"workingDirectory": "/a"},
        {"hostname": "a"},
        {"dependsOn": [{"containerName": "a", "condition": "START"}]},
        {"volumesFrom": [{"sourceContainer": "a"}]},
        {"environmentFiles": [{"value": "a", "type": "s3"}]},
        {"resourceRequirements": [{"type": "GPU", "value": "1"}]},
        {"firelensConfiguration": {"type": "fluentd"}},
        {"linuxParameters": {"devices": [{"hostPath": "/dev/a"}]}},
        {"linuxParameters": {"maxSwap": 5}},
        {"portMappings": [{"containerPort": 1, "name": "a"}]},
        {"logConfiguration": {"logDriver": "splunk"}},
        {"logConfiguration": LOGS | {"options": LOGS["options"] | {"awslogs-create-group": "true"}}},
    ],
    ids=str,
)
def test_what_is_not_emulated_of_containers_is_refused(cloud: Cloud, container: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="ClientException.*not emulated: "):
        cloud.define(**container)
    assert cloud.ecs.list_task_definitions()["taskDefinitionArns"] == []


@pytest.mark.parametrize(
    "whole",
    [
        {"networkMode": "awsvpc"},
        {"requiresCompatibilities": ["FARGATE"]},
        {"pidMode": "host"},
        {"ipcMode": "host"},
        {"runtimePlatform": {"cpuArchitecture": "ARM64"}},
        {"ephemeralStorage": {"sizeInGiB": 30}},
        {"proxyConfiguration": {"containerName": "db"}},
        {"volumes": [{"name": "a"}]},
        {"volumes": [{"name": "a", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]},
        {"volumes": [{"name": "a", "dockerVolumeConfiguration": {"scope": "task"}}]},
        {
            "volumes": [
                {
                    "name": "a",
                    "dockerVolumeConfiguration": VOLUMES[0]["dockerVolumeConfiguration"] | {"driver": "nfs"},
                }
            ]
        },
    ],
    ids=str,
)
def test_what_is_not_emulated_of_definitions_is_refused(cloud: Cloud, whole: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="ClientException.*not emulated: "):
        cloud.define(whole=whole)


@pytest.mark.parametrize(
    ("container", "match"),
    [
        ({"mountPoints": [{"sourceVolume": "none", "containerPath": "/a"}]}, "Unknown volume 'none'"),
        ({"secrets": FULL["secrets"]}, "you must also specify a value for 'executionRoleArn'"),
        ({"memory": 4}, "must be at least 6"),
        ({"memory": 10, "memoryReservation": 20}, "must not be greater than 'memory'"),
        ({"essential": False}, "No essential containers"),
        ({"healthCheck": {"command": ["true"]}}, "must start with CMD"),
        (
            {"healthCheck": {"command": ["CMD", "true"], "interval": 1}},
            "interval .* must be between 5 and 300",
        ),
        ({"logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "a"}}}, "awslogs-region"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_ecs_refuses(cloud: Cloud, container: dict[str, Any], match: str) -> None:
    with pytest.raises(ClientError, match=f"ClientException.*{match}"):
        cloud.define(**container)


def test_with_the_network_of_the_host_ports_are_the_same(cloud: Cloud) -> None:
    ports = [{"containerPort": 80, "hostPort": 8080}]
    with pytest.raises(ClientError, match="the host ports and container ports in port mappings must match"):
        cloud.define(portMappings=ports, whole={"networkMode": "host"})
    agent = cloud.host()
    cloud.define(portMappings=[{"containerPort": 80}], whole={"networkMode": "host"})
    cloud.serve("one")
    cloud.serve("two")
    agent.work()
    assert len(agent.running) == 1, "the port is taken though no host port is named"
