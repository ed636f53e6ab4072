"""What tests of several modules start with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import moto_support

from . import ecs_support


@pytest.fixture
def s3() -> Iterator[Any]:
    """A client of an emulated S3 in this process, empty, in a region that is not the default one."""
    with moto_support.account("s3", region="eu-central-1") as clients:
        yield clients["s3"]


@pytest.fixture
def cloud() -> Iterator[ecs_support.Cloud]:
    """An emulated ECS in this process, with one cluster."""
    with ecs_support.new_cloud() as made:
        yield made
