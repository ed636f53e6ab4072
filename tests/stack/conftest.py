"""The running local site, as its operator and its machines see it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import testinfra

import sites

ROOT = Path(__file__).parents[2]
# The site that SITE names, or the inventory's own: tools/test chooses.
SITE = sites.variables(sites.chosen(), "local")
FACTS = sites.inventory("local") | SITE
NAME: str = FACTS["retailflow_name"]
PREFIX = f"{NAME.upper().replace('-', '_')}_"  # of names in Snowflake
STATE = ROOT / ".state" / sites.folder("local")
SECRETS = ROOT / ".secrets" / sites.folder("local")
ENV = STATE / "env" if SITE else ROOT / ".env"
PORTS: dict[str, int] = FACTS["local_cloud_ports"]
SECRET = SECRETS / "aws_operator"
# The operator's own key: the tests may do what the shipped policies allow.
AWS = {
    "endpoint_url": f"http://127.0.0.1:{PORTS['aws']}",
    "region_name": "us-east-1",
    "aws_access_key_id": FACTS["retailflow_aws_keys"]["operator"],
    "aws_secret_access_key": SECRET.read_text().strip() if SECRET.exists() else "none",
}
# For what only a test has to look at.
ADMINISTRATOR = AWS | {
    "aws_access_key_id": FACTS["retailflow_aws_keys"]["administrator"],
    "aws_secret_access_key": key.read_text().strip()
    if (key := SECRET.with_name("aws_administrator")).exists()
    else "none",
}
AUTHORITY = SECRETS / "authority.crt"
Host = Any  # testinfra has no types
Playbook = Callable[..., subprocess.CompletedProcess[str]]


def wait_for(condition: Callable[[], Any], seconds: int, what: str) -> Any:
    """Poll until a condition holds and return what it answered, or fail after that many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(1)
    return answer


def why(run: subprocess.CompletedProcess[str]) -> str:
    """The sentences with which a failed run of Ansible ends, then the end of its log."""
    told = run.stderr.find("FAILED on")
    return f"{run.stderr[told:].strip() if told >= 0 else ''}\n{run.stdout[-6000:]}"


@pytest.fixture(scope="session", autouse=True)
def environment() -> Iterator[None]:
    """Run Ansible as the Makefile does; sessions of Snowflake that tests open know the site's authority."""
    kept = dict(os.environ)
    os.environ |= {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    os.environ["REQUESTS_CA_BUNDLE"] = str(AUTHORITY)
    yield
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture(scope="session")
def playbook() -> Playbook:
    """Run a playbook against the local target; its whole output is in the failure."""

    def run(*arguments: str, timeout: int = 900) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ansible-playbook", *arguments],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name != "REQUESTS_CA_BUNDLE"},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


def _host(role: str) -> Host:
    return testinfra.get_host(f"docker://{NAME}-{role}")


@pytest.fixture(scope="session")
def postgres() -> Host:
    """The postgres host."""
    return _host("postgres")


@pytest.fixture(scope="session")
def dagster() -> Host:
    """The dagster-dbt host."""
    return _host("dagster-dbt")


@pytest.fixture(scope="session")
def sql(postgres: Host) -> Callable[[str], str]:
    """Run SQL on the postgres host as the superuser; returns psql's unaligned output."""

    def run(statement: str) -> str:
        result = postgres.run(
            "psql -w -h /var/lib/retailflow/postgres/run -U postgres -d retailflow_db -XAtc %s", statement
        )
        assert result.rc == 0, result.stderr
        return str(result.stdout).strip()

    return run


@pytest.fixture(scope="session")
def generate() -> Callable[[Any], dict[str, Any]]:
    """Invoke the generator through the AWS API; returns the answer, or {"error": …} for a FunctionError."""
    client = boto3.client("lambda", **AWS)

    def run(payload: Any) -> dict[str, Any]:
        answer = client.invoke(FunctionName=f"{NAME}-generator", Payload=json.dumps(payload))
        body = json.loads(answer["Payload"].read())
        return {"error": body} if answer.get("FunctionError") else body

    return run
