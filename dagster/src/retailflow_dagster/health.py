"""Health checks that cost a tenth of a second: Dagster's own commands import all of Dagster, every few
seconds.

python -m retailflow_dagster.health code-server|webserver|daemon|docs
"""

import json
import socket
import sys
import urllib.request

CODE_SERVER_PORT = 4000
WEBSERVER_PORT = 3000
DOCS_PORT = 3001
#: Daemons beat every 30 s; beyond this they hang.
HEARTBEAT_SECONDS = 120


def code_server() -> None:
    """The port opens only when the definitions have loaded."""
    socket.create_connection(("127.0.0.1", CODE_SERVER_PORT), timeout=3).close()


def webserver() -> None:
    """Answers with its version, and so has read its storage's configuration."""
    with urllib.request.urlopen(f"http://127.0.0.1:{WEBSERVER_PORT}/server_info", timeout=4) as answer:
        assert json.load(answer)["dagster_webserver_version"]


def daemon() -> None:
    """Every daemon of this deployment has beaten lately; the oldest one counts."""
    import psycopg2

    from .entrypoint import database

    link = psycopg2.connect(**database())
    try:
        with link.cursor() as cursor:
            cursor.execute(
                "select extract(epoch from now() at time zone 'utc' - min(timestamp)) from daemon_heartbeats"
            )
            row = cursor.fetchone()
    finally:
        link.close()
    assert row and row[0] is not None, "no daemon has beaten yet"
    assert row[0] < HEARTBEAT_SECONDS, f"a daemon was last alive {row[0]:.0f} s ago"


def docs() -> None:
    """Answers with the page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{DOCS_PORT}/", timeout=4) as answer:
        assert answer.status == 200


CHECKS = {"code-server": code_server, "webserver": webserver, "daemon": daemon, "docs": docs}

if __name__ == "__main__":
    try:
        CHECKS[sys.argv[1]]()
    except Exception as error:
        sys.exit(f"{sys.argv[1]}: {error}")
