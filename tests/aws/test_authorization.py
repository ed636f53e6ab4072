"""The emulated API decides about every request as IAM does: who asks, for which action, about what."""

from __future__ import annotations

import functools
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.model import Shape, StructureShape
from botocore.parsers import ResponseParserError

from retailflow_emulators.ecs_agent.api import Api, ApiRefusedError

from . import aws_support
from .policy_lint import each

REGION = aws_support.REGION
# Permissions whose operation has another name, or whose service has another name in boto3.
CALLS = {
    "lambda:InvokeFunction": ("lambda", "Invoke"),
    "s3:ListBucket": ("s3", "ListObjectsV2"),
    "s3:ListBucketVersions": ("s3", "ListObjectVersions"),
    "s3:GetLifecycleConfiguration": ("s3", "GetBucketLifecycleConfiguration"),
    "s3:PutLifecycleConfiguration": ("s3", "PutBucketLifecycleConfiguration"),
    "tag:GetResources": ("resourcegroupstaggingapi", "GetResources"),
    "servicequotas:GetServiceQuota": ("service-quotas", "GetServiceQuota"),
}
# A permission that is no operation, and an operation that moto does not have.
NO_OPERATION = {"iam:PassRole", "lambda:GetAccountSettings", "s3:DeleteObjectVersion"}
ACTIONS = sorted(
    {
        action
        for document in aws_support.policies().values()
        for statement in document["Statement"]
        for action in each(statement["Action"])
    }
    - NO_OPERATION
)
Make = Callable[..., dict[str, str]]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with aws_support.moto(tmp_path_factory.mktemp("moto")) as address:
        yield address


def client(url: str, service: str, key: dict[str, str] = aws_support.ADMINISTRATOR) -> Any:
    """A client that sends whatever it is given, once; the same one for a key each time."""
    return _client(url, service, key["access_key_id"], key["secret_access_key"])


@functools.cache
def _client(url: str, service: str, name: str, secret: str) -> Any:
    config = Config(parameter_validation=False, retries={"total_max_attempts": 1})
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        config=config,
        aws_access_key_id=name,
        aws_secret_access_key=secret,
    )


@pytest.fixture(scope="module")
def user(url: str) -> Make:
    """Makes a user with the given statements; returns its key."""
    iam = client(url, "iam")
    numbers = iter(range(1000))

    def make(*statements: dict[str, Any]) -> dict[str, str]:
        name = f"user-{next(numbers)}"
        iam.create_user(UserName=name)
        if statements:
            document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
            iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {
            "name": name,
            "access_key_id": key["AccessKeyId"],
            "secret_access_key": key["SecretAccessKey"],
        }

    return make


def allow(action: str | list[str], resource: str | list[str] = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource} | more


def example(shape: Shape, name: str = "") -> Any:
    """A value of a shape with what is required, and with the names by which resources are known."""
    match shape.type_name:
        case "structure":
            assert isinstance(shape, StructureShape)
            named = ("FunctionName", "RoleName", "QueueUrl", "Bucket", "Key", "cluster")
            return {
                key: example(member, key)
                for key, member in shape.members.items()
                if key in shape.required_members or key in named
            }
        case "list":
            return [example(shape.member, name)]  # type: ignore[attr-defined]
        case "map":
            return {}
        case "integer" | "long" | "double" | "float":
            return 1
        case "boolean":
            return True
        case "blob":
            return b"{}"
    return shape.enum[0] if getattr(shape, "enum", None) else "retailflow-x"  # type: ignore[attr-defined]


def call(url: str, action: str, key: dict[str, str]) -> str:
    """Carry out the operation of an action; return the error's code and message, empty where there is none."""
    service, operation = CALLS.get(action, tuple(action.split(":")))
    made = client(url, service, key)
    model = made.meta.service_model.operation_model(operation)
    parameters = example(model.input_shape) if model.input_shape else {}
    try:
        made._make_api_call(operation, parameters)
    except ClientError as error:
        return f"{error.response['Error']['Code']}: {error.response['Error']['Message']}"
    except ResponseParserError:  # moto stumbles over the example, after IAM has let it pass
        return ""
    return ""


DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


