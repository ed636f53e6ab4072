"""Every host is in the ECS cluster, and its default bridge is a place where containers of ECS can live."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
import testinfra

from .conftest import AWS, wait_for
from .test_ports import HOSTS, container

# Of the private network, by the name server that its containers on the default bridge ask.
NAMES = {"aws.retailflow.internal", "ip-10-86-1-11.ec2.internal"}


def on_the_bridge(role: str, command: str) -> Any:
    """Run a command in a container on the default bridge of a host, from the image of its agent."""
    host = testinfra.get_host(f"docker://{container(role)}")
    image = host.check_output("docker inspect --format '{{.Config.Image}}' ecs-agent")
    label = "--label retailflow.site=retailflow"
    return host.run(f"docker run --rm --network bridge {label} --entrypoint bash {image} -c %s", command)


def test_every_host_is_an_instance_whose_agent_answers() -> None:
    ecs = boto3.client("ecs", **AWS)

    def answering() -> list[str]:
        arns = ecs.list_container_instances(cluster="retailflow")["containerInstanceArns"]
        found = ecs.describe_container_instances(cluster="retailflow", containerInstances=arns)
        return sorted(
            one["value"]
            for instance in found["containerInstances"]
            if instance["agentConnected"] and instance["status"] == "ACTIVE"
            for one in instance["attributes"]
            if one["name"] == "role"
        )

    wait_for(lambda: answering() == sorted(HOSTS), 30, "one instance per host")


@pytest.mark.parametrize("role", HOSTS)
def test_a_container_on_the_default_bridge_knows_the_network_and_no_public_name(role: str) -> None:
    command = "; ".join(f"getent hosts {name}" for name in sorted(NAMES))
    found = on_the_bridge(role, f"{command}; SECONDS=0; getent hosts example.com; echo $? $SECONDS")
    *known, last = found.stdout.splitlines()
    assert {line.split()[-1] for line in known} == NAMES, found.stdout + found.stderr
    code, seconds = last.split()
    assert code == "2" and int(seconds) < 3, "it does not exist, and that is said at once"


def test_a_container_reaches_the_agent_of_its_host_for_credentials_and_gets_none_without_its_id() -> None:
    asked = 'exec 3<>/dev/tcp/169.254.170.2/80 && printf "GET /v2/credentials/x HTTP/1.0\\r\\n\\r\\n" >&3 && cat <&3'
    answer = on_the_bridge("postgres", asked)
    assert answer.rc == 0, answer.stderr
    assert " 200 " not in answer.stdout.splitlines()[0] and "AccessKeyId" not in answer.stdout
