"""The emulated API takes no more than the service does, and from nobody it knows next to nothing."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from retailflow_emulators.ports import free_port
from server_support import ROOT, process

from . import aws_support

MEGABYTES, GROWTH_MB = 100, 30
FOREIGN = {
    service: f"AWS4-HMAC-SHA256 Credential=AKIAFOREIGN/20261129/us-east-1/{service}/aws4_request, Signature=0"
    for service in ("s3", "lambda")
}


def peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def megabytes() -> Iterator[bytes]:
    for _ in range(MEGABYTES):
        yield b"a" * 2**20


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The port and the process of a server with one user."""
    identities = [aws_support.ADMINISTRATOR | {"name": "a", "policies": {"all": aws_support.EVERYTHING}}]
    port, log = free_port(), tmp_path_factory.mktemp("moto") / "log"
    command = [sys.executable, str(ROOT / "images/moto/server.py"), "-H", "127.0.0.1", "-p", str(port)]
    settings = {"EMULATED_AWS_IDENTITIES": json.dumps(identities)}
    with process(command, settings, log, f"http://127.0.0.1:{port}/moto-api/") as running:
        yield port, running.pid


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("service", "status"), [("", 413), ("s3", 400), ("lambda", 413)])
def test_who_is_not_known_sends_next_to_nothing(
    api: tuple[int, int], service: str, status: int, chunked: bool
) -> None:
    port, pid = api
    before = peak_mb(pid)
    headers = {} if chunked else {"Content-Length": str(MEGABYTES * 2**20)}
    if service:
        headers["Authorization"] = FOREIGN[service]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("PUT", "/bucket/key", megabytes(), headers)
    answer = connection.getresponse()
    assert (answer.status, b"TooLarge" in answer.read()) == (status, True)
    connection.close()
    assert peak_mb(pid) - before < GROWTH_MB


def test_who_is_known_sends_what_the_service_takes(api: tuple[int, int]) -> None:
    keys = {
        "aws_access_key_id": aws_support.ADMINISTRATOR["access_key_id"],
        "aws_secret_access_key": aws_support.ADMINISTRATOR["secret_access_key"],
        "endpoint_url": f"http://127.0.0.1:{api[0]}",
        "region_name": "us-east-1",
    }
    s3, logs = boto3.client("s3", **keys), boto3.client("logs", **keys)
    s3.create_bucket(Bucket="store")
    body = b"b" * 75_000_000
    s3.put_object(Bucket="store", Key="large", Body=body)
    assert s3.head_object(Bucket="store", Key="large")["ContentLength"] == len(body)
    with pytest.raises(ClientError, match="RequestEntityTooLargeException"):
        logs.create_log_group(logGroupName="a", tags={"a": body.decode()})
