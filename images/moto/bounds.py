"""Bounds of what a request may send, before moto reads its body whole into memory.

Who signs with a key that IAM knows may send what the service takes: S3 5 GiB at once ("Uploading objects", S3's user guide), the
others 70,167,211 bytes, which is Lambda's and the largest of them (CreateFunction, with a zip of 50 MB). All others may send as
much as a refusal needs to be read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from typing import Any

from moto import settings
from moto.iam.access_control import CreateAccessKeyFailure, create_access_key
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wsgi import LimitedStream

ACCOUNT = "123456789012"
OBJECT, REQUEST, UNKNOWN = 5 * 2**30, 70_167_211, 1_000_000
SILENT_SECONDS = 60  # that a client may stop in the middle of a request
_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/[^/,\s]*/[^/,\s]*/([a-z0-9-]+)/")
_answer = DomainDispatcherApplication.__call__


class _Stream(LimitedStream):
    """Werkzeug's ends at its limit and raises only where it is read on."""

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(65_536), b""))


def bound(environ: dict[str, Any]) -> tuple[int, str]:
    """How many bytes the body of a request may have, and the service that it is for."""
    found = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    key, service = found.groups() if found else ("", "")
    if settings.INITIAL_NO_AUTH_ACTION_COUNT == 0:
        token = environ.get("HTTP_X_AMZ_SECURITY_TOKEN")
        try:
            create_access_key(ACCOUNT, "aws", key, {"X-Amz-Security-Token": token} if token else {})
        except CreateAccessKeyFailure:
            return UNKNOWN, service
    return OBJECT if service == "s3" else REQUEST, service


def answer(self: Any, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """moto's answer to a request, or the refusal of one that is too large."""
    limit, service = bound(environ)
    try:
        if int(environ.get("CONTENT_LENGTH") or 0) > limit:
            raise RequestEntityTooLarge
        if environ.get("wsgi.input_terminated"):  # in chunks
            stream = _Stream(environ["wsgi.input"], limit + 1, is_max=True)
            # S3's may be too large to be held here and then again by moto.
            environ["wsgi.input"] = stream if limit == OBJECT else io.BytesIO(stream.readall())
        return _answer(self, environ, start_response)  # type: ignore[no-any-return]
    except RequestEntityTooLarge:
        return _refuse(service, limit, start_response)


def _refuse(service: str, limit: int, start_response: Callable[..., Any]) -> list[bytes]:
    """The answer of S3 ("Error responses", its API reference), or that of Lambda (Invoke)."""
    if service == "s3":
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><Error><Code>EntityTooLarge</Code><Message>Your proposed upload exceeds '
            f"the maximum allowed object size.</Message><MaxSizeAllowed>{limit}</MaxSizeAllowed></Error>"
        )
        start_response("400 Bad Request", [("Content-Type", "application/xml")])
    else:
        body = f'{{"__type": "RequestEntityTooLargeException", "message": "The request has more than {limit} bytes."}}'
        start_response("413 Request Entity Too Large", [("Content-Type", "application/json")])
    return [body.encode()]


def install() -> None:
    """Put this in front of moto, and give up clients that fall silent."""
    DomainDispatcherApplication.__call__ = answer  # type: ignore[method-assign]
    MotoRequestHandler.timeout = SILENT_SECONDS
