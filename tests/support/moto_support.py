"""AWS emulated in this process: an empty account for each test, and clients that are made once for all of them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
# Thousands, which no test asks for.
_SETTINGS = {"MOTO_EC2_LOAD_DEFAULT_AMIS": "false"}


@contextlib.contextmanager
def account(*services: str, region: str = "us-east-1") -> Iterator[dict[str, Any]]:
    """Give a client of each service; what they made is gone when the block ends."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in (_KEYS | _SETTINGS).items():
            patch.setenv(name, value)
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        yield {service: _client(service, region) for service in services}


@functools.cache
def _client(service: str, region: str) -> Any:
    keys = {name.lower(): value for name, value in _KEYS.items()}
    return boto3.client(service, region_name=region, **keys)  # type: ignore[call-overload]
