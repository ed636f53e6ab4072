"""Serves dbt's documentation, one page that the image was built with, to whoever reaches the port.

python -m retailflow_dagster.docs
"""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PORT = 3001
PAGE = Path(os.environ.get("DBT_DOCS_PAGE", "/opt/retailflow/docs/index.html"))


def server(page: bytes, port: int, host: str = "0.0.0.0") -> ThreadingHTTPServer:
    """A server of the one page; every other address is not found."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 30  # seconds that a silent client may hold a thread

        def do_GET(self) -> None:
            found = self.path.partition("?")[0] in ("/", "/index.html")
            body = page if found else b"Not found: the documentation is at /\n"
            self.send_response(200 if found else 404)
            self.send_header("content-type", "text/html; charset=utf-8" if found else "text/plain")
            self.send_header("content-length", str(len(body)))
            self.send_header("x-content-type-options", "nosniff")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            """Health checks would fill the log."""

    return ThreadingHTTPServer((host, port), Handler)


def main() -> None:
    """Serves until the container stops."""
    # The first process of a container is deaf to signals that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with server(PAGE.read_bytes(), PORT) as serving:
        print(f"dbt's documentation on port {PORT}", flush=True)
        serving.serve_forever()


if __name__ == "__main__":
    main()
