"""The embedded ECS agent as a process of its own, on this machine's engine and the site's emulated API, in a cluster of its own.

One service goes through its life: it starts, its agent is killed, it is deployed again, its container dies, it is removed.
Of the site, only the API takes part. Everything that is made here is removed at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from retailflow_emulators.ports import free_port

from .conftest import ADMINISTRATOR, ROOT, wait_for
from .conftest import NAME as SITE
from .site import docker

NAME = f"ecs-agent-test-{secrets.token_hex(4)}"
GROUP, PARAMETER, VOLUME = f"/{NAME}", f"/{NAME}/word", f"{NAME}-data"
# Nothing listens there, so no pull leaves this machine: the copy that the engine has runs.
IMAGE = f"127.0.0.1:9/{NAME}:1"
FIRST, AGAIN = 30, 20  # seconds
PROGRAM = """
import os, time
print("secret", os.environ["WORD"], os.environ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"], flush=True)
for number in range(100000):
    print("line", number, flush=True)
    time.sleep(0.1)
"""
EC2: Any = boto3.client("ec2", **ADMINISTRATOR)
ECS: Any = boto3.client("ecs", **ADMINISTRATOR)
IAM: Any = boto3.client("iam", **ADMINISTRATOR)
LOGS: Any = boto3.client("logs", **ADMINISTRATOR)
SSM: Any = boto3.client("ssm", **ADMINISTRATOR)


def policy(*statements: tuple[list[str], str]) -> str:
    """A policy that allows actions on resources."""
    allowed = [{"Effect": "Allow", "Action": actions, "Resource": where} for actions, where in statements]
    return json.dumps({"Version": "2012-10-17", "Statement": allowed})


def role(name: str, principal: dict[str, str], allowed: str) -> str:
    """Make a role and return its ARN."""
    trusted = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trusted]})
    arn: str = IAM.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    IAM.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=allowed)
    return arn


@dataclass
class Agent:
    """The agent's process; `log` holds what it printed in all its lives."""

    environment: dict[str, str]
    log: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Start it, and wait until it says that it is registered."""
        command = [sys.executable, "-m", "retailflow_emulators.ecs_agent"]
        with self.log.open("ab") as output:
            self.processes.append(subprocess.Popen(command, env=self.environment, stderr=output))
        with self.shown():
            wait_for(lambda: self.ask("health") == 0, FIRST, "the agent is registered")

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Add what it printed to a failure."""
        try:
            yield
        except AssertionError as error:
            told = [f"{error}", self.log.read_text()[-4000:]]
            for one in docker("ps", "-aq", "--filter", f"label=com.amazonaws.ecs.cluster={NAME}").split():
                told.append(docker("logs", "--tail", "5", one))
            raise AssertionError("\n".join(told)) from error

    def ask(self, *arguments: str) -> int:
        """Run its command line and return the exit code."""
        command = [sys.executable, "-m", "retailflow_emulators.ecs_agent", *arguments]
        return subprocess.run(
            command, env=self.environment, check=False, capture_output=True, timeout=30
        ).returncode

    def kill(self) -> None:
        """Kill it as the kernel would."""
        self.processes[-1].kill()
        self.processes[-1].wait(10)


@pytest.fixture(scope="module")
def identities() -> Iterator[dict[str, str]]:
    """Who the agent is, and the roles of its host, of the tasks and of their execution; gone at the end."""
    made = IAM.create_user(UserName=NAME)["User"]["Arn"]
    try:
        key = IAM.create_access_key(UserName=NAME)["AccessKey"]
        ecs = ["ecs:DiscoverPollEndpoint", "ecs:RegisterContainerInstance", "ecs:SubmitContainerStateChange",
               "ecs:SubmitTaskStateChange", "ecs:Poll", "ecs:StartTelemetrySession"]  # fmt: skip
        # A stream is part of its group, whose own ARN ends without `:*`.
        writing = (["logs:CreateLogStream", "logs:PutLogEvents"], f"arn:aws:logs:*:*:log-group:{GROUP}*")
        reading = (["ssm:GetParameters"], f"arn:aws:ssm:*:*:parameter{PARAMETER}")
        tasks = {"Service": "ecs-tasks.amazonaws.com"}
        found = {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            "EMULATED_INSTANCE_ROLE_ARN": role(f"{NAME}-host", {"AWS": made}, policy((ecs, "*"))),
            "task": role(f"{NAME}-task", tasks, policy((["s3:ListBucket"], "*"))),
            "execution": role(f"{NAME}-execution", tasks, policy(writing, reading)),
        }
        IAM.put_user_policy(
            UserName=NAME,
            PolicyName="own",
            PolicyDocument=policy((["sts:AssumeRole"], found["EMULATED_INSTANCE_ROLE_ARN"])),
        )
        yield found
    finally:
        for name in ("host", "task", "execution"):
            with contextlib.suppress(IAM.exceptions.NoSuchEntityException):
                IAM.delete_role_policy(RoleName=f"{NAME}-{name}", PolicyName="own")
                IAM.delete_role(RoleName=f"{NAME}-{name}")
        with contextlib.suppress(IAM.exceptions.NoSuchEntityException):
            IAM.delete_user_policy(UserName=NAME, PolicyName="own")
        for one in IAM.list_access_keys(UserName=NAME)["AccessKeyMetadata"]:
            IAM.delete_access_key(UserName=NAME, AccessKeyId=one["AccessKeyId"])
        IAM.delete_user(UserName=NAME)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster with a log group, a secret and an image, of which nothing stays."""
    source = docker("ps", "--filter", f"name=^{SITE}-eventbridge$", "--format", "{{.Image}}")
    assert source, "the site runs the emulators' image, which has Python"
    with contextlib.ExitStack() as left:
        docker("tag", source, IMAGE)
        left.callback(docker, "rmi", IMAGE)
        ECS.create_cluster(clusterName=NAME)
        left.callback(remove_cluster)
        LOGS.create_log_group(logGroupName=GROUP)
        left.callback(LOGS.delete_log_group, logGroupName=GROUP)
        SSM.put_parameter(Name=PARAMETER, Value="hidden word", Type="SecureString")
        left.callback(SSM.delete_parameter, Name=PARAMETER)
        left.callback(docker, "volume", "rm", "-f", VOLUME)
        left.callback(remove_containers)
        yield NAME


def remove_containers() -> None:
    """Remove what the agent started; its process has ended by now."""
    if found := docker("ps", "-aq", "--filter", f"label=com.amazonaws.ecs.cluster={NAME}").split():
        docker("rm", "-f", *found)


def remove_cluster() -> None:
    """Remove the cluster with all that is in it."""
    for arn in ECS.list_services(cluster=NAME)["serviceArns"]:
        ECS.delete_service(cluster=NAME, service=arn, force=True)
    for arn in ECS.list_container_instances(cluster=NAME)["containerInstanceArns"]:
        ECS.deregister_container_instance(cluster=NAME, containerInstance=arn, force=True)
    for arn in ECS.list_task_definitions(familyPrefix=NAME)["taskDefinitionArns"]:
        ECS.deregister_task_definition(taskDefinition=arn)
    ECS.delete_cluster(cluster=NAME)


@pytest.fixture(scope="module")
def instance() -> Iterator[str]:
    """An instance of EC2 that the API knows; no host stands for it."""
    images = EC2.describe_images(Filters=[{"Name": "name", "Values": ["debian-12-amd64-*"]}])["Images"]
    made = EC2.run_instances(ImageId=images[0]["ImageId"], MinCount=1, MaxCount=1)["Instances"][0]
    yield made["InstanceId"]
    EC2.terminate_instances(InstanceIds=[made["InstanceId"]])


@pytest.fixture(scope="module")
def agent(
    identities: dict[str, str], cluster: str, instance: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Agent]:
    """The agent of a host that is this machine."""
    folder = tmp_path_factory.mktemp("agent")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "emulators/src"),
        "DOCKER_HOST": os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"),
        "AWS_ENDPOINT_URL": str(ADMINISTRATOR["endpoint_url"]),
        "AWS_REGION": str(ADMINISTRATOR["region_name"]),
        "AWS_EC2_METADATA_DISABLED": "true",
        "EMULATED_ECS_CONFIG": str(folder / "ecs.config"),
        "EMULATED_INSTANCE_ID": instance,
        "EMULATED_INSTANCE_MEMORY": "2048",
        "EMULATED_CREDENTIALS_ADDRESS": f"127.0.0.1:{free_port()}",
        "EMULATED_INTROSPECTION_ADDRESS": f"127.0.0.1:{free_port()}",
    } | {name: value for name, value in identities.items() if name.isupper()}
    (folder / "ecs.config").write_text(
        f"ECS_CLUSTER={cluster}\n"
        'ECS_INSTANCE_ATTRIBUTES={"role": "test"}\n'
        'ECS_AVAILABLE_LOGGING_DRIVERS=["json-file","awslogs"]\n'
        "ECS_ENABLE_TASK_IAM_ROLE=true\n"
        "ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE=true\n"
        f"ECS_DATADIR={folder / 'data'}\n"
    )
    made = Agent(environment, folder / "log")
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture(scope="module")
def service(agent: Agent, identities: dict[str, str]) -> str:
    """A service with what the site's containers use: secret, volume, health check, limits, log, role."""
    log = {"awslogs-group": GROUP, "awslogs-region": "us-east-1", "awslogs-stream-prefix": "test"}
    shared = {"scope": "shared", "autoprovision": True, "driver": "local"}
    ECS.register_task_definition(
        family=NAME,
        networkMode="bridge",
        taskRoleArn=identities["task"],
        executionRoleArn=identities["execution"],
        volumes=[{"name": VOLUME, "dockerVolumeConfiguration": shared}],
        containerDefinitions=[
            {
                "name": "main",
                "image": IMAGE,
                "essential": True,
                "memory": 96,
                "command": ["python", "-c", PROGRAM],
                "secrets": [{"name": "WORD", "valueFrom": PARAMETER}],
                "portMappings": [{"containerPort": 8000, "hostPort": 0, "protocol": "tcp"}],
                "mountPoints": [{"sourceVolume": VOLUME, "containerPath": "/mnt"}],
                "linuxParameters": {"initProcessEnabled": True, "capabilities": {"drop": ["ALL"]}},
                "healthCheck": {"command": ["CMD", "true"], "interval": 5},
                "stopTimeout": 5,
                "logConfiguration": {"logDriver": "awslogs", "options": log},
            }
        ],
    )
    ECS.create_service(
        cluster=NAME,
        serviceName="main",
        taskDefinition=NAME,
        desiredCount=1,
        deploymentConfiguration={"minimumHealthyPercent": 0, "maximumPercent": 100},
        placementConstraints=[{"type": "memberOf", "expression": "attribute:role == test"}],
    )
    return "main"


def running(other_than: str = "") -> dict[str, Any] | None:
    """The task that runs and is healthy."""
    arns = ECS.list_tasks(cluster=NAME, serviceName="main")["taskArns"]
    for task in ECS.describe_tasks(cluster=NAME, tasks=arns)["tasks"] if arns else []:
        if (
            task["lastStatus"] == "RUNNING"
            and task["healthStatus"] == "HEALTHY"
            and task["taskArn"] != other_than
        ):
            return dict(task)
    return None


def events() -> list[str]:
    """What the service says, for a failure."""
    return [
        one["message"]
        for one in ECS.describe_services(cluster=NAME, services=["main"])["services"][0]["events"]
    ]


def state(runtime_id: str) -> dict[str, Any]:
    """The engine's state of a container."""
    found: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .State}}", runtime_id))
    return found


