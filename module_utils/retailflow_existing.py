"""What AWS holds of a site and Terraform's state does not know, matched with what a plan would create.

An answer of the API may be lost, or a run killed, after AWS has made something and before Terraform has noted it. Made again,
a thing with a name is refused by AWS as existing already, and one without a name is there twice. A match has the kind, the
site's tags and the name of what is planned; what has no name of its own (a rule, a route) has its content. Where something
has the name and not the tags, or where two match, nobody but a person can say what is right.

Import IDs: section "Import" of each resource's page, website/docs/r of hashicorp/terraform-provider-aws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

try:
    from botocore.exceptions import ClientError
except ImportError:
    ClientError = Exception

from ansible.module_utils.retailflow_aws import AwsWork
from ansible.module_utils.retailflow_ec2_kinds import KINDS, described, state
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict

Thing = dict[str, Any]


def tags_of(one: Thing) -> dict[str, str]:
    """Return the tags of something as an API describes it; of a network interface they are its TagSet."""
    found: dict[str, str] = boto3_tag_list_to_ansible_dict(one.get("Tags") or one.get("TagSet") or [])
    return found


def gateway_network(one: Thing) -> str | None:
    """Return the VPC that an internet gateway is attached to; None, which fits any, where it is attached to none."""
    return next((each["VpcId"] for each in one.get("Attachments", [])), None)


def first_interface(one: Thing) -> str | None:
    """Return the network interface by which an instance was started."""
    attached = one.get("NetworkInterfaces", [])
    return next(
        (each["NetworkInterfaceId"] for each in attached if each["Attachment"]["DeviceIndex"] == 0), ""
    )


def planned_interface(after: Thing) -> str | None:
    """Return the network interface by which an instance is to be started; None while it is not known."""
    return next((each.get("network_interface_id") for each in after.get("network_interface") or []), None)


def value(name: str) -> Callable[[Thing], Any]:
    """Return a function that gets a value by its name; None where there is none."""
    return lambda one: one.get(name)


def known_to_iam(get: Callable[[], Thing]) -> Thing | None:
    """Return what IAM answers; None where there is no such thing."""
    try:
        return get()
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchEntity":
            raise
        return None


# What something stands in: as it is planned, and as EC2 describes it.
STANDS_IN: dict[str, tuple[Callable[[Thing], Any], Callable[[Thing], Any]]] = {
    "aws_internet_gateway": (value("vpc_id"), gateway_network),
    "aws_subnet": (value("vpc_id"), value("VpcId")),
    "aws_route_table": (value("vpc_id"), value("VpcId")),
    "aws_security_group": (value("vpc_id"), value("VpcId")),
    "aws_vpc_endpoint": (value("vpc_id"), value("VpcId")),
    "aws_network_interface": (value("subnet_id"), value("SubnetId")),
    "aws_instance": (planned_interface, first_interface),
}
# What AWS takes only once, as the filters of the call that lists it.
ONCE: dict[str, Callable[[Thing], dict[str, Any]]] = {
    "aws_key_pair": lambda after: {"key-name": after["key_name"]},
    "aws_internet_gateway": lambda after: {"attachment.vpc-id": after.get("vpc_id")},
    "aws_subnet": lambda after: {"vpc-id": after.get("vpc_id"), "cidr-block": after["cidr_block"]},
    "aws_security_group": lambda after: {"vpc-id": after.get("vpc_id"), "group-name": after["name"]},
    "aws_network_interface": lambda after: {
        "subnet-id": after.get("subnet_id"),
        "addresses.private-ip-address": next(iter(after.get("private_ips") or []), None),
    },
}


@dataclass
class Matched:
    """What was found: import IDs by address, what needs a person's decision, what matches nothing that is planned."""

    imports: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unplanned: list[str] = field(default_factory=list)
    #: Rules that came with an imported group, by id; see `rules_that_came_with`.
    came_with: dict[str, str] = field(default_factory=dict)
    #: Problems, unless what something belongs to is imported first.
    waiting: list[str] = field(default_factory=list)
    #: Key pairs whose public key is the planned one. The provider does not read it back, so it replaces what it imported.
    same_keys: set[str] = field(default_factory=set)


