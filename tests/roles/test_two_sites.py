"""Two sites share no name, path, port or address: every variable of both is filled in and compared."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import clone as clones
import sites

ROOT = clones.ROOT
HOST_ROLES = ["postgres", "airbyte", "dagster_dbt", "metabase"]

DUMP = """---
- hosts: all
  gather_facts: false
  connection: local
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    names: "{{ query('ansible.builtin.varnames', pattern) }}"
  tasks:
    - ansible.builtin.copy:
        content: "{{ dict(names | zip(query('ansible.builtin.vars', *names))) | to_json }}"
        dest: "{{ out }}/{{ inventory_hostname }}.json"
        mode: "0600"
      delegate_to: localhost
"""


def made(clone: Path, folder: str) -> None:
    """Files that a site has once it was made, as far as variables read them."""
    secrets, state = clone / ".secrets" / folder, clone / ".state" / folder
    certificates = state / "certificates"
    secrets.mkdir(parents=True)
    certificates.mkdir(parents=True)
    for name in ("authority.crt", "id_ed25519.pub", "backup_key", "backup_key.pub"):
        (secrets / name).write_text(f"{name} of {folder}")
    for name in ("airbyte", "dbt", "metabase", "observer"):
        (secrets / f"snowflake_{name}.p8").write_text(f"a key of {folder}")
    for name, kind in itertools.product([*HOST_ROLES, "snowflake"], ("crt", "key")):
        (certificates / f"{name}.{kind}").write_text(f"a certificate of {folder}")
    outputs = dict.fromkeys(["subnet_id", "backup_bucket", "ssm_endpoint"], f"made for {folder}")
    (state / "outputs.json").write_text(
        json.dumps(outputs | {"security_group_ids": {"lambda": f"sg of {folder}"}})
    )
    images = dict.fromkeys(["postgres", "dagster-dbt", "emulators"], f"built for {folder}")
    (state / "images.json").write_text(json.dumps(images))


def hosts(different: dict[str, Any], own: dict[str, Any], target: str) -> dict[str, Any]:
    """The inventory of a site as EC2 gives it."""
    facts = own | different
    groups: dict[str, Any] = {}
    for number, (role, host) in enumerate(facts["network_hosts"].items()):
        address = host["private_ip"]
        groups[role] = {
            "hosts": {
                f"{facts['retailflow_name']}-{role.replace('_', '-')}": {
                    "retailflow_role": role,
                    "private_ip_address": address,
                    "private_dns_name": f"ip-{address.replace('.', '-')}.ec2.internal",
                    "ec2_instance_id": f"i-{number}",
                }
            }
        }
    # The control node is no instance, and variables of the hosts that it has too mean nothing there.
    nothing = dict.fromkeys(["private_ip_address", "private_dns_name", "ec2_instance_id"], "")
    nothing["retailflow_role"] = "postgres"
    children = {"hosts": {"children": groups}, target: {"children": {"hosts": {}}}}
    return {"all": {"vars": nothing, "children": children}}


def resolved(folder: Path, site: str, target: str) -> dict[str, dict[str, Any]]:
    """Every variable of every host of a site, by role."""
    clone = clones.make(folder / "clone")
    (clone / "docs").symlink_to(ROOT / "docs")
    different, own = sites.variables(site, target), sites.inventory(target)
    made(clone, different.get("retailflow_folder", target))
    (clone / "hosts.json").write_text(json.dumps(hosts(different, own, target)))
    (clone / "out").mkdir()
    (clone / "dump.yml").write_text(DUMP)
    if target == "aws":
        settings = "retailflow_operator_cidr: 203.0.113.7/32\nretailflow_snowflake_account: one\nsnowflake_admin_user: A\n"
        (clone / "inventory/group_vars/aws/site.yml").write_text(settings)
    subprocess.run(
        ["bash", "-c", "source tools/machine; wrap_ansible"],
        cwd=clone,
        check=True,
        env=environment(clone, ""),
    )
    prefixes = {path.name.replace("-", "_") for path in (ROOT / "roles").iterdir()} | {
        "retailflow",
        "network",
    }
    given = {
        "pattern": f"^({'|'.join(sorted(prefixes))})_",
        "out": str(clone / "out"),
        "retailflow_root": str(clone),
        "retailflow_account": {"missing": [], "zone": ""},
        "airbyte_bash_installer_credentials": {"client_id": "of Airbyte", "client_secret": "of Airbyte"},
    }
    command = [".venv/bin/ansible-playbook", "-i", "hosts.json", "-i", f"inventory/{target}.yml", "dump.yml"]
    # The hosts have the same group_vars on both targets.
    limit = ["--limit", "control"] if target == "aws" else []
    run = subprocess.run(
        [*command, "-e", json.dumps(given), *limit],
        cwd=clone,
        env=environment(clone, site),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    # Two sites of one clone.
    found = {
        path.stem: json.loads(path.read_text().replace(str(clone), "/clone"))
        for path in (clone / "out").iterdir()
    }
    name = (own | different)["retailflow_name"]
    return {host.removeprefix(f"{name}-"): values for host, values in found.items()}


def environment(clone: Path, site: str) -> dict[str, str]:
    given = {"PATH": os.environ["PATH"], "HOME": str(clone), "RETAILFLOW_ENVIRONMENT": str(clone)}
    return given | ({"SITE": site} if site else {})


# What variables are called that name something.
NAMES = re.compile(
    r"(^|_)(name|bucket|cluster|namespace|group|bundle|registry|registries|queue|topic|function|alarm|rule|parameter|prefix|bridge"
    r"|volume|network|repository|repositories|tag|key|role|warehouse)s?$"
)
# What both sites have under one name, because it is inside something that each has for itself.
ALIKE = {
    r"/clone$|/clone/(docs|lambda)/": "the clone's own files, which are only read",
    r"/clone/\.cache/uv$": "a cache of packages",
    r"/clone/\.state/terraform\.rc$": "Terraform's settings, the same for all",
    r"/var/lib/retailflow": "a folder of a host",
    r"retailflow_(db|admin)$": "in the site's PostgreSQL",
    r"(publication|publications\[\d\]\.name) retailflow$": "in the site's PostgreSQL",
    r"metabase_db_name metabase$|retailflow_databases": "in the site's PostgreSQL",
    r"account[ =]retailflow": "the account of an emulated Snowflake; each site has a server of its own",
    r"retailflow_emulators\.": "a module of Python",
    r"retailflow_role ": "what a host is for",
    r"access_key(_id)? AKIALOCAL": "an id of the emulated API; each site has a server and secrets of its own",
    r"metabase_site_name RetailFlow$": "the title of the site's pages",
    r"@retailflow\.example$": "a login of the site's Metabase",
    r"retailflow_needed": "names of variables",
    r"SNOWFLAKE\.USAGE_VIEWER$": "Snowflake's own role",
    r"host_names\[0\] localhost$": "the host itself",
}


def leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every value inside a value, with the way to it."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from leaves(one, f"{at}.{key}")
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from leaves(one, f"{at}[{number}]")
    else:
        yield at, value


def shared(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """What looks like a name, a path or an address of this machine or of an account, and is the same in both sites."""
    found = set()
    for host, values in one.items():
        there = dict(leaves(other[host]))
        for at, value in leaves(values):
            named = NAMES.search(re.sub(r"\[\d+\]$", "", at))
            known = re.search(
                r"retailflow|/clone|10\.86\.|(127\.0\.0\.1|localhost):\d", str(value), re.IGNORECASE
            )
            if value and isinstance(value, str) and there.get(at) == value and (named or known):
                found.add(f"{at} {value}")
    return found


@pytest.fixture(scope="module", params=["local", "aws"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, dict[str, Any]]]:
    """The variables of the inventory's own site and of another one, by host."""
    folders = [tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("other")]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(resolved, folders, ["", "staging"], [request.param] * 2))


