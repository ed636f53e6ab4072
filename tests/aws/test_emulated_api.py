"""The emulated AWS API on a socket of its own: what our image adds to moto answers as AWS does."""

from __future__ import annotations

import json
import urllib.request
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


def client(service: str, url: str, key: str = "test", secret: str = "test") -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def host(url: str) -> str:
    ec2 = client("ec2", url)
    image = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    return str(ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"])


def test_an_instance_whose_agent_does_not_run_is_not_connected(url: str) -> None:
    ecs, instance = client("ecs", url), host(url)
    ecs.create_cluster(clusterName="shop")
    document = json.dumps({"instanceId": instance})
    entry = ecs.register_container_instance(cluster="shop", instanceIdentityDocument=document)
    assert entry["containerInstance"]["agentConnected"] is False
    arn = entry["containerInstance"]["containerInstanceArn"]
    (found,) = ecs.describe_container_instances(cluster="shop", containerInstances=[arn])[
        "containerInstances"
    ]
    assert found["agentConnected"] is False


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


def authorize_from_now_on(url: str, unauthorized: str) -> None:
    """Let IAM decide about every request (0), or about none (inf), as moto's own switch does."""
    headers = {"Content-Type": "text/plain"}  # a form would be parsed
    request = urllib.request.Request(f"{url}/moto-api/reset-auth", unauthorized.encode(), headers)
    urllib.request.urlopen(request, timeout=10).close()


def test_actions_are_authorized_under_the_prefix_that_policies_use(url: str) -> None:
    iam = client("iam", url)
    iam.create_user(UserName="operator")
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["cloudwatch:DescribeAlarms", "tag:Get*"], "Resource": "*"},
        ],
    }
    iam.put_user_policy(UserName="operator", PolicyName="all", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName="operator")["AccessKey"]
    own = (url, key["AccessKeyId"], key["SecretAccessKey"])
    authorize_from_now_on(url, "0")
    try:
        assert client("cloudwatch", *own).describe_alarms()["MetricAlarms"] == []
        assert "ResourceTagMappingList" in client("resourcegroupstaggingapi", *own).get_resources()
        with pytest.raises(ClientError, match="not authorized to perform: cloudwatch:DeleteAlarms"):
            client("cloudwatch", *own).delete_alarms(AlarmNames=["none"])
        with pytest.raises(ClientError, match="not authorized to perform: ecs:ListClusters"):
            client("ecs", *own).list_clusters()
    finally:
        authorize_from_now_on(url, "inf")