class Existing:
    """Looks in AWS for what a plan would create; `changes` are the plan's resource_changes."""

    def __init__(self, ec2: Any, iam: Any, tags: dict[str, str], changes: list[Thing]) -> None:
        self.ec2, self.iam, self.work = ec2, iam, AwsWork(tags, check_mode=True)
        managed = [one for one in changes if one.get("mode") == "managed"]
        self.created = [one for one in managed if one["change"]["actions"] == ["create"]]
        before = [(one["type"], one["change"]["before"]) for one in managed if one["change"].get("before")]
        self.known = {(kind, found["id"]) for kind, found in before}
        self.listed: dict[str, list[Thing]] = {}
        self.roles: set[str] = set()  # that are imported
        self.matched = Matched()

    def look(self) -> Matched:
        """Match every creation of the plan."""
        others = {
            "aws_iam_role": self.role,
            "aws_iam_instance_profile": self.profile,
            "aws_iam_role_policy": self.role_policy,
            "aws_route": self.route,
            "aws_route_table_association": self.association,
            "aws_volume_attachment": self.attachment,
            "aws_vpc_security_group_ingress_rule": self.rule,
            "aws_vpc_security_group_egress_rule": self.rule,
        }
        for one in self.created:
            look = self.tagged if one["type"] in KINDS else others.get(one["type"])
            if look:
                look(one["address"], one["type"], one["change"]["after"])
        if self.created:
            self.note_unplanned()
        return self.matched

    def problem(self, address: str, text: str) -> None:
        """Note what only a person can decide."""
        self.matched.problems.append(f"{address}: {text}")

    def foreign(self, address: str, what: str) -> None:
        """Note that something has the place or the name of what is planned, and not the site's tags."""
        self.problem(
            address,
            f"{what} is there already without the tag {self.work.mark}, so it is not the site's. Remove it, or give the site "
            "another name; or, if it is the site's, tag it",
        )

    # --- what EC2 knows by tags -------------------------------------------------------------------------------------------

    def of_the_site(self, kind: str) -> list[Thing]:
        """Return what has the site's tags, whether the state knows it or not."""
        if kind not in self.listed:
            marks = {f"tag:{key}": found for key, found in self.work.tags.items()}
            self.listed[kind] = [
                one for one in described(self.ec2, KINDS[kind], marks) if state(one) != "deleting"
            ]
        return self.listed[kind]

    def unknown(self, kind: str, found: list[Thing]) -> list[Thing]:
        """Return what the state does not know."""
        return [one for one in found if (kind, one[KINDS[kind].identifier]) not in self.known]

    def tagged(self, address: str, kind: str, after: Thing) -> None:
        """Match what has the site's tags and the planned name."""
        identifier, name = KINDS[kind].identifier, after["tags_all"].get("Name")
        named = [one for one in self.of_the_site(kind) if tags_of(one).get("Name") == name]
        place, actual = None, value("")  # a kind that stands in nothing
        if kind in STANDS_IN:
            planned, actual = STANDS_IN[kind]
            place = planned(after)
        mine = self.unknown(kind, named)
        fitting = [one for one in mine if actual(one) in (place, None)]
        if len(fitting) > 1:
            ids = ", ".join(sorted(one[identifier] for one in fitting))
            self.problem(
                address,
                f"{ids} all have the tags {self.work.mark} and Name={name}, and only one can be the site's. Remove the "
                "others, or remove their tag Project",
            )
        elif fitting:
            self.matched.imports[address] = fitting[0][identifier]
            if kind == "aws_key_pair":
                self.compare_keys(address, after)
            if kind == "aws_security_group":
                self.rules_that_came_with(fitting[0][identifier])
        elif mine:
            text = (
                f"{', '.join(one[identifier] for one in mine)} has its tags and its name, and belongs to "
                f"{', '.join(str(actual(one)) for one in mine)}, which is not the site's. Remove it, or remove its tag Project"
            )
            # What it belongs to may be imported first.
            self.problem(address, text) if place else self.matched.waiting.append(f"{address}: {text}")
        else:
            self.look_for_foreign(address, kind, after)

    def look_for_foreign(self, address: str, kind: str, after: Thing) -> None:
        """Note what AWS would refuse to make a second time."""
        filters = ONCE[kind](after) if kind in ONCE else {"": None}
        if None not in filters.values():
            for one in self.unknown(kind, list(described(self.ec2, KINDS[kind], filters))):
                self.foreign(address, f"the {KINDS[kind].name} {one[KINDS[kind].identifier]}")

    def compare_keys(self, address: str, after: Thing) -> None:
        """Note a key pair that has the planned public key already."""
        (pair,) = described(
            self.ec2, KINDS["aws_key_pair"], {"key-name": after["key_name"]}, IncludePublicKey=True
        )
        if pair.get("PublicKey", "").split()[:2] == after["public_key"].split()[:2]:
            self.matched.same_keys.add(address)

    def rules_that_came_with(self, group: str) -> None:
        """Note the rule by which a new group lets everything out: Terraform removes it when it makes a group.

        The note on egress rules in website/docs/r/security_group.html.markdown of hashicorp/terraform-provider-aws.
        """
        for one in self.rules_of(group):
            if one["IsEgress"] and one["IpProtocol"] == "-1" and not one.get("Tags"):
                self.matched.came_with[one["SecurityGroupRuleId"]] = group

    def note_unplanned(self) -> None:
        """Note what has the site's tags, and neither the state nor the plan has it."""
        ids = {found for _, found in self.known} | set(self.matched.imports.values())
        for kind, how in KINDS.items():
            for one in self.of_the_site(kind):
                name = tags_of(one).get("Name", "")
                # The root disk comes with its host, the group "default" with its VPC.
                came_with = (kind == "aws_ebs_volume" and not name.endswith("-data")) or one.get(
                    "GroupName"
                ) == "default"
                if one[how.identifier] not in ids and not came_with:
                    self.matched.unplanned.append(f"{how.name} {one[how.identifier]} ({name or 'no name'})")

    # --- what has no tags, or is found by its content -----------------------------------------------------------------------

    def rule(self, address: str, kind: str, after: Thing) -> None:
        """Match a rule by its content: EC2 takes each only once. In the site's own group one without tags is the site's."""
        group, peer = after.get("security_group_id"), after.get("referenced_security_group_id")
        if not group or not (peer or after.get("cidr_ipv4")):
            return  # a group that is not there yet has no rules, and no rule leads to it
        wanted = (
            kind.endswith("egress_rule"),
            after["ip_protocol"],
            after.get("from_port") if after.get("from_port") is not None else -1,
            after.get("to_port") if after.get("to_port") is not None else -1,
            peer or after["cidr_ipv4"],
        )
        for one in self.rules_of(group):
            found = (
                one["IsEgress"],
                one["IpProtocol"],
                one.get("FromPort", -1),
                one.get("ToPort", -1),
                one.get("ReferencedGroupInfo", {}).get("GroupId") or one.get("CidrIpv4"),
            )
            if found != wanted or (kind, one["SecurityGroupRuleId"]) in self.known:
                continue
            if self.work.is_ours(one.get("Tags")) or not set(self.work.tags) & set(tags_of(one)):
                self.matched.imports[address] = one["SecurityGroupRuleId"]
            else:
                self.foreign(address, f"the rule {one['SecurityGroupRuleId']} of the group {group}")

    def rules_of(self, group: str) -> list[Thing]:
        """Return the rules of a security group."""
        if group not in self.listed:
            pages = self.ec2.get_paginator("describe_security_group_rules").paginate(
                Filters=[{"Name": "group-id", "Values": [group]}]
            )
            self.listed[group] = [one for page in pages for one in page["SecurityGroupRules"]]
        return self.listed[group]

    def route(self, address: str, _kind: str, after: Thing) -> None:
        """Match a route by its table, destination and gateway."""
        table, target = after.get("route_table_id"), after["destination_cidr_block"]
        for one in self.of_the_site("aws_route_table"):
            routes = [each for each in one["Routes"] if each.get("DestinationCidrBlock") == target]
            if one["RouteTableId"] != table or not routes:
                continue
            if routes[0].get("GatewayId") == after.get("gateway_id"):
                self.matched.imports[address] = f"{table}_{target}"
            elif after.get("gateway_id"):
                self.problem(
                    address, f"the route to {target} in {table} leads elsewhere. Remove it from the table"
                )

    def association(self, address: str, _kind: str, after: Thing) -> None:
        """Match what joins a subnet with its route table."""
        table, subnet = after.get("route_table_id"), after.get("subnet_id")
        if not table or not subnet:
            return
        for one in described(self.ec2, KINDS["aws_route_table"], {"association.subnet-id": subnet}):
            if one["RouteTableId"] == table:
                self.matched.imports[address] = f"{subnet}/{table}"
            else:
                self.problem(
                    address,
                    f"the subnet {subnet} has the route table {one['RouteTableId']}. Remove that association",
                )

    def attachment(self, address: str, _kind: str, after: Thing) -> None:
        """Match what joins a volume with its host."""
        volume, host = after.get("volume_id"), after.get("instance_id")
        for one in self.of_the_site("aws_ebs_volume") if host else []:
            for each in one.get("Attachments", []):
                if one["VolumeId"] != volume:
                    continue
                if each["InstanceId"] == host:
                    self.matched.imports[address] = f"{each['Device']}:{volume}:{host}"
                else:
                    self.problem(
                        address,
                        f"the volume {volume} is attached to {each['InstanceId']}. Stop that host and detach it",
                    )

    def of_iam(self, address: str, what: str, name: str, get: Callable[[], Thing]) -> None:
        """Match what IAM knows by a name."""
        found = known_to_iam(get)
        if found and self.work.is_ours(found.get("Tags")):
            self.matched.imports[address] = name
        elif found:
            self.foreign(address, f"the IAM {what} {name}")

    def role(self, address: str, _kind: str, after: Thing) -> None:
        """Match an IAM role."""
        name = after["name"]
        self.of_iam(address, "role", name, lambda: self.iam.get_role(RoleName=name)["Role"])
        if address in self.matched.imports:
            self.roles.add(name)

    def profile(self, address: str, _kind: str, after: Thing) -> None:
        """Match an instance profile."""
        name = after["name"]
        self.of_iam(
            address,
            "instance profile",
            name,
            lambda: self.iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"],
        )

    def role_policy(self, address: str, _kind: str, after: Thing) -> None:
        """Match a policy of a role, which has no tags: it is the site's where the role is."""
        role, name = after["role"], after["name"]
        if ("aws_iam_role", role) not in self.known and role not in self.roles:
            return
        if known_to_iam(lambda: self.iam.get_role_policy(RoleName=role, PolicyName=name)):
            self.matched.imports[address] = f"{role}:{name}"
