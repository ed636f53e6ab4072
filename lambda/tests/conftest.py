"""A PostgreSQL of its own for the tests that need one: from the machine's binaries, else from our image."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, settings

from retailflow_emulators.ports import free_port

# A machine that is busy with other tests makes no input wrong.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

SCHEMA = Path(__file__).parents[1] / "schema/sales.sql"
BINARIES = Path("/usr/lib/postgresql/15/bin")
IMAGE = "retailflow/postgres:latest"
ADMIN, PASSWORD = "retailflow_admin", "generator-test"
TABLES = (
    "sales",
    "customers",
    "products",
    "generator_batches",
    "airbyte_heartbeat",
    "deleted_orders",
    "generator_stops",
)


def from_binaries(port: int) -> Iterator[None]:
    """Run the machine's server as somebody who is not root."""
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="generator-test-"))
    shutil.chown(folder, user or os.getuid())

    def run(*command: str) -> None:
        subprocess.run([BINARIES / command[0], "-D", "data", *command[1:]], cwd=folder, user=user, check=True)

    run("initdb", "-U", ADMIN, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-N")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    try:
        run("pg_ctl", "-w", "-l", "log", "-o", options, "start")
        yield
    finally:
        run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def from_image(port: int) -> Iterator[None]:
    """Run our image, which has the contract of the official one."""
    command = ["docker", "run", "--detach", "--rm", "--publish", f"127.0.0.1:{port}:5432"]
    command += ["--env", f"POSTGRES_USER={ADMIN}", "--env", f"POSTGRES_PASSWORD={PASSWORD}", IMAGE]
    container = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", container], check=True, capture_output=True)


def has_image() -> bool:
    command = ["docker", "image", "inspect", IMAGE]
    return (
        bool(shutil.which("docker"))
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


@pytest.fixture(scope="session")
def server() -> Iterator[int]:
    """The port of a server with the schema and the logins that it grants to."""
    port = free_port()
    if (BINARIES / "initdb").exists():
        running = from_binaries(port)
    elif has_image():
        running = from_image(port)
    else:
        pytest.skip(f"neither {BINARIES} nor the image {IMAGE} is here; `make up` builds the image")
    next(running)
    try:
        connection = connect(port)
        with connection, connection.cursor() as cursor:
            for login in ("generator", "airbyte", "auditor"):
                cursor.execute(f"create role {login} login password '{PASSWORD}'")
            # Applied twice: it must be safe to apply again.
            for _ in range(2):
                cursor.execute(SCHEMA.read_text(encoding="utf-8"))
        connection.close()
        yield port
    finally:
        next(running, None)


def connect(port: int, user: str = ADMIN) -> Any:
    """Log in, waiting for a server that is still starting."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return psycopg2.connect(
                host="127.0.0.1",
                port=port,
                user=user,
                password=PASSWORD,
                dbname="postgres",
                connect_timeout=5,
            )
        except psycopg2.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.fixture
def login(server: int) -> Callable[[str], Any]:
    """Log in as somebody."""
    return functools.partial(connect, server)


@pytest.fixture
def sql(server: int) -> Iterator[Any]:
    """Run a statement as the administrator; returns the rows. The tables are empty at the start."""
    connection = connect(server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"truncate {', '.join(TABLES)}")

        def run(statement: str, *values: object) -> list[tuple[Any, ...]]:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

        yield run
    connection.close()


@pytest.fixture
def database(server: int, sql: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The function's environment for that server; gives ``sql``."""
    environment = {
        "DB_HOST": "127.0.0.1",
        "DB_PORT": str(server),
        "DB_NAME": "postgres",
        "DB_USER": "generator",
        "DB_PASSWORD": PASSWORD,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return sql
