"""One fault after another on the converged site: each is named by `make status`, heals, and loses or doubles no row.

    tools/test faults

A fault heals by itself or by one `make up`; the output says which. Faults that do not disturb each other share a cycle,
and what needs `make up` in any case shares the last one. The last test restarts this machine's Docker engine, where
RetailFlow started it.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from .conftest import AWS, NAME, PORTS
from .site import (
    MOMENTS,
    RULE,
    Rows,
    crash,
    docker,
    ended,
    engine_down,
    engine_is_ours,
    heal,
    interrupted,
    launch,
    make,
    noticed,
    pause_generator,
    say,
    schedule,
    seen,
    status,
    trust,
)

Generate = Callable[[Any], dict[str, Any]]
Sql = Callable[[str], str]

BATCH = 300
MIDDLE_SECONDS = 6  # after which a cycle of about 25 s is in its sync or its build


@pytest.fixture(scope="module", autouse=True)
def site() -> Iterator[None]:
    """The site is well at the start, and again at the end, with the generator's schedule as it was."""
    heal()
    events = boto3.client("events", **AWS)
    rule = events.describe_rule(Name=RULE)
    yield
    if RULE in [found["Name"] for found in events.list_rules()["Rules"]]:
        schedule(rule)
    else:  # a test ended between the restart of the engine and its `make up`
        make("up")


@pytest.fixture
def rows(site: None, sql: Sql) -> Rows:
    """The orders, with the generator paused."""
    pause_generator(sql)
    return Rows(sql)


@pytest.fixture
def batch(rows: Rows, generate: Generate) -> dict[str, Any]:
    """New orders that no cycle has read yet."""
    answer = generate({"rows": BATCH, "batch_id": f"fault-{time.time_ns()}"})
    assert "error" not in answer, answer
    return answer


def after(rows: Rows, sql: Sql, before: tuple[str, ...], how: str) -> None:
    """Assert that every committed order is there once, and that RAW and the marts hold the same."""
    if how == "by itself":
        assert rows.source() == before
    else:  # its proof ran the generator, which moves orders on and deletes those that were cancelled
        pause_generator(sql)
        kept = int(sql(f"select count(*) from sales where order_id <= {before[3]}"))
        assert int(before[0]) * 0.95 <= kept <= int(before[0])
    rows.assert_equal(cycle=how != "by itself")


def crash_in_a_cycle(rows: Rows, sql: Sql, names: dict[str, str]) -> None:
    """Crash containers while a cycle runs; `names` maps each to the word by which `make status` names it."""
    before = rows.source()
    launch("sales_job")
    time.sleep(MIDDLE_SECONDS)
    crashes = [crash(name) for name in names]
    noticed(crashes, list(names.values()))
    after(rows, sql, before, heal(crashes))


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    "hosts",
    [("postgres", "metabase"), ("airbyte",), ("dagster-dbt",)],
    ids="+".join,
)
@pytest.mark.usefixtures("batch")
def test_hosts_that_crash_in_a_cycle_come_back(hosts: tuple[str, ...], rows: Rows, sql: Sql) -> None:
    crash_in_a_cycle(rows, sql, {f"{NAME}-{host}": f"{NAME}-{host}" for host in hosts})


