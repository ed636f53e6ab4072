"""What a client may send, with a login or without."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from retailflow_emulators.ports import free_port
from retailflow_emulators.web import bounds, json_text, serving
from retailflow_emulators.web.bounds import BodyError, Bound, Bounded

from .conftest import Running

NAMES = ("airbyte", "dashboards", "snowflake")
MEGABYTES = 100
GROWTH_MB = 30


def shape(name: str, body: bytes) -> str:
    """What a refusal says, in the shape that clients of the product read."""
    if name == "dashboards":
        return body.decode()
    answer = json.loads(body)
    if name == "airbyte":
        assert answer["title"] == "content-too-large" and answer["status"] == 413
        return str(answer["detail"])
    assert answer["code"] == "390100" and answer["success"] is False
    return str(answer["message"])


def megabytes(content: bytes = b"a" * 2**20) -> Iterator[bytes]:
    for _ in range(MEGABYTES):
        yield content


def bomb() -> bytes:
    """A gzip stream of a few MB that unpacks to MEGABYTES."""
    packer = zlib.compressobj(1, wbits=31)
    return b"".join([*(packer.compress(one) for one in megabytes()), packer.flush()])


@pytest.mark.parametrize("name", NAMES)
def test_a_body_beyond_the_bound_is_refused_and_never_held(servers: dict[str, Running], name: str) -> None:
    server = servers[name]
    before = server.peak_mb
    status, body = server.send("POST", server.login, megabytes())
    assert status == 413
    assert "bytes" in shape(name, body)
    # Where nothing reads the body, it is not held either.
    declared = {"Content-Length": str(MEGABYTES * 2**20)}
    assert server.send("PUT", "/fs_bucket/a/b", megabytes(), declared)[0] in (401, 403, 404)
    assert server.peak_mb - before < GROWTH_MB


def test_a_packed_body_is_bounded_once_unpacked(servers: dict[str, Running]) -> None:
    server = servers["snowflake"]
    before = server.peak_mb
    packed = bomb()
    assert len(packed) < 3_000_000
    status, body = server.send("POST", server.login, iter([packed]), {"Content-Encoding": "gzip"})
    assert status == 413 and "bytes" in shape("snowflake", body)
    assert server.peak_mb - before < GROWTH_MB


@pytest.mark.parametrize("name", NAMES)
def test_who_declares_too_much_is_refused_before_the_first_byte(
    servers: dict[str, Running], name: str
) -> None:
    server = servers[name]
    with server.line() as client:
        head = f"POST {server.login} HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "damage", [lambda packed: packed[:-1], lambda packed: packed + b"x", lambda _: b"{}"]
)
def test_a_body_that_is_not_the_gzip_it_says_is_unreadable(servers: dict[str, Running], damage: Any) -> None:
    server = servers["snowflake"]
    body = damage(gzip.compress(b'{"data": {}}'))
    status, answer = server.send("POST", server.login, body, {"Content-Encoding": "gzip"})
    assert status == 200, "clients would repeat the request"
    assert "Content-Encoding" in shape("snowflake", answer)


@pytest.mark.parametrize("name", NAMES)
def test_a_head_beyond_the_bound_is_refused(servers: dict[str, Running], name: str) -> None:
    with servers[name].line() as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
        answer = b""
        with contextlib.suppress(ConnectionError):  # closed
            for _ in range(100):
                client.sendall(b"a" * 10_000)
                time.sleep(0.001)
        with contextlib.suppress(ConnectionError):
            answer = client.recv(100)
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("levels", [101, 20_000])
def test_json_of_many_levels_is_refused(servers: dict[str, Running], name: str, levels: int) -> None:
    body = b'{"data":' + b"[" * levels + b"]" * levels + b"}"
    status, answer = servers[name].send(
        "POST", servers[name].login, body, {"Content-Type": "application/json"}
    )
    assert status == (200 if name == "snowflake" else 400)
    assert b"more than 100 levels" in answer


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        text = await Request(scope, receive).body()
        answer = PlainTextResponse(text)
    except BodyError as error:
        answer = PlainTextResponse(str(error), error.status)
    await answer(scope, receive, send)


def test_a_body_that_dribbles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(bounds, "LINGER_SECONDS", 0.1)
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"a", "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/", "method": "POST", "headers": [(b"transfer-encoding", b"chunked")]}
    asyncio.run(asyncio.wait_for(Bounded(_echo, lambda _: Bound(10**9))(scope, receive, send), 5))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert sent[-1].get("more_body", False) is False


def test_a_head_that_dribbles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.3)
    port = free_port()
    server = uvicorn.Server(serving.configuration(_echo, "127.0.0.1", port, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        for first in (b"", b"GET / HTTP/1.1\r\nA: ", b"GET / HTTP/1.1\r\n\r\nGET /"):
            with socket.create_connection(("127.0.0.1", port), 10) as client:
                began = time.monotonic()
                client.sendall(first)
                while client.recv(1000):
                    pass
                assert time.monotonic() - began < 3
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            for _ in range(4):  # a client that is busy for longer than a head may take
                client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
                assert client.recv(1000).endswith(b"x")
                time.sleep(0.15)
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    "text", [b"NaN", b"-Infinity", b"1e999", b'"\\ud800"', b"[" * 101 + b"]" * 101, b"", b"1" * 5000, b"\xff"]
)
def test_what_cannot_be_written_again_is_not_read(text: bytes) -> None:
    with pytest.raises(ValueError):
        json_text.read(text)


def test_json_is_read_as_it_is() -> None:
    text = '{"a": [1, 2.5, null, true, "é\\u0000"]}'
    assert json_text.read(text.encode()) == json.loads(text)
    assert json_text.read(b"[" * 100 + b"]" * 100)
