"""A function of the emulated Lambda has the keys of its execution role, and IAM decides about what it asks for."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from retailflow_emulators.ports import free_port
from server_support import ROOT, process

from . import aws_support

REGION = aws_support.REGION
#: The server with an engine that runs a function with the emulated runtime, in a process instead of a container.
SERVER = f"""
import io, subprocess, sys, tarfile, tempfile, types
sys.path.insert(0, {str(ROOT / "images/moto")!r})
import server
from moto.awslambda.models import LambdaFunction
code = tempfile.mkdtemp()

class Filler:
    def put_archive(self, path, stream):
        if path == "/tmp/data":
            tarfile.open(fileobj=io.BytesIO(stream.read() if hasattr(stream, "read") else stream)).extractall(code)
    def remove(self, force):
        pass

class Function:
    def __init__(self, command, environment):
        settings = {{name: str(value) for name, value in environment.items()}} | {{"LAMBDA_TASK_ROOT": code}}
        runtime = {str(ROOT / "images/lambda-runtime/bootstrap.py")!r}
        self.done = subprocess.run([sys.executable, runtime, *command], env=settings, capture_output=True)
    def wait(self, timeout):
        return {{"StatusCode": self.done.returncode}}
    def logs(self, stdout, stderr):
        return self.done.stdout if stdout else self.done.stderr
    def remove(self):
        pass

class Engine:
    class images:
        get = staticmethod(lambda name: None)
    class volumes:
        list = staticmethod(lambda: [])
        create = staticmethod(lambda name="": types.SimpleNamespace(name=name, remove=lambda: None))
    class containers:
        @staticmethod
        def run(image, command, environment=None, **options):
            return Filler() if environment is None else Function(command, environment)

LambdaFunction.docker_client = Engine
sys.argv = ["server.py", "-H", "127.0.0.1", "-p", sys.argv[1]]
server.main()
"""
#: What the generator does, without all that it does besides.
CODE = """
import os
from parameter import Parameter

def read(event, context):
    return Parameter(event["name"], os.environ["AWS_ENDPOINT_URL_SSM"], os.environ["AWS_REGION"]).read(os.environ)

def keys(event, context):
    return {name: os.environ[name] for name in os.environ if name.startswith("AWS_") and "KEY" in name}
