"""Base backups, restores and archiving of the role `backup` beside PostgreSQL's own tools, on the same cluster.

The store is the emulated S3; its own work is not counted where CPU is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import yaml

from retailflow_emulators.ports import free_port

from ..measurement import Measurement
from ..postgres import ADMIN, BINARIES, USER, server
from .generator import SCHEMA, admin, probe

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "roles/backup/files/retailflow-backup"
BUCKET = "bench"
KEY, SECRET = "AKIAQAAAAAAAAAABENCH", "of-the-benchmark"
ROUNDS = 2
GB = 1e9


def measure(rows: int) -> Iterator[Measurement]:
    """Measure archiving while the generator writes, then a base backup and a restore of the cluster that is there."""
    with _folder() as folder, _store(folder) as url:
        command = _archive_command(folder / "spool")
        settings = {"archive_mode": "on", "archive_timeout": "30s"}
        with server("generator", "airbyte", "auditor", settings=settings) as port:
            admin(port, SCHEMA.read_text(encoding="utf-8"))
            shop = _Shop(folder, url, port)
            without, archived = [], []
            for _ in range(ROUNDS):
                _archive_with(port, "true")
                without.append(probe("handler", port, rows)["rows_per_s"])
                _archive_with(port, command)
                archived.append(shop.archive(rows))
            best = max(archived, key=lambda found: found["rows_per_s"])
            yield Measurement(
                "backup.generator_rows_per_s",
                best["rows_per_s"],
                "rows/s",
                0.9,
                beside=max(without),
                note=f"a batch of {rows:,} while its log is stored, beside one whose log is not archived",
            )
            yield Measurement(
                "backup.archive_cpu_s_per_gb",
                min(found["cpu_s_per_gb"] for found in archived),
                "s",
                note="CPU of compressing, encrypting and sending 1 GB of log",
            )
            yield from shop.there_and_back(rows)


class _Shop:
    """The cluster with its store: the program of the role, run as the role runs it."""

    def __init__(self, folder: Path, url: str, port: int) -> None:
        self.folder, self.port = folder, port
        key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        self.identity = key.read_text(encoding="utf-8")
        self.config = folder / "backup.json"
        settings: dict[str, Any] = {
            "bucket": BUCKET,
            "region": "us-east-1",
            "endpoint_url": url,
            "recipient": key.with_suffix(".pub").read_text(encoding="utf-8").strip(),
            "spool": str(folder / "spool"),
            "folder": str(folder / "notes"),
            "socket": "127.0.0.1",
            "user": ADMIN,
            "database": "postgres",
            "inside": str(folder / "restored"),
            "owner": USER or os.getuid(),
            "keep_days": 14,
            "keep_least": 2,
            "tools": [],
        }
        self.config.write_text(json.dumps(settings), encoding="utf-8")
        self.environment = os.environ | {
            "PATH": f"{BINARIES}:{os.environ['PATH']}",
            "PGPORT": str(port),
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def program(self, *arguments: str) -> list[str]:
        """Its command line."""
        return [sys.executable, str(PROGRAM), "--config", str(self.config), *arguments]

    def archive(self, rows: int) -> dict[str, float]:
        """Run the generator while its log is stored; returns rows/s, and the CPU seconds per GB of what was stored."""
        shipping = subprocess.Popen(
            self.program("ship"), env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            began = self.position()
            found = probe("handler", self.port, rows)
            admin(self.port, "select pg_switch_wal()")
            logged = self.position() - began
            while any(not one.name.startswith(".") for one in (self.folder / "spool").iterdir()):
                if shipping.poll() is not None:
                    raise SystemExit("error: the program that stores the log has ended by itself")
                time.sleep(0.5)
        finally:
            shipping.send_signal(signal.SIGTERM)
            _, _, used = os.wait4(shipping.pid, 0)
            shipping.returncode = 0
        return {
            "rows_per_s": found["rows_per_s"],
            "cpu_s_per_gb": (used.ru_utime + used.ru_stime) / (logged / GB),
        }

    def position(self) -> int:
        """How many bytes of log were ever written."""
        return int(self.ask("select pg_current_wal_insert_lsn() - '0/0'"))

    def ask(self, statement: str) -> str:
        """What the server answers."""
        command = ["psql", "-h", "127.0.0.1", "-U", ADMIN, "-d", "postgres", "-XqAtw", "-c", statement]
        return subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    def there_and_back(self, rows: int) -> Iterator[Measurement]:
        """A base backup beside `pg_basebackup`, and reading it back beside `cp` of the same files."""
        print(f"… base backup and restore: {rows:,} rows", file=sys.stderr, flush=True)
        plain = self.folder / "plain"
        server_options = ["-h", "127.0.0.1", "-U", ADMIN, "-w"]
        copy = self.timed(["pg_basebackup", *server_options, "-D", str(plain), "-X", "none", "-c", "fast"])
        size = sum(one.stat().st_size for one in plain.rglob("*") if one.is_file())
        base = self.timed(self.program("base"))
        note = f"{size / 1e6:,.0f} MB of {rows:,} rows"
        yield Measurement("backup.base_s", base, "s", 2, beside=copy, at_most=True, note=note)
        yield Measurement("backup.base_mb_per_s", size / 1e6 / base, "MB/s")
        copied = self.timed(["cp", "-a", str(plain), str(self.folder / "copied")])
        restored = self.folder / "restored"
        fetch = self.program("fetch", "--at", "latest", "--into", str(restored))
        back = self.timed(fetch, self.identity)
        yield Measurement(
            "backup.restore_s", back, "s", 2, beside=copied, at_most=True, note=f"{note}, read back"
        )
        yield Measurement("backup.restore_mb_per_s", size / 1e6 / back, "MB/s")

    def timed(self, command: list[str], feed: str = "") -> float:
        """Seconds of a command; what it wrote goes to the disk within them."""
        os.sync()
        began = time.perf_counter()
        subprocess.run(
            command, env=self.environment, check=True, input=feed, text=True, stdout=subprocess.DEVNULL
        )
        os.sync()
        return time.perf_counter() - began


def _archive_with(port: int, command: str) -> None:
    """Have the server hand finished segments to a command from now on; it runs for each that waits already."""
    quoted = command.replace("'", "''")
    admin(port, f"alter system set archive_command = '{quoted}'")
    admin(port, "select pg_reload_conf()")


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder with a spool that the server may write."""
    if not shutil.which("age"):
        raise SystemExit(
            "error: the backups are encrypted with age, which is not here: install the package age"
        )
    path = Path(tempfile.mkdtemp(prefix="bench-backup-"))
    path.chmod(0o755)
    for name in ("spool", "notes"):
        (path / name).mkdir()
    shutil.chown(path / "spool", USER or os.getuid())
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _archive_command(spool: Path) -> str:
    """That of the role, with the spool where it is here."""
    found = yaml.safe_load((ROOT / "roles/postgres/vars/main.yml").read_text(encoding="utf-8"))
    command: str = found["__postgres_archive"]["archive_command"]
    return command.replace("/var/lib/postgresql/spool", str(spool))


@contextlib.contextmanager
def _store(folder: Path) -> Iterator[str]:
    """The emulated S3 with a bucket; gives its address."""
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    identity: dict[str, Any] = {
        "name": "bench",
        "access_key_id": KEY,
        "secret_access_key": SECRET,
        "policies": {"all": everything},
    }
    port = free_port()
    running = subprocess.Popen(
        [sys.executable, str(ROOT / "images/moto/server.py"), "-H", "127.0.0.1", "-p", str(port)],
        env=os.environ | {"EMULATED_AWS_IDENTITIES": json.dumps([identity])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    url = f"http://127.0.0.1:{port}"
    s3 = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=boto3.session.Config(retries={"max_attempts": 10, "mode": "standard"}, connect_timeout=2),
    )
    try:
        s3.create_bucket(Bucket=BUCKET)
        yield url
    finally:
        running.terminate()
        running.wait(60)
