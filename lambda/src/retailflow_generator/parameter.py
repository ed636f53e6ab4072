"""PostgreSQL's password where it is a parameter of AWS's Systems Manager and not in the function's environment.

The request is signed here, by "Create a signed AWS API request" of IAM's user guide; tests compare it with botocore's signature.
botocore itself costs 0.16 s of CPU in each new process, a quarter of what all other libraries of the function take together.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import hmac
import http.client
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

#: Seconds for each step of the request; the parameter store is next door.
TIMEOUT = 5.0
_TARGET = "AmazonSSM.GetParameter"
_ANSWER_BYTES = 64 * 1024  # a parameter has 8 KB at most


class PasswordUnavailableError(RuntimeError):
    """The parameter with the password could not be read; nothing was written."""


@dataclass(frozen=True)
class Parameter:
    """A parameter by its ``name``, in ``region``, asked for at ``endpoint`` (http or https) and nowhere else."""

    name: str
    endpoint: str
    region: str

    def read(self, env: Mapping[str, str]) -> str:
        """Return the value, with the keys of ``env``, which Lambda gives to a function; PasswordUnavailableError if it cannot."""
        try:
            status, answer = self._ask(env)
            found = json.loads(answer)
            if status == 200:
                value = found["Parameter"]["Value"]
                if isinstance(value, str) and value:
                    return value
            kind = str(found.get("__type", f"status {status}")).rpartition("#")[2]
            reason = f"{kind}: {found.get('message') or found.get('Message') or 'without a reason'}"[:500]
            if status == 200:
                reason = "it is empty"
        except (OSError, http.client.HTTPException) as error:
            reason = f"{self.endpoint} does not answer: {error or type(error).__name__}"
        except (ValueError, TypeError, KeyError, AttributeError):
            reason = f"{self.endpoint} gave an answer that is none of the parameter store"
        raise PasswordUnavailableError(
            f"The batch was not written. The password of PostgreSQL, the parameter {self.name}, could not be read: {reason} "
            "Check the parameter, the function's role and AWS_ENDPOINT_URL_SSM of the function."
        )

    def _ask(self, env: Mapping[str, str]) -> tuple[int, bytes]:
        body = json.dumps({"Name": self.name, "WithDecryption": True}).encode()
        url = urlsplit(self.endpoint)
        if url.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(url.netloc, timeout=TIMEOUT)
        else:
            connection = http.client.HTTPConnection(url.netloc, timeout=TIMEOUT)
        try:
            connection.request("POST", "/", body, self.signed(body, env, dt.datetime.now(dt.UTC)))
            answer = connection.getresponse()
            return answer.status, answer.read(_ANSWER_BYTES)
        finally:
            connection.close()

    def signed(self, body: bytes, env: Mapping[str, str], now: dt.datetime) -> dict[str, str]:
        """Return the headers of the request, with its signature."""
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "host": urlsplit(self.endpoint).netloc,
            "x-amz-date": stamp,
            "x-amz-target": _TARGET,
        }
        if token := env.get("AWS_SESSION_TOKEN"):
            headers["x-amz-security-token"] = token
        names = sorted(headers)
        lines = [*(f"{name}:{headers[name]}" for name in names), "", ";".join(names)]
        canonical = "\n".join(["POST", "/", "", *lines, hashlib.sha256(body).hexdigest()])
        scope = [stamp[:8], self.region, "ssm", "aws4_request"]
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, "/".join(scope), digest])
        key = f"AWS4{env.get('AWS_SECRET_ACCESS_KEY', '')}".encode()
        for part in scope:
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = "/".join([env.get("AWS_ACCESS_KEY_ID", ""), *scope])
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return headers


@functools.lru_cache(maxsize=1)
def password_of(parameter: Parameter) -> str:
    """The value of a parameter, read once per process; ``password_of.cache_clear()`` lets it be read again."""
    return parameter.read(os.environ)
