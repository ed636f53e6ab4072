"""Ansible module: enforce the security groups of the emulated AWS API on the local hosts."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception
try:
    import docker
    from docker.errors import APIError, DockerException
except ImportError:
    docker = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: local_cloud_firewall
short_description: Enforce the security groups that the EC2 API holds as nftables rules of the local hosts
description:
  - Reads instances and their security groups back from the API and gives each host one nftables table that accepts
    what the ingress rules allow and drops the rest, in front of the port forwarding of the host's Docker engine.
    What leaves a host is not restricted.
  - The rules are kept in the host's volume, so its entry point loads them before anything listens.
options:
  hosts: {description: The hosts, each with I(name) and I(private_ip)., type: list, elements: dict, required: true}
  members: {description: Addresses behind groups that no instance is in (the generator's), by group id., type: dict, default: {}}
  gateway: {description: Address from which this machine's loopback arrives at published ports., type: str, required: true}
  published: {description: Ports that are published on this machine's loopback, by host., type: dict, default: {}}
  path: {description: Where the rules are kept in a host., type: str, required: true}
requirements: [docker]
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: Reports which hosts differ.}
  diff_mode: {support: full, description: Shows the rules before and after.}
"""

EXAMPLES = r"""
- name: Enforce the security groups
  local_cloud_firewall:
    hosts: [{name: retailflow-postgres, private_ip: 10.86.1.11}]
    members: {sg-0123: [10.86.240.0/21]}
    gateway: 10.86.255.254
    path: /var/lib/retailflow/ingress.nft
    endpoint_url: http://127.0.0.1:14566
    region: us-east-1
"""

RETURN = r"""
differing: {description: Hosts whose rules were not as the API says., type: list, returned: success}
"""

TABLE = "inet retailflow_security_groups"


def read_api(ec2: Any) -> tuple[dict[str, list[str]], dict[str, list[dict[str, Any]]]]:
    """Return the group ids by private address of an instance, and the ingress permissions by group id.

    Raises RuntimeError where two interfaces have one address, as those of two networks may.
    """
    groups: dict[str, list[str]] = {}
    owners: dict[str, str] = {}
    for page in ec2.get_paginator("describe_network_interfaces").paginate():
        for interface in page["NetworkInterfaces"]:
            address, owner = interface["PrivateIpAddress"], interface["NetworkInterfaceId"]
            if address in owners:
                raise RuntimeError(
                    f"The EC2 API has two interfaces with the address {address}: {owners[address]} and {owner}. Nothing was "
                    "changed. Delete the one that is not the site's."
                )
            owners[address] = owner
            groups[address] = [group["GroupId"] for group in interface["Groups"]]
    permissions = {
        group["GroupId"]: group["IpPermissions"]
        for page in ec2.get_paginator("describe_security_groups").paginate()
        for group in page["SecurityGroups"]
    }
    return groups, permissions


def allowed(
    address: str,
    groups: Mapping[str, Iterable[str]],
    permissions: Mapping[str, Iterable[Mapping[str, Any]]],
    members: Mapping[str, Iterable[str]],
) -> set[tuple[str, str]]:
    """Return (source, match) pairs: a CIDR or address, and nftables' words for protocol and port."""
    found = set()
    for group in groups.get(address, ()):
        for rule in permissions[group]:
            sources = {one["CidrIp"] for one in rule.get("IpRanges", ())}
            for pair in rule.get("UserIdGroupPairs", ()):
                other = pair["GroupId"]
                sources |= {ip for ip, theirs in groups.items() if other in theirs} | set(
                    members.get(other, ())
                )
            if rule["IpProtocol"] == "-1":
                match = ""
            else:
                low, high = rule["FromPort"], rule["ToPort"]
                match = f"{rule['IpProtocol']} dport {low if low == high else f'{low}-{high}'}"
            found |= {(source, match) for source in sources}
    return found


