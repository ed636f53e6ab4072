"""The certificate that a server shows, which may be exchanged while it runs."""

from __future__ import annotations

import ssl
from pathlib import Path


class Certificate:
    """A file in PEM with a certificate and its private key; each connection is shown what the file holds then.

    `context` is what the server listens with. Connections that are open stay as they are. A file that cannot be used is left
    alone, and the certificate of before is shown, until there is a better one; at the start it is a ValueError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._seen = self._mark()
            self._current = self.context = self._read()
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"{path} does not hold a certificate with its private key: {error}") from error
        self.context.sni_callback = self._choose

    def _mark(self) -> tuple[int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_ino

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._path)
        return context

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        """At the beginning of each handshake, whether or not the client names the server."""
        try:
            mark = self._mark()
            if mark != self._seen:
                self._seen, self._current = mark, self._read()
        except (OSError, ssl.SSLError):
            pass
        connection.context = self._current
