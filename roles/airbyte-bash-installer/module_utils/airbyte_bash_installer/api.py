"""Airbyte's two HTTP APIs with one token."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from .errors import AirbyteError, UnreachableError

Item = dict[str, Any]
PAGE = 100
#: Airbyte's public API, and the internal one, which alone can refresh.
PUBLIC, CONFIGURATION = "/api/public/v1", "/api/v1"
BUSY = {429, 502, 503, 504}


class Api:
    """A client: tokens are renewed when they expire, requests are repeated while Airbyte is busy."""

    def __init__(self, url: str, client_id: str, client_secret: str, timeout: int, retries: int) -> None:
        self._base = url.rstrip("/")
        self._credentials = {"client_id": client_id, "client_secret": client_secret}
        self._timeout = timeout
        self._retries = retries
        self._token: str | None = None
        # Not open_url: it reads all CA certificates again for every request. No proxy: Airbyte is on this host.
        self._opener = build_opener(ProxyHandler({}))

    def get_all(self, path: str, **query: str) -> Iterator[Item]:
        """Every object of a list, page by page."""
        offset = 0
        while True:
            page = self.call("GET", f"{path}?{urlencode({**query, 'limit': PAGE, 'offset': offset})}")["data"]
            yield from page
            if len(page) < PAGE:
                return
            offset += PAGE

    def call(self, method: str, path: str, body: Item | None = None, api: str = PUBLIC) -> Item:
        """One request. Raises AirbyteError, which quotes the answer, or UnreachableError."""
        try:
            return self._send(method, api + path, body, self._authorization())
        except HTTPError as error:
            if error.code != 401:
                raise self._failure(method, path, error) from error
        self._token = None  # it has expired
        try:
            return self._send(method, api + path, body, self._authorization())
        except HTTPError as error:
            raise self._failure(method, path, error) from error

    def _authorization(self) -> str:
        if self._token is None:
            try:
                answer = self._send("POST", f"{PUBLIC}/applications/token", self._credentials)
                self._token = answer["access_token"]
            except HTTPError as error:
                if error.code in (401, 403):
                    raise AirbyteError(
                        "Airbyte refuses the client id and secret: set those of this installation"
                    ) from error
                raise self._failure("POST", "/applications/token", error) from error
        return f"Bearer {self._token}"

    def _send(self, method: str, path: str, body: Item | None, authorization: str | None = None) -> Item:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if authorization:
            headers["Authorization"] = authorization
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._base + path, data, headers, method=method)
        for attempt in range(self._retries + 1):
            try:
                with self._opener.open(request, timeout=self._timeout) as response:
                    answer: Item = json.loads(response.read() or b"{}")
                    return answer
            except HTTPError as error:
                if error.code not in BUSY or attempt == self._retries:
                    raise
            except (URLError, ConnectionError, TimeoutError) as error:
                # Only a read may be repeated blindly: a write may have been carried out.
                if attempt == self._retries or (method != "GET" and not _refused(error)):
                    raise UnreachableError(
                        f"Airbyte at {self._base} does not answer: {error}. Is it running?"
                    ) from error
            time.sleep(min(2**attempt, 30))
        raise AssertionError("unreachable")

    @staticmethod
    def _failure(method: str, path: str, error: HTTPError) -> AirbyteError:
        text = error.read().decode(errors="replace")
        try:
            text = json.loads(text).get("detail") or text
        except (ValueError, AttributeError):
            pass
        words = f"Airbyte answers {error.code} to {method} {path.partition('?')[0]}: {text}"
        return AirbyteError(words, error.code)


def _refused(error: Exception) -> bool:
    return isinstance(getattr(error, "reason", error), ConnectionRefusedError)
