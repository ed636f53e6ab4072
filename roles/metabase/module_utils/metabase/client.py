"""One session with Metabase's HTTP API."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from .errors import MetabaseError, UnreachableError


class Api:
    """Metabase's HTTP API with one session; every refusal is a MetabaseError that quotes the server."""

    def __init__(self, url: str, timeout: int) -> None:
        self._url, self._timeout = url.rstrip("/"), timeout
        # Not open_url: it reads all CA certificates again for every request.
        self._opener = build_opener(ProxyHandler({}))
        self.session = ""

    def __call__(self, method: str, path: str, body: Any = None, refusals: tuple[int, ...] = ()) -> Any:
        """The parsed answer; None where the status is one of ``refusals``."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.session:
            headers["X-Metabase-Session"] = self.session
        data = None if body is None else json.dumps(body).encode()
        try:
            request = Request(self._url + path, data, headers, method=method)
            with self._opener.open(request, timeout=self._timeout) as response:
                text = response.read().decode()
        except HTTPError as error:
            if error.code in refusals:
                return None
            refusal = MetabaseError(f"{method} {path}: HTTP {error.code}: {_words(error.read().decode())}")
            refusal.status = error.code
            raise refusal from None
        except (OSError, HTTPException) as error:
            raise UnreachableError(f"{self._url} does not answer: {error}") from None
        return json.loads(text) if text else None


def _words(text: str) -> str:
    """The server's reason, without JSON around it."""
    try:
        body = json.loads(text)
    except ValueError:
        return text.strip()[:500]
    if isinstance(body, dict) and isinstance(body.get("errors"), dict) and body["errors"]:
        return "; ".join(f"{name}: {reason}" for name, reason in sorted(body["errors"].items()))
    return str(body.get("message", body) if isinstance(body, dict) else body)[:500]
