"""The one way in which tests and benchmarks of every room start an emulated Snowflake of their own.

    with emulated_snowflake(tmp_path) as snowflake:
        snowflake.query("create database RAW")

The server is a process on a free port of the loopback; its databases and its log lie in the folder that was given.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import ipaddress
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import snowflake.connector
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from ..ports import free_port
from . import prepared

SOURCE = Path(__file__).parents[2]
ACCOUNT, ADMINISTRATOR, PASSWORD, WAREHOUSE = "RETAILFLOW", "TESTER", "any", "TESTS"
START_SECONDS = 120
STOP_SECONDS = 120


class EmulatedSnowflake:
    """A server process over a folder that outlives it; ``start`` after ``stop`` finds the same databases.

    ``settings`` are the server's ``EMULATED_SNOWFLAKE_*`` variables without that prefix, for example
    ``patience_seconds=0.1``.
    """

    module = "retailflow_emulators.snowflake"
    #: Whether servers are forked from a process with their libraries; worth it for tests that start many.
    forked = False

    def __init__(self, folder: Path, **settings: object) -> None:
        self.data = folder / "snowflake"
        self.data.mkdir(parents=True, exist_ok=True)
        self.log = folder / "snowflake.log"
        self.password_file = folder / "snowflake.password"
        self.password_file.write_text(PASSWORD + "\n")
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | prepared.Forked | None = None
        self._settings = {
            f"EMULATED_SNOWFLAKE_{name.upper()}": str(value) for name, value in settings.items()
        }
        self._has_warehouse = False
        self._session: snowflake.connector.SnowflakeConnection | None = None

    def start(self) -> None:
        """Start the server and wait until statements can run; AssertionError holds its log if they cannot."""
        authority()
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")])),
            "EMULATED_SNOWFLAKE_HOST": "127.0.0.1",
            "EMULATED_SNOWFLAKE_PORT": str(self.port),
            "EMULATED_SNOWFLAKE_CERTIFICATE_FILE": str(certificate()),
            "EMULATED_SNOWFLAKE_DATA": str(self.data),
            "EMULATED_SNOWFLAKE_ACCOUNT": ACCOUNT,
            "EMULATED_SNOWFLAKE_ADMIN_USER": ADMINISTRATOR,
            "EMULATED_SNOWFLAKE_ADMIN_PASSWORD_FILE": str(self.password_file),
            **self._settings,
        }
        with self.log.open("ab") as log:
            if self.forked:
                self.process = prepared.start(self.module, environment, log)
            else:
                command = [sys.executable, "-m", self.module]
                self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{self.url}/health", None, 5, context=trust()),
            ):
                self._make_warehouse()
                return
            time.sleep(0.05)
        self.stop(signal.SIGKILL)
        raise AssertionError(f"the emulated Snowflake did not start:\n{self.log.read_text()}")

    def _make_warehouse(self) -> None:
        """A warehouse for the administrator's statements, in every session of theirs."""
        if self._has_warehouse:
            return
        with self.connect(warehouse=None) as session:
            cursor = session.cursor()
            cursor.execute(
                f"create warehouse if not exists {WAREHOUSE} auto_suspend = 60 initially_suspended = true"
            )
            cursor.execute(f"alter user {ADMINISTRATOR} set default_warehouse = {WAREHOUSE}")
        self._has_warehouse = True

    def add_user(
        self,
        name: str,
        role: str,
        *grants: str,
        key: str | None = None,
        warehouse: str = WAREHOUSE,
    ) -> str:
        """Make a user who logs in with a key pair; returns the private key.

        Made where they are missing: the role, which SYSADMIN gets as well, and the warehouse. The role may use the warehouse,
        and has ``grants``, for example ``"usage on database RAW"``, and nothing else.
        """
        key = key or private_key()
        for statement in (
            f"create role if not exists {role}",
            f"grant role {role} to role SYSADMIN",
            f"create warehouse if not exists {warehouse} auto_suspend = 60 initially_suspended = true",
            f"grant usage on warehouse {warehouse} to role {role}",
            f"create or replace user {name} type = service default_role = {role} "
            f"default_warehouse = {warehouse} rsa_public_key = '{public_key(key)}'",
            f"grant role {role} to user {name}",
            *(f"grant {grant} to role {role}" for grant in grants),
        ):
            self.query(statement)
        return key

    def login_of(self, name: str, key: str) -> dict[str, Any]:
        """What ``connect`` needs for a user with a key pair."""
        return {
            "user": name,
            "password": None,
            "authenticator": "SNOWFLAKE_JWT",
            "private_key": der(key),
        }

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the server with a signal and return its exit code."""
        if self._session:
            # The session cannot be closed with a server that may be gone.
            self._session = None
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    @property
    def login(self) -> dict[str, Any]:
        """What ``snowflake.connector.connect`` needs; a role, a database and the like may be added."""
        return {
            "account": ACCOUNT.lower(),
            "host": "127.0.0.1",
            "port": self.port,
            "disable_ocsp_checks": True,
            "user": ADMINISTRATOR,
            "password": PASSWORD,
            "login_timeout": 60,
            "network_timeout": 60,
            # Tests compare JSON on one line.
            "session_parameters": {"CLIENT_TELEMETRY_ENABLED": False, "JSON_INDENT": 0},
        }

    def connect(self, **login: Any) -> snowflake.connector.SnowflakeConnection:
        """Open a session of the connector; ``login`` adds to or replaces what ``self.login`` says."""
        # The connector would otherwise ask the metadata addresses of several clouds where it runs.
        os.environ["SNOWFLAKE_DISABLE_PLATFORM_DETECTION"] = "true"
        return snowflake.connector.connect(**{**self.login, **login})

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in a session that is kept for later ones, and return its rows."""
        self._session = self._session or self.connect()
        cursor = self._session.cursor().execute(statement)
        assert cursor is not None, "execute returns its cursor unless it is asked for a description"
        return [tuple(row) for row in cursor.fetchall()]

    @property
    def peak_mb(self) -> float:
        """The largest resident memory of the server so far, in MB."""
        assert self.process, "the server was not started"
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


