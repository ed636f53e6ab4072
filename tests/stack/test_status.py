"""`make status` of the running site while a part of it is away: each is named in time, and the site is put back."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .conftest import NAME, ROOT, Host, Playbook, wait_for, why

#: The bound is 15 s on a machine that has time; tests share theirs with others.
PATIENCE_S = 45


def status(form: str = "text") -> tuple[int, str]:
    """Exit code and output of `make status`."""
    began = time.monotonic()
    done = subprocess.run(
        ["make", "--no-print-directory", "status", f"FORMAT={form}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert time.monotonic() - began < PATIENCE_S, "an answer that comes too late is none"
    return done.returncode, done.stdout


def well() -> bool:
    return status()[0] == 0


def docker(*arguments: str) -> None:
    subprocess.run(["docker", *arguments], check=True, capture_output=True)


@contextmanager
def stopped(container: str) -> Iterator[None]:
    """Stop a container of this machine's engine, and start it again."""
    docker("stop", "--time", "5", container)
    try:
        yield
    finally:
        docker("start", container)


@pytest.fixture(autouse=True)
def site_is_well() -> Iterator[None]:
    """Before and after each test; a cycle that met the missing part is followed by one that does not."""
    wait_for(well, 600, "the site is well")
    yield
    wait_for(well, 900, "the site is well again")


def test_a_site_that_is_well_exits_with_zero() -> None:
    code, text = status()
    assert (code, text.splitlines()[0][:5]) == (0, "WELL:"), text
    code, text = status("json")
    found: dict[str, Any] = json.loads(text)
    assert (code, found["problems"], found["well"]) == (0, [], True)


@pytest.mark.parametrize("emulator", ["eventbridge", "snowflake"])
def test_an_emulator_that_is_stopped_is_named(emulator: str) -> None:
    with stopped(f"{NAME}-{emulator}"):
        code, text = status()
    assert code != 0
    assert text.startswith(f"NOT WELL: emulator {NAME}-{emulator}: does not run"), text


def test_a_hung_database_is_named_and_not_waited_for(postgres: Host) -> None:
    try:
        postgres.check_output("pkill -STOP -x postgres")  # by name: sessions come and go
        code, text = status()
    finally:
        postgres.check_output("pkill -CONT -x postgres")
    assert code != 0
    assert "  - PostgreSQL: does not answer" in text or "container postgres" in text, text


def test_a_container_that_is_removed_is_missing_and_not_an_empty_list(
    playbook: Playbook,
) -> None:
    """Of Airbyte: ECS would start another one of the others at once."""
    docker("exec", f"{NAME}-airbyte", "docker", "rm", "--force", "airbyte")
    code, text = status()
    assert code != 0
    assert text.startswith(f"NOT WELL: {NAME}-airbyte, container airbyte: is missing"), text
    again = playbook("playbooks/configure.yml", "--limit", "control,airbyte")
    assert again.returncode == 0, why(again)


def test_a_host_that_is_down_is_named_with_since_when() -> None:
    with stopped(f"{NAME}-metabase"):
        code, text = status()
    assert code != 0
    head = text.splitlines()[0]
    assert head.startswith(f"NOT WELL: host {NAME}-metabase: does not run (Exited"), text
    assert ", since 20" in head and "make up" in head


def test_a_frozen_host_is_named_and_not_waited_for() -> None:
    docker("pause", f"{NAME}-airbyte")
    try:
        code, text = status()
    finally:
        docker("unpause", f"{NAME}-airbyte")
    assert code != 0
    assert f"  - host {NAME}-airbyte: does not run (Up" in text, text
