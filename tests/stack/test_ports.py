"""Ports are data: what network.yml allows connects, everything else is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import testinfra

from .conftest import AWS, FACTS, NAME, STATE, Playbook, wait_for, why

HOSTS = {role: host["private_ip"] for role, host in FACTS["network_hosts"].items()}
FLOWS = {(flow["from"], flow["to"], flow["port"]) for flow in FACTS["network_flows"]}
# What listens somewhere, and the engine's own port, which must not.
PORTS = sorted({flow["port"] for flow in FACTS["network_flows"]} | {2375, 3000, 3001})

# Prints the (address, port) pairs of its argument that a connection reaches; all at once, 2 s each.
PROBE = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def reach(pair):
    try:
        socket.create_connection(tuple(pair), timeout=2).close()
        return True
    except OSError:
        return False
pairs = json.loads(sys.argv[1])
with ThreadPoolExecutor(32) as pool:
    print(json.dumps([pair for pair, yes in zip(pairs, pool.map(reach, pairs)) if yes]))
"""


def pairs(without: str | None = None) -> list[tuple[str, int]]:
    return [(address, port) for role, address in HOSTS.items() if role != without for port in PORTS]


def expected(source: str) -> set[tuple[str, int]]:
    # Nobody's network is the operator's: people come in through the engine.
    # Of the endpoint for AWS's parameters there is none here: the emulated API itself has an address.
    return {(HOSTS[to], port) for came, to, port in FLOWS if came == source and to in HOSTS}


def container(role: str) -> str:
    return f"{NAME}-{role.replace('_', '-')}"


@pytest.mark.parametrize("source", HOSTS)
def test_a_host_reaches_what_the_flows_allow_and_nothing_else(source: str) -> None:
    host = testinfra.get_host(f"docker://{container(source)}")
    reached = json.loads(host.check_output("python3 -c %s %s", PROBE, json.dumps(pairs(without=source))))
    assert {(address, port) for address, port in reached} == expected(source)


def test_a_service_inside_a_host_is_bound_by_the_same_rules() -> None:
    host = testinfra.get_host(f"docker://{container('dagster_dbt')}")
    inside = "docker exec dagster-dbt python -c %s %s"
    reached = json.loads(host.check_output(inside, PROBE, json.dumps(pairs(without="dagster_dbt"))))
    assert {(address, port) for address, port in reached} == expected("dagster_dbt")


def test_the_function_reaches_the_database_and_nothing_else() -> None:
    """A container without a fixed address stands where the emulated Lambda starts its own."""
    images = json.loads((STATE / "cloud-images.json").read_text())
    command = ["docker", "run", "--rm", "--network", NAME, "--label", f"retailflow.site={NAME}"]
    command += ["--entrypoint", "python3", images["lambda-runtime"], "-c", PROBE, json.dumps(pairs())]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    reached = {(address, port) for address, port in json.loads(answer.stdout)}
    assert reached == expected("lambda")


def test_the_emulated_cloud_reaches_no_host() -> None:
    answer = subprocess.run(
        ["docker", "exec", f"{NAME}-aws", "python", "-c", PROBE, json.dumps(pairs())],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(answer.stdout) == []


def airbytes_way() -> list[dict[str, Any]]:
    """The rules by which Airbyte reaches the database, as the EC2 API has them."""
    groups = json.loads((STATE / "outputs.json").read_text())["security_group_ids"]
    found = boto3.client("ec2", **AWS).describe_security_group_rules(
        Filters=[{"Name": "group-id", "Values": [groups["postgres"]]}]
    )["SecurityGroupRules"]
    return [one for one in found if one.get("ReferencedGroupInfo", {}).get("GroupId") == groups["airbyte"]]


def differing() -> Any:
    """The hosts whose rules were not those of their groups when the status was last read."""
    return json.loads((STATE / "status.json").read_text())["ingress_differs"]


@pytest.fixture
def closed_database(playbook: Playbook) -> Iterator[None]:
    """Somebody takes Airbyte's way to the database out of the security group; afterwards it is there again."""
    (rule,) = airbytes_way()
    boto3.client("ec2", **AWS).revoke_security_group_ingress(
        GroupId=rule["GroupId"], SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]]
    )
    yield
    # A run that failed half way has made a rule that no host enforces, so the rule alone says nothing.
    if not airbytes_way() or differing():
        repaired = playbook("playbooks/provision.yml")
        assert repaired.returncode == 0, why(repaired)


def test_a_rule_removed_by_hand_is_noticed_and_repaired(closed_database: None, playbook: Playbook) -> None:
    def seen() -> Any:
        looked = playbook("playbooks/status.yml")
        assert looked.returncode == 0, why(looked)
        return differing()

    # A part that a busy machine does not answer for in time is told as unknown.
    wait_for(lambda: seen() == [f"{NAME}-postgres"], 120, "the status names the host")
    provisioned = playbook("playbooks/provision.yml")
    assert provisioned.returncode == 0, why(provisioned)
    assert seen() == []
    test_a_host_reaches_what_the_flows_allow_and_nothing_else("airbyte")