@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("batch")
def test_emulators_that_crash_in_a_cycle_come_back(rows: Rows, sql: Sql) -> None:
    names = [f"{NAME}-{name}" for name in ("snowflake", "eventbridge", "dns", "registry")]
    crash_in_a_cycle(rows, sql, {name: f"emulator {name}" for name in names})


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("batch")
def test_a_database_that_hangs_is_named_and_the_next_cycle_goes_on(rows: Rows, sql: Sql) -> None:
    before = rows.source()
    launch("sales_job")
    time.sleep(MIDDLE_SECONDS)
    in_host = ("exec", f"{NAME}-postgres", "docker", "kill", "--signal")
    docker(*in_host, "STOP", "postgres")
    try:
        say("PostgreSQL's first process hangs: it takes no new connection")
        found = seen("PostgreSQL")
        assert found.found["hosts"][f"{NAME}-postgres"]["reachable"], "its host is well"
    finally:
        docker(*in_host, "CONT", "postgres")
    after(rows, sql, before, heal())


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("batch")
def test_a_full_volume_fails_the_cycle_and_no_longer_than_it_is_full(rows: Rows, sql: Sql) -> None:
    """The folder in which Airbyte works has no room left: a file system of one page stands in its place."""
    before = rows.source()
    pid = docker("exec", f"{NAME}-airbyte", "docker", "inspect", "--format", "{{.State.Pid}}", "airbyte")
    within = ("exec", f"{NAME}-airbyte", "nsenter", "--target", pid, "--mount", "--pid")
    docker(*within, "mount", "-t", "tmpfs", "-o", "size=4k,mode=1777", "full", "/data/work")
    try:
        say("the folder in which Airbyte works is full")
        assert ended(launch("sales_job")) == "FAILURE"
        seen("pipeline")
    finally:
        docker(*within, "umount", "--lazy", "/data/work")
    after(rows, sql, before, heal())


@pytest.mark.timeout(900)
def test_a_refresh_repairs_the_marts(rows: Rows, batch: dict[str, Any], sql: Sql) -> None:
    """Orders vanish from PostgreSQL and nobody is told, as after a restore: the publication leaves deletions out for a moment."""
    rows.assert_equal()
    gone = f"order_id between {batch['first_order_id']} and {batch['first_order_id'] + 49}"
    sql("alter publication retailflow set (publish = 'insert, update')")
    try:
        sql(f"delete from sales where {gone}")
    finally:
        sql("alter publication retailflow set (publish = 'insert, update, delete, truncate')")
    assert ended(launch("sales_job")) == "FAILURE", "RAW and PostgreSQL differ, and no check said so"
    assert "make refresh" in seen("pipeline").problems["pipeline"]
    make("refresh", "STREAM=sales")
    pause_generator(sql)
    rows.assert_equal(cycle=False)  # the refresh ends with one


@pytest.mark.timeout(1800)
def test_a_lost_connection_a_restarted_engine_and_five_interrupted_runs_are_healed_by_one_make_up(
    rows: Rows, batch: dict[str, Any], sql: Sql
) -> None:
    rows.assert_equal()
    before = rows.source()
    delete_connection()
    # What is deleted now is known to no slot that is read: only a refresh can tell.
    sql(
        f"delete from sales where order_id between {batch['first_order_id']} and {batch['first_order_id'] + 99}"
    )
    assert ended(launch("sales_job")) == "FAILURE"
    seen("pipeline")

    if engine_is_ours():
        with engine_down():
            seen("Docker on this machine")
    else:
        say("the engine serves others too and stays up; only the emulated AWS API restarts")
        docker("restart", f"{NAME}-aws")
    # The emulated AWS API has forgotten everything: no play may guess an address.
    for moment in MOMENTS:
        interrupted(moment, "up")
    make("up")
    make("run")
    found = status()
    assert found.well, found.text[-3000:]
    pause_generator(sql)
    kept = int(sql(f"select count(*) from sales where order_id <= {before[3]}"))
    assert int(before[0]) * 0.95 - 100 <= kept <= int(before[0]) - 100
    rows.assert_equal()


def delete_connection() -> None:
    """Delete the connection through Airbyte's public API, as somebody in a browser would."""
    base = f"https://127.0.0.1:{PORTS['airbyte']}/api/public/v1"

    def call(method: str, path: str, body: Any = None, token: str = "") -> Any:
        request = urllib.request.Request(
            f"{base}/{path}",
            json.dumps(body).encode() if body else None,
            {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30, context=trust()) as response:
            text = response.read()
        return json.loads(text) if text else None

    login = json.loads(docker("exec", f"{NAME}-airbyte", "/opt/airbyte/install.sh", "credentials"))
    token = call("POST", "applications/token", login)["access_token"]
    (connection,) = call("GET", "connections", token=token)["data"]
    call("DELETE", f"connections/{connection['connectionId']}", token=token)
    say("Airbyte's connection was deleted")
