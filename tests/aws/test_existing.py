"""What AWS holds of what a plan would create: the site's by tags and name or by content, nobody else's, never one of two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible.module_utils.retailflow_existing import Existing, Matched

import moto_support

TAGS = {"Project": "shop"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA0zH/1i/gokj2kHNTShGwOlYLEMmLRNoZBaRNLuTGCR"
TRUST = '{"Version": "2012-10-17", "Statement": []}'
POLICY = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecs:Poll", "Resource": "*"}]}'
)


@pytest.fixture
def account() -> Iterator[Any]:
    with moto_support.account("ec2", "iam", region="eu-central-1") as clients:
        yield clients


def tags(kind: str, name: str, project: str = "shop") -> list[dict[str, Any]]:
    marks = [{"Key": "Project", "Value": project}, {"Key": "Name", "Value": name}]
    return [{"ResourceType": kind, "Tags": marks}]


def create(address: str, **after: Any) -> dict[str, Any]:
    after.setdefault("tags_all", TAGS | {"Name": "shop"})
    change = {"actions": ["create"], "before": None, "after": after}
    return {"address": address, "type": address.split(".")[0], "mode": "managed", "change": change}


def keep(address: str, found: str) -> dict[str, Any]:
    change = {"actions": ["no-op"], "before": {"id": found}, "after": {"id": found}}
    return {"address": address, "type": address.split(".")[0], "mode": "managed", "change": change}


def look(account: Any, *changes: dict[str, Any]) -> Matched:
    return Existing(account["ec2"], account["iam"], TAGS, list(changes)).look()


def network(account: Any, project: str = "shop") -> str:
    made = account["ec2"].create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags("vpc", "shop", project))
    return str(made["Vpc"]["VpcId"])


def test_the_sites_own_is_found_by_its_tags_and_its_name(account: Any) -> None:
    network(account, "another")
    assert look(account, create("aws_vpc.main")).imports == {}
    ours = network(account)
    assert look(account, create("aws_vpc.main")).imports == {"aws_vpc.main": ours}
    known = look(account, keep("aws_vpc.main", ours), create("aws_vpc.second"))
    assert known.imports == {} and known.unplanned == [], "the state has it under another address"


def test_of_two_none_is_taken(account: Any) -> None:
    ids = {network(account), network(account)}
    matched = look(account, create("aws_vpc.main"))
    (problem,) = matched.problems
    assert matched.imports == {} and all(one in problem for one in ids)


def test_what_is_planned_nowhere_is_named(account: Any) -> None:
    vpc = network(account)
    (default,) = account["ec2"].describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    )["SecurityGroups"]
    marks = [{"Key": "Project", "Value": "shop"}]
    account["ec2"].create_tags(Resources=[default["GroupId"]], Tags=marks)  # it comes with its VPC
    other = {"tags_all": TAGS | {"Name": "shop-db"}}
    assert look(account, create("aws_eip.host", **other)).unplanned == [f"vpc {vpc} (shop)"]
    assert look(account, keep("aws_vpc.main", vpc)).unplanned == [], "nothing is created, nothing is asked"


def test_what_stands_in_a_network_waits_until_it_is_known(account: Any) -> None:
    vpc, ec2 = network(account), account["ec2"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", TagSpecifications=tags("subnet", "shop"))
    found = subnet["Subnet"]["SubnetId"]
    plan = {"cidr_block": "10.0.1.0/24"}
    waits = look(account, create("aws_subnet.main", **plan))
    assert waits.imports == {} and waits.problems == [] and found in waits.waiting[0]
    ours = look(account, create("aws_subnet.main", vpc_id=vpc, **plan))
    assert ours.imports == {"aws_subnet.main": found}
    elsewhere = look(account, create("aws_subnet.main", vpc_id="vpc-1", **plan))
    assert elsewhere.imports == {} and f"belongs to {vpc}" in elsewhere.problems[0]


def test_a_gateway_that_is_attached_to_nothing_fits(account: Any) -> None:
    gateway = account["ec2"].create_internet_gateway(TagSpecifications=tags("internet-gateway", "shop"))
    found = gateway["InternetGateway"]["InternetGatewayId"]
    assert look(account, create("aws_internet_gateway.main")).imports == {"aws_internet_gateway.main": found}


def test_a_network_interface_is_found_by_its_own_kind_of_tags(account: Any) -> None:
    ec2 = account["ec2"]
    subnet = ec2.create_subnet(VpcId=network(account), CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    place = {"SubnetId": subnet, "PrivateIpAddress": "10.0.1.9"}
    marked = tags("network-interface", "shop")
    made = ec2.create_network_interface(**place, TagSpecifications=marked)["NetworkInterface"]
    planned = create("aws_network_interface.host", subnet_id=subnet, private_ips=["10.0.1.9"])
    found = made["NetworkInterfaceId"]
    assert look(account, planned).imports == {"aws_network_interface.host": found}
    ec2.create_tags(Resources=[found], Tags=[{"Key": "Project", "Value": "another"}])
    foreign = look(account, planned)
    assert foreign.imports == {} and found in foreign.problems[0]


@pytest.mark.parametrize(
    ("marks", "taken"), [("", True), ("shop", True), ("another", False)], ids=["untagged", "ours", "foreign"]
)
def test_a_rule_is_found_by_its_content(account: Any, marks: str, taken: bool) -> None:
    ec2 = account["ec2"]
    group = ec2.create_security_group(GroupName="shop-db", Description="db", VpcId=network(account))[
        "GroupId"
    ]
    range_ = [{"CidrIp": "192.0.2.7/32"}]
    made = ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": range_}],
        TagSpecifications=tags("security-group-rule", "ssh", marks) if marks else [],
    )["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    rule = {"security_group_id": group, "ip_protocol": "tcp", "from_port": 22, "to_port": 22}
    matched = look(
        account, create("aws_vpc_security_group_ingress_rule.flow", **rule, cidr_ipv4="192.0.2.7/32")
    )
    assert (made in matched.imports.values()) is taken and bool(matched.problems) is not taken
    for other in ({"cidr_ipv4": "192.0.2.8/32"}, {"cidr_ipv4": "192.0.2.7/32", "to_port": 23}, {}):
        matched = look(account, create("aws_vpc_security_group_ingress_rule.flow", **rule | other))
        assert matched.imports == {} and matched.problems == [], other


def test_a_group_whose_rule_for_everything_was_not_revoked_is_known(account: Any) -> None:
    vpc, ec2 = network(account), account["ec2"]
    marked = tags("security-group", "shop-db")
    group = ec2.create_security_group(
        GroupName="shop-db", Description="db", VpcId=vpc, TagSpecifications=marked
    )["GroupId"]
    planned = {"vpc_id": vpc, "name": "shop-db", "tags_all": TAGS | {"Name": "shop-db"}}
    matched = look(account, create("aws_security_group.main", **planned))
    assert matched.imports == {"aws_security_group.main": group}
    assert set(matched.came_with.values()) == {group}
    (rule,) = matched.came_with
    out = {"security_group_id": group, "ip_protocol": "-1", "cidr_ipv4": "0.0.0.0/0"}
    again = look(account, create("aws_vpc_security_group_egress_rule.host", **out))
    assert again.imports == {"aws_vpc_security_group_egress_rule.host": rule}


def test_a_key_pair_is_the_sites_and_its_key_is_compared(account: Any) -> None:
    ec2, name = account["ec2"], "shop"
    ec2.import_key_pair(
        KeyName=name, PublicKeyMaterial=f"{KEY} shop".encode(), TagSpecifications=tags("key-pair", name)
    )
    same = look(account, create("aws_key_pair.operator", key_name=name, public_key=KEY))
    assert same.imports == {"aws_key_pair.operator": name} and same.same_keys == {"aws_key_pair.operator"}
    other = look(account, create("aws_key_pair.operator", key_name=name, public_key="ssh-ed25519 AAAA"))
    assert other.imports == same.imports and other.same_keys == set(), "whoever would replace it is refused"


def test_roles_are_the_sites_by_their_tags_and_their_policies_with_them(account: Any) -> None:
    iam = account["iam"]
    plan = (
        create("aws_iam_role.host", name="shop-db"),
        create("aws_iam_instance_profile.host", name="shop-db"),
        create("aws_iam_role_policy.host", role="shop-db", name="host"),
    )
    assert look(account, *plan) == Matched()
    iam.create_role(RoleName="shop-db", AssumeRolePolicyDocument=TRUST)
    iam.put_role_policy(RoleName="shop-db", PolicyName="host", PolicyDocument=POLICY)
    iam.create_instance_profile(InstanceProfileName="shop-db", Tags=[{"Key": "Project", "Value": "shop"}])
    foreign = look(account, *plan)
    assert foreign.imports == {"aws_iam_instance_profile.host": "shop-db"}
    assert "the IAM role shop-db is there already without the tag Project=shop" in foreign.problems[0]
    iam.tag_role(RoleName="shop-db", Tags=[{"Key": "Project", "Value": "shop"}])
    assert look(account, *plan).imports == {
        "aws_iam_role.host": "shop-db",
        "aws_iam_role_policy.host": "shop-db:host",
        "aws_iam_instance_profile.host": "shop-db",
    }
