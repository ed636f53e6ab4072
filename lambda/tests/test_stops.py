"""While the host of the database says that its disk fills, nothing is inserted, and whoever tries is told why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

from retailflow_generator.batch import DatabaseUnavailableError, DiskFullError
from retailflow_generator.handler import handler

EVENT = {"rows": 20, "batch_id": "stopped", "seed": 7}
REASON = "The generator is stopped: /data on shop-postgres has 1.2 GB of 30.0 GB free, less than 3.0 GB."
STOP = "insert into generator_stops (cause, reason) values (%s, %s)"


def test_the_generator_is_refused_with_the_reason_and_goes_on_by_itself(database: Any) -> None:
    handler(EVENT | {"batch_id": "before"})
    database(STOP, "disk", REASON)
    with pytest.raises(DiskFullError) as refused:
        handler(EVENT)
    assert str(refused.value).startswith("The batch was not written. PostgreSQL at 127.0.0.1:")
    assert str(refused.value).endswith(f": {REASON}"), "no line of PostgreSQL's context behind it"
    assert issubclass(DiskFullError, DatabaseUnavailableError), "what retries it, retries both"
    assert database("select count(*) from sales") == [(20,)]
    assert database("select batch_id from generator_batches") == [("before",)]

    database("delete from generator_stops")
    assert handler(EVENT)["rows"] == 20


def test_every_reason_is_told(database: Any) -> None:
    database(STOP, "spool", "The spool is full.")
    database(STOP, "disk", "The disk is full.")
    with pytest.raises(DiskFullError, match=r"The disk is full\. The spool is full\."):
        handler(EVENT)


def test_orders_still_advance_and_go(database: Any, login: Callable[[str], Any]) -> None:
    handler(EVENT)
    database(STOP, "disk", REASON)
    with login("generator") as connection, connection.cursor() as cursor:
        cursor.execute(
            "update sales set order_status = 'paid' where order_id = (select min(order_id) from sales)"
        )
        cursor.execute("delete from sales where order_id = (select max(order_id) from sales)")
        with pytest.raises(psycopg2.errors.DiskFull, match="has 1.2 GB of 30.0 GB free"):
            cursor.execute("insert into sales select * from sales limit 1")
    connection.close()


@pytest.mark.parametrize("who", ["generator", "airbyte"])
def test_nobody_but_the_host_lifts_it(database: Any, login: Callable[[str], Any], who: str) -> None:
    database(STOP, "disk", REASON)
    with (
        login(who) as connection,
        connection.cursor() as cursor,
        pytest.raises(psycopg2.errors.InsufficientPrivilege),
    ):
        cursor.execute("delete from generator_stops")
    connection.close()
