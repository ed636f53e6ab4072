"""The module lambda_invocation: it waits for slow functions, and never lets two invocations write at the same time."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError

import lambda_invocation

TIMED_OUT = {
    "errorType": "Sandbox.Timedout",
    "errorMessage": "RequestId: 1 Error: Task timed out after 120.00 seconds",
}
BUSY = ClientError({"Error": {"Code": "TooManyRequestsException", "Message": "Rate Exceeded."}}, "Invoke")
LOST = ReadTimeoutError(endpoint_url="http://lambda")


class Function:
    """Answers one after another; an exception is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.payloads: list[Any] = []

    def invoke(self, FunctionName: str, Payload: str) -> dict[str, Any]:
        self.payloads.append(json.loads(Payload))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        failed = {"FunctionError": "Unhandled"} if "errorMessage" in answer else {}
        return {"Payload": io.BytesIO(json.dumps(answer).encode()), **failed}


def invocation(
    *answers: Any, patience: int = 300
) -> tuple[lambda_invocation.Invocation, Function, list[float]]:
    function, slept = Function(*answers), []
    made = lambda_invocation.Invocation(function, "generator", 120, patience)
    made.sleep = slept.append
    return made, function, slept


def test_an_answer_that_was_lost_is_asked_for_again_when_the_function_must_be_over() -> None:
    made, function, slept = invocation(LOST, {"rows": 5})
    assert made.answer({"batch_id": "b"}, 3) == {"rows": 5}
    assert function.payloads == [{"batch_id": "b"}] * 2, "the same batch"
    assert slept == [120]


def test_a_function_that_was_ended_at_its_timeout_is_invoked_again() -> None:
    made, function, _ = invocation(TIMED_OUT, {"rows": 5})
    assert made.answer({"batch_id": "b"}, 3) == {"rows": 5}
    assert len(function.payloads) == 2


def test_it_waits_while_another_invocation_runs() -> None:
    made, _, slept = invocation(BUSY, BUSY, {"rows": 5})
    assert made.answer({"batch_id": "b"}, 1) == {"rows": 5}
    assert slept == [5, 5]
    with pytest.raises(ClientError, match="TooManyRequests"):
        invocation(*[BUSY] * 4, patience=10)[0].answer({}, 1)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([TIMED_OUT] * 3, "invoked 3 times with the same batch id: it was ended at its timeout of 120 s"),
        ([LOST] * 3, "no answer came within 150 s"),
        ([{"errorType": "InvalidRequestError", "errorMessage": "rows must be"}], "ended with InvalidRequestError: rows must be"),
    ],
)  # fmt: skip
def test_a_failure_says_what_is_kept_and_what_to_do(answers: list[Any], words: str) -> None:
    with pytest.raises(lambda_invocation.InvocationError) as error:
        invocation(*answers)[0].answer({"batch_id": "b"}, 3)
    assert words in str(error.value)
    assert "What it had finished" in str(error.value)


class Slow(BaseHTTPRequestHandler):
    """A function that takes two seconds."""

    running: list[int] = []
    most = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.running.append(1)
        Slow.most = max(Slow.most, len(self.running))
        time.sleep(2)
        self.running.pop()
        body = b'{"rows": 5}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass  # whoever asked is gone

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def slow() -> Iterator[str]:
    Slow.most = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_impatient_client_never_runs_a_slow_function_beside_itself(slow: str) -> None:
    """boto3's own settings would: its retry starts while the first invocation is still at work."""
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    config = Config(read_timeout=1, retries={"total_max_attempts": 1})
    client = boto3.client("lambda", endpoint_url=slow, config=config, **keys)
    made = lambda_invocation.Invocation(client, "generator", timeout=2)
    with pytest.raises(lambda_invocation.InvocationError, match="no answer came"):
        made.answer({"batch_id": "b"}, 2)
    assert Slow.most == 1
    careless = boto3.client("lambda", endpoint_url=slow, config=Config(read_timeout=1), **keys)
    with pytest.raises(ReadTimeoutError):
        careless.invoke(FunctionName="generator", Payload="{}")
    assert Slow.most > 1
