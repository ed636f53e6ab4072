"""The emulated AWS API: ECS's operations as signed JSON 1.1, and clients of the services that a task needs.

Amazon's agent holds two websockets, for what to run and for health. In their place are two operations that only the emulated
API has, `Poll` and `StartTelemetrySession`; they are named after the actions of IAM that the websockets need. botocore does
not know them, so all operations of ECS are signed and sent here.

An error is one of two kinds. `ApiAwayError`: nobody knows whether the request was done, so try again. `ApiRefusedError`: the
API answered, and the code is ECS's.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.httpsession import URLLib3Session

from .settings import Settings

TARGET = "AmazonEC2ContainerServiceV20141113"
#: Longer than the longest Poll.
READ_SECONDS = 45
#: The credentials of the role are renewed when they end within this time.
RENEW_SECONDS = 900


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Codes that say that the credentials are none any more: their end, or an API that has forgotten them.
STALE = _words(
    "ExpiredToken ExpiredTokenException InvalidClientTokenId UnrecognizedClientException InvalidSignatureException "
    "SignatureDoesNotMatch AuthFailure InvalidAccessKeyId"
)
#: Codes after which the same request may succeed.
PASSING = _words(
    "ThrottlingException Throttling RequestLimitExceeded ServerException ServiceUnavailable InternalFailure"
)
# `proxies` is empty and not None, so that botocore does not look into the environment.
CLIENT = Config(connect_timeout=3, read_timeout=20, retries={"total_max_attempts": 2}, proxies={})
CACHED_CLIENTS = 64


class ApiAwayError(Exception):
    """The API does not answer, or says that it cannot now."""


class ApiRefusedError(Exception):
    """The API refuses; `code` is the error's name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


@dataclass(frozen=True)
class Keys:
    """Credentials of a role, as the API hands them out; `expiration` is ISO 8601."""

    access: str
    secret: str
    token: str
    role_arn: str = ""
    expiration: str = ""

    @classmethod
    def given(cls, found: dict[str, Any] | None) -> Keys | None:
        """Of `roleCredentials` and `executionRoleCredentials`."""
        if not found:
            return None
        return cls(
            access=found["accessKeyId"],
            secret=found["secretAccessKey"],
            token=found["sessionToken"],
            role_arn=found.get("roleArn", ""),
            expiration=str(found.get("expiration", "")),
        )


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """Turn botocore's errors into the two kinds."""
    try:
        yield
    except ClientError as error:
        told = error.response.get("Error", {})
        code, status = (
            told.get("Code", ""),
            error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0),
        )
        if status >= 500 or code in PASSING:
            raise ApiAwayError(str(error)) from error
        raise ApiRefusedError(code, told.get("Message", "")) from error
    except (BotoCoreError, HTTPClientError) as error:
        raise ApiAwayError(str(error)) from error


class Ecs(Protocol):
    """What the agent needs of ECS: tests have one of their own."""

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """Do one operation and return its answer."""


class Api:
    """The API with the credentials of the instance's role, which are taken by STS and renewed."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        send: Callable[[Any], Any] | None = None,
        connect: Callable[..., Any] | None = None,
    ) -> None:
        self._settings, self._clock = settings, clock
        self._send = send or URLLib3Session(timeout=(3, READ_SECONDS), max_pool_connections=4).send
        self._connect = connect or boto3.session.Session(region_name=settings.region).client
        self._lock = threading.RLock()
        self._keys: Keys | None = None
        self._clients: dict[tuple[str, str, str], Any] = {}

    def instance_keys(self) -> Keys:
        """The credentials of the instance's role."""
        with self._lock:
            if self._keys is None or self._ends(self._keys) < RENEW_SECONDS:
                self._keys = self._assume()
            return self._keys

    def _ends(self, keys: Keys) -> float:
        return (dt.datetime.fromisoformat(keys.expiration) - self._clock()).total_seconds()

    def _assume(self) -> Keys:
        settings = self._settings
        own = Keys(settings.access_key, settings.secret_key, "")
        with asking():
            answer = self.client("sts", own).assume_role(
                RoleArn=settings.role_arn, RoleSessionName=settings.instance_id
            )["Credentials"]
        return Keys(
            answer["AccessKeyId"],
            answer["SecretAccessKey"],
            answer["SessionToken"],
            settings.role_arn,
            answer["Expiration"].isoformat(),
        )

    def forget_keys(self) -> None:
        """Take new credentials at the next request."""
        with self._lock:
            self._keys = None

    def client(self, service: str, keys: Keys | None = None, region: str = "") -> Any:
        """A client of boto3, with the credentials of a task's role, or else of the instance's."""
        keys = keys or self.instance_keys()
        region = region or self._settings.region
        with self._lock:  # a session makes its clients one after another
            key = (service, region, keys.access)
            if key not in self._clients:
                while len(self._clients) >= CACHED_CLIENTS:
                    self._clients.pop(next(iter(self._clients)))
                self._clients[key] = self._connect(
                    service,
                    region_name=region,
                    endpoint_url=self._settings.endpoint,
                    aws_access_key_id=keys.access,
                    aws_secret_access_key=keys.secret,
                    aws_session_token=keys.token or None,
                    config=CLIENT,
                )
            return self._clients[key]

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """Do one operation of ECS; ApiAwayError or ApiRefusedError."""
        keys = self.instance_keys()
        asked = AWSRequest(
            method="POST",
            url=f"{self._settings.endpoint}/",
            data=json.dumps(request).encode(),
            headers={
                "Content-Type": "application/x-amz-json-1.1",
                "X-Amz-Target": f"{TARGET}.{operation}",
                "User-Agent": "retailflow-ecs-agent",
            },
        )
        SigV4Auth(Credentials(keys.access, keys.secret, keys.token), "ecs", self._settings.region).add_auth(
            asked
        )
        with asking():
            answer = self._send(asked.prepare())
        try:
            found = json.loads(answer.content)
        except ValueError:
            found = None
        if answer.status_code == 200 and isinstance(found, dict):
            return found
        code = str(found.get("__type", "")).rpartition("#")[2] if isinstance(found, dict) else ""
        message = found.get("message") or found.get("Message") or "" if code else answer.content[:200]
        if answer.status_code >= 500 or code in PASSING or not code:
            raise ApiAwayError(f"{operation} was answered with {answer.status_code} {code} {message}")
        if code in STALE:
            self.forget_keys()
            raise ApiAwayError(f"{operation}: {code}: {message}; the role is assumed again")
        raise ApiRefusedError(code, str(message))
