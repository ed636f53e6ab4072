#!/usr/bin/env python3
"""What follows from SITE, the name of a site beside the inventory's own: its names, network, ports and folders.

`tools/sites.py name` prints the name that everything of the site carries. `tools/sites.py options` writes its variables into
.cache/sites and prints the options by which ansible-playbook takes them; without SITE it prints nothing. Both read SITE and
TARGET from the environment.

Everything is derived from the inventory, so a second site has what the first one has, elsewhere. What only that site shall have
goes into inventory/sites/SITE.yml (git-ignored).
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
OWN = "main"  # SITE=main is the inventory's own site, as no SITE is

#: As terraform/variables.tf: the longest name that is made of it, the bucket NAME-backup-ACCOUNT-REGION, has 63 letters at most.
LONGEST_NAME = 21
#: A name of a link in Linux has 15 letters at most (IFNAMSIZ in linux/if.h, with its end).
LONGEST_LINK = 15
BRIDGE = "rf-"  # tools/machine knows the bridges of all sites by it
#: Names of parameters cannot begin with aws or ssm ("Requirements and constraints for parameter names" in the guide of Systems
#: Manager), those of security groups not with sg- (EC2's CreateSecurityGroup), those of buckets not with sthree- and
#: amzn-s3-demo- ("General purpose bucket naming rules" of S3).
RESERVED = ("aws", "ssm", "sg", "sthree", "amzn")

#: Second numbers of the networks, 10.N.0.0: without 10.86 of the inventory, and without those that Kubernetes takes on the
#: host of Airbyte (10.96 and 10.244).
FIRST_NETWORK, NETWORKS = 101, 130
#: A block of ports for each network, below those that Linux gives to clients (from 32768) and Kubernetes to services (30000).
FIRST_PORT, BLOCK = 20000, 20
#: The ports of this machine, and where in the block they begin.
PORTS = {"local_cloud_ports": 0, "retailflow_tunnels": 10}

ADDRESS = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")


class SiteError(Exception):
    """Why a site cannot be made, in words for the person who named it."""


class Loader(yaml.SafeLoader):
    """Reads what Ansible reads; a value in a vault is of no use here."""


Loader.add_multi_constructor("!", lambda *_: None)


def read(path: Path) -> dict[str, Any]:
    """The variables of one file; none where there is no such file."""
    return (yaml.load(path.read_text(encoding="utf-8"), Loader) or {}) if path.is_file() else {}


def inventory(target: str, root: Path = ROOT) -> dict[str, Any]:
    """What group_vars say of a whole target, in the order of playbooks/lookup_plugins/site_variable.py."""
    known: dict[str, Any] = {}
    for group in ("all", target):
        for path in sorted((root / "inventory/group_vars" / group).rglob("*")):
            if path.suffix in (".yml", ".yaml", ".json", "") and not path.name.startswith("."):
                known |= read(path)
    return known


def checked(site: str, base: str) -> str:
    """The name of a site of that base; raises SiteError where what is made of it would break a rule."""
    name = f"{site}-{base}"
    longest = min(LONGEST_NAME - len(base) - 1, LONGEST_LINK - len(BRIDGE))
    problem = ""
    if not re.fullmatch(r"[a-z]([a-z0-9]|-(?=[a-z0-9]))*", site):
        problem = "give lower-case letters, digits and single hyphens, beginning with a letter"
    elif len(site) > longest:
        problem = (
            f"give at most {longest} letters, so that the names that are made of {name} are short enough"
        )
    elif site.startswith((*RESERVED, base)):
        problem = (
            f"a name may not begin with {', '.join(RESERVED)} or {base}, which AWS and the first site use"
        )
    if problem:
        raise SiteError(f"SITE is {site}: {problem}. Nothing was changed.")
    return name


def slot(site: str) -> int:
    """The number of a site's network and ports: the same on every machine."""
    return int.from_bytes(hashlib.sha256(site.encode()).digest()[:8], "big") % NETWORKS