def test_two_sites_share_no_name_path_or_address(both: list[dict[str, dict[str, Any]]]) -> None:
    own, other = both
    assert own.keys() == other.keys() >= {"localhost"}
    alike = {one for one in shared(own, other) if not any(re.search(known, one) for known in ALIKE)}
    assert alike == set(), "let it follow from retailflow_name or retailflow_folder, or say in ALIKE why not"


def test_nor_do_they_share_a_port_of_this_machine(both: list[dict[str, dict[str, Any]]]) -> None:
    ports = [
        {port for name in sites.PORTS for port in site["localhost"].get(name, {}).values()} for site in both
    ]
    assert ports[0] and len(ports[0]) == len(ports[1]) and not ports[0] & ports[1]
    pages = [set(site["localhost"]["retailflow_urls"].values()) for site in both]
    assert len(pages[0]) == 4 and not pages[0] & pages[1]


def test_a_name_that_is_fixed_is_noticed() -> None:
    site = {
        "localhost": {
            "alarm_topic": "alarms",
            "a": {"b": ["/retailflow/log"]},
            "url": "http://127.0.0.1:15000",
            "seconds": "60",
        }
    }
    assert shared(site, site) == {
        ".alarm_topic alarms",
        ".a.b[0] /retailflow/log",
        ".url http://127.0.0.1:15000",
    }
    assert shared(site, {"localhost": {"alarm_topic": "other", "a": {"b": []}, "url": ""}}) == set()


@pytest.mark.parametrize("role", sorted(path.name for path in (ROOT / "roles").iterdir()))
def test_no_role_falls_back_on_a_name_of_the_first_site(role: str) -> None:
    """A default that carries its name is given by the inventory, whose names follow SITE."""
    defaults = yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text()) or {}
    inventory = "\n".join(path.read_text() for path in (ROOT / "inventory/group_vars").rglob("*.yml"))
    passed = "\n".join(path.read_text() for path in (ROOT / "roles").glob("*/tasks/*.yml"))
    for name, value in defaults.items():
        named = [text for _, text in leaves(value) if re.search(r"\bretailflow\b|10\.86\.", str(text))]
        named = [
            text
            for text in named
            if not str(text).startswith(("/var/lib/retailflow", "/etc/retailflow", "retailflow_"))
        ]
        given = re.search(rf"^{name}:", inventory, re.MULTILINE) or re.search(
            rf"^ +{name}:", passed, re.MULTILINE
        )
        assert not named or given, f"{name}: {named}"
