"""Services of the emulated ECS by its API: errors, what is refused, counts, tags."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .ecs_support import CLUSTER, Cloud


def test_errors_of_services(cloud: Cloud) -> None:
    cloud.define()
    cloud.serve(clientToken="same")
    assert cloud.serve(clientToken="same")["serviceName"] == "db"
    for call, match in (
        (lambda: cloud.serve(), "Creation of service was not idempotent"),
        (lambda: cloud.serve("other", "none"), "ClientException.*TaskDefinition not found"),
        (lambda: cloud.update("other", desiredCount=1), "ServiceNotFoundException"),
        (
            lambda: cloud.ecs.delete_service(cluster=CLUSTER, service="db"),
            "cannot be stopped while it is scaled above 0",
        ),
        (lambda: cloud.ecs.describe_services(cluster="none", services=["db"]), "ClusterNotFoundException"),
        (lambda: cloud.ecs.list_tasks(cluster=CLUSTER, serviceName="other"), "ServiceNotFoundException"),
        (lambda: cloud.ecs.delete_cluster(cluster=CLUSTER), "ClusterContainsServicesException"),
    ):
        with pytest.raises(ClientError, match=match):
            call()
    found = cloud.ecs.describe_services(cluster=CLUSTER, services=["other"])["failures"]
    assert found == [{"arn": "arn:aws:ecs:eu-central-1:123456789012:service/shop/other", "reason": "MISSING"}]


@pytest.mark.parametrize(
    "options",
    [
        {"schedulingStrategy": "DAEMON"},
        {"launchType": "FARGATE"},
        {"loadBalancers": [{"targetGroupArn": "a", "containerName": "db", "containerPort": 1}]},
        {"serviceRegistries": [{"registryArn": "a"}]},
        {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}},
        {"capacityProviderStrategy": [{"capacityProvider": "a"}]},
        {"deploymentController": {"type": "CODE_DEPLOY"}},
        {"enableExecuteCommand": True},
        {"deploymentConfiguration": {"strategy": "BLUE_GREEN"}},
        {"serviceConnectConfiguration": {"enabled": True}},
        {"availabilityZoneRebalancing": "ENABLED"},
    ],
    ids=lambda one: next(iter(one)),
)
def test_what_is_not_emulated_of_services_is_refused(cloud: Cloud, options: dict[str, Any]) -> None:
    cloud.define()
    with pytest.raises(ClientError, match="ClientException.*not emulated: "):
        cloud.serve(**options)
    assert cloud.ecs.list_services(cluster=CLUSTER)["serviceArns"] == []


def test_a_cluster_counts_what_is_in_it(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define()
    cloud.serve()
    agent.work()
    cloud.ecs.run_task(cluster=CLUSTER, taskDefinition="db")
    (found,) = cloud.ecs.describe_clusters(clusters=[CLUSTER])["clusters"]
    names = (
        "registeredContainerInstancesCount",
        "runningTasksCount",
        "pendingTasksCount",
        "activeServicesCount",
    )
    assert [found[name] for name in names] == [1, 1, 1, 1]
    cloud.ecs.create_cluster(clusterName=CLUSTER)
    assert len(cloud.arns()) == 2, "the same cluster"


def test_tags_reach_the_tasks(cloud: Cloud) -> None:
    cloud.host()
    cloud.define(tags=[{"key": "Of", "value": "definition"}])
    tags = [{"key": "Project", "value": "shop"}]
    cloud.serve(tags=tags, propagateTags="SERVICE", enableECSManagedTags=True)
    (arn,) = cloud.arns()
    found = cloud.ecs.list_tags_for_resource(resourceArn=arn)["tags"]
    assert {one["key"]: one["value"] for one in found} == {
        "Project": "shop",
        "aws:ecs:clusterName": "shop",
        "aws:ecs:serviceName": "db",
    }
    described = cloud.ecs.describe_services(cluster=CLUSTER, services=["db"], include=["TAGS"])["services"][0]
    assert described["tags"] == tags and "tags" not in cloud.service()


def test_a_stopped_task_is_described_for_an_hour(cloud: Cloud) -> None:
    agent = cloud.host()
    cloud.define()
    cloud.serve()
    agent.work()
    (old,) = agent.running
    agent.end(old)
    agent.work()
    cloud.tick(3599)
    assert cloud.task(old)["lastStatus"] == "STOPPED"
    cloud.tick(60)
    assert cloud.ecs.describe_tasks(cluster=CLUSTER, tasks=[old])["failures"] == [
        {"arn": old, "reason": "MISSING"}
    ]