def moved(value: Any, old: ipaddress.IPv4Network, new: ipaddress.IPv4Network) -> Any:
    """A value with every address of the old network at the same place in the new one."""
    if isinstance(value, dict):
        return {key: moved(one, old, new) for key, one in value.items()}
    if isinstance(value, list):
        return [moved(one, old, new) for one in value]
    if not isinstance(value, str):
        return value

    def replaced(found: re.Match[str]) -> str:
        try:
            address = ipaddress.IPv4Address(found[0])
        except ValueError:
            return found[0]
        return str(new[int(address) - int(old[0])]) if address in old else found[0]

    return ADDRESS.sub(replaced, value)


def variables(site: str, target: str, root: Path = ROOT) -> dict[str, Any]:
    """The variables in which a site differs from the inventory's own, by name; none for that one."""
    if site in ("", OWN):
        return {}
    own = inventory(target, root)
    name = checked(site, own["retailflow_name"])
    given = read(root / f"inventory/sites/{site}.yml")
    number = slot(site)
    old = ipaddress.IPv4Network(own["network_vpc_cidr"])
    new = ipaddress.IPv4Network(
        given.get("network_vpc_cidr", f"10.{FIRST_NETWORK + number}.0.0/{old.prefixlen}"), strict=False
    )
    if new.prefixlen != old.prefixlen or (old.prefixlen < 16 and "network_vpc_cidr" not in given):
        raise SiteError(
            f"network_vpc_cidr of the site {site} is {new}, and that of the inventory {old}: give one of the same size in "
            f"inventory/sites/{site}.yml. Nothing was changed."
        )
    found = {key: after for key, value in own.items() if (after := moved(value, old, new)) != value}
    for key, offset in PORTS.items():
        if key in own:
            first = FIRST_PORT + BLOCK * number + offset
            found[key] = dict(zip(own[key], range(first, first + len(own[key])), strict=True))
    folder = f"{target}-{site}"
    found |= {
        "retailflow_site": site,
        "retailflow_name": name,
        "retailflow_folder": folder,
        "retailflow_env_file": f"{{{{ retailflow_root }}}}/.state/{folder}/env",
        # Terraform reads the network from one file, which is this one.
        "retailflow_network_file": f"{{{{ retailflow_root }}}}/.cache/sites/{folder}.json",
        "network_flows": own["network_flows"],
        "network_subnet_cidr": found["network_subnet_cidr"],
        "network_hosts": found["network_hosts"],
    }
    if target == "local":
        found |= {
            "local_cloud_network_bridge": f"{BRIDGE}{site}",
            "local_cloud_names_dir": f"{{{{ retailflow_root }}}}/.state/machine/names-{site}",
        }
    for key, value in given.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = found[key] | value if both else value
    return found | {"retailflow_name": name}


def chosen() -> str:
    """The site that SITE names; empty for the inventory's own."""
    site = os.environ.get("SITE", "")
    return "" if site == OWN else site


def folder(target: str) -> str:
    """The name of the folders of that site, below .state and .secrets."""
    return f"{target}-{chosen()}" if chosen() else target


def main() -> None:
    """Entry point."""
    site, target = chosen(), os.environ.get("TARGET") or "local"
    found = variables(site, target)
    match sys.argv[1:]:
        case ["name"]:
            print(found.get("retailflow_name") or inventory(target)["retailflow_name"])
        case ["options"]:
            if found:
                path = ROOT / ".cache/sites" / f"{found['retailflow_folder']}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_suffix(f".{os.getpid()}")
                temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
                temporary.replace(path)
                print(f"-e @{path.relative_to(ROOT)}")
        case _:
            raise SiteError("usage: tools/sites.py name|options")


if __name__ == "__main__":
    try:
        main()
    except SiteError as error:
        sys.exit(f"error: {error}")
