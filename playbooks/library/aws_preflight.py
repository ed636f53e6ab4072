"""Ansible module: whether an AWS account is ready for a site, what will be made, and what it costs a month."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception

from ansible.module_utils.retailflow_permissions import (
    REFUSED,
    denied,
    denied_by_dry_run,
    each,
    principal,
    questions,
)
from ansible.module_utils.retailflow_volumes import Volume, data_volumes, of_one_role
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict

DOCUMENTATION = r"""
---
module: aws_preflight
short_description: Check an AWS account before anything is made in it
description:
  - Checks credentials, region, the Debian image, instance types, quotas, names that others hold, the operator's network and
    the bucket of Terraform's state. Fails with everything that stands in the way, each with what to do.
  - Says which hosts are still to be made and what the site costs a month.
  - What the credentials may not read (a quota, say) is a note, not a failure.
options:
  site: {description: Value of the tag Project and prefix of every name., type: str, required: true}
  hosts: {description: "The hosts by role, each with C(instance_type) and C(volume_gb)", type: dict, required: true}
  zone: {description: Availability zone that is wanted; empty for one that offers every instance type., type: str, default: ""}
  public_key: {description: The public key in the folder of secrets; empty where there is none., type: str, default: ""}
  operator_cidr: {description: The network that may log in., type: str, required: true}
  prices: {description: "The price table, see inventory/group_vars/aws/prices.yml", type: dict, required: true}
  snowflake:
    description: >-
      What Snowflake's warehouses do: C(size), C(auto_suspend) in seconds, C(warehouses) (their number) and C(cycle_minutes); left
      out, their cost is.
    type: dict
    default: {}
  concurrency: {description: Lambda invocations that will be reserved., type: int, default: 0}
  policies:
    description: "Documents of IAM policies by their name: what the credentials must be allowed to do."
    type: dict
    default: {}
  bucket: {description: Bucket of Terraform's state; empty where it is a file., type: str, default: ""}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: It only looks.}
"""

EXAMPLES = r"""
- name: See whether the account is ready
  aws_preflight:
    site: shop
    hosts: {web: {instance_type: t3.small, volume_gb: 20}}
    operator_cidr: 198.51.100.7/32
    prices: "{{ shop_prices }}"
"""

RETURN = r"""
account: {description: Number of the account., type: str, returned: success}
image: {description: Name of the newest Debian image., type: str, returned: success}
zone: {description: "Availability zone of the site, or for a site that is still to be made", type: str, returned: success}
missing: {description: Roles whose host is still to be made., type: list, returned: success}
costs: {description: Lines of the monthly cost., type: list, returned: success}
notes: {description: What could not be checked., type: list, returned: success}
plan: {description: "The above as lines of text, for the person who is asked.", type: list, returned: success}
"""

DEBIAN = "136693071363"  # Debian's account, https://wiki.debian.org/Cloud/AmazonEC2Image/Bookworm
IMAGE = "debian-12-amd64-*"
# Quota codes of the Service Quotas API.
VCPUS = ("ec2", "L-1216C47A", "vCPUs of running standard instances")
ADDRESSES = ("ec2", "L-0263D0A3", "elastic addresses")
VPCS = ("vpc", "L-F678F1CE", "VPCs")
BILLED_SECONDS = 60.0  # of a warehouse that woke, at least
SUSPEND_LOOKS = 30.0  # seconds between two looks at whether a warehouse is idle for long enough
LAMBDA_KEPT = 10  # invocations that AWS keeps for functions that reserve none


def check_cidr(cidr: str) -> list[str]:
    """Return what is wrong with the operator's network as AWS will see it."""
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        return [f"retailflow_operator_cidr: {error}"]
    if network.version != 4 or network.prefixlen < 8:
        return [
            f"retailflow_operator_cidr: {cidr} is not an IPv4 network of at least /8: ssh is never opened to the world"
        ]
    if not network.is_global:
        return [
            f"retailflow_operator_cidr: {cidr} is private or reserved; give the public address from which you reach AWS"
        ]
    return []


def credits_a_month(warehouse: dict[str, Any], meter: dict[str, Any], hours: float) -> tuple[float, float]:
    """Return the least and the most credits that a month of cycles uses.

    A warehouse is billed by the second from when it wakes, at least a minute, and while it waits for AUTO_SUSPEND, which is
    looked at every half a minute. https://docs.snowflake.com/en/user-guide/cost-understanding-compute
    ``warehouse``: C(size), C(auto_suspend) (seconds, 0 for never), C(warehouses), C(cycle_minutes). ``meter``: C(credits_an_hour)
    by size and, as pairs of least and most, C(cycle_seconds), C(other_wakes_a_day) and C(other_seconds).
    """
    count, cycle = int(warehouse["warehouses"]), float(warehouse["cycle_minutes"]) * 60
    suspend = float(warehouse["auto_suspend"]) or math.inf
    found = []
    for bound, late in ((0, 0.0), (1, SUSPEND_LOOKS)):
        idle = suspend + late
        awake = count * min(cycle, max(BILLED_SECONDS, meter["cycle_seconds"][bound] / count + idle))
        free = 1 - awake / (count * cycle)  # an hourly look at tables finds the warehouse awake otherwise
        other = max(BILLED_SECONDS, meter["other_seconds"][bound] + min(idle, 3600))
        hourly = awake * 3600 / cycle + free * other * meter["other_wakes_a_day"][bound] / 24
        found.append(hourly / 3600 * meter["credits_an_hour"][warehouse["size"].upper()] * hours)
    return found[0], found[1]


def cost_lines(
    hosts: dict[str, Any], prices: dict[str, Any], region: str, snowflake: dict[str, Any] | None = None
) -> list[str]:
    """Return the monthly cost, the least and the most, as lines of text; the last two are the sum and the date of the prices."""
    rows: list[tuple[str, float, float]] = []
    unknown = []
    hours = float(prices["hours_a_month"])
    for role, host in hosts.items():
        kind = host["instance_type"]
        hourly = prices["instance_hour"].get(kind)
        if hourly is None:
            unknown.append(kind)
            rows.append((f"{role}: {kind}, not in the price table", 0.0, 0.0))
        else:
            rows.append((f"{role}: {kind}", hourly * hours, hourly * hours))
    gigabytes = sum(host["volume_gb"] + host.get("data_gb", 0) for host in hosts.values())
    same = [(f"{gigabytes} GB of gp3", gigabytes * prices["disk_gb_month"])]
    same.append((f"{len(hosts)} public addresses", len(hosts) * prices["address_hour"] * hours))
    same += [(one["what"], float(one["month"])) for one in prices["other"]]
    rows += [(what, amount, amount) for what, amount in same]
    if snowflake:
        meter = prices["snowflake"]
        if snowflake["size"].upper() in meter["credits_an_hour"]:
            least, most = credits_a_month(snowflake, meter, hours)
            what = f"Snowflake: {least:.0f} to {most:.0f} credits, a cycle every {snowflake['cycle_minutes']} minutes"
            rows.append((what, least * meter["credit"], most * meter["credit"]))
        else:
            unknown.append(snowflake["size"])
            rows.append(
                (f"Snowflake: a warehouse of the size {snowflake['size']}, not in the price table", 0.0, 0.0)
            )
    total = [sum(row[bound] for row in rows) for bound in (1, 2)]  # type: ignore[misc]
    rows.append(("together" + (", at least" if unknown else ""), total[0], total[1]))
    where = prices["region"] + ("" if prices["region"] == region else f", not of {region}")
    return [
        f"{'least':>10} {'most':>10}",
        *(f"{least:>10.2f} {most:>10.2f}  {what}" for what, least, most in rows),
        f"{prices['currency']} a month, prices of {where}, as of {prices['as_of']}",
    ]


def plan_lines(
    account: str,
    caller: str,
    region: str,
    image: str,
    missing: list[str],
    notes: list[str],
    costs: list[str],
    volumes: list[Volume] | None = None,
) -> list[str]:
    """Return what a person should know before saying yes, as lines of text."""
    made = "Every host is there"
    if missing:
        made = f"To be made: the hosts {', '.join(missing)}, their network, the generator with its schedule, the ECS cluster"
    lines = [f"Account {account}, region {region}, as {caller}", f"Image {image}", made]
    again = [str(one) for one in volumes or [] if one.role in missing]
    if again:
        lines.append(f"With the data that an earlier site has kept, on the volumes {'; '.join(again)}")
    if notes:
        lines.append(f"But {'; '.join(notes)}")
    return [*lines, "The whole costs", *costs]


@dataclass
class Account:
    """An account in one region, seen through clients by service; collects problems and notes."""

    clients: dict[str, Any]
    site: str
    hosts: dict[str, Any]
    region: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def look(self, what: str, call: Callable[[], Any]) -> Any:
        """Return an answer, or None with a note where the API refuses it."""
        try:
            return call()
        except (BotoCoreError, ClientError) as error:
            reason = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
            self.notes.append(f"{what} could not be checked ({reason})")
            return None

    def image(self) -> str:
        """Return the name of the newest Debian image; a problem where there is none."""
        found = self.clients["ec2"].describe_images(
            Owners=[DEBIAN],
            Filters=[{"Name": "name", "Values": [IMAGE]}, {"Name": "state", "Values": ["available"]}],
        )["Images"]
        if not found:
            self.problems.append(f"region {self.region}: Debian has published no image {IMAGE} there")
            return ""
        return str(max(found, key=lambda image: image["CreationDate"])["Name"])

    def instances(self) -> tuple[set[str], int]:
        """Return the roles that have a host, and the vCPUs of all running instances; a problem for two of one name."""
        roles: set[str] = set()
        named: dict[str, list[str]] = {}
        vcpus = 0
        filters = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
        for page in self.clients["ec2"].get_paginator("describe_instances").paginate(Filters=filters):
            for one in (one for reservation in page["Reservations"] for one in reservation["Instances"]):
                tags = boto3_tag_list_to_ansible_dict(one.get("Tags", []))
                if tags.get("Project") == self.site:
                    roles.add(tags.get("Role", ""))
                    for mark in (f"{key} {tags[key]}" for key in ("Role", "Name") if key in tags):
                        named.setdefault(mark, []).append(f"{one['InstanceId']} {one['State']['Name']}")
                if one["State"]["Name"] in ("pending", "running"):
                    options = one.get("CpuOptions", {})
                    vcpus += options.get("CoreCount", 1) * options.get("ThreadsPerCore", 1)
        for mark, found in sorted(named.items()):
            if len(found) > 1:
                self.problems.append(
                    f"instances: {len(found)} of {self.site} have the {mark}: {', '.join(sorted(found))}; terminate the "
                    "ones that are not the site's, or remove their tag Project"
                )
        return roles, vcpus

    def sizes(self, kinds: set[str]) -> dict[str, int]:
        """Return the vCPUs of instance types; a problem for those that no zone of the region offers."""
        ec2 = self.clients["ec2"]
        offered = ec2.describe_instance_type_offerings(
            LocationType="region", Filters=[{"Name": "instance-type", "Values": sorted(kinds)}]
        )["InstanceTypeOfferings"]
        there = {one["InstanceType"] for one in offered}
        for kind in sorted(kinds - there):
            self.problems.append(
                f"network_hosts: the region {self.region} offers no {kind}; choose another instance_type"
            )
        if not there:
            return {}
        described = ec2.describe_instance_types(InstanceTypes=sorted(there & kinds))["InstanceTypes"]
        return {one["InstanceType"]: int(one["VCpuInfo"]["DefaultVCpus"]) for one in described}

    def volumes(self) -> list[Volume]:
        """Return the volumes with data that a new site will find; a problem where it cannot use them all."""
        found = [one for one in data_volumes(self.clients["ec2"], self.site) if one.role in self.hosts]
        self.problems += of_one_role(found)
        if len({one.zone for one in found}) > 1:
            self.problems.append(
                f"volumes: {'; '.join(map(str, found))}: hosts stand in one zone and reach no volume of another. Copy one by a "
                "snapshot into the other's zone, with its tags, and remove the tag Project of the old one"
            )
        return found

    def zone(self, wanted: str, volumes: list[Volume] | None = None) -> str:
        """Return the zone of the site, or one for it that offers the instance type of every host; a problem where none does.

        A site whose volumes are there already stands in their zone. A zone may lack types that others of its region offer.
        """
        ec2 = self.clients["ec2"]
        mine = [{"Name": "tag:Project", "Values": [self.site]}]
        present = {one["AvailabilityZone"] for one in ec2.describe_subnets(Filters=mine)["Subnets"]}
        present = present or {one.zone for one in volumes or []}
        kinds = {host["instance_type"] for host in self.hosts.values()}
        offers: dict[str, set[str]] = {}
        pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": sorted(kinds)}]
        )
        for one in (one for page in pages for one in page["InstanceTypeOfferings"]):
            offers.setdefault(one["Location"], set()).add(one["InstanceType"])
        usable = [
            {"Name": "state", "Values": ["available"]},
            {"Name": "opt-in-status", "Values": ["opt-in-not-required"]},  # no local zones
        ]
        zones = sorted(
            one["ZoneName"] for one in ec2.describe_availability_zones(Filters=usable)["AvailabilityZones"]
        )
        if present and wanted and wanted not in present:
            self.problems.append(
                f"retailflow_zone: the site stands in the zone {', '.join(sorted(present))} and stays there, with its data; "
                f"take {wanted} back"
            )
        elif wanted and wanted not in zones:
            self.problems.append(
                f"retailflow_zone: the region {self.region} has the zones {', '.join(zones)}, not {wanted}"
            )
        elif present or wanted:
            zones = sorted(present) or [wanted]
        best = min(zones, key=lambda zone: len(kinds - offers.get(zone, set())), default="")
        lacking = kinds - offers.get(best, set())
        everywhere = set().union(*offers.values()) if offers else set()
        for kind in sorted(lacking & everywhere):  # those that are offered nowhere are named already
            others = ", ".join(sorted(zone for zone, kinds in offers.items() if kind in kinds))
            self.problems.append(
                f"network_hosts: the zone {best} offers no {kind}, only {others} do; choose another instance_type"
                + ("" if present else ", or such a zone as retailflow_zone")
            )
        return best

    def quota(self, quota: tuple[str, str, str], used: int, needed: int) -> None:
        """See that a quota leaves room for what is needed."""
        service, code, name = quota
        quotas = self.clients["service-quotas"]
        answer = self.look(
            f"the quota of {name}", lambda: quotas.get_service_quota(ServiceCode=service, QuotaCode=code)
        )
        if answer is None:
            return
        limit = int(answer["Quota"]["Value"])
        if used + needed > limit:
            self.problems.append(
                f"quota: {needed} more {name} are needed, {used} of {limit} are in use; ask for more at Service Quotas "
                f"({service}, {code}) or free some"
            )

    def quotas(self, missing: list[str], vcpus: int, sizes: dict[str, int]) -> None:
        """See that the quotas leave room for the hosts that are still to be made."""
        ec2 = self.clients["ec2"]
        needed = sum(sizes.get(self.hosts[role]["instance_type"], 0) for role in missing)
        self.quota(VCPUS, vcpus, needed)
        mine = {"Key": "Project", "Value": self.site}
        addresses = ec2.describe_addresses()["Addresses"]
        own = sum(mine in one.get("Tags", []) for one in addresses)
        self.quota(ADDRESSES, len(addresses), max(0, len(self.hosts) - own))
        vpcs = ec2.describe_vpcs()["Vpcs"]
        self.quota(VPCS, len(vpcs), 0 if any(mine in one.get("Tags", []) for one in vpcs) else 1)

    def concurrency(self, wanted: int) -> None:
        """See that the account can reserve so many invocations of the generator."""
        client = self.clients["lambda"]
        if wanted <= 0:
            return
        name = f"{self.site}-generator"
        try:
            present = client.get_function_concurrency(FunctionName=name).get(
                "ReservedConcurrentExecutions", 0
            )
        except (BotoCoreError, ClientError):
            present = 0  # there is no function yet
        answer = self.look("the quota of concurrent Lambda invocations", client.get_account_settings)
        if answer is None:
            return
        free = answer["AccountLimit"]["UnreservedConcurrentExecutions"] - LAMBDA_KEPT
        if wanted > present + free:
            self.problems.append(
                f"quota: AWS keeps {LAMBDA_KEPT} concurrent Lambda invocations for functions that reserve none, which leaves "
                f"{max(free, 0)} of {answer['AccountLimit']['ConcurrentExecutions']} to reserve; ask for more at Service "
                "Quotas (lambda, L-B99A9384), or set retailflow_generator_concurrency to -1"
            )

    def same_key(self, public_key: str) -> None:
        """See that a site that is there was made with the operator's key, or everybody's keys would be replaced."""
        wanted = public_key.split()[:2]
        pairs = self.clients["ec2"].describe_key_pairs(
            Filters=[{"Name": "key-name", "Values": [self.site]}], IncludePublicKey=True
        )["KeyPairs"]
        for one in pairs:
            if {"Key": "Project", "Value": self.site} in one.get("Tags", []) and one.get(
                "PublicKey", ""
            ).split()[:2] != wanted:
                self.problems.append(
                    f"secrets: the site {self.site} was made with another key pair ({one.get('KeyFingerprint')}) than "
                    + ("the one of this clone" if wanted else "this clone has, which has none")
                    + "; copy the folder .secrets/aws from the clone that made it. Without it, every key and password of the "
                    "site would be replaced"
                )

    def untagged(self) -> None:
        """Find things that have the site's names but not its tag: Terraform would stop half-way at them."""
        mine = {"Key": "Project", "Value": self.site}
        pairs = self.clients["ec2"].describe_key_pairs(Filters=[{"Name": "key-name", "Values": [self.site]}])[
            "KeyPairs"
        ]
        found = [f"the key pair {one['KeyName']}" for one in pairs if mine not in one.get("Tags", [])]
        iam = self.clients["iam"]
        for role in self.hosts:
            name = f"{self.site}-{role.replace('_', '-')}"
            try:
                tags = iam.list_role_tags(RoleName=name)["Tags"]
            except iam.exceptions.NoSuchEntityException:
                continue
            if mine not in tags:
                found.append(f"the IAM role {name}")
        if found:
            self.problems.append(
                f"names: {', '.join(found)} exist and lack the tag Project={self.site}; remove them, or choose another "
                "retailflow_name"
            )

    def permissions(self, caller: str, policies: dict[str, Any]) -> None:
        """Name what the credentials may not do of these policies; a note where they may not even ask that."""

        def role(name: str) -> str:
            return str(self.clients["iam"].get_role(RoleName=name)["Role"]["Arn"])

        if not policies or caller.endswith(":root"):
            return
        asked = questions(list(policies.values()), caller.split(":")[4])
        try:
            source = principal(caller, role)
            lacking = denied(self.clients["iam"], source, asked) if source else None
        except ClientError as error:
            if error.response["Error"]["Code"] not in REFUSED:
                raise
            lacking = None
        if lacking is None:
            lacking, seen = denied_by_dry_run(self.clients["ec2"], self.site, f"{self.region}a")
            self.notes.append(
                f"only the permissions {', '.join(sorted(seen))} could be checked, not all (iam:SimulatePrincipalPolicy)"
            )
        if lacking:
            holders = [
                name
                for name, document in policies.items()
                if any(lacking & set(each(statement["Action"])) for statement in each(document["Statement"]))
            ]
            self.problems.append(
                f"permissions: AWS does not let {caller} do {', '.join(sorted(lacking))}. The policies {', '.join(holders)} hold "
                "that; make policy TARGET=aws writes them. If you know that it is allowed, set retailflow_check_permissions "
                "to false"
            )

    def bucket(self, name: str) -> None:
        """See that the bucket of Terraform's state is there and keeps old versions."""
        s3 = self.clients["s3"]
        try:
            if s3.get_bucket_versioning(Bucket=name).get("Status") != "Enabled":
                self.notes.append(f"the bucket {name} keeps no old versions of Terraform's state")
        except (BotoCoreError, ClientError) as error:
            reason = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
            self.problems.append(
                f"Terraform's state: the bucket {name} cannot be read ({reason}); make it first"
            )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "hosts": {"type": "dict", "required": True},
            "operator_cidr": {"type": "str", "required": True},
            "public_key": {"type": "str", "default": "", "no_log": False},
            "zone": {"type": "str", "default": ""},
            "prices": {"type": "dict", "required": True},
            "snowflake": {"type": "dict", "default": {}},
            "concurrency": {"type": "int", "default": 0},
            "policies": {"type": "dict", "default": {}},
            "bucket": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    services = ("sts", "ec2", "iam", "lambda", "service-quotas", "s3")
    try:
        clients = {service: module.client(service) for service in services}
        who = clients["sts"].get_caller_identity()
        account = Account(clients, params["site"], params["hosts"], clients["ec2"].meta.region_name)
        account.permissions(who["Arn"], params["policies"])
        if account.problems:  # what is not allowed cannot be looked at either
            module.fail_json(msg=f"Nothing was changed. {account.problems[0]}.", problems=account.problems)
        account.problems += check_cidr(params["operator_cidr"])
        image = account.image()
        roles, vcpus = account.instances()
        missing = [role for role in params["hosts"] if role not in roles]
        sizes = account.sizes({host["instance_type"] for host in params["hosts"].values()})
        volumes = account.volumes()
        zone = account.zone(params["zone"], volumes)
        account.quotas(missing, vcpus, sizes)
        account.concurrency(params["concurrency"])
        account.untagged()
        account.same_key(params["public_key"])
        if params["bucket"]:
            account.bucket(params["bucket"])
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(
            error,
            msg="Nothing was changed. The AWS API refused to be looked at: see that the credentials in the environment are "
            f"valid and that the region {params.get('region') or ''} is enabled for the account",
        )
    if account.problems:
        module.fail_json(
            msg="Nothing was changed. " + "; ".join(account.problems) + ".", problems=account.problems
        )
    costs = cost_lines(params["hosts"], params["prices"], account.region, params["snowflake"])
    module.exit_json(
        changed=False,
        account=who["Account"],
        caller=who["Arn"],
        image=image,
        zone=zone,
        missing=missing,
        costs=costs,
        notes=account.notes,
        plan=plan_lines(
            who["Account"], who["Arn"], account.region, image, missing, account.notes, costs, volumes
        ),
    )


if __name__ == "__main__":
    main()
