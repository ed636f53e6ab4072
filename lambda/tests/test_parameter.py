"""The password that is a parameter: asked for as AWS takes it, read once per process, and again where it was refused."""

from __future__ import annotations

import datetime as dt
import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from retailflow_emulators.ports import free_port
from retailflow_generator import database as module
from retailflow_generator import parameter as parameters
from retailflow_generator.__main__ import main
from retailflow_generator.batch import DatabaseUnavailableError
from retailflow_generator.handler import handler
from retailflow_generator.parameter import Parameter, PasswordUnavailableError, password_of

NAME = "/shop/generator/DB_PASSWORD"
KEYS = {
    "AWS_ACCESS_KEY_ID": "ASIA1",
    "AWS_SECRET_ACCESS_KEY": "key/of+the=role",
    "AWS_SESSION_TOKEN": "tok/en+==",
}
BATCH = {"rows": 3}
Sql = Callable[..., list[tuple[Any, ...]]]


class Store:
    """A parameter store: `answers` come one after another, the last one for ever; `asked` are the requests."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[tuple[dict[str, str], Any]] = []
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                store.asked.append(({k.lower(): v for k, v in self.headers.items()}, json.loads(body)))
                status, answer = store.answers.pop(0) if len(store.answers) > 1 else store.answers[0]
                text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def holds(self, *passwords: str) -> None:
        """Answer with these, one after another."""
        self.answers = [(200, {"Parameter": {"Name": NAME, "Value": one}}) for one in passwords]


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def function(store: Store, database: Sql, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sql]:
    """The environment of a function that reads its password from the store, in a process that is cold."""
    monkeypatch.delenv("DB_PASSWORD")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DB_PASSWORD_PARAMETER", NAME)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", store.url)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")

    def cool() -> None:
        module.engine_for.cache_clear()
        password_of.cache_clear()

    cool()
    yield database
    cool()


@pytest.fixture
def rotating(function: Sql) -> Iterator[Callable[[str], None]]:
    """The server compares the generator's password, which the returned function changes, and closes its sessions."""
    ((path,),) = function("show hba_file")
    before = [line for (line,) in function("select regexp_split_to_table(pg_read_file(%s), e'\\n')", path)]

    def write(lines: list[str]) -> None:
        function(f"copy (select unnest(%s::text[])) to '{path}'", lines)
        function("select pg_reload_conf()")

    def change(password: str) -> None:
        function(f"alter role generator password '{password}'")
        function("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'generator'")

    ((kept,),) = function("select rolpassword from pg_authid where rolname = 'generator'")
    write(["host all generator all scram-sha-256", *before])
    yield change
    write(before)
    function(f"alter role generator password '{kept}'")


@pytest.mark.parametrize("token", ["tok/en+==", ""])
def test_the_request_is_signed_as_botocore_signs_it(token: str) -> None:
    asked = Parameter(NAME, "https://vpce-1.ssm.eu-central-1.vpce.amazonaws.com", "eu-central-1")
    ours = asked.signed(b'{"Name": "x"}', KEYS | {"AWS_SESSION_TOKEN": token}, dt.datetime.now(dt.UTC))
    theirs = AWSRequest("POST", asked.endpoint + "/", data=b'{"Name": "x"}')
    for name in ("content-type", "host", "x-amz-target"):
        theirs.headers[name] = ours[name]
    theirs.context["timestamp"] = ours["x-amz-date"]
    signer = SigV4Auth(
        Credentials(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], token or None),
        "ssm",
        "eu-central-1",
    )
    theirs.headers["X-Amz-Date"] = ours["x-amz-date"]
    if token:
        theirs.headers["X-Amz-Security-Token"] = token
    text = signer.string_to_sign(theirs, signer.canonical_request(theirs))
    assert ours["authorization"].endswith(f"Signature={signer.signature(text, theirs)}")
    assert ("x-amz-security-token" in ours) == bool(token)