def lines(task: dict[str, Any]) -> list[str]:
    """What CloudWatch has of a task."""
    stream = f"test/main/{task['taskArn'].rpartition('/')[2]}"
    found, token = [], None
    while True:
        more = {"nextToken": token} if token else {}
        answer = LOGS.get_log_events(
            logGroupName=GROUP, logStreamName=stream, startFromHead=True, limit=1000, **more
        )
        found += [one["message"] for one in answer["events"]]
        if not answer["events"] or token == answer["nextForwardToken"]:
            return found
        token = answer["nextForwardToken"]


def numbers(task: dict[str, Any]) -> list[int]:
    """The numbers of the lines that CloudWatch has."""
    return [int(one.split()[1]) for one in lines(task) if one.startswith("line ")]


def test_a_service_runs_with_all_that_its_definition_says(service: str, agent: Agent, instance: str) -> None:
    with agent.shown():
        task = wait_for(running, FIRST, "healthy")
    container = task["containers"][0]
    found = json.loads(docker("inspect", container["runtimeId"]))[0]
    assert re.fullmatch(rf"/ecs-{NAME}-1-main-[0-9a-f]+", found["Name"])
    assert found["HostConfig"]["Memory"] == 96 * 2**20 and found["HostConfig"]["CapDrop"] == ["ALL"]
    assert found["Mounts"][0]["Name"] == VOLUME
    port = found["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"]
    assert container["networkBindings"][0]["hostPort"] == int(port) > 0
    [entry] = ECS.describe_container_instances(
        cluster=NAME, containerInstances=[task["containerInstanceArn"]]
    )["containerInstances"]
    assert entry["agentConnected"] and entry["ec2InstanceId"] == instance

    wait_for(lambda: len(numbers(task)) > 5, AGAIN, "lines in CloudWatch")
    first = lines(task)[0].split()
    assert first[:3] == ["secret", "hidden", "word"]
    address = agent.environment["EMULATED_CREDENTIALS_ADDRESS"]
    with urllib.request.urlopen(f"http://{address}{first[3]}", timeout=10) as answer:
        keys = json.load(answer)
    mine = boto3.client(
        "sts",
        endpoint_url=ADMINISTRATOR["endpoint_url"],
        region_name=ADMINISTRATOR["region_name"],
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["Token"],
    ).get_caller_identity()
    assert f"assumed-role/{NAME}-task/" in mine["Arn"]


