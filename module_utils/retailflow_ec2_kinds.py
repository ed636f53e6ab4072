"""Kinds of EC2 that carry the site's tag, by the resource of Terraform that makes each, and how the API lists them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Instances that are on their way out are no longer there, although EC2 shows them for an hour; so it does with endpoints.
GONE = {"terminated", "shutting-down", "deleted"}


@dataclass(frozen=True)
class Kind:
    """A kind: its name as people read it, the call that lists it, the list in the answer, the identifier of each."""

    name: str
    call: str
    listed: str
    identifier: str


# Rules go with their security group.
KINDS = {
    "aws_instance": Kind("instance", "describe_instances", "Reservations", "InstanceId"),
    "aws_ebs_volume": Kind("volume", "describe_volumes", "Volumes", "VolumeId"),
    "aws_network_interface": Kind(
        "network-interface", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"
    ),
    "aws_eip": Kind("elastic-ip", "describe_addresses", "Addresses", "AllocationId"),
    "aws_key_pair": Kind("key-pair", "describe_key_pairs", "KeyPairs", "KeyName"),
    "aws_security_group": Kind("security-group", "describe_security_groups", "SecurityGroups", "GroupId"),
    "aws_route_table": Kind("route-table", "describe_route_tables", "RouteTables", "RouteTableId"),
    "aws_internet_gateway": Kind(
        "internet-gateway", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"
    ),
    "aws_vpc_endpoint": Kind("vpc-endpoint", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    "aws_subnet": Kind("subnet", "describe_subnets", "Subnets", "SubnetId"),
    "aws_vpc": Kind("vpc", "describe_vpcs", "Vpcs", "VpcId"),
}


def state(one: dict[str, Any]) -> str:
    """Return the state of something as EC2 describes it; empty where its kind has none."""
    found = one.get("State", "")
    return str(found["Name"] if isinstance(found, dict) else found)


def described(ec2: Any, kind: Kind, filters: dict[str, str], **more: Any) -> Iterator[dict[str, Any]]:
    """Yield everything of a kind that passes the filters and is still there, as EC2 describes it."""
    wanted = [{"Name": name, "Values": [value]} for name, value in filters.items()]
    if ec2.can_paginate(kind.call):
        pages = ec2.get_paginator(kind.call).paginate(Filters=wanted, **more)
    else:
        pages = [getattr(ec2, kind.call)(Filters=wanted, **more)]
    for page in pages:
        for one in page[kind.listed]:
            yield from (each for each in one.get("Instances", []) or [one] if state(each) not in GONE)
