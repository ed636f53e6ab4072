"""Backups of the running site: a drill under load, moments that are refused, and a store that is away."""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import NAME, ROOT, Host, Playbook, wait_for, why

Sql = Callable[[str], str]
PROGRAM = "/usr/local/sbin/retailflow-backup"


@pytest.fixture(autouse=True, scope="module")
def backed_up(postgres: Host) -> None:
    """A site whose inventory says so."""
    if not postgres.file(PROGRAM).exists:
        pytest.skip("this site has no backups: retailflow_backup is false")


def make(*arguments: str, timeout: int = 1800) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def state(postgres: Host) -> dict[str, Any]:
    """What the program on the host says about storing."""
    found: dict[str, Any] = json.loads(postgres.check_output(f"{PROGRAM} status"))
    return found


def test_what_is_written_is_stored_within_a_minute(postgres: Host, sql: Sql) -> None:
    segment = sql("select pg_walfile_name(pg_current_wal_insert_lsn() + 1)")
    began = time.monotonic()
    sql("select pg_logical_emit_message(true, 'test', '')")

    def stored() -> bool:
        shipped = state(postgres)["shipped"].get("file", "")
        return bool(re.fullmatch(r"[0-9A-F]{24}", shipped)) and shipped >= segment

    wait_for(stored, 90, "the segment is stored")
    assert time.monotonic() - began <= 75  # a minute and the look itself


# Commits one row after the other and notes each that PostgreSQL has confirmed; every tenth ends a segment of the log.
LOAD = r"""
n=0 sql="psql -h /var/lib/retailflow/postgres/run -U postgres -d retailflow_db -XqAt -c"
while [ ! -e /run/load-ends ]; do
  n=$((n + 1))
  if $sql "insert into crash_load values ($n)"
  then echo $n >> /run/load-confirmed; else sleep 0.2; fi
  [ $((n % 10)) != 0 ] || $sql "select pg_switch_wal()"
done
"""
KILLS = {
    "the server": "pkill --signal KILL --oldest --exact postgres",
    "the archiver": "pkill --signal KILL --full '^postgres: archiver'",
    "the uploader": "systemctl kill --signal KILL retailflow-backup-ship",
}


@pytest.fixture
def load(postgres: Host, sql: Sql) -> Iterator[Callable[[], set[int]]]:
    """Rows that are committed all the time; the function ends it and returns the numbers that were confirmed."""
    sql("create table crash_load (n bigint)")
    postgres.check_output("rm -f /run/load-ends /run/load-confirmed")
    postgres.check_output(
        "systemd-run --quiet --unit=retailflow-test-load --property=RuntimeMaxSec=600 bash -c %s", LOAD
    )

    def end() -> set[int]:
        postgres.check_output("touch /run/load-ends")
        wait_for(
            lambda: postgres.run("systemctl is-active retailflow-test-load").rc != 0, 30, "the load ends"
        )
        return {int(line) for line in postgres.check_output("cat /run/load-confirmed").split()}

    yield end
    postgres.run("systemctl stop retailflow-test-load; rm -f /run/load-ends /run/load-confirmed")
    sql("drop table crash_load")


@pytest.mark.timeout(1200)
def test_a_drill_has_every_row_after_ten_crashes_under_load_and_leaves_nothing(
    postgres: Host, sql: Sql, load: Callable[[], set[int]], playbook: Playbook
) -> None:
    chance = random.Random(18)
    killed = 0
    while killed < 10:
        time.sleep(chance.uniform(0.2, 4))
        name = list(KILLS)[killed % 3]
        # After a crash its processes are missing for a moment.
        wait_for(lambda name=name: postgres.run(KILLS[name]).rc == 0, 60, f"{name} is there to be killed")
        killed += 1
    wait_for(lambda: postgres.run("docker exec postgres pg_isready").rc == 0, 60, "PostgreSQL answers")
    before = sql("select count(*) from crash_load")
    wait_for(lambda: sql("select count(*) from crash_load") != before, 30, "rows are committed again")
    confirmed = load()
    assert len(confirmed) >= 20
    rows = {int(line) for line in sql("select n from crash_load").split()}
    assert confirmed <= rows, f"confirmed and lost: {sorted(confirmed - rows)[:20]}"
    # The drill compares this text of the restored server with that of the running one.
    query = "select (select count(*) || ' orders' from sales) || ', ' || count(*) || ' ' || sum(n) from crash_load"
    done = playbook("playbooks/drill.yml", "-e", json.dumps({"retailflow_query_drill": query}))
    assert done.returncode == 0, why(done)
    told = " ".join(done.stdout.split())
    assert "The restored server and the running one agree" in told and f", {len(rows)} {sum(rows)}" in told
    assert postgres.run("docker inspect postgres-drill").rc != 0
    assert not postgres.file("/var/lib/retailflow/postgres/drill").exists


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("", "Name the moment"),
        ("yesterday", "is not a time"),
        ("2020-01-01 00:00", "is before the first backup"),
        ("2999-01-01 00:00", "is in the future"),
    ],
)
def test_a_moment_that_cannot_be_restored_is_refused(sql: Sql, at: str, words: str) -> None:
    started = sql("select pg_postmaster_start_time()")
    done = make("restore", f"AT={at}", timeout=300)
    assert done.returncode != 0
    assert words in " ".join(done.stdout.split()) and "Nothing was changed" in " ".join(done.stdout.split())
    assert sql("select pg_postmaster_start_time()") == started


def test_a_store_that_is_away_stops_nobody_and_loses_nothing(postgres: Host, sql: Sql) -> None:
    subprocess.run(["docker", "pause", f"{NAME}-aws"], check=True, capture_output=True)
    try:
        for _ in range(3):
            sql("select pg_logical_emit_message(true, 'test', '')")
            sql("select pg_switch_wal()")
        wait_for(lambda: state(postgres)["spool_files"] >= 3, 60, "the spool grows")
        wait_for(lambda: bool(state(postgres)["error"]), 400, "the error is noted")
        done = make("status", timeout=120)
        assert done.returncode != 0 and "backup: cannot be stored" in done.stdout, done.stdout[:2000]
        assert sql("select 1") == "1"
    finally:
        subprocess.run(["docker", "unpause", f"{NAME}-aws"], check=True, capture_output=True)
    wait_for(lambda: not state(postgres)["error"] and state(postgres)["spool_files"] <= 1, 120, "it heals")
    listed = json.loads(postgres.check_output(f"{PROGRAM} list"))
    assert listed[-1]["whole"]
