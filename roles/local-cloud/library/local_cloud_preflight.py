"""Ansible module: find out before anything changes whether the local cloud can stand on this machine."""

from __future__ import annotations

import ipaddress
import shutil
import socket
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

try:
    import docker
    from docker.errors import DockerException, ImageNotFound
except ImportError:
    docker = None

DOCUMENTATION = r"""
---
module: local_cloud_preflight
short_description: Check engine, ports, disk, memory and network for the local cloud
description:
  - Changes nothing. Disk and memory are asked for only while none of our containers runs, since a running
    site already has what it needs.
options:
  labels: {description: The mark of ownership., type: dict, required: true}
  ports: {description: Ports on the loopback by part., type: dict, required: true}
  cidr: {description: CIDR of the private network., type: str, required: true}
  settings: {description: The file in which a person may choose other addresses and ports., type: str, required: true}
  min_disk_gb: {description: Free disk of the engine in GiB., type: int, required: true}
  min_memory_gb: {description: Available memory in GiB., type: int, required: true}
  base_image: {description: Image that all others are built on., type: str, required: true}
requirements: [docker]
author: RetailFlow
attributes:
  check_mode: {support: full, description: It only looks.}
  diff_mode: {support: none, description: There is no diff.}
"""

EXAMPLES = r"""
- name: Check this machine before anything changes
  local_cloud_preflight:
    labels: {retailflow.site: retailflow}
    ports: {aws: 14566}
    cidr: 10.86.0.0/16
    min_disk_gb: 15
    min_memory_gb: 6
    base_image: retailflow/rootfs:latest
    settings: inventory/group_vars/all/network.yml
"""

RETURN = r"""
problems: {description: What stands in the way; empty on success., type: list, returned: always}
"""


def port_taken(port: int) -> bool:
    """Tell whether something listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def available_memory_gb(meminfo: str) -> float:
    """Read MemAvailable of /proc/meminfo, in GiB."""
    fields = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) / 2**20


def overlaps(cidr: str, routes: str) -> str | None:
    """Return the first route of /proc/net/route (not the default) that overlaps the CIDR, with its device."""
    wanted = ipaddress.ip_network(cidr)
    for line in routes.splitlines()[1:]:
        device, destination, _, _, _, _, _, mask = line.split()[:8]
        if int(mask, 16) == 0:
            continue
        network = ipaddress.ip_network(
            (
                int.from_bytes(bytes.fromhex(destination), "little"),
                bin(int(mask, 16)).count("1"),
            )
        )
        if wanted.overlaps(network):
            return f"{network} on {device}"
    return None


def reserved(cidr: str, networks: list[dict[str, Any]], labels: dict[str, str]) -> str | None:
    """Return the first network of the engine, but ours, that overlaps the CIDR, with its name."""
    wanted = ipaddress.ip_network(cidr)
    for network in networks:
        if labels.items() <= (network.get("Labels") or {}).items():
            continue
        for one in (network.get("IPAM") or {}).get("Config") or []:
            taken = ipaddress.ip_network(one["Subnet"], strict=False) if one.get("Subnet") else None
            if taken and taken.version == wanted.version and wanted.overlaps(taken):
                return f"{taken} of the network {network['Name']}"
    return None


def find_problems(client: Any, params: dict[str, Any]) -> list[str]:
    """Return what stands in the way, each with what to do."""
    problems = []
    label = [f"{key}={value}" for key, value in params["labels"].items()]
    ours = client.api.containers(filters={"label": label})
    published = {port.get("PublicPort") for one in ours for port in one["Ports"]}
    for part, port in params["ports"].items():
        if int(port) not in published and port_taken(int(port)):
            problems.append(
                f"port {port} on 127.0.0.1, meant for {part}, is taken by another program: "
                f"stop that program, or choose another port in local_cloud_ports.{part} of {params['settings']}"
            )
    try:
        client.api.inspect_image(params["base_image"])
    except ImageNotFound:
        problems.append(f"image {params['base_image']} is missing: run `make bootstrap`")
    if not ours:
        root = Path(client.info()["DockerRootDir"])
        disk = shutil.disk_usage(root if root.exists() else "/").free / 2**30
        if disk < params["min_disk_gb"]:
            problems.append(
                f"{root} has {disk:.1f} GiB free, {params['min_disk_gb']} are needed: make room, or move the "
                "engine's data root"
            )
        memory = available_memory_gb(Path("/proc/meminfo").read_text(encoding="ascii"))
        if memory < params["min_memory_gb"]:
            problems.append(
                f"{memory:.1f} GiB of memory are available, {params['min_memory_gb']} are needed: stop other programs"
            )
        # On a machine without /proc/net/route the engine runs in a virtual machine and finds overlaps itself.
        routes = Path("/proc/net/route")
        taken = reserved(params["cidr"], client.api.networks(), params["labels"])
        if routes.exists() and not taken:
            taken = overlaps(params["cidr"], routes.read_text(encoding="ascii"))
        if taken and not client.api.networks(filters={"label": label}):
            problems.append(
                f"the private network {params['cidr']} overlaps {taken}: choose another network_vpc_cidr in {params['settings']}"
            )
    return problems


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "labels": {"type": "dict", "required": True},
            "ports": {"type": "dict", "required": True},
            "cidr": {"type": "str", "required": True},
            "min_disk_gb": {"type": "int", "required": True},
            "min_memory_gb": {"type": "int", "required": True},
            "base_image": {"type": "str", "required": True},
            "settings": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    if docker is None:
        module.fail_json(
            msg="The Python package docker is missing on the control node; see requirements.txt."
        )
    try:
        problems = find_problems(docker.from_env(timeout=60), module.params)
    except DockerException as error:
        problems = [f"the Docker engine does not answer ({error}): run `make bootstrap`, which starts one"]
    if problems:
        module.fail_json(msg="Nothing was changed. " + "; ".join(problems) + ".", problems=problems)
    module.exit_json(changed=False, problems=[])


if __name__ == "__main__":
    main()
