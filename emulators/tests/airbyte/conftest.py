"""A server on a real socket, connectors that do as they are told, emulated Snowflake, PostgreSQL."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from retailflow_emulators.airbyte.api import create_app
from retailflow_emulators.airbyte.connectors import CATALOG, Connector
from retailflow_emulators.airbyte.credentials import Credentials
from retailflow_emulators.airbyte.settings import Settings
from retailflow_emulators.airbyte.workers import Connectors
from retailflow_emulators.ports import free_port
from retailflow_emulators.snowflake.testing import EmulatedSnowflake, private_key

from .shop import Shop

HERE = Path(__file__).parent
SOURCE_PATH = str(HERE.parents[1] / "src")
# Connectors are started again and again: their modules are compiled once, in a folder that goes with the session.
_COMPILED = tempfile.TemporaryDirectory()
os.environ["PYTHONPYCACHEPREFIX"] = _COMPILED.name
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

FAKES = (
    Connector(
        "source",
        "fake",
        "Fake",
        "11111111-1111-1111-1111-111111111111",
        (sys.executable, str(HERE / "fake_source.py")),
    ),
    Connector(
        "destination",
        "fake",
        "Fake",
        "22222222-2222-2222-2222-222222222222",
        (sys.executable, str(HERE / "fake_destination.py")),
    ),
)


def wait_for(what: Callable[[], Any], seconds: float = 180) -> Any:
    """The first true answer of `what`; exceptions count as "not yet"."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(Exception):
            if answer := what():
                return answer
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class Client:
    """The public API as a test speaks it."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        self.url, self.credentials = url, credentials
        self.http = httpx.Client(base_url=f"{url}/api/public/v1", timeout=60)
        self.login()

    def login(self) -> None:
        answer = self.http.post("/applications/token", json=asdict(self.credentials))
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.http.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    @property
    def workspace(self) -> str:
        id_: str = self.call("GET", "/workspaces")["data"][0]["workspaceId"]
        return id_

    def actor(self, kind: str, type_: str, configuration: dict[str, Any], name: str = "one") -> str:
        body = {
            "name": name,
            "workspaceId": self.workspace,
            "configuration": {f"{kind}Type": type_, **configuration},
        }
        id_: str = self.call("POST", f"/{kind}s", body)[f"{kind}Id"]
        return id_

    def connection(self, source: str, destination: str, streams: list[dict[str, Any]], **more: Any) -> str:
        ends = {"sourceId": source, "destinationId": destination}
        body = {"name": "connection", **ends, "configurations": {"streams": streams}, **more}
        id_: str = self.call("POST", "/connections", body)["connectionId"]
        return id_

    def start(self, connection: str, type_: str = "sync") -> int:
        if type_ == "refresh":
            started: int = self.refresh(connection).json()["job"]["id"]
            return started
        job: int = self.call("POST", "/jobs", {"connectionId": connection, "jobType": type_})["jobId"]
        return job

    def refresh(self, connection: str, *streams: str, mode: str = "Truncate") -> httpx.Response:
        """Ask the configuration API, which alone takes it, for a refresh of these streams."""
        body = {
            "connectionId": connection,
            "refreshMode": mode,
            "streams": [{"streamName": name} for name in streams],
        }
        return self.http.post(f"{self.url}/api/v1/connections/refresh", json=body)

    def sync(self, connection: str, type_: str = "sync") -> dict[str, Any]:
        """Run a job to its end; returns it with `failures`, the messages of its attempts."""
        job = self.start(connection, type_)
        return self.ended(job)

    def ended(self, job: int) -> dict[str, Any]:
        answer: dict[str, Any] = wait_for(lambda: self.over(job), 180)
        summaries = [attempt["attempt"]["failureSummary"] for attempt in self.attempts(job)]
        failures = [summary["failures"][0]["externalMessage"] for summary in summaries if summary]
        return {**answer, "failures": failures, "logs": self.logs(job)}

    def over(self, job: int) -> dict[str, Any] | None:
        """The job, if it has ended."""
        found: dict[str, Any] = self.call("GET", f"/jobs/{job}")
        return None if found["status"] in ("pending", "running", "incomplete") else found

    def attempts(self, job: int) -> list[dict[str, Any]]:
        details = self.http.post(f"{self.url}/api/v1/jobs/get", json={"id": job}).json()
        attempts: list[dict[str, Any]] = details["attempts"]
        return attempts

    def logs(self, job: int) -> list[str]:
        return [line for attempt in self.attempts(job) for line in attempt["logs"]["logLines"]]


class Server:
    """Embedded Airbyte in a thread; `restart` closes it and starts it again on the same data and port."""

    def __init__(self, data_dir: Path, connectors: Connectors, **settings: Any) -> None:
        self.port = free_port()
        self.settings = Settings(
            host="127.0.0.1",
            port=self.port,
            data_dir=data_dir,
            **{"retry_delay": 0.05, **settings},
        )
        self._connectors = connectors
        self.start()

    def start(self) -> None:
        app = create_app(self.settings, self._connectors)
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=self.port, log_level="warning")
        )
        self._thread = threading.Thread(target=self._uvicorn.run)
        self._thread.start()
        wait_for(lambda: self._uvicorn.started)
        self.client = Client(f"http://127.0.0.1:{self.port}", Credentials.read(self.settings.data_dir))

    def stop(self) -> None:
        self.client.http.close()
        self._uvicorn.should_exit = True
        self._thread.join()


@pytest.fixture(scope="session")
def forked() -> Iterator[Sequence[Connector]]:
    """The connectors, as processes that start at once; see forked.py."""
    with tempfile.TemporaryDirectory() as folder:  # short: the path of a socket has at most 107 characters
        program, path = str(HERE / "forked.py"), f"{folder}/socket"
        environment = {**os.environ, "PYTHONPATH": SOURCE_PATH}
        process = subprocess.Popen([sys.executable, program, "serve", path], env=environment)
        wait_for(Path(path).exists)
        lean = (sys.executable, "-I", "-S", program, "run", path)
        yield [replace(one, command=(*lean, one.kind)) for one in CATALOG]
        process.kill()
        process.wait()


@pytest.fixture
def make_server(tmp_path: Path, forked: Sequence[Connector]) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(**settings: Any) -> Server:
        servers.append(Server(tmp_path / "data", Connectors([*forked, *FAKES]), **settings))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    return make_server()


@pytest.fixture
def client(server: Server) -> Client:
    return server.client


class Snowflake(EmulatedSnowflake):
    """Emulated Snowflake in its own process, as destination-snowflake is told of it."""

    private_key = private_key()

    def configuration(self, schema: str) -> dict[str, Any]:
        """Of destination-snowflake."""
        return {
            "host": f"127.0.0.1:{self.port}",
            "jdbc_url_params": "disableOCSPChecks=true&account=retailflow&networkTimeout=120000",
            "username": "AIRBYTE",
            "role": "LOADER",
            "warehouse": "LOADING",
            "database": "RAW",
            "schema": schema,
            "credentials": {"auth_type": "Key Pair Authentication", "private_key": self.private_key},
        }


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snowflake]:
    emulated = Snowflake(tmp_path_factory.mktemp("snowflake"))
    emulated.start()
    try:
        emulated.query("create database if not exists RAW")
        grants = [
            f"all on {what}"
            for what in ("database RAW", "schema RAW.PUBLIC", "future schemas in database RAW")
        ]
        emulated.add_user("AIRBYTE", "LOADER", *grants, key=emulated.private_key, warehouse="LOADING")
        yield emulated
    finally:
        emulated.stop()


class Postgres:
    """A throwaway server; every test gets a database of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.database = "postgres"

    def execute(self, statement: str, autocommit: bool = True) -> Any:
        connection = self.connect()
        connection.autocommit = autocommit
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def connect(self) -> Any:
        return psycopg2.connect(host="127.0.0.1", port=self.port, user="postgres", dbname=self.database)

    @property
    def configuration(self) -> dict[str, Any]:
        """Of source-postgres."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "database": self.database,
            "username": "postgres",
            "password": "not needed",
        }


class PostgresServer(Postgres):
    """PostgreSQL's own programs on a free port, with TLS; the role `locked` needs its password."""

    def __init__(self, programs: Path, folder: Path) -> None:
        super().__init__(free_port())
        self._programs, self._folder = programs, folder
        self._user: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:  # initdb refuses to run as root
            os.chown(folder, 65534, 65534)
            self._user |= {"user": 65534, "group": 65534, "extra_groups": []}
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        command = [programs / "initdb", "-D", folder / "data", *options]
        subprocess.run(command, check=True, capture_output=True, **self._user)
        rules = folder / "data/pg_hba.conf"
        rules.write_text(f"host all locked 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        self.certificate, key = self.certificate_and_key()
        (folder / "data/server.crt").write_text(self.certificate)
        path = folder / "data/server.key"
        path.touch(mode=0o600)
        path.write_text(key)
        os.chown(path, self._user.get("user", -1), self._user.get("group", -1))
        self.start()

    @contextlib.contextmanager
    def standby(self) -> Iterator[PostgresServer]:
        """A copy of this server that follows it, until the block ends."""
        with tempfile.TemporaryDirectory() as folder:
            if "user" in self._user:
                os.chown(folder, self._user["user"], self._user["group"])
            copy = PostgresServer.__new__(PostgresServer)
            copy.__dict__.update(self.__dict__, _folder=Path(folder), port=free_port())
            source = ["--host=127.0.0.1", f"--port={self.port}", "--username=postgres"]
            command = [
                self._programs / "pg_basebackup",
                *source,
                "-R",
                "-c",
                "fast",
                "-D",
                copy._folder / "data",
            ]
            subprocess.run(command, check=True, capture_output=True, **{**self._user, "cwd": folder})
            copy._user = {**self._user, "cwd": folder}
            copy.start()
            try:
                yield copy
            finally:
                copy.stop()

    @staticmethod
    def certificate_and_key() -> tuple[str, str]:
        """A certificate that signed itself, and its key, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "postgres.test")])
        now = datetime.now(UTC)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        made = made.add_extension(address, critical=False)
        text = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return text, secret.decode()

    def restart_as_primary(self, **settings: str) -> None:
        """Restart what may be a standby as a server of its own, with these settings."""
        self.stop()
        (self._folder / "data/standby.signal").unlink(missing_ok=True)
        self.start(**settings)

    def start(self, **more: str) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._folder),
            "wal_level": "logical",
            "max_replication_slots": "100",
            "max_prepared_transactions": "10",
            "fsync": "off",
            "ssl": "on",
            **more,
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [self._programs / "postgres", "-D", self._folder / "data", "-p", str(self.port), *arguments]

        # A server that was just killed may leave processes that hold its memory for a moment: PostgreSQL then ends, and is
        # started again, as the init system of a host would.
        def answers() -> Any:
            if self._process is None or self._process.poll() is not None:
                with (self._folder / "log").open("a") as log:
                    self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._user)
            return self.execute("select 1")

        self._process = None
        wait_for(answers)

    def kill(self) -> None:
        """SIGKILL for every process of the server, as when the machine dies."""
        pids = [self._process.pid, *children(self._process.pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait()


def children(pid: int) -> dict[int, str]:
    """The command lines of a process's children."""
    found: dict[int, str] = {}
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                found[int(child)] = Path(f"/proc/{child}/cmdline").read_bytes().decode().replace("\0", " ")
    return found


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    initdb = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    if initdb is None:
        pytest.skip("needs PostgreSQL's server programs (Debian: apt-get install postgresql-15)")
    # Not in pytest's own folder: every session of pytest makes that one its user's alone again.
    with tempfile.TemporaryDirectory() as folder:
        server = PostgresServer(Path(initdb).resolve().parent, Path(folder))
        yield server
        server.stop()


@pytest.fixture
def postgres(postgres_server: Postgres, request: pytest.FixtureRequest) -> Postgres:
    name = f"t{abs(hash(request.node.nodeid))}"
    postgres_server.execute(f"create database {name}")
    own = Postgres(postgres_server.port)
    own.database = name
    return own


@pytest.fixture
def shop(client: Client, postgres: Postgres, warehouse: Snowflake) -> Shop:
    return Shop(client, postgres, warehouse, f"C{abs(hash(postgres.database)) % 10**8}")
