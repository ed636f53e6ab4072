"""The handler on a real PostgreSQL: every row once, all or nothing."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg2
import pytest

from retailflow_generator import handler as module
from retailflow_generator.batch import DatabaseUnavailableError
from retailflow_generator.config import DEFAULT_ROWS, Settings
from retailflow_generator.database import batches, draw_order_ids, engine_for
from retailflow_generator.handler import handler
from retailflow_generator.request import InvalidRequestError
from retailflow_generator.rows import COLUMNS, draw, records
from retailflow_generator.shop import default_shop

Sql = Callable[..., list[tuple[Any, ...]]]
Login = Callable[[str], Any]


def test_a_batch_is_what_the_result_says(database: Sql) -> None:
    result = handler({"rows": 2000, "seed": 1, "as_of": "2026-11-22T12:03:00Z"})
    found = database(
        """select count(*), min(order_id), max(order_id), sum(quantity * price)::text,
                  sum(quantity * (price - discount))::text from Sales"""
    )[0]
    assert found == tuple(
        result[name] for name in ("rows", "first_order_id", "last_order_id", "total_revenue", "net_revenue")
    )
    assert result["as_of"] == "2026-11-22T12:03:00+00:00"


def test_the_table_holds_the_rows_that_were_drawn(database: Sql) -> None:
    """What was encoded for COPY reads back as the plain values."""
    result = handler({"rows": 3000, "seed": 77, "as_of": "2026-11-22T12:03:00Z"})
    shop = default_shop()
    draws = draw(shop, 3000, 77, dt.datetime(2026, 11, 22, 12, 3, tzinfo=dt.UTC))
    ids = np.arange(result["first_order_id"], result["last_order_id"] + 1)
    money = {"price", "discount", "shipping_cost"}
    columns = ", ".join(f"{name}::text" if name in money else name for name in COLUMNS)
    assert database(f"select {columns} from sales order by order_id") == list(records(shop, draws, ids))


def test_order_ids_go_on_and_content_follows_the_seed(database: Sql) -> None:
    first, second = (handler({"rows": 50, "seed": 9, "as_of": "2026-01-01"}) for _ in range(2))
    assert second["first_order_id"] > first["last_order_id"]
    # The second batch advances orders of the first.
    rest = ", ".join(name for name in COLUMNS if name not in ("order_id", "order_status"))
    rows = f"select {rest} from sales where order_id between %s and %s order by order_id"
    one, two = (database(rows, r["first_order_id"], r["last_order_id"]) for r in (first, second))
    assert one == two


def test_an_event_delivered_again_writes_nothing_and_answers_the_same(database: Sql) -> None:
    event = {
        "id": "e-1",
        "detail-type": "Scheduled Event",
        "time": "2026-11-22T12:03:00Z",
        "detail": {"rows": 10},
    }
    first, again = handler(event), handler(event)
    assert (first.pop("repeated"), again.pop("repeated")) == (False, True)
    assert first | {"seconds": 0} == again | {"seconds": 0}
    assert database("select count(*) from sales") == [(10,)]


def test_a_scheduled_event_brings_what_was_ordered_since_the_last(database: Sql) -> None:
    event = {"id": "e-2", "detail-type": "Scheduled Event", "time": "2026-11-25T20:03:00Z", "detail": {}}
    result = handler(event)
    # The default is that of an average moment; this is an evening in Black week.
    assert result["rows"] == round(
        DEFAULT_ROWS * default_shop().demand_at(dt.datetime(2026, 11, 25, 20, tzinfo=dt.UTC))
    )
    assert result["rows"] > 4 * DEFAULT_ROWS
    today = "select count(*), min(ordered_at), max(ordered_at) from sales where purchased_at = order_date_at"
    ((rows, first, last),) = database(today)
    assert rows > 0.5 * result["rows"]
    end = dt.datetime(2026, 11, 25, 20, 3, tzinfo=dt.UTC)
    assert end - dt.timedelta(minutes=3, microseconds=1) <= first < last < end
    assert handler(event)["repeated"] is True
    assert database("select count(*) from sales") == [(result["rows"],)]


def test_the_same_event_at_once_is_written_once(database: Sql, login: Login) -> None:
    with ThreadPoolExecutor(1) as other:
        blocker = login("generator")
        blocker.cursor().execute("select pg_advisory_xact_lock(hashtextextended('twin', 0))")
        waiting = other.submit(handler, {"batch_id": "twin", "rows": 10})
        with pytest.raises(TimeoutError):
            waiting.result(timeout=1)
        blocker.cursor().execute("insert into generator_batches values ('twin', '{\"rows\": 3}')")
        blocker.commit()
        blocker.close()
        assert waiting.result(timeout=10)["repeated"] is True
    assert database("select count(*) from sales") == [(0,)]


def test_numbers_with_gaps_are_listed(database: Sql) -> None:
    """As when somebody else draws in between: here the sequence itself leaves gaps."""
    database("alter sequence sales_order_id_seq increment by 3")
    try:
        with engine_for(Settings.from_env(os.environ)).begin() as connection:
            ids = draw_order_ids(connection, 4).tolist() + draw_order_ids(connection, 2).tolist()
    finally:
        database("alter sequence sales_order_id_seq increment by 1")
    # Each time a range of as many was drawn before and left unused.
    first = ids[0]
    assert ids == [first, first + 3, first + 6, first + 9, first + 18, first + 21]


def test_nonsense_writes_nothing(database: Sql) -> None:
    with pytest.raises(InvalidRequestError):
        handler({"rows": -1})
    assert database("select count(*) from generator_batches") == [(0,)]


def test_a_database_that_is_down_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "HOST": "127.0.0.1",
        "PORT": "9",
        "NAME": "n",
        "USER": "u",
        "PASSWORD": "hush",
    }.items():
        monkeypatch.setenv(f"DB_{name}", value)
    module.log.handlers.clear()  # so that it writes to the stream of this test
    with pytest.raises(
        DatabaseUnavailableError, match=r"127\.0\.0\.1:9/n as u.*Check that it runs"
    ) as caught:
        handler({"rows": 1})
    logged = capsys.readouterr().err
    module.log.handlers.clear()
    assert "127.0.0.1:9" in logged
    assert "hush" not in str(caught.value) + logged


def test_the_log_is_json(database: Sql, capsys: pytest.CaptureFixture[str]) -> None:
    module.log.handlers.clear()  # so that it writes to the stream of this test
    handler({"rows": 3, "batch_id": "logged"})
    line = json.loads(capsys.readouterr().err)
    module.log.handlers.clear()
    assert (line["level"], line["batch_id"], line["rows"]) == ("INFO", "logged", 3)


def test_the_model_is_the_schema(database: Sql) -> None:
    columns = "select column_name from information_schema.columns where table_name = %s"
    assert set(COLUMNS) == {row[0] for row in database(columns, "sales")} - {"created_at", "updated_at"}
    assert {c.name for c in batches.columns} <= {row[0] for row in database(columns, "generator_batches")}


def test_a_change_is_seen_by_its_time(database: Sql) -> None:
    handler({"rows": 2})
    database("update sales set quantity = quantity + 1 where order_id = (select min(order_id) from sales)")
    assert database("select count(*) from sales where updated_at > created_at") == [(1,)]


@pytest.mark.parametrize(
    "change",
    [
        "quantity = -1",
        "price = -1",
        "discount = price + 0.01",
        "shipping_cost = -0.01",
        "purchased_at = order_date_at + 1",
    ],
)
def test_the_table_refuses_impossible_sales(database: Sql, change: str) -> None:
    handler({"rows": 1})
    with pytest.raises(psycopg2.errors.CheckViolation):
        database(f"update sales set {change}")


@pytest.mark.parametrize(
    ("user", "statement"),
    [
        ("airbyte", "delete from sales"),
        ("auditor", "update sales set quantity = 1"),
        ("airbyte", "select * from generator_batches"),
        ("generator", "delete from generator_batches"),
        ("generator", "drop table sales"),
        ("generator", "delete from customers"),
        ("generator", "update products set product_id = 1"),
        ("airbyte", "set session_replication_role = replica"),
        ("generator", "select * from airbyte_heartbeat"),
        ("generator", "delete from deleted_orders"),
        ("auditor", "insert into deleted_orders values (1, now())"),
        ("auditor", "delete from products"),
    ],
)
def test_logins_may_do_no_more_than_they_need(login: Login, user: str, statement: str) -> None:
    connection = login(user)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        connection.cursor().execute(statement)
    connection.close()