def test_no_action_of_the_policies_is_allowed_without_it_and_each_is_enough(url: str, user: Make) -> None:
    """Each one in turn: with everything else allowed, then with it alone."""
    key, iam = user(), client(url, "iam")
    wrong = {}
    for action in ACTIONS:
        for statement in (
            {"Effect": "Allow", "NotAction": action, "Resource": "*"},
            allow([action, "iam:PassRole"]),
        ):
            document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            iam.put_user_policy(UserName=key["name"], PolicyName="own", PolicyDocument=document)
            answer = call(url, action, key)
            code, _, words = answer.partition(": ")
            refused = code in DENIED and f"is not authorized to perform: {action} " in f"{words} "
            if refused != ("NotAction" in statement):
                wrong[action] = answer
    assert wrong == {}


@pytest.mark.parametrize(
    ("service", "operation", "unknown", "wrong"),
    [
        ("ec2", "describe_vpcs", "AuthFailure", "AuthFailure"),
        ("iam", "list_roles", "InvalidClientTokenId", "SignatureDoesNotMatch"),
        ("s3", "list_buckets", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
        ("lambda", "list_functions", "UnrecognizedClientException", "InvalidSignatureException"),
        ("ecs", "list_clusters", "UnrecognizedClientException", "InvalidSignatureException"),
        ("sqs", "list_queues", "InvalidClientTokenId", "SignatureDoesNotMatch"),
    ],
)
def test_an_unknown_key_and_a_wrong_secret_have_awss_errors(
    url: str, service: str, operation: str, unknown: str, wrong: str
) -> None:
    operator = aws_support.OPERATOR_KEY
    for code, key in (
        (unknown, operator | {"access_key_id": "AKIAQAAAAANOBODY2345"}),
        (wrong, operator | {"secret_access_key": "guessed"}),
    ):
        with pytest.raises(ClientError) as error:
            getattr(client(url, service, key), operation)()
        assert error.value.response["Error"]["Code"] == code


def test_a_request_without_a_key_is_refused(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{url}/?Action=ListRoles", timeout=10)
    assert error.value.code == 403


def test_who_one_is_needs_no_permission(url: str, user: Make) -> None:
    key = user({"Effect": "Deny", "Action": "*", "Resource": "*"})
    assert ":user/user-" in client(url, "sts", key).get_caller_identity()["Arn"]


def test_a_deny_wins_whatever_the_order(url: str, user: Make) -> None:
    deny = {"Effect": "Deny", "Action": "iam:ListR*", "Resource": "*"}
    for statements in ([deny, allow("*")], [allow("*"), deny]):
        key = user(*statements)
        assert client(url, "iam", key).list_users()["Users"]
        with pytest.raises(ClientError, match="iam:ListRoles with an explicit deny"):
            client(url, "iam", key).list_roles()


def test_a_resource_of_another_name_is_refused(url: str, user: Make) -> None:
    sqs = client(url, "sqs", user(allow("sqs:*", f"arn:aws:sqs:{REGION}:{aws_support.ACCOUNT}:shop-*")))
    sqs.create_queue(QueueName="shop-failed")
    address = sqs.get_queue_url(QueueName="shop-failed")["QueueUrl"]
    sqs.get_queue_attributes(QueueUrl=address, AttributeNames=["All"])
    with pytest.raises(ClientError, match="sqs:CreateQueue on resource: arn:aws:sqs:.*:other because"):
        sqs.create_queue(QueueName="other")


def test_a_right_on_a_log_group_alone_writes_no_line(url: str, user: Make) -> None:
    group = f"arn:aws:logs:{REGION}:{aws_support.ACCOUNT}:log-group:/shop/db"
    client(url, "logs").create_log_group(logGroupName="/shop/db")
    alone = client(url, "logs", user(allow("logs:*", group)))
    with pytest.raises(ClientError, match=f"logs:CreateLogStream on resource: {group}:log-stream:db because"):
        alone.create_log_stream(logGroupName="/shop/db", logStreamName="db")
    with pytest.raises(
        ClientError, match=f"logs:PutRetentionPolicy on resource: {group}:log-stream: because"
    ):
        alone.put_retention_policy(logGroupName="/shop/db", retentionInDays=1)
    streams = client(url, "logs", user(allow("logs:*", f"{group}:*")))
    streams.create_log_stream(logGroupName="/shop/db", logStreamName="db")
    streams.put_retention_policy(logGroupName="/shop/db", retentionInDays=1)


def test_what_is_not_tagged_as_ours_is_not_touched(url: str, user: Make) -> None:
    key = user(
        allow("ec2:*", Condition={"StringEquals": {"aws:ResourceTag/Project": "shop"}}),
        allow("ec2:*", Condition={"StringEquals": {"aws:RequestTag/Project": "shop"}}),
        allow("ec2:Describe*"),
    )
    ec2 = client(url, "ec2", key)
    tags = [{"ResourceType": "vpc", "Tags": [{"Key": "Project", "Value": "shop"}]}]
    ours = ec2.create_vpc(CidrBlock="10.8.0.0/16", TagSpecifications=tags)["Vpc"]["VpcId"]
    with pytest.raises(ClientError, match="ec2:CreateVpc on resource: arn:aws:ec2:.*:vpc/\\*"):
        ec2.create_vpc(CidrBlock="10.9.0.0/16")
    other = client(url, "ec2").create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    with pytest.raises(ClientError, match=f"ec2:DeleteVpc on resource: arn:aws:ec2:.*{other}"):
        ec2.delete_vpc(VpcId=other)
    ec2.delete_vpc(VpcId=ours)


def test_a_role_is_handed_only_to_the_service_that_is_named(url: str, user: Make) -> None:
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = client(url, "iam").create_role(RoleName="worker", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    function = {
        "FunctionName": "work",
        "Runtime": "python3.11",
        "Role": role,
        "Handler": "a.b",
        "Code": {"ZipFile": b""},
    }
    keys = [
        user(
            allow("lambda:*"),
            allow("iam:PassRole", role, Condition={"StringEquals": {"iam:PassedToService": one}}),
        )
        for one in ("ec2.amazonaws.com", "lambda.amazonaws.com")
    ]
    with pytest.raises(ClientError, match=f"iam:PassRole on resource: {role}"):
        client(url, "lambda", keys[0]).create_function(**function)
    assert client(url, "lambda", keys[1]).create_function(**function)["Role"] == role


def test_a_schedule_invokes_only_the_function_whose_own_policy_names_it(url: str) -> None:
    """As the emulated schedule does: by the function's ARN, without waiting."""
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = client(url, "iam").create_role(RoleName="runner", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    own, schedule = client(url, "lambda"), client(url, "lambda", aws_support.EVENTS_KEY)
    arns = [
        own.create_function(
            FunctionName=name, Runtime="python3.11", Role=role, Handler="a.b", Code={"ZipFile": b""}
        )["FunctionArn"]
        for name in ("scheduled", "other")
    ]
    own.add_permission(
        FunctionName="scheduled",
        StatementId="rule",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
    )
    assert schedule.invoke(FunctionName=arns[0], InvocationType="Event", Payload="{}")["StatusCode"] == 202
    with pytest.raises(
        ClientError, match="user/events.amazonaws.com is not authorized to perform: lambda:InvokeFunction"
    ):
        schedule.invoke(FunctionName=arns[1], InvocationType="Event", Payload="{}")


def test_a_service_acts_where_the_resource_itself_names_it(url: str) -> None:
    """Hosts get their roles from EC2, and whoever is not named by a role's trust policy cannot assume it."""
    iam = client(url, "iam")
    for name, principal in (("host", "ec2.amazonaws.com"), ("function", "lambda.amazonaws.com")):
        trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": principal}}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow("ecs:ListClusters")]})
    iam.put_role_policy(RoleName="host", PolicyName="own", PolicyDocument=policy)
    sts = client(url, "sts", aws_support.EC2_KEY)
    arn = f"arn:aws:iam::{aws_support.ACCOUNT}:role"
    session = sts.assume_role(RoleArn=f"{arn}/host", RoleSessionName="i-1")["Credentials"]
    ecs = boto3.client(
        "ecs",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )
    assert "clusterArns" in ecs.list_clusters()
    with pytest.raises(
        ClientError, match="assumed-role/host/i-1 is not authorized to perform: ecs:CreateCluster"
    ):
        ecs.create_cluster(clusterName="shop")
    with pytest.raises(ClientError, match="sts:AssumeRole on resource: .*role/function"):
        sts.assume_role(RoleArn=f"{arn}/function", RoleSessionName="i-1")
    with pytest.raises(ClientError, match="sts:AssumeRole on resource: .*role/host"):
        client(url, "sts", aws_support.OPERATOR_KEY).assume_role(RoleArn=f"{arn}/host", RoleSessionName="me")


def test_objects_that_are_deleted_together_are_asked_for_one_by_one(url: str, user: Make) -> None:
    admin = client(url, "s3")
    where = {"LocationConstraint": REGION}
    admin.create_bucket(Bucket="together", CreateBucketConfiguration=where)
    admin.put_bucket_versioning(Bucket="together", VersioningConfiguration={"Status": "Enabled"})
    versions = {
        key: admin.put_object(Bucket="together", Key=key, Body=b"x")["VersionId"] for key in ("mine/a&b", "b")
    }
    key = user(
        allow("s3:DeleteObject", "arn:aws:s3:::together/mine/*"),
        allow("s3:DeleteObjectVersion", "arn:aws:s3:::together/b"),
    )
    mine = client(url, "s3", key)

    def delete(*objects: dict[str, str]) -> None:
        mine.delete_objects(Bucket="together", Delete={"Objects": list(objects), "Quiet": True})

    with pytest.raises(ClientError, match="s3:DeleteObject on resource: arn:aws:s3:::together/b"):
        delete({"Key": "mine/a&b"}, {"Key": "b"})
    delete({"Key": "mine/a&b"})
    with pytest.raises(
        ClientError, match="s3:DeleteObjectVersion on resource: arn:aws:s3:::together/mine/a&b"
    ):
        delete({"Key": "mine/a&b", "VersionId": versions["mine/a&b"]})
    delete({"Key": "b", "VersionId": versions["b"]})
    left = admin.list_object_versions(Bucket="together")
    assert [one["Key"] for one in left["Versions"]] == ["mine/a&b"]


def agent_of(url: str, name: str, statement: dict[str, Any]) -> tuple[Api, str]:
    """The agent of a host whose role has one statement, and the ARN of its instance in the cluster of that name."""
    iam, ecs, ec2 = client(url, "iam"), client(url, "ecs"), client(url, "ec2")
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy)
    image = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    host = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    ecs.create_cluster(clusterName=name)
    entry = ecs.register_container_instance(
        cluster=name,
        instanceIdentityDocument=json.dumps({"instanceId": host}),
        tags=[{"key": "Role", "value": name}],
    )["containerInstance"]["containerInstanceArn"]
    return aws_support.agent(url, role, host, name), entry


def test_an_agent_polls_for_instances_of_its_cluster_only(url: str) -> None:
    cluster = f"arn:aws:ecs:{REGION}:{aws_support.ACCOUNT}:cluster/agents"
    statement = allow(
        "ecs:Poll",
        f"arn:aws:ecs:{REGION}:{aws_support.ACCOUNT}:container-instance/agents/*",
        Condition={"ArnEquals": {"ecs:cluster": cluster}},
    )
    agent, entry = agent_of(url, "agents", statement)
    answer = agent.call("Poll", cluster="agents", containerInstance=entry, revision=0, reported=[])
    assert answer["tasks"] == [] and answer["revision"] > 0
    (found,) = client(url, "ecs").describe_container_instances(cluster="agents", containerInstances=[entry])[
        "containerInstances"
    ]
    assert found["agentConnected"] is True
    with pytest.raises(
        ApiRefusedError, match="not authorized to perform: ecs:Poll on resource: arn:aws:ecs:"
    ):
        agent.call("Poll", cluster="other", containerInstance=entry, revision=0, reported=[])


@pytest.mark.parametrize("operation", ["Poll", "StartTelemetrySession"])
def test_no_tag_of_an_instance_lets_its_agent_listen(url: str, operation: str) -> None:
    """AWS compares none for these two: their only condition key is ecs:cluster."""
    name = f"tagged-{operation.lower()}"
    tagged = {"StringEquals": {"aws:ResourceTag/Role": name}}
    agent, entry = agent_of(url, name, allow(f"ecs:{operation}", Condition=tagged))
    with pytest.raises(ApiRefusedError, match=f"is not authorized to perform: ecs:{operation}"):
        agent.call(operation, cluster=name, containerInstance=entry)
