"""Every host is in the ECS cluster, and its default bridge is a place where containers of ECS can live."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
import testinfra

from retailflow_emulators.ecs_agent.api import Api, ApiRefusedError
from retailflow_emulators.ecs_agent.settings import Settings

from .conftest import ADMINISTRATOR, AWS, FACTS, NAME, SECRET, wait_for
from .test_ports import HOSTS, container

# Of the private network, by the name server that its containers on the default bridge ask.
ADDRESS: str = FACTS["network_hosts"]["postgres"]["private_ip"]
NAMES = {f"aws.{NAME}.internal", f"ip-{ADDRESS.replace('.', '-')}.ec2.internal"}


def on_the_bridge(role: str, command: str) -> Any:
    """Run a command in a container on the default bridge of a host, from the image of its agent."""
    host = testinfra.get_host(f"docker://{container(role)}")
    image = host.check_output("docker inspect --format '{{.Config.Image}}' ecs-agent")
    label = f"--label retailflow.site={NAME}"
    return host.run(f"docker run --rm --network bridge {label} --entrypoint bash {image} -c %s", command)


def test_every_host_is_an_instance_whose_agent_answers() -> None:
    ecs = boto3.client("ecs", **AWS)

    def answering() -> list[str]:
        arns = ecs.list_container_instances(cluster=NAME)["containerInstanceArns"]
        found = ecs.describe_container_instances(cluster=NAME, containerInstances=arns)
        return sorted(
            one["value"]
            for instance in found["containerInstances"]
            if instance["agentConnected"] and instance["status"] == "ACTIVE"
            for one in instance["attributes"]
            if one["name"] == "role"
        )

    wait_for(lambda: answering() == sorted(HOSTS), 30, "one instance per host")


def test_a_host_takes_orders_for_its_own_container_instance_alone() -> None:
    """Tried with measures and not with Poll, which would tell ECS what runs on that host."""
    ecs, ec2, sts = (boto3.client(one, **ADMINISTRATOR) for one in ("ecs", "ec2", "sts"))
    arns = ecs.list_container_instances(cluster=NAME)["containerInstanceArns"]
    found = ecs.describe_container_instances(cluster=NAME, containerInstances=arns)
    entries = {one["containerInstanceArn"]: one["ec2InstanceId"] for one in found["containerInstances"]}
    account = sts.get_caller_identity()["Account"]
    heard = set()
    for reservation in ec2.describe_instances(InstanceIds=sorted(set(entries.values())))["Reservations"]:
        (host,) = reservation["Instances"]
        name = host["IamInstanceProfile"]["Arn"].rsplit("/", 1)[-1]
        # The keys by which the agents of this machine stand for EC2's metadata service.
        agent = Api(
            Settings(
                cluster=NAME,
                region=str(AWS["region_name"]),
                endpoint=str(AWS["endpoint_url"]),
                access_key=FACTS["retailflow_aws_keys"]["ec2"],
                secret_key=SECRET.with_name("aws_ec2").read_text().strip(),
                role_arn=f"arn:aws:iam::{account}:role/{name}",
                instance_id=host["InstanceId"],
            )
        )
        for arn in entries:
            try:
                agent.call("StartTelemetrySession", cluster=NAME, containerInstance=arn, health=[])
                heard.add((host["InstanceId"], arn))
            except ApiRefusedError as error:
                assert error.code == "AccessDeniedException", error
    assert heard == {(host, arn) for arn, host in entries.items()}
    assert len({host for host, _ in heard}) == len(HOSTS)


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
