"""What containers and the host's administrator ask by HTTP."""

from __future__ import annotations

import socket

import pytest
from starlette.testclient import TestClient

from retailflow_emulators.ecs_agent import credentials, introspection
from retailflow_emulators.ecs_agent.__main__ import main
from retailflow_emulators.ecs_agent.api import Keys
from retailflow_emulators.ecs_agent.state import Known

from .conftest import KEYS, ROLE, Host, wait_until, wanted


def test_the_sdks_of_aws_get_the_credentials_of_the_task(host: Host) -> None:
    host.run(wanted(1, definition={"taskRoleArn": ROLE}, roleCredentials=KEYS))
    client = TestClient(credentials.application(host.agent.task_keys))
    path = f"/v2/credentials/{host.task().credentials_id}"
    assert client.get(path).json() == {
        "RoleArn": ROLE,
        "AccessKeyId": "ASIA1",
        "SecretAccessKey": "secret",
        "Token": "token",
        "Expiration": "2026-11-30T09:00:00Z",
    }
    host.restart()
    answer = TestClient(credentials.application(host.agent.task_keys)).get(path)
    assert (answer.status_code, answer.json()["code"]) == (503, "CredentialsUninitialized")
    host.run(wanted(1, definition={"taskRoleArn": ROLE}, roleCredentials=KEYS, desired="STOPPED"))
    answer = TestClient(credentials.application(host.agent.task_keys)).get(path)
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidIdInRequest")


def test_whoever_knows_no_id_gets_nothing() -> None:
    def lookup(identity: str) -> Keys:
        raise KeyError(identity)

    client = TestClient(credentials.application(lookup))
    assert client.get("/v2/credentials/").json() == {
        "code": "NoIdInRequest",
        "message": "CredentialsV2Request: No Credential ID in the request",
        "HTTPErrorCode": 400,
    }
    assert client.get("/v2/credentials/x").json()["code"] == "InvalidIdInRequest"
    assert client.get("/").status_code == 404
    assert client.post("/v2/credentials/x").status_code == 405


def test_the_agent_tells_about_itself_once_it_is_registered(host: Host) -> None:
    client = TestClient(introspection.application(lambda: host.agent.known))
    assert client.get("/v1/metadata").status_code == 503
    host.run(wanted())
    found = client.get("/v1/metadata").json()
    assert (found["Cluster"], found["ContainerInstanceArn"]) == ("shop", host.agent.known.instance_arn)
    [task] = client.get("/v1/tasks").json()["Tasks"]
    assert (task["Arn"], task["KnownStatus"], task["Family"], task["Version"]) == (
        host.task().arn, "RUNNING", "db", "7",
    )  # fmt: skip
    [container] = task["Containers"]
    assert container["DockerName"] == host.made()["Name"][1:] and container["Name"] == "db"
    assert client.get("/v1/tasks", params={"dockerid": host.made()["Id"][:12]}).json() == task
    assert client.get("/v1/tasks", params={"taskarn": task["Arn"]}).json() == task
    assert client.get("/v1/tasks", params={"taskarn": "x"}).status_code == 404


def test_health_asks_the_agent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    known = Known(cluster="shop")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
    monkeypatch.setenv("EMULATED_INTROSPECTION_ADDRESS", f"127.0.0.1:{address[1]}")
    assert main(["health"]) == 1
    assert "does not answer" in capsys.readouterr().err
    credentials.serve("introspection", introspection.application(lambda: known), address)
    wait_until(lambda: "does not answer" not in introspection.health(address), "it listens")
    assert main(["health"]) == 1
    known.instance_arn = "arn"
    assert main(["health"]) == 0
