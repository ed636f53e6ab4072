"""Health checks of Dagster's containers: what is well passes, what is not is named, and they cost little."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import MagicMock

import psycopg2
import pytest

from retailflow_dagster import docs, health

INFO = json.dumps({"dagster_webserver_version": "1.0"}).encode()


@pytest.fixture
def webserver(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What a server on the webserver's port answers, and the lines with which it was asked."""
    said: dict[str, Any] = {"status": 200, "body": INFO, "asked": []}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said["asked"].append(self.requestline)
            self.send_response(said["status"])
            self.end_headers()
            self.wfile.write(said["body"])

        def log_message(self, *_: Any) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        monkeypatch.setattr(health, "WEBSERVER_PORT", server.server_port)
        yield said


class serving:
    """Run a server in a thread until the block ends."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.server = server

    def __enter__(self) -> ThreadingHTTPServer:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self.server

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_a_webserver_that_says_its_version_is_well(webserver: dict[str, Any]) -> None:
    health.webserver()
    assert webserver["asked"] == ["GET /server_info HTTP/1.0"]


@pytest.mark.parametrize(
    ("status", "body"), [(500, INFO), (404, b"Not found"), (200, b"{}"), (200, b"starting"), (200, b"")]
)
def test_any_other_answer_is_not_well(webserver: dict[str, Any], status: int, body: bytes) -> None:
    webserver |= {"status": status, "body": body}
    with pytest.raises((AssertionError, ValueError, KeyError)):
        health.webserver()


def test_the_documentation_is_well_where_its_page_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(docs.server(b"page", 0, "127.0.0.1")) as server:
        monkeypatch.setattr(health, "DOCS_PORT", server.server_port)
        health.docs()
        with pytest.raises(AssertionError, match="404"):
            health.answer(server.server_port, "/other", "HEAD")
    with pytest.raises(OSError):
        health.docs()


def test_a_check_loads_no_http_client_and_says_what_is_wrong() -> None:
    """It runs every few seconds in each container."""
    program = (
        "import sys; sys.argv = ['health', 'docs']; from retailflow_dagster import health;"
        "health.DOCS_PORT = 1\n"
        "try: health.CHECKS['docs']()\n"
        "except OSError: print({'http.client', 'ssl', 'dagster'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": health.__file__.rsplit("/", 2)[0]},
    )
    assert done.stdout == "set()\n"


def take_signals() -> None:
    """Signals end the program, whatever this process does with its own."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


@pytest.mark.parametrize(("seconds", "ended"), [(10, False), (300, True)])
def test_a_daemon_whose_tables_are_gone_is_ended_unless_it_just_started(
    monkeypatch: pytest.MonkeyPatch, seconds: float, ended: bool
) -> None:
    link = MagicMock()
    link.cursor().__enter__().execute.side_effect = psycopg2.errors.UndefinedTable("no daemon_heartbeats")
    monkeypatch.setattr(psycopg2, "connect", lambda **_: link)
    for name in ("HOST", "DATABASE", "USER", "PASSWORD"):
        monkeypatch.setenv(f"DAGSTER_PG_{name}", "any")
    with subprocess.Popen(["sleep", "60"], preexec_fn=take_signals) as main:
        monkeypatch.setattr(health, "MAIN", main.pid)
        assert 0 <= health.age(main.pid) < 30
        monkeypatch.setattr(health, "age", lambda process: seconds if process == main.pid else 0)
        with pytest.raises(psycopg2.errors.UndefinedTable):
            health.daemon()
        if ended:
            assert main.wait(10) == -signal.SIGTERM
        else:
            assert main.poll() is None
            main.kill()
    link.close.assert_called_once()
