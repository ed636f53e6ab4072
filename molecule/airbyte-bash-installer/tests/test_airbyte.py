"""What clients get from the role airbyte-bash-installer, here with embedded Airbyte."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

QUERY = Path(__file__).parents[2] / "shared/files/query.py"
BOUNDED = Path(__file__).parents[2] / "shared/files/bounded.py"
# On the host, as one process however often it asks: to start one costs more than a question.
ASK = """
import sys, time, requests
method, path, token, body, passing = sys.argv[1:]
headers = {'Authorization': 'Bearer ' + token, 'Content-Type': 'application/json'}
url = 'http://localhost:8000/api/' + path
deadline = time.monotonic() + 240
while True:
    answer = requests.request(method, url, data=body, headers=headers)
    if not passing or answer.json()['status'] not in passing.split() or time.monotonic() > deadline:
        break
    time.sleep(0.5)
print(answer.text)
"""


class Airbyte:
    """The public API, asked from the host itself."""

    def __init__(self, host: Any) -> None:
        self._host = host
        credentials = json.loads(host.check_output("/opt/airbyte/install.sh credentials"))
        self.secret: str = credentials["client_secret"]
        self._token = ""
        self._token = self.call("POST", "public/v1/applications/token", credentials)["access_token"]
        (connection,) = self.call("GET", "public/v1/connections")["data"]
        self.connection: str = connection["connectionId"]

    def call(self, method: str, path: str, body: Any = None, passing: tuple[str, ...] = ()) -> Any:
        """Ask once, or for four minutes while the answer has a status that passes; return the last answer."""
        text = "" if body is None else json.dumps(body)
        command = "python3 -c %s %s %s %s %s %s"
        return json.loads(
            self._host.check_output(command, ASK, method, path, self._token, text, " ".join(passing))
        )

    def start(self) -> int:
        body = {"connectionId": self.connection, "jobType": "sync"}
        job: int = self.call("POST", "public/v1/jobs", body)["jobId"]
        return job

    def ended(self, job: int) -> dict[str, Any]:
        under_way = ("pending", "running", "incomplete")
        found: dict[str, Any] = self.call("GET", f"public/v1/jobs/{job}", passing=under_way)
        if found["status"] in under_way:
            raise AssertionError(f"job {job} does not end: {self.call('POST', 'v1/jobs/get', {'id': job})}")
        return found


@pytest.fixture
def airbyte(host: Any) -> Airbyte:
    return Airbyte(host)


def totals(host: Any) -> tuple[list[str], list[str]]:
    """Rows, distinct ids and sum of prices: of PostgreSQL, of RAW."""
    source = host.check_output(
        "docker exec postgres psql -U shop -AtF, -c "
        "'select count(*), count(distinct order_id), sum(price) from sales' shop"
    )
    statement = (
        'select count(*), count(distinct "ORDER_ID"), sum("PRICE"::number(38,2)) from RAW.RETAIL.SALES'
    )
    target = host.check_output(
        "docker exec snowflake python -W ignore -c %s %s", QUERY.read_text(), statement
    )
    return source.split(","), target.splitlines()[-1].split(",")


def sql(host: Any, statement: str) -> None:
    host.check_output("docker exec postgres psql -qU shop -c %s shop", statement)


def test_sync_then_only_changes(host: Any, airbyte: Airbyte) -> None:
    first = airbyte.ended(airbyte.start())
    assert (first["status"], first["rowsSynced"]) == ("succeeded", 100_000)
    source, target = totals(host)
    assert source == target
    sql(host, "update sales set price = price + 1, updated_at = clock_timestamp() where order_id % 1000 = 7")
    sql(host, "insert into sales (city, price) select 'new', 1 from generate_series(1, 50)")
    second = airbyte.ended(airbyte.start())
    assert (second["status"], second["rowsSynced"]) == ("succeeded", 150)
    source, target = totals(host)
    assert source == target


# What kills the process of a running sync once it is at work; fails where there was none to kill.
KILL = """
import contextlib, os, pathlib, time
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if {command!r} in (process / "cmdline").read_bytes():
                time.sleep(0.4)
                os.kill(int(process.name), 9)
                raise SystemExit
    time.sleep(0.02)
raise SystemExit("no such process")
"""


@pytest.mark.parametrize(
    "victim", ["source_postgres read", "destination_snowflake write", "the whole server"]
)
def test_killed_in_the_middle_and_repaired_by_the_next_sync(host: Any, airbyte: Airbyte, victim: str) -> None:
    # More than pipes and the destination's read-ahead hold: the source is still there when the kill comes.
    sql(host, "insert into sales (city, price) select 'more', i % 100 from generate_series(1, 300000) i")
    job = airbyte.start()
    if victim == "the whole server":
        time.sleep(4)
        host.check_output("docker kill --signal KILL airbyte && docker start airbyte")
        for _ in range(60):
            if host.run("docker inspect -f '{{.State.Health.Status}}' airbyte").stdout.strip() == "healthy":
                break
            time.sleep(1)
    else:
        command = victim.replace(" ", "\0").encode()
        host.check_output("docker exec airbyte python -c %s", KILL.format(command=command))
    airbyte.ended(job)
    assert airbyte.ended(airbyte.start())["status"] == "succeeded"
    source, target = totals(host)
    assert source == target


def test_the_page_says_what_it_is_and_secrets_are_nowhere(host: Any, airbyte: Airbyte) -> None:
    page = host.check_output("curl -fsS http://localhost:8000/ || python3 -c %s", _GET)
    assert "embedded Airbyte" in page and "shop to lake" in page
    applied = host.file("/var/lib/retailflow/airbyte/applied.json")
    assert applied.mode == 0o600 and not applied.contains("shop-secret")
    assert not host.file("/opt/airbyte/install.sh").contains(airbyte.secret)
    for secret in ("shop-secret", "lake-secret", airbyte.secret):
        assert secret not in host.check_output("docker logs airbyte 2>&1")


_GET = "import requests; print(requests.get('http://localhost:8000/').text)"


def test_the_server_is_no_root_has_no_capability_and_is_bounded(host: Any) -> None:
    assert host.check_output("printf %%s %s | python3 - airbyte 10001 /data", BOUNDED.read_text()) == ""


def test_nothing_answers_without_a_token(host: Any) -> None:
    script = "import requests; print(requests.get('http://localhost:8000/api/public/v1/sources').status_code)"
    assert host.check_output("python3 -c %s", script) == "401"


def test_the_script_is_safe_to_run_again(host: Any) -> None:
    assert host.run("/opt/airbyte/install.sh install").rc == 0
    assert host.run("/opt/airbyte/install.sh").rc == 1
