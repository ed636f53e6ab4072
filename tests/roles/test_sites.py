"""What follows from SITE, and what is refused: tools/sites.py and tools/made."""

from __future__ import annotations

import ipaddress
import os
import subprocess
from pathlib import Path

import pytest
import yaml

import sites

ROOT = sites.ROOT


def group_vars(root: Path, **files: str) -> Path:
    """A small inventory: a file of variables for each group."""
    for group, text in {"all": "", "local": "", **files}.items():
        folder = root / "inventory/group_vars" / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "main.yml").write_text(text)
    return root


SMALL = {
    "all": """
retailflow_name: shop
network_vpc_cidr: 10.9.0.0/16
network_subnet_cidr: 10.9.1.0/24
network_hosts: {db: {private_ip: 10.9.1.11}}
network_flows: []
secret: !vault |
  $ANSIBLE_VAULT;1.1;AES256
""",
    "local": """
server: 10.9.255.1
elsewhere: 203.0.113.7/32
text: at 10.9.1.2 and 10.9.1.3, not at 110.9.1.2
local_cloud_ports: {aws: 14566, pages: 80}
""",
}


def test_the_inventorys_own_site_differs_in_nothing() -> None:
    assert sites.variables("", "local") == sites.variables("main", "aws") == {}


def test_every_address_and_port_moves_and_nothing_else(tmp_path: Path) -> None:
    found = sites.variables("staging", "local", group_vars(tmp_path, **SMALL))
    assert found["retailflow_name"] == "staging-shop" and found["retailflow_folder"] == "local-staging"
    assert found["network_vpc_cidr"] == "10.177.0.0/16", "a site that is up keeps its network for ever"
    assert found["network_subnet_cidr"] == "10.177.1.0/24"
    assert found["network_hosts"] == {"db": {"private_ip": "10.177.1.11"}}
    assert found["server"] == "10.177.255.1"
    assert found["text"] == "at 10.177.1.2 and 10.177.1.3, not at 110.9.1.2"
    assert not {"elsewhere", "secret"} & set(found)
    assert found["local_cloud_ports"] == {"aws": 21520, "pages": 21521}


def test_what_only_one_site_has_counts_last(tmp_path: Path) -> None:
    root = group_vars(tmp_path, **SMALL)
    (root / "inventory/sites").mkdir()
    (root / "inventory/sites/staging.yml").write_text(
        "network_vpc_cidr: 172.30.0.0/16\nlocal_cloud_ports: {aws: 9000}\nretailflow_name: other\nretailflow_region: eu-west-1\n"
    )
    found = sites.variables("staging", "local", root)
    assert found["network_hosts"] == {"db": {"private_ip": "172.30.1.11"}}
    assert found["local_cloud_ports"] == {"aws": 9000, "pages": 21521}
    assert found["retailflow_region"] == "eu-west-1"
    assert found["retailflow_name"] == "staging-shop", "two names for one site would be two sites"
    (root / "inventory/sites/staging.yml").write_text("network_vpc_cidr: 172.30.0.0/20\n")
    with pytest.raises(
        sites.SiteError, match="the same size in inventory/sites/staging.yml. Nothing was changed"
    ):
        sites.variables("staging", "local", root)


@pytest.mark.parametrize("site", ["a", "test", "staging", "eu-2", "x" * 10])
@pytest.mark.parametrize("target", ["local", "aws"])
def test_names_hold_the_limits_of_aws_docker_and_linux(site: str, target: str) -> None:
    found = sites.variables(site, target)
    name = found["retailflow_name"]
    assert len(f"{name}-backup-123456789012-ap-southeast-1") <= 63
    assert len(f"{name}-generator") <= 64
    assert len(found.get("local_cloud_network_bridge", "")) <= 15
    network = ipaddress.ip_network(found["network_vpc_cidr"])
    assert network.is_private and not any(
        network.overlaps(ipaddress.ip_network(taken))
        for taken in ("10.86.0.0/16", "10.96.0.0/16", "10.244.0.0/16")
    )


@pytest.mark.parametrize(
    ("site", "reason"),
    [
        ("Staging", "lower-case letters"),
        ("2nd", "beginning with a letter"),
        ("a_b", "lower-case letters"),
        ("a--b", "single hyphens"),
        ("a-", "single hyphens"),
        ("../x", "lower-case letters"),
        ("x" * 11, "at most 10 letters"),
        ("aws2", "may not begin with aws"),
        ("ssm", "may not begin with"),
        ("sg-1", "may not begin with"),
        ("retailflow", "may not begin with"),
    ],
)
def test_a_name_that_would_break_a_rule_is_refused(site: str, reason: str) -> None:
    with pytest.raises(sites.SiteError, match=reason) as refused:
        sites.variables(site, "local")
    assert "Nothing was changed" in str(refused.value)


def test_no_name_is_the_beginning_of_another() -> None:
    """IAM's policies and the removal of volumes go by NAME-*: no site may match those of another."""
    names = [
        "retailflow",
        *(sites.checked(site, "retailflow") for site in ("a", "a-b", "b", "test", "staging")),
    ]
    assert not [
        (one, other) for one in names for other in names if one != other and other.startswith(f"{one}-")
    ]


def test_blocks_of_ports_never_meet() -> None:
    aws = yaml.safe_load((ROOT / "inventory/group_vars/aws/main.yml").read_text())
    local = yaml.safe_load((ROOT / "inventory/group_vars/local/main.yml").read_text())
    own = [*local["local_cloud_ports"].values(), *aws["retailflow_tunnels"].values()]
    assert len(local["local_cloud_ports"]) <= 10 and len(aws["retailflow_tunnels"]) <= 10
    last = sites.FIRST_PORT + sites.BLOCK * sites.NETWORKS
    assert max(own) < sites.FIRST_PORT < last <= 30000
    assert sites.FIRST_NETWORK > 100 and sites.FIRST_NETWORK + sites.NETWORKS <= 244


def made(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "tools/made", *arguments], cwd=folder, capture_output=True, text=True, timeout=30
    )


def test_a_site_that_was_not_made_is_told_with_those_that_were(tmp_path: Path) -> None:
    nothing = made(tmp_path, "local", "stagin")
    assert nothing.returncode == 1
    assert nothing.stderr == (
        "error: no site stagin of the target local was made here. Nothing was changed: run make up TARGET=local SITE=stagin\n"
    )
    for folder in (
        ".state/local",
        ".secrets/local-staging",
        ".state/local-test",
        ".secrets/local-test",
        ".state/aws-eu",
    ):
        (tmp_path / folder).mkdir(parents=True)
    typo = made(tmp_path, "local", "stagin")
    assert (
        typo.returncode == 1
        and "These were: the inventory's own, test, staging. Nothing was changed" in typo.stderr
    )
    assert [made(tmp_path, "local", site).returncode for site in ("staging", "test", "", "main")] == [0] * 4
    assert made(tmp_path, "aws").returncode == 1 and made(tmp_path, "aws", "eu").returncode == 0


def test_the_program_prints_what_make_and_ansible_read(tmp_path: Path) -> None:
    def run(what: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / ".venv/bin/python", ROOT / "tools/sites.py", what],
            env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    assert run("name").stdout == run("name", SITE="main").stdout == "retailflow\n"
    assert run("name", SITE="staging", TARGET="aws").stdout == "staging-retailflow\n"
    assert run("options").stdout == ""
    refused = run("options", SITE="Typo")
    assert refused.returncode == 1 and refused.stderr.startswith("error: SITE is Typo:")
