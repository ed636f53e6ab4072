"""Process 1 of a host or of an emulator dies: it comes back by itself, with what it ran and what it held.

The emulated AWS API is not among them: it forgets everything, which test_faults covers.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from .conftest import wait_for

HOSTS = {
    "retailflow-postgres": signal.SIGKILL,
    "retailflow-airbyte": signal.SIGSEGV,
    "retailflow-dagster-dbt": signal.SIGABRT,
    "retailflow-metabase": signal.SIGBUS,
}
EMULATORS = {
    "retailflow-dns": signal.SIGKILL,
    "retailflow-registry": signal.SIGSEGV,
    "retailflow-eventbridge": signal.SIGKILL,
    "retailflow-snowflake": signal.SIGABRT,
}


def docker(*command: str) -> str:
    """Return what Docker prints, empty where it fails."""
    return subprocess.run(["docker", *command], capture_output=True, text=True, timeout=60).stdout.strip()


def started(container: str) -> str:
    """Return when a running container was started, empty for any other."""
    running, moment = docker("inspect", "-f", "{{.State.Running}} {{.State.StartedAt}}", container).split()
    return moment if running == "true" else ""


def services(host: str) -> set[str]:
    """Return the services that a host runs, without those that are not healthy."""
    listed = docker("exec", host, "docker", "ps", "--format", "{{.Names}}\t{{.Status}}").splitlines()
    return {
        name
        for name, _, status in (line.partition("\t") for line in listed)
        if status.startswith("Up") and "unhealthy" not in status and "starting" not in status
    }


def crash(container: str, how: signal.Signals) -> None:
    """Send a signal from outside: Docker would take a kill of its own for a stop."""
    before = started(container)
    os.kill(int(docker("inspect", "-f", "{{.State.Pid}}", container)), how)
    wait_for(lambda: started(container) not in ("", before), 60, f"{container} runs again")


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_comes_back_with_its_services(host: str, sql: Callable[[str], str]) -> None:
    orders, ran = int(sql("select count(*) from sales")), services(host)
    assert ran, f"{host} ran nothing"
    crash(host, HOSTS[host])
    wait_for(lambda: ran <= services(host), 240, f"{', '.join(sorted(ran))} run on {host}")
    rules = docker("exec", host, "nft", "list", "table", "inet", "retailflow_security_groups")
    assert "drop" in rules, "the security groups are in force again"
    assert int(sql("select count(*) from sales")) >= orders


@pytest.mark.parametrize("emulator", EMULATORS)
def test_an_emulator_comes_back(emulator: str) -> None:
    crash(emulator, EMULATORS[emulator])
    ready = ("healthy", "")
    health = "{{if .State.Health}}{{.State.Health.Status}}{{end}}"
    wait_for(lambda: docker("inspect", "-f", health, emulator) in ready, 60, f"{emulator} is healthy")