"""
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    ],
}


class Cloud:
    """The server, a client of the administrator for each service, and functions by the name of their role."""

    def __init__(self, url: str) -> None:
        self.url = url
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as made:
            made.writestr("task.py", CODE)
            made.write(ROOT / "lambda/src/retailflow_generator/parameter.py", "parameter.py")
        self.code = archive.getvalue()
        names = {"access_key_id": "aws_access_key_id", "secret_access_key": "aws_secret_access_key"}
        keys = {names[name]: value for name, value in aws_support.ADMINISTRATOR.items()}
        services = ("ssm", "iam", "lambda")
        self.clients: dict[str, Any] = {
            one: boto3.client(one, endpoint_url=url, region_name=REGION, **keys)  # type: ignore[call-overload]
            for one in services
        }
        for name in ("own", "other"):
            self.clients["ssm"].put_parameter(
                Name=f"/shop/{name}/DB_PASSWORD", Value=f"word of {name}", Type="SecureString"
            )

    def function(self, name: str, parameters: list[str], handler: str = "task.read") -> None:
        """Make a function whose role may read these parameters."""
        role = self.clients["iam"].create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
        if parameters:
            arns = [f"arn:aws:ssm:*:{aws_support.ACCOUNT}:parameter{one}" for one in parameters]
            allow = {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": arns}
            document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
            self.clients["iam"].put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document)
        self.clients["lambda"].create_function(
            FunctionName=name,
            Runtime="python3.11",
            Role=role["Role"]["Arn"],
            Handler=handler,
            Code={"ZipFile": self.code},
            Timeout=30,
            Environment={"Variables": {"AWS_ENDPOINT_URL_SSM": self.url}},
        )

    def invoke(self, function: str, **payload: Any) -> Any:
        answer = self.clients["lambda"].invoke(FunctionName=function, Payload=json.dumps(payload))
        return json.loads(answer["Payload"].read())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("moto")


@pytest.fixture(scope="module")
def cloud(folder: Path) -> Iterator[Cloud]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    administrator = aws_support.ADMINISTRATOR | {
        "name": "administrator",
        "policies": {"everything": aws_support.EVERYTHING},
    }
    settings = {
        "EMULATED_AWS_IDENTITIES": json.dumps([administrator]),
        "EMULATED_AWS_RECORD": str(folder / "actions.txt"),
    }
    command = [sys.executable, "-c", SERVER, str(port)]
    with process(command, settings, folder / "moto.log", f"{url}/moto-api/"):
        yield Cloud(url)


def test_a_function_reads_the_parameter_that_its_role_may_read_and_no_other(
    cloud: Cloud, folder: Path
) -> None:
    cloud.function("reader", ["/shop/own/DB_PASSWORD"])
    assert [cloud.invoke("reader", name="/shop/own/DB_PASSWORD") for _ in range(2)] == ["word of own"] * 2
    refused = cloud.invoke("reader", name="/shop/other/DB_PASSWORD")
    assert refused["errorType"] == "PasswordUnavailableError"
    who = f"arn:aws:sts::{aws_support.ACCOUNT}:assumed-role/reader/reader"
    assert f"AccessDeniedException: User: {who} is not authorized" in refused["errorMessage"]
    assert "word of other" not in json.dumps(refused)
    asked = (folder / "actions.txt").read_text()
    arn = f"arn:aws:ssm:{REGION}:{aws_support.ACCOUNT}:parameter/shop/own/DB_PASSWORD"
    assert f"assumed-role/reader/reader ssm:GetParameter {arn}\n" in asked


def test_a_function_whose_role_may_read_none_is_refused(cloud: Cloud) -> None:
    cloud.function("unrelated", [])
    refused = cloud.invoke("unrelated", name="/shop/own/DB_PASSWORD")
    assert "no identity-based policy allows the ssm:GetParameter action" in refused["errorMessage"]


def test_the_right_counts_from_the_next_request_on(cloud: Cloud) -> None:
    cloud.function("changing", ["/shop/own/DB_PASSWORD"])
    assert cloud.invoke("changing", name="/shop/own/DB_PASSWORD") == "word of own"
    cloud.clients["iam"].delete_role_policy(RoleName="changing", PolicyName="own")
    assert "AccessDenied" in cloud.invoke("changing", name="/shop/own/DB_PASSWORD")["errorMessage"]


def test_the_keys_are_in_no_configuration_and_of_one_function_alone(cloud: Cloud) -> None:
    for name in ("one", "two"):
        cloud.function(name, [], "task.keys")
    one, two = cloud.invoke("one"), cloud.invoke("two")
    assert one["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert cloud.invoke("one") == one and not set(one.values()) & set(two.values())
    found = cloud.clients["lambda"].get_function_configuration(FunctionName="one")
    assert found["Environment"]["Variables"] == {"AWS_ENDPOINT_URL_SSM": cloud.url}


@pytest.mark.parametrize("kind", ["trusts another", "is gone"])
def test_a_role_that_does_not_let_lambda_in_lets_nothing_run(cloud: Cloud, kind: str) -> None:
    iam, name = cloud.clients["iam"], kind.replace(" ", "-")
    cloud.function(name, [], "task.keys")
    assert cloud.invoke(name)
    if kind == "is gone":
        iam.delete_role(RoleName=name)
    else:
        other = json.dumps(TRUST).replace("lambda.", "ec2.")
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=other)
    with pytest.raises(ClientError, match="cannot be assumed by Lambda") as caught:
        cloud.invoke(name)
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
