"""The guard of PostgreSQL's disk: when it stops who writes, when it lets them go on, and what they are told."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import postgres_disk_guard as guard
import psycopg2
import pytest
import yaml

from bench import postgres
from server_support import ROOT

GB = 1 << 30
LIMITS = {"free_percent": 10, "free_gb": 3, "spool_gb": 4, "folder": "/data", "spool": "/data/spool"}


@pytest.mark.parametrize(("total", "least"), [(30, 3.0), (20, 2.0), (2000, 3.0)])
def test_a_tenth_must_be_free_but_no_more_than_so_many_gb(total: int, least: float) -> None:
    assert guard.limit(total * GB, LIMITS) == least * GB


@pytest.mark.parametrize(
    ("stopped", "free", "spool", "causes"),
    [
        (set(), 3.0, 4.0, set()),
        (set(), 2.9, 0.0, {"disk"}),
        (set(), 9.0, 4.1, {"spool"}),
        (set(), 0.0, 9.0, {"disk", "spool"}),
        # It goes on only with a quarter more, so that it does not stop and start in turn.
        ({"disk"}, 3.7, 0.0, {"disk"}),
        ({"disk"}, 3.8, 0.0, set()),
        ({"spool"}, 9.0, 3.3, {"spool"}),
        ({"spool"}, 9.0, 3.2, set()),
    ],
)  # fmt: skip
def test_what_stops_the_generator(stopped: set[str], free: float, spool: float, causes: set[str]) -> None:
    assert set(guard.wanted(stopped, int(free * GB), 30 * GB, int(spool * GB), LIMITS)) == causes


def test_the_reason_names_disk_space_and_what_to_do() -> None:
    said = guard.wanted(set(), int(1.2 * GB), 30 * GB, 5 * GB, LIMITS)
    host = os.uname().nodename
    assert f"the disk of /data on {host} has 1.2 GB of 30.0 GB free, less than 3.0 GB." in said["disk"]
    assert "make the volume larger" in said["disk"] and "by itself above 3.8 GB" in said["disk"]
    assert f"5.0 GB of PostgreSQL's log wait in /data/spool on {host}, more than 4 GB" in said["spool"]
    assert "docs/operations.md" in said["spool"] and "by itself below 3.2 GB" in said["spool"]


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with postgres.server("generator", "airbyte", "auditor") as port:
        schema = (ROOT / "lambda/schema/sales.sql").read_text()
        with psycopg2.connect(host="127.0.0.1", port=port, user=postgres.ADMIN, dbname="postgres") as made:
            made.cursor().execute(schema.replace("begin;\n", "", 1).replace("\ncommit;", ""))
        made.close()
        yield port


@pytest.fixture
def config(server: int, tmp_path: Path) -> dict[str, Any]:
    """What the role writes for a server, with a spool that takes one file too many."""
    facts = yaml.safe_load((ROOT / "roles/postgres/vars/main.yml").read_text())["__postgres_guard_settings"]
    (tmp_path / "spool").mkdir()
    mine = LIMITS | {
        "folder": str(tmp_path),
        "spool": str(tmp_path / "spool"),
        "socket": "127.0.0.1",
        "user": postgres.ADMIN,
        "database": "postgres",
        "table": "public.generator_stops",
    }
    assert set(mine) == set(facts)
    return mine | {"port": server}


def stops(server: int) -> dict[str, str]:
    with psycopg2.connect(host="127.0.0.1", port=server, user=postgres.ADMIN, dbname="postgres") as session:
        cursor = session.cursor()
        cursor.execute("select cause, reason from generator_stops")
        found = dict(cursor.fetchall())
    session.close()
    return found


def test_the_table_follows_the_disk(
    server: int, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def disk(free: float) -> None:
        found = SimpleNamespace(f_bavail=int(free * GB) >> 12, f_blocks=30 * GB >> 12, f_frsize=1 << 12)
        monkeypatch.setattr(os, "statvfs", lambda _: found)

    watching = guard.Guard(config)
    disk(20)
    watching.look()
    assert stops(server) == {} and capsys.readouterr().out == ""
    disk(2)
    watching.look()
    first = stops(server)
    assert "has 2.0 GB of 30.0 GB free" in first["disk"]
    disk(1)
    watching.look()
    assert stops(server) == first, "nothing more is written to a disk that fills"
    segment = Path(config["spool"]) / ("0" * 24)
    with segment.open("wb") as file:
        file.truncate(5 * GB)
    watching.look()
    assert set(stops(server)) == {"disk", "spool"}
    segment.unlink()
    disk(20)
    watching.look()
    assert stops(server) == {}
    assert capsys.readouterr().out.count("The generator goes on: ") == 2
    watching.connection.close()


def test_a_server_that_is_away_is_asked_again(server: int, config: dict[str, Any], tmp_path: Path) -> None:
    """As the unit runs it; the spool alone decides, whatever this machine's disk has."""
    path = tmp_path / "guard.json"
    path.write_text(json.dumps(config | {"free_gb": 0, "spool_gb": 1}))
    with (tmp_path / "spool/segment").open("wb") as file:
        file.truncate(2 * GB)
    command = [sys.executable, str(ROOT / "roles/postgres/files/postgres_disk_guard.py"), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        try:
            assert running.stdout
            assert "2.0 GB of PostgreSQL's log wait in" in running.stdout.readline()
            with psycopg2.connect(
                host="127.0.0.1", port=server, user=postgres.ADMIN, dbname="postgres"
            ) as admin:
                admin.autocommit = True
                ended = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'retailflow-disk-guard'"
                admin.cursor().execute(ended)
            admin.close()
            assert running.stdout.readline().startswith("error: ")
            (tmp_path / "spool/segment").unlink()
            assert "The generator goes on: spool" in running.stdout.readline()
        finally:
            running.terminate()
    assert stops(server) == {}


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own, of 160 MB."""
    path = Path(tempfile.mkdtemp(prefix="small-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m,mode=0755", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)
        path.rmdir()


def fill(path: Path) -> None:
    """Write a file until the disk is full."""
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * (1 << 16))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_is_full_loses_no_row(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator is told why, the server answers on, and even after it could not write its log every row is there."""
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    settings = {"min_wal_size": "32MB", "max_wal_size": "48MB"}
    with postgres.server("generator", "airbyte", "auditor", settings=settings) as port:
        folder = next(small_disk.glob("bench-*"))

        def ask(*statements: str) -> Any:
            with contextlib.closing(
                psycopg2.connect(host="127.0.0.1", port=port, user=postgres.ADMIN, dbname="postgres")
            ) as session:
                session.autocommit = True
                cursor = session.cursor()
                for one in statements:
                    cursor.execute(one)
                return cursor.fetchone()[0] if cursor.description else None

        ask((ROOT / "lambda/schema/sales.sql").read_text())
        sell = """insert into sales (cust_name, product, product_category, quantity, price, customer_id, product_id,
            purchased_at, order_date_at, city, state, country) select 'Grace', 'Tea', 'Food', 1, 9.99, 1, 1,
            current_date, current_date, 'Pune', 'MH', 'India' from generate_series(1, 5000)"""
        ask(
            "insert into customers (customer_id, cust_name, city, state, country) values (1, 'Grace', 'Pune', 'MH', 'India')",
            "insert into products (product_id, product, product_category, price) values (1, 'Tea', 'Food', 9.99)",
        )
        config = LIMITS | {
            "folder": str(folder),
            "spool": "",
            "free_percent": 25,
            "socket": "127.0.0.1",
            "port": port,
            "user": postgres.ADMIN,
            "database": "postgres",
            "table": "public.generator_stops",
        }
        watching, ended, sold = guard.Guard(config), threading.Event(), 0

        def watch() -> None:
            while not ended.wait(0.1):
                try:
                    watching.look()
                except psycopg2.Error:
                    watching.connection = None

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            with pytest.raises(
                psycopg2.errors.DiskFull, match="The generator is stopped: the disk of .* free"
            ):
                while True:
                    ask(sell)
                    sold += 5000
            ballast = small_disk / "ballast"
            fill(ballast)
            assert ask("select count(*) from sales") == sold, "the server answers on a disk that is full"
            # Somebody else writes on, until the server cannot write its log.
            with pytest.raises(psycopg2.OperationalError):
                for _ in range(9):
                    ask("select pg_logical_emit_message(true, 'other', repeat('x', 90000000))")
                    fill(ballast)
            ballast.unlink()
            subprocess.run(["mount", "-o", "remount,size=320m", small_disk], check=True)
            command = [postgres.BINARIES / "pg_ctl", "-D", "data", "-w", "-l", "log"]
            options = {"cwd": folder, "user": postgres.USER, "stdout": subprocess.DEVNULL}
            # A server that has ended is started again by the engine of its container.
            if subprocess.run([*command, "status"], check=False, **options).returncode:
                subprocess.run([*command, "restart"], check=True, **options)
            for _ in range(100):
                with contextlib.suppress(psycopg2.OperationalError):
                    assert ask("select count(*) from sales") == sold
                    break
                ended.wait(0.1)
            for _ in range(100):
                with contextlib.suppress(psycopg2.errors.DiskFull):
                    ask(sell)
                    break
                ended.wait(0.1)
            assert ask("select count(*) from sales") == sold + 5000, "the generator does not go on by itself"
        finally:
            ended.set()
            thread.join()
            if watching.connection is not None:
                watching.connection.close()
