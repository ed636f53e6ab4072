"""A database that is away or hangs: what waits for it goes on by itself, within bounds."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
import yaml
from dagster._grpc.server import DagsterApiServer

import dbt_support
from retailflow_dagster import code_server, entrypoint
from retailflow_dagster.lib.postgres import Shop


def test_the_watch_over_run_workers_outlives_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """In Dagster's own thread, as the server runs it: two errors of the database, then the dead worker is seen."""
    ended = threading.Event()
    looks: list[str] = []

    class Server(DagsterApiServer):
        def __init__(self) -> None:
            self._DagsterApiServer__cleanup_thread = None
            self._server_termination_event = ended

        def _check_for_orphaned_runs(self) -> None:
            looks.append("look")
            if len(looks) <= 2:
                raise psycopg2.OperationalError("too many retries for DB connection")
            ended.set()

    monkeypatch.setattr(code_server, "PAUSE_SECONDS", 0.01)
    code_server.watch_again(Server)
    thread = threading.Thread(target=Server()._cleanup_thread, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive() and len(looks) == 3


def test_the_code_server_starts_with_that_watch_and_after_its_orphans_are_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    role = yaml.safe_load((dbt_support.ROOT / "roles/dagster-dbt-container/vars/main.yml").read_text())
    (service,) = [one for one in role["__dagster_dbt_container_services"] if one["part"] == "code-server"]
    steps: list[str] = []
    for name, value in {"wait_for_database": None, "parse_project": None, "fail_orphans": 0}.items():
        monkeypatch.setattr(entrypoint, name, lambda name=name, value=value: steps.append(name) or value)
    monkeypatch.setattr(entrypoint.os, "execvp", lambda *_: steps.append("start"))
    monkeypatch.setenv("DAGSTER_PG_HOST", "db")
    entrypoint.main(service["command"])
    assert steps == ["wait_for_database", "parse_project", "fail_orphans", "start"]
    done = subprocess.run(
        [sys.executable, *service["command"][1:5], "--help"],
        env={"PYTHONPATH": str(dbt_support.ROOT / "dagster/src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and "--module-name" in done.stdout, done.stderr


def test_what_the_image_parsed_is_brought_to_where_dbt_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dbt/target").mkdir(parents=True)
    manifest = tmp_path / "dbt/target/manifest.json"
    manifest.write_text("of the image")
    monkeypatch.setenv("DBT_PROJECT_DIR", str(tmp_path / "dbt"))
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path / "memory/target"))
    entrypoint.copy_target()
    assert (tmp_path / "memory/target/manifest.json").read_text() == "of the image"
    manifest.write_text("of a later start")
    entrypoint.copy_target()
    assert (tmp_path / "memory/target/manifest.json").read_text() == "of the image", (
        "what dbt wrote since stays"
    )
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path / "dbt/target"))
    entrypoint.copy_target()


@pytest.fixture
def hanging_postgresql() -> Iterator[int]:
    """Lets everybody in, and answers no question: PostgreSQL whose processes are stopped."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                held.append(link)
                while struct.unpack("!i", (first := link.recv(8))[4:])[0] in (80877103, 80877104):  # TLS, GSS
                    link.sendall(b"N")
                link.recv(struct.unpack("!i", first[:4])[0] - 8)
                ok = b"R" + struct.pack("!ii", 8, 0) + b"Z" + struct.pack("!i", 5) + b"I"
                settings = {"client_encoding": "UTF8", "server_version": "15.0", "DateStyle": "ISO, MDY"}
                for name, value in settings.items():
                    text = f"{name}\0{value}\0".encode()
                    ok = b"S" + struct.pack("!i", 4 + len(text)) + text + ok
                link.sendall(ok[ok.index(b"R") : ok.index(b"R") + 9] + ok[: ok.index(b"R")] + ok[-6:])

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        for link in held:
            link.close()


def test_a_postgresql_that_hangs_is_left_in_time(hanging_postgresql: int) -> None:
    shop = Shop(
        host="127.0.0.1",
        port=hanging_postgresql,
        database="d",
        user="u",
        password="p",
        statement_timeout=1,
        grace=0.2,
    )
    began = time.monotonic()
    with pytest.raises(psycopg2.Error):
        shop.snapshot()
    assert 1 <= time.monotonic() - began < 20


def test_connections_notice_a_host_that_vanished() -> None:
    """Every way to PostgreSQL asks the kernel to look after the connection."""
    wanted = {"keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}
    template = (dbt_support.ROOT / "roles/dagster-dbt-container/templates/dagster.yaml.j2").read_text()
    assert all(f"{name}:" in template for name in wanted)
    assert wanted <= entrypoint.ALIVE.keys()
    seen: dict[str, Any] = {}

    def connect(**parameters: Any) -> Any:
        seen.update(parameters)
        raise psycopg2.OperationalError("enough")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retailflow_dagster.lib.postgres.psycopg2", SimpleNamespace(connect=connect))
        with pytest.raises(psycopg2.OperationalError):
            Shop(host="h", database="d", user="u", password="p").snapshot()
    assert wanted <= seen.keys() and seen["connect_timeout"] == 10
