"""Health checks that cost four hundredths of a second: every container has one every few seconds.

Dagster's own commands import all of Dagster; Python's HTTP client alone takes longer than one of these checks.

python -m retailflow_dagster.health code-server|webserver|daemon|docs
"""

import json
import os
import signal
import socket
import sys

CODE_SERVER_PORT = 4000
WEBSERVER_PORT = 3000
DOCS_PORT = 3001
#: Daemons beat every 30 s; beyond this they hang.
HEARTBEAT_SECONDS = 120
#: The first process of the container; when it ends, the engine starts the container again.
MAIN = 1


def answer(port: int, path: str, method: str = "GET") -> bytes:
    """Return what a server of this container answers; AssertionError where that is no 200, OSError for no answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=4) as line:
        line.sendall(f"{method} {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        whole = b"".join(iter(lambda: line.recv(1 << 20), b""))
    head, _, body = whole.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].decode()
    assert status.split(" ")[1:2] == ["200"], f"it answers {status!r}"
    return body


def code_server() -> None:
    """The port opens only when the definitions have loaded."""
    socket.create_connection(("127.0.0.1", CODE_SERVER_PORT), timeout=3).close()


def webserver() -> None:
    """Answers with its version, and so has read its storage's configuration."""
    assert json.loads(answer(WEBSERVER_PORT, "/server_info"))["dagster_webserver_version"]


def age(process: int) -> float:
    """Seconds since a process started (proc(5): field 22 of its stat counts clock ticks since the machine's start)."""
    with open(f"/proc/{process}/stat") as stat, open("/proc/uptime") as uptime:
        started = int(stat.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return float(uptime.read().split()[0]) - started


def daemon() -> None:
    """Every daemon of this deployment has beaten lately; the oldest one counts.

    But for the one that starts lost runs again: there is one only where runs are tasks of ECS, and what it said last stays.

    Dagster makes its tables when it starts. A daemon that runs while they are gone, because the database is a new one or was
    restored to an earlier moment, is ended, so that the engine starts it again.
    """
    import psycopg2

    from .entrypoint import database

    link = psycopg2.connect(**database())
    try:
        with link.cursor() as cursor:
            cursor.execute(
                "select extract(epoch from now() at time zone 'utc' - min(timestamp)) from daemon_heartbeats"
                " where daemon_type <> 'EVENT_LOG_CONSUMER'"
            )
            row = cursor.fetchone()
    except psycopg2.errors.UndefinedTable:
        if age(MAIN) > HEARTBEAT_SECONDS:
            os.kill(MAIN, signal.SIGTERM)
        raise
    finally:
        link.close()
    assert row and row[0] is not None, "no daemon has beaten yet"
    assert row[0] < HEARTBEAT_SECONDS, f"a daemon was last alive {row[0]:.0f} s ago"


def docs() -> None:
    """Has the page, which is too large to be read each time."""
    answer(DOCS_PORT, "/", "HEAD")


CHECKS = {"code-server": code_server, "webserver": webserver, "daemon": daemon, "docs": docs}

if __name__ == "__main__":
    try:
        CHECKS[sys.argv[1]]()
    except Exception as error:
        sys.exit(f"{sys.argv[1]}: {error}")