def test_the_password_is_read_once_per_process(
    store: Store, function: Sql, rotating: Callable[[str], None]
) -> None:
    store.holds("first")
    rotating("first")
    assert [handler(BATCH)["rows"] for _ in range(3)] == [3, 3, 3]
    ((headers, asked),) = store.asked
    assert asked == {"Name": NAME, "WithDecryption": True}
    assert headers["x-amz-target"] == "AmazonSSM.GetParameter"
    assert headers["x-amz-security-token"] == KEYS["AWS_SESSION_TOKEN"]
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=ASIA1/")


def test_a_warm_process_reads_it_again_after_a_rotation_and_loses_nothing(
    store: Store, function: Sql, rotating: Callable[[str], None]
) -> None:
    store.holds("first", "second")
    rotating("first")
    handler(BATCH)
    rotating("second")
    assert handler(BATCH | {"batch_id": "warm"})["repeated"] is False
    assert function("select count(*) from sales") == [(6,)]
    assert len(store.asked) == 2


@pytest.mark.parametrize(("held", "asked"), [(("old",), 2), (("old", "older"), 2)])
def test_a_refused_login_is_tried_again_once(
    store: Store, function: Sql, rotating: Callable[[str], None], held: tuple[str, ...], asked: int
) -> None:
    store.holds(*held)
    rotating("new")
    with pytest.raises(DatabaseUnavailableError, match="password authentication failed") as caught:
        handler(BATCH)
    assert len(store.asked) == asked
    assert "old" not in str(caught.value)
    assert function("select count(*) from sales") == [(0,)]


def test_a_server_that_is_down_is_no_reason_to_read_it_again(
    store: Store, function: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.holds("first")
    monkeypatch.setenv("DB_PORT", str(free_port()))
    with pytest.raises(DatabaseUnavailableError):
        handler(BATCH)
    assert len(store.asked) == 1


DENIED = {
    "__type": "AccessDeniedException",
    "Message": "User: arn:aws:sts::1:assumed-role/r/f is not authorized to perform: ssm:GetParameter",
}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((400, DENIED), "AccessDeniedException: User: .* is not authorized to perform: ssm:GetParameter"),
        ((400, {"__type": "com.amazonaws#ParameterNotFound"}), "ParameterNotFound: without a reason"),
        ((200, {"Parameter": {"Value": ""}}), "it is empty"),
        ((200, {"other": 1}), "gave an answer that is none of the parameter store"),
        ((502, b"<html>"), "gave an answer that is none of the parameter store"),
        ((200, b"[]"), "gave an answer that is none of the parameter store"),
    ],
)
def test_why_it_cannot_be_read_is_said_without_a_secret(
    store: Store, function: Sql, answer: tuple[int, Any], words: str
) -> None:
    store.answers = [answer]
    with pytest.raises(PasswordUnavailableError, match=words) as caught:
        handler(BATCH)
    assert NAME in str(caught.value) and "The batch was not written" in str(caught.value)
    assert not [one for one in KEYS.values() if one in str(caught.value)]
    assert function("select count(*) from sales") == [(0,)]
    store.holds("first")
    assert handler(BATCH)["rows"] == 3, "the next invocation asks again"


def test_a_store_that_does_not_answer_is_given_up_in_time(
    store: Store, function: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "TIMEOUT", 0.2)
    waiting = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", f"http://127.0.0.1:{waiting}")
    with pytest.raises(PasswordUnavailableError, match="does not answer: .*refused"):
        handler(BATCH)
    silent = threading.Event()
    store.holds("first")
    original = store.server.process_request

    def late(*arguments: Any) -> None:
        silent.wait(5)
        original(*arguments)

    monkeypatch.setattr(store.server, "process_request", late)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", store.url)
    with pytest.raises(PasswordUnavailableError, match="does not answer: timed out"):
        handler(BATCH)
    silent.set()


def test_the_command_line_says_it_too(
    store: Store, function: Sql, capsys: pytest.CaptureFixture[str]
) -> None:
    store.answers = [(400, DENIED)]
    assert main(["--rows", "3"]) == 1
    assert "AccessDeniedException" in capsys.readouterr().err
    assert "AWS_SESSION_TOKEN" in os.environ
