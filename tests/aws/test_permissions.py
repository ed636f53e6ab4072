"""What an operator may not do is known before anything is made: by IAM's policy simulator, or by calls that change nothing."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from ansible.module_utils.retailflow_permissions import (
    EC2_TYPES,
    denied,
    denied_by_dry_run,
    principal,
    questions,
)
from botocore.exceptions import ClientError

import aws_preflight as preflight

from . import aws_support
from .policy_lint import actions, each

USER = f"arn:aws:iam::{aws_support.ACCOUNT}:user/operator"
DOCUMENTS = list(aws_support.policies().values())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with aws_support.moto(tmp_path_factory.mktemp("moto")) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> Callable[..., Any]:
    def make(service: str, key: dict[str, str] = aws_support.OPERATOR_KEY) -> Any:
        return boto3.client(
            service,
            endpoint_url=url,
            region_name=aws_support.REGION,
            aws_access_key_id=key["access_key_id"],
            aws_secret_access_key=key["secret_access_key"],
        )

    return make


@pytest.fixture(scope="module")
def give(client: Callable[..., Any]) -> Callable[..., None]:
    """Gives the operator the shipped policies without some actions, and with a statement more."""
    iam = client("iam", aws_support.ADMINISTRATOR)
    for policy in iam.list_attached_user_policies(UserName="operator")["AttachedPolicies"]:
        iam.detach_user_policy(UserName="operator", PolicyArn=policy["PolicyArn"])

    def put(without: set[str] = frozenset(), *more: dict[str, Any]) -> None:  # type: ignore[assignment]
        for name, document in aws_support.policies().items():
            kept = copy.deepcopy(document)
            for statement in kept["Statement"]:
                statement["Action"] = [one for one in each(statement["Action"]) if one not in without]
            kept["Statement"] = [one for one in kept["Statement"] if one["Action"]] + list(more)
            iam.put_user_policy(UserName="operator", PolicyName=name, PolicyDocument=json.dumps(kept))

    return put


@pytest.mark.parametrize(
    "lacking",
    [
        set(),
        {"ec2:RunInstances"},
        {"ec2:CreateVpc", "ec2:DescribeImages", "iam:PassRole", "iam:ListInstanceProfilesForRole"},
        {"ecr:CreateRepository", "events:PutRule", "lambda:CreateFunction", "sqs:CreateQueue", "s3:PutObject"},
        {"ec2:AttachVolume", "ec2:CreateTags", "iam:AddRoleToInstanceProfile", "logs:CreateLogGroup"},
    ],
    ids=lambda lacking: str(len(lacking)),
)  # fmt: skip
def test_exactly_what_is_lacking_is_named(
    client: Callable[..., Any], give: Callable[..., None], lacking: set[str]
) -> None:
    give(lacking)
    assert denied(client("iam"), USER, questions(DOCUMENTS, aws_support.ACCOUNT)) == lacking


def test_a_deny_and_a_policy_for_another_site_are_found(
    client: Callable[..., Any], give: Callable[..., None]
) -> None:
    give(set(), {"Effect": "Deny", "Action": "ec2:Create*", "Resource": "*"})
    found = denied(client("iam"), USER, questions(DOCUMENTS, aws_support.ACCOUNT))
    assert "ec2:CreateVpc" in found and all(one.startswith("ec2:Create") for one in found)
    give()
    other = list(aws_support.policies("shop").values())
    found = denied(client("iam"), USER, questions(other, aws_support.ACCOUNT))
    assert {"lambda:CreateFunction", "ec2:RunInstances"} <= found
    assert "ec2:DescribeImages" not in found, "which no policy limits"


def test_the_preflight_names_all_of_them_in_one_message(
    client: Callable[..., Any], give: Callable[..., None]
) -> None:
    clients = {service: client(service) for service in ("iam", "ec2")}
    give({"ec2:CreateVpc", "sqs:CreateQueue"})
    account = preflight.Account(clients, "retailflow", {}, aws_support.REGION)
    account.permissions(USER, aws_support.policies())
    (problem,) = account.problems
    assert f"AWS does not let {USER} do ec2:CreateVpc, sqs:CreateQueue." in problem
    assert "The policies retailflow-hosts, retailflow-services hold that" in problem
    assert account.notes == []


def test_who_may_not_ask_is_checked_by_calls_that_change_nothing(
    client: Callable[..., Any], give: Callable[..., None]
) -> None:
    clients = {service: client(service) for service in ("iam", "ec2")}
    give({"iam:SimulatePrincipalPolicy", "ec2:CreateVpc"})
    with pytest.raises(ClientError, match="iam:SimulatePrincipalPolicy"):
        denied(clients["iam"], USER, questions(DOCUMENTS, aws_support.ACCOUNT))
    before = len(clients["ec2"].describe_vpcs()["Vpcs"]), clients["ec2"].describe_volumes()["Volumes"]
    account = preflight.Account(clients, "retailflow", {}, aws_support.REGION)
    account.permissions(USER, aws_support.policies())
    assert "do ec2:CreateVpc. The policies retailflow-hosts hold that" in account.problems[0]
    assert "ec2:AllocateAddress" in account.notes[0] and "not all" in account.notes[0]
    give({"iam:SimulatePrincipalPolicy"})
    lacking, asked = denied_by_dry_run(clients["ec2"], "retailflow", f"{aws_support.REGION}a")
    assert (lacking, len(asked)) == (set(), 4)
    after = len(clients["ec2"].describe_vpcs()["Vpcs"]), clients["ec2"].describe_volumes()["Volumes"]
    assert after == before and clients["ec2"].describe_addresses()["Addresses"] == []


def test_users_may_ask_about_themselves_alone(client: Callable[..., Any], give: Callable[..., None]) -> None:
    give()
    with pytest.raises(ClientError, match="user/administrator because no identity-based policy"):
        client("iam").simulate_principal_policy(
            PolicySourceArn=USER.replace("operator", "administrator"), ActionNames=["ec2:DescribeVpcs"]
        )


def test_what_the_emulator_does_not_simulate_is_refused(client: Callable[..., Any]) -> None:
    iam = client("iam", aws_support.ADMINISTRATOR)
    with pytest.raises(ClientError, match="not emulated: ResourceHandlingOption"):
        iam.simulate_principal_policy(
            PolicySourceArn=USER, ActionNames=["ec2:RunInstances"], ResourceHandlingOption="EC2-VPC-EBS"
        )
    with pytest.raises(ClientError) as error:
        iam.simulate_principal_policy(PolicySourceArn=f"{USER}x", ActionNames=["ec2:RunInstances"])
    assert error.value.response["Error"]["Code"] == "NoSuchEntity"


@pytest.mark.parametrize(
    ("caller", "source"),
    [
        (USER, USER),
        ("arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_a_1/me", "arn:of:AWSReservedSSO_a_1"),
        ("arn:aws:sts::123456789012:federated-user/me", ""),
    ],
)
def test_the_policies_that_count_are_those_of_the_user_or_role(caller: str, source: str) -> None:
    assert principal(caller, lambda name: f"arn:of:{name}") == source


def test_ec2_is_asked_about_types_of_resources_that_the_actions_have() -> None:
    known = actions()
    for document in aws_support.policies().values():
        for one in questions([document], aws_support.ACCOUNT):
            for action in one.actions:
                types = {kind.rstrip("*") for kind in known[action]}
                if (
                    one.resource.startswith("arn:aws:ec2:")
                    and one.resource.split(":")[5] in EC2_TYPES.values()
                ):
                    assert one.resource.split(":")[5].split("/")[0] in types, action