def test_a_killed_agent_comes_back_to_the_same_container_and_sends_each_line_once(
    service: str, agent: Agent
) -> None:
    task = wait_for(running, FIRST, "healthy")
    before = state(task["containers"][0]["runtimeId"])["StartedAt"]
    sent = len(numbers(task))
    agent.kill()
    agent.start()
    wait_for(lambda: len(numbers(task)) > sent + 20, AGAIN, "lines after the restart")
    assert state(task["containers"][0]["runtimeId"])["StartedAt"] == before
    found = numbers(task)
    # An agent that is killed between the API's answer and the note of it sends that one batch again.
    again = [number for at, number in enumerate(found[1:]) if number <= found[at]]
    assert sorted(set(found)) == list(range(max(found) + 1)), "no line is lost"
    assert len(again) <= 1 and len(found) - len(set(found)) <= 20, found


def test_a_deployment_never_runs_two_of_them(service: str, agent: Agent) -> None:
    old = wait_for(running, FIRST, "healthy")
    ECS.update_service(cluster=NAME, service=service, forceNewDeployment=True)
    new = wait_for(lambda: running(old["taskArn"]), FIRST, f"a new task: {events()}")
    ended, began = (state(one["containers"][0]["runtimeId"]) for one in (old, new))
    assert ended["Status"] == "exited" and ended["FinishedAt"] <= began["StartedAt"]


def test_a_container_that_dies_is_replaced_and_its_end_is_told(service: str, agent: Agent) -> None:
    old = wait_for(running, FIRST, "healthy")
    docker("kill", old["containers"][0]["runtimeId"])
    new = wait_for(lambda: running(old["taskArn"]), FIRST, f"a new task: {events()}")
    assert new["containers"][0]["runtimeId"] != old["containers"][0]["runtimeId"]
    [told] = ECS.describe_tasks(cluster=NAME, tasks=[old["taskArn"]])["tasks"]
    assert told["stopCode"] == "EssentialContainerExited"
    assert told["stoppedReason"] == "Essential container in task exited"
    assert told["containers"][0]["exitCode"] == 137


def test_a_removed_service_leaves_nothing_running(service: str, agent: Agent) -> None:
    ECS.update_service(cluster=NAME, service=service, desiredCount=0)
    ECS.delete_service(cluster=NAME, service=service)
    label = f"label=com.amazonaws.ecs.cluster={NAME}"
    wait_for(lambda: not docker("ps", "-q", "--filter", label), AGAIN, "stopped")
    assert docker("ps", "-aq", "--filter", label), "stopped containers stay for those who look for the reason"
