"""The emulated AWS API on a socket of its own: what our image adds to moto answers as AWS does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from . import aws_support


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with aws_support.moto(tmp_path_factory.mktemp("moto")) as address:
        yield address


def client(service: str, url: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id=aws_support.ADMINISTRATOR["access_key_id"],
        aws_secret_access_key=aws_support.ADMINISTRATOR["secret_access_key"],
    )


def host(url: str) -> str:
    ec2 = client("ec2", url)
    image = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    return str(ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"])


def test_an_instance_whose_agent_does_not_run_is_not_connected(url: str) -> None:
    ecs, instance = client("ecs", url), host(url)
    ecs.create_cluster(clusterName="shop")
    document = json.dumps({"instanceId": instance})
    entry = ecs.register_container_instance(
        cluster="shop",
        instanceIdentityDocument=document,
        attributes=[{"name": "role", "value": "database"}],
    )
    assert entry["containerInstance"]["agentConnected"] is False
    arn = entry["containerInstance"]["containerInstanceArn"]
    (found,) = ecs.describe_container_instances(cluster="shop", containerInstances=[arn])[
        "containerInstances"
    ]
    assert found["agentConnected"] is False
    assert {"name": "role", "value": "database"} in found["attributes"], "as its agent gave it"


def test_a_terminated_instance_releases_its_interface(url: str) -> None:
    ec2, instance = client("ec2", url), host(url)
    (interface,) = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0][
        "NetworkInterfaces"
    ]
    ec2.terminate_instances(InstanceIds=[instance])
    (found,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface["NetworkInterfaceId"]])[
        "NetworkInterfaces"
    ]
    assert found["Status"] == "available"


@pytest.mark.parametrize("later", [False, True], ids=["from the start", "turned on later"])
def test_a_protected_instance_cannot_be_terminated(url: str, later: bool) -> None:
    ec2 = client("ec2", url)
    image = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    (made,) = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, DisableApiTermination=not later)[
        "Instances"
    ]
    instance = made["InstanceId"]
    if later:
        ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
    found = ec2.describe_instance_attribute(InstanceId=instance, Attribute="disableApiTermination")
    assert found["DisableApiTermination"] == {"Value": True}
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        ec2.terminate_instances(InstanceIds=[instance])
    ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=[instance])
