"""Security groups of the API become nftables rules."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

import local_cloud_firewall as firewall
import moto_support

ROOT = Path(__file__).parents[2]
GATEWAY = "10.0.255.254"


@pytest.fixture
def ec2() -> Iterator[Any]:
    with moto_support.account("ec2") as clients:
        yield clients["ec2"]


@pytest.fixture
def network(ec2: Any) -> dict[str, str]:
    """Two interfaces, a group each, and the group of a function that has no interface."""
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    groups = {}
    for name in ("db", "app", "function"):
        groups[name] = ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
    for name, address in (("db", "10.0.1.11"), ("app", "10.0.1.12")):
        ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress=address, Groups=[groups[name]])
    return groups


def permit(ec2: Any, group: str, port: int, **source: Any) -> None:
    rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **source}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])


def rules(ec2: Any, network: dict[str, str], address: str) -> set[tuple[str, str]]:
    groups, permissions = firewall.read_api(ec2)
    members = {network["function"]: ["10.0.240.0/21"]}
    found: set[tuple[str, str]] = firewall.allowed(address, groups, permissions, members)
    return found


def test_a_group_as_source_means_its_members(ec2: Any, network: dict[str, str]) -> None:
    for group in ("app", "function"):
        permit(ec2, network["db"], 5432, UserIdGroupPairs=[{"GroupId": network[group]}])
    permit(ec2, network["db"], 22, IpRanges=[{"CidrIp": "127.0.0.0/8"}])
    assert rules(ec2, network, "10.0.1.11") == {
        ("10.0.1.12", "tcp dport 5432"),
        ("10.0.240.0/21", "tcp dport 5432"),
        ("127.0.0.0/8", "tcp dport 22"),
    }
    assert rules(ec2, network, "10.0.1.12") == set(), "the app's group lets nobody in"


def test_a_rule_taken_back_is_gone(ec2: Any, network: dict[str, str]) -> None:
    permit(ec2, network["db"], 5432, IpRanges=[{"CidrIp": "10.0.1.12/32"}])
    assert rules(ec2, network, "10.0.1.11")
    ec2.revoke_security_group_ingress(
        GroupId=network["db"],
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": 5432,
                "ToPort": 5432,
                "IpRanges": [{"CidrIp": "10.0.1.12/32"}],
            }
        ],
    )
    assert rules(ec2, network, "10.0.1.11") == set()


def test_two_interfaces_of_one_address_are_refused_by_their_ids(ec2: Any, network: dict[str, str]) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.0.1.11")
    shared = [{"Name": "addresses.private-ip-address", "Values": ["10.0.1.11"]}]
    ids = [
        one["NetworkInterfaceId"]
        for one in ec2.describe_network_interfaces(Filters=shared)["NetworkInterfaces"]
    ]
    with pytest.raises(RuntimeError, match=r"two interfaces with the address 10\.0\.1\.11") as refused:
        firewall.read_api(ec2)
    assert len(ids) == 2 and all(one in str(refused.value) for one in ids)


def test_the_text_depends_on_the_rules_alone() -> None:
    some = [("10.0.1.12", "tcp dport 5432"), ("10.0.1.13", "tcp dport 8000-8010"), ("10.0.0.0/16", "")]
    text = firewall.render(some, GATEWAY, [3000])
    assert text == firewall.render(reversed(some), GATEWAY, [3000])
    lines = [line.strip() for line in text.splitlines()]
    hook = next(number for number, line in enumerate(lines) if line.startswith("type filter"))
    assert lines[hook + 1] == 'iifname != "eth0" accept', (
        "what a host's own containers ask it is no traffic of the network"
    )
    assert "ip saddr 10.0.1.13 tcp dport 8000-8010 accept" in lines
    assert "ip saddr 10.0.0.0/16 accept" in lines
    assert f"ip saddr {GATEWAY} tcp dport 3000 accept" in lines
    assert lines.index("drop") > max(lines.index(line) for line in lines if line.endswith("accept"))


class Container:
    """A host of files; ``nft`` lists what it loaded last."""

    name = "host"

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.table = ""

    def put_archive(self, folder: str, data: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for entry in tar:
                found = tar.extractfile(entry)
                assert found
                self.files[f"{folder}/{entry.name}"] = found.read().decode()

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        assert command[:5] == ["docker", "exec", "--user", "root", self.name]
        if command[5] == "sh":
            texts = [self.files.get(path, "") for path in command[9:]]
            return 0, "".join(f"{text}\0" for text in (*texts, self.table)), ""
        if "--file" in command:
            script = self.files[command[-1]]
            if "nonsense" in script:
                return 1, "", "syntax error"
            self.table = f"listed: {script}"
        return 0, self.table, ""


def test_rules_are_loaded_once_and_again_where_somebody_changed_them() -> None:
    container, path = Container(), PurePosixPath("/kept/ingress.nft")
    host = firewall.Host(container, container.run_command)
    assert firewall.reconcile(host, path, "rules", check=True) == (True, "")
    assert container.files == {} and container.table == "", "a check changes nothing"
    assert firewall.reconcile(host, path, "rules", check=False) == (True, "")
    assert firewall.reconcile(host, path, "rules", check=False) == (False, "rules")
    container.table = "by hand"
    assert firewall.reconcile(host, path, "rules", check=True) == (True, "by hand")
    assert firewall.reconcile(host, path, "rules", check=False) == (True, "by hand")
    assert firewall.reconcile(host, path, "other", check=False) == (True, "listed: rules")
    with pytest.raises(RuntimeError, match="host: nft failed: syntax error"):
        firewall.reconcile(host, path, "nonsense", check=False)
