"""Requests to the API: signed, renewed, and errors of two kinds."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from retailflow_emulators.ecs_agent.api import Api, ApiAwayError, ApiRefusedError, Keys

from .conftest import Host

NOW = dt.datetime(2026, 11, 30, 8, 0, tzinfo=dt.UTC)


class Answer:
    def __init__(self, status: int, body: Any) -> None:
        self.status_code = status
        self.content = body if isinstance(body, bytes) else json.dumps(body).encode()


class Sts:
    """Gives credentials for an hour, numbered."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []

    def assume_role(self, **request: str) -> dict[str, Any]:
        self.asked.append(request)
        return {
            "Credentials": {
                "AccessKeyId": f"ASIA{len(self.asked)}",
                "SecretAccessKey": "s",
                "SessionToken": "t",
                "Expiration": NOW + dt.timedelta(hours=len(self.asked)),
            }
        }


class Wire:
    """The API behind a wire: answers in their order, the last for ever."""

    def __init__(self, host: Host, *answers: Any) -> None:
        self.answers, self.sts, self.now = list(answers), Sts(), NOW
        self.sent: list[Any] = []
        self.connected: list[dict[str, Any]] = []
        self.api = Api(host.settings, lambda: self.now, self._send, self._connect)

    def _send(self, request: Any) -> Answer:
        self.sent.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return Answer(*answer)

    def _connect(self, service: str, **options: Any) -> Any:
        self.connected.append({"service": service} | options)
        return self.sts


def test_a_request_is_signed_by_the_instances_role(host: Host) -> None:
    wire = Wire(host, (200, {"revision": 1, "tasks": []}))
    assert wire.api.call("Poll", cluster="shop")["revision"] == 1
    [request] = wire.sent
    assert request.url == "http://127.0.0.1:9/"
    assert "AmazonEC2ContainerServiceV20141113.Poll" in str(request.headers["X-Amz-Target"])
    signature = str(request.headers["Authorization"])
    assert "Credential=ASIA1/" in signature and "/us-east-1/ecs/aws4_request" in signature
    assert "x-amz-target" in signature
    assert json.loads(request.body) == {"cluster": "shop"}
    assert wire.sts.asked == [
        {"RoleArn": host.settings.role_arn, "RoleSessionName": host.settings.instance_id}
    ]
    assert wire.connected[0]["endpoint_url"] == "http://127.0.0.1:9"
    assert wire.connected[0]["aws_access_key_id"] == "ec2"


def test_credentials_are_renewed_before_they_end(host: Host) -> None:
    wire = Wire(host, (200, {}))
    wire.api.call("Poll")
    wire.now += dt.timedelta(minutes=44)
    wire.api.call("Poll")
    wire.now += dt.timedelta(minutes=2)
    wire.api.call("Poll")
    assert [str(one.headers["Authorization"]).count("ASIA2") for one in wire.sent] == [0, 0, 1]


@pytest.mark.parametrize("code", ["UnrecognizedClientException", "ExpiredTokenException"])
def test_an_api_that_has_forgotten_the_credentials_gets_new_ones(host: Host, code: str) -> None:
    wire = Wire(host, (400, {"__type": f"com.amazon#{code}", "message": "no"}), (200, {"revision": 2}))
    with pytest.raises(ApiAwayError, match="assumed again"):
        wire.api.call("Poll")
    assert wire.api.call("Poll")["revision"] == 2
    assert len(wire.sts.asked) == 2


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            (400, {"__type": "ClusterNotFoundException", "message": "gone"}),
            ApiRefusedError,
            "ClusterNotFound",
        ),
        ((400, {"__type": "x#InvalidParameterException", "Message": "a"}), ApiRefusedError, "a"),
        ((400, {"__type": "ThrottlingException"}), ApiAwayError, "Throttling"),
        ((500, {"__type": "ServerException", "message": "x"}), ApiAwayError, "500"),
        ((502, b"<html>"), ApiAwayError, "502"),
        ((200, b"<html>"), ApiAwayError, "200"),
        ((404, b"Not yet implemented"), ApiAwayError, "404"),
        (EndpointConnectionError(endpoint_url="http://aws"), ApiAwayError, "connect"),
    ],
)
def test_errors_are_of_two_kinds(host: Host, answer: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        Wire(host, answer).api.call("Poll")


def test_clients_are_made_once_for_each_role(host: Host) -> None:
    wire = Wire(host, (200, {}))
    first = wire.api.client("logs")
    assert wire.api.client("logs") is first
    assert [one["service"] for one in wire.connected] == ["sts", "logs"]
    assert all(one["endpoint_url"] == "http://127.0.0.1:9" for one in wire.connected)
    assert wire.connected[1]["aws_session_token"] == "t"


def test_boto3_takes_what_a_client_is_made_of(host: Host) -> None:
    ssm = Api(host.settings).client("ssm", Keys("a", "b", "c"))
    with Stubber(ssm) as stub:
        stub.add_response("get_parameters", {"Parameters": []}, {"Names": ["a"], "WithDecryption": True})
        assert ssm.get_parameters(Names=["a"], WithDecryption=True)["Parameters"] == []
    assert ssm.meta.endpoint_url == "http://127.0.0.1:9"
