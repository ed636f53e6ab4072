#!/usr/bin/env python3
"""Open dashboards of the running local site in Chromium, as a person who is logged in.

`tools/pages.py docs/images` writes a screenshot of every dashboard into a folder; `dom` is for tests.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sites

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 120
SIZE = (1360, 1170)


def call(method: str, path: str, body: Any = None, session: str = "") -> Any:
    """Ask the dashboard server; returns its parsed answer."""
    request = urllib.request.Request(
        url() + path,
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json", "X-Metabase-Session": session},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=trust()) as answer:
        return json.loads(answer.read() or b"null")


def url() -> str:
    """The address of the dashboard server; raises SystemExit where no site is up."""
    file = folder("state") / "env" if sites.chosen() else ROOT / ".env"
    found = re.search(r"^METABASE_URL=(.*)$", file.read_text(), re.MULTILINE) if file.exists() else None
    if not found:
        raise SystemExit("error: no site is up here: run make up")
    return found[1]


def folder(kind: str) -> Path:
    """The folder of the site that SITE names: state or secrets."""
    return ROOT / f".{kind}" / sites.folder("local")


def trust() -> ssl.SSLContext:
    """The site's own authority has signed the server's certificate."""
    return ssl.create_default_context(cafile=str(folder("secrets") / "authority.crt"))


@contextlib.contextmanager
def logged_in() -> Iterator[tuple[str, str]]:
    """A session, and an address on the loopback where every page is served with it: Chromium cannot be told one."""
    password = (folder("secrets") / "metabase_admin").read_text().strip()
    email = "admin@retailflow.example"
    session: str = call("POST", "/api/session", {"username": email, "password": password})["id"]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            request = urllib.request.Request(url() + self.path, headers={"X-Metabase-Session": session})
            try:
                answer = urllib.request.urlopen(request, timeout=TIMEOUT_S, context=trust())
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                self.send_response(answer.status)
                for name in ("Content-Type", "Content-Security-Policy"):
                    if value := answer.headers.get(name):
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.read())

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield session, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        call("DELETE", "/api/session", session=session)


def chromium(address: str, *options: str) -> str:
    """Open an address in Chromium without a window, and with nobody else's profile; returns what it prints."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            *options,
            address,
        ]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
            env={**os.environ, "HOME": profile},  # where crash reports go, whatever the profile is
        ).stdout


def dom(name: str, filters: dict[str, str] | None = None) -> str:
    """The document of the dashboard with this name and its filters set, as Chromium built it."""
    with logged_in() as (session, address):
        identity = next(
            one["id"] for one in call("GET", "/api/dashboard", session=session) if one["name"] == name
        )
        query = urllib.parse.urlencode(filters or {})
        return chromium(f"{address}/dashboard/{identity}?{query}", "--dump-dom")


def screenshots(folder: Path) -> Iterator[Path]:
    """Write a picture of every dashboard; yields the files."""
    folder.mkdir(parents=True, exist_ok=True)
    with logged_in() as (session, address):
        for one in call("GET", "/api/dashboard", session=session):
            file = folder / f"{one['name'].lower().replace(' ', '-')}.png"
            size = f"--window-size={SIZE[0]},{SIZE[1]}"
            chromium(f"{address}/dashboard/{one['id']}", size, f"--screenshot={file}")
            yield file


if __name__ == "__main__":
    for written in screenshots(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs/images")):
        print(written)
