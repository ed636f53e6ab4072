"""A host of the running site that is lost with its volumes, after a table was dropped: all comes back from the backups.

tools/test faults
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import NAME, Host, Playbook, wait_for, why
from .site import docker, heal, make, say

Sql = Callable[[str], str]


@pytest.mark.timeout(2400)
def test_a_dropped_table_comes_back_after_its_host_and_volume_are_lost(
    postgres: Host, sql: Sql, generate: Callable[[Any], dict[str, Any]], playbook: Playbook
) -> None:
    heal()
    make("run")
    orders, last = map(int, sql("select count(*), max(order_id) from sales").split("|"))
    at = sql("select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS.US')")
    sql("select pg_logical_emit_message(true, 'test', '')")
    sql("drop table sales cascade")
    plan = f"/usr/local/sbin/retailflow-backup plan --at '{at}'"
    wait_for(lambda: postgres.run(plan).rc == 0, 180, f"{at} is stored")
    docker("rm", "--force", f"{NAME}-postgres")
    docker("volume", "rm", f"{NAME}-postgres-docker", f"{NAME}-postgres-state")
    say("the host is lost with its volumes")
    new = playbook("site.yml", timeout=1800)
    assert new.returncode != 0 and "PostgreSQL is a new server here" in new.stdout + new.stderr, why(new)
    make("restore", f"AT={at}")
    # Since then the generator has moved orders on, and deleted some of those that were cancelled.
    kept = int(sql(f"select count(*) from sales where order_id <= {last}"))
    assert orders * 0.95 <= kept <= orders
    answer = generate({"rows": 10})
    assert answer.get("first_order_id", 0) > last, answer
    make("run")  # RAW and the marts equal PostgreSQL
