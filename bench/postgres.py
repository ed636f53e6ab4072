"""A PostgreSQL server for one benchmark: durable as by default, with logical WAL as on the site."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from retailflow_emulators.ports import free_port

BINARIES = Path(os.environ.get("POSTGRES_BINARIES", "/usr/lib/postgresql/15/bin"))
ADMIN = "retailflow_admin"
USER = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "wal_level": "logical"}


@contextlib.contextmanager
def server(*logins: str, settings: dict[str, str] | None = None) -> Iterator[int]:
    """Run a server with these logins, without passwords, on loopback; gives its port. Removes it at the end."""
    if not (BINARIES / "initdb").exists():
        raise SystemExit(
            f"error: no PostgreSQL in {BINARIES}: install postgresql-15 or set POSTGRES_BINARIES"
        )
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    shutil.chown(folder, USER or os.getuid())

    def run(*command: str, check: bool = True) -> None:
        program = [str(BINARIES / command[0]), *command[1:]]
        subprocess.run(program, cwd=folder, user=USER, check=check, stdout=subprocess.DEVNULL)

    try:
        run("initdb", "-D", "data", "-U", ADMIN, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        options = " ".join(f"-c {name}='{value}'" for name, value in (SETTINGS | (settings or {})).items())
        run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", f"-p {port} {options}", "start")
        for login in logins:
            run("createuser", "-h", "127.0.0.1", "-p", str(port), "-U", ADMIN, login)
        yield port
    finally:
        run("pg_ctl", "-D", "data", "-m", "immediate", "stop", check=False)
        shutil.rmtree(folder)