def render(rules: Iterable[tuple[str, str]], gateway: str, published: Iterable[int]) -> str:
    """Return a script for nft that replaces the table, the same text for the same rules."""
    lines = [f"ip saddr {source} {match} accept".replace("  ", " ") for source, match in sorted(rules)]
    lines += [f"ip saddr {gateway} tcp dport {port} accept" for port in sorted(published)]
    body = "\n".join(f"    {line}" for line in lines)
    # The first line makes the second one safe where there is no such table yet.
    return f"""table {TABLE} {{}}
delete table {TABLE}
table {TABLE} {{
  chain ingress {{
    type filter hook prerouting priority -150; policy accept;
    iifname != "eth0" accept
    ct state established,related accept
{body}
    drop
  }}
}}
"""


# What is kept, what nft said of it when it was loaded, and what it says now; with a zero byte behind each.
LOOK = f"""for file; do cat "$file" 2> /dev/null; printf '\\0'; done
nft --stateless list table {TABLE} 2> /dev/null; printf '\\0'"""


class Host:
    """Commands in a host, by Docker's command line.

    docker-py reads the socket below the stream that read the headers, so output that came along with them is lost: 3 % of
    all short commands on a busy machine came back empty and with exit code 0 (``_get_raw_response_socket``).
    """

    def __init__(self, container: Any, run_command: Any) -> None:
        self.container, self._run_command = container, run_command

    def run(self, *command: str) -> str:
        """Run a command and return its output; RuntimeError where it fails."""
        code, output, error = self._run_command(
            ["docker", "exec", "--user", "root", self.container.name, *command]
        )
        if code:
            raise RuntimeError(f"{self.container.name}: {command[0]} failed: {(error or output).strip()}")
        return str(output)


def write(container: Any, path: PurePosixPath, content: str) -> None:
    """Write a file of a host whose folder exists."""
    data = content.encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(path.name)
        entry.size, entry.mode = len(data), 0o600
        tar.addfile(entry, io.BytesIO(data))
    container.put_archive(str(path.parent), archive.getvalue())


def reconcile(host: Host, path: PurePosixPath, wanted: str, check: bool) -> tuple[bool, str]:
    """Bring one host to the wanted rules; returns whether they differed, and what was there before.

    Beside the script lies the listing that nft gave after loading it: a rule changed by hand shows as well.
    """
    listing = path.with_suffix(".listing")
    kept, loaded, now, _ = host.run("sh", "-c", LOOK, "sh", str(path), str(listing)).split("\0")
    if now and (kept, loaded) == (wanted, now):
        return False, wanted
    if not check:
        write(host.container, path, wanted)
        host.run("nft", "--file", str(path))
        write(host.container, listing, host.run("nft", "--stateless", "list", "table", *TABLE.split()))
    return True, now


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "hosts": {"type": "list", "elements": "dict", "required": True},
            "members": {"type": "dict", "default": {}},
            "gateway": {"type": "str", "required": True},
            "published": {"type": "dict", "default": {}},
            "path": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    if docker is None:
        module.fail_json(
            msg="The Python package docker is missing on the control node; see requirements.txt."
        )
    given = module.params
    differing, before, after = [], [], []
    try:
        groups, permissions = read_api(module.client("ec2"))
        client = docker.from_env(timeout=60)
        for host in given["hosts"]:
            if host["private_ip"] not in groups:
                module.fail_json(
                    msg=f"The EC2 API has no interface {host['private_ip']} for {host['name']}. Nothing was changed on this host."
                )
            rules = allowed(host["private_ip"], groups, permissions, given["members"])
            wanted = render(rules, given["gateway"], given["published"].get(host["name"], ()))
            found = Host(client.containers.get(host["name"]), module.run_command)
            differs, was = reconcile(found, PurePosixPath(given["path"]), wanted, module.check_mode)
            if differs:
                differing.append(host["name"])
                before.append(f"# {host['name']}\n{was}")
                after.append(f"# {host['name']}\n{wanted}")
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg="The AWS API did not return the security groups. Nothing was changed")
    except APIError as error:
        module.fail_json(msg=f"A host is down or missing: {error.explanation}. `make up` starts it.")
    except (DockerException, RuntimeError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(differing),
        differing=differing,
        diff={"before": "\n".join(before), "after": "\n".join(after)},
    )


if __name__ == "__main__":
    main()