@contextlib.contextmanager
def emulated_snowflake(folder: Path, **settings: object) -> Iterator[EmulatedSnowflake]:
    """Run an emulated Snowflake until the block ends; it leaves its databases and its log in ``folder``."""
    server = EmulatedSnowflake(folder, **settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@functools.cache
def _certificates() -> tuple[Path, Path]:
    """Files of an authority's certificate and of a server's with its key, for this process and those that it starts."""
    folder, maker = Path(tempfile.mkdtemp(prefix="emulated-snowflake-")), os.getpid()

    def remove() -> None:
        if os.getpid() == maker:  # and not a process that this one was copied to
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{one} of an emulated Snowflake of tests")])
        for one in ("authority", "server")
    ]
    known = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    pem = []
    for name, key, is_authority in zip(names, keys, (True, False), strict=True):
        made = x509.CertificateBuilder(names[0], name, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        made = made.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        if not is_authority:
            made = made.add_extension(x509.SubjectAlternativeName(known), critical=False)
        pem.append(made.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    key_pem = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "authority.crt").write_bytes(pem[0])
    (folder / "server.pem").write_bytes(pem[1] + key_pem)
    return folder / "authority.crt", folder / "server.pem"


def certificate() -> Path:
    """File of the certificate and the key that every server here shows."""
    return _certificates()[1]


def authority() -> Path:
    """File of the certificate of who signed it.

    The connector trusts from now on what it has signed, in this process and in those that it starts: it reads the name of the
    file from the environment.
    """
    os.environ["REQUESTS_CA_BUNDLE"] = str(_certificates()[0])
    return _certificates()[0]


def trust() -> ssl.SSLContext:
    """What an HTTP client needs to trust the servers here."""
    return ssl.create_default_context(cafile=str(authority()))


def private_key() -> str:
    """A key of a user who logs in with a key pair, as PEM without a passphrase."""
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public_key(key: str) -> str:
    """The public key of a private one, as RSA_PUBLIC_KEY takes it."""
    loaded = serialization.load_pem_private_key(key.encode(), None)
    pem = loaded.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "".join(pem.decode().splitlines()[1:-1])


def der(key: str) -> bytes:
    """A private key as the connector takes it."""
    return serialization.load_pem_private_key(key.encode(), None).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
