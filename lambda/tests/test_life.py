"""What happens after an order was placed, and what a crash leaves."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest
from sqlalchemy import event

from retailflow_generator import batch
from retailflow_generator.binary import Encoder
from retailflow_generator.config import Settings
from retailflow_generator.database import engine_for
from retailflow_generator.handler import handler
from retailflow_generator.shop import default_shop

Sql = Callable[..., list[tuple[Any, ...]]]
Login = Callable[[str], Any]

LEGAL = {
    ("placed", "paid"),
    ("placed", "cancelled"),
    ("paid", "shipped"),
    ("paid", "cancelled"),
    ("shipped", "returned"),
}
STATUS = "select order_id, order_status, updated_at, quantity * (price - discount) from sales"


def states(sql: Sql) -> dict[int, tuple[Any, ...]]:
    return {row[0]: row[1:] for row in sql(STATUS)}


def test_orders_advance_by_legal_steps_and_their_time_changes(database: Sql) -> None:
    handler({"rows": 1500, "batch_id": "first"})
    steps: Counter[tuple[str, str]] = Counter()
    for number in range(40):
        before = states(database)
        result = handler({"rows": 1, "batch_id": f"next-{number}"})
        after = states(database)
        moved = [key for key in before if before[key][0] != after[key][0]]
        steps.update((before[key][0], after[key][0]) for key in moved)
        assert len(moved) == result["updated"] and result["deleted"] == 0
        assert len(after) == len(before) + 1
        for key in before:
            assert (after[key][1] > before[key][1]) == (key in moved), "a change is seen by its time"
            assert after[key][2] == before[key][2], "amounts never change"
    assert set(steps) == LEGAL
    ends = Counter(status for status, _, _ in states(database).values())
    life = default_shop().life
    assert ends["cancelled"] / 1500 == pytest.approx(life.cancelled, abs=0.02)
    assert ends["returned"] / 1500 == pytest.approx(life.returned, abs=0.025)
    assert ends["shipped"] > 1200


def change_life(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    shop = default_shop()
    changed = batch.dataclasses.replace(shop, life=batch.dataclasses.replace(shop.life, **changes))
    monkeypatch.setattr(batch, "default_shop", lambda: changed)


def test_changes_are_bounded_to_the_newest_orders(database: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    first = handler({"rows": 300})["first_order_id"]
    change_life(monkeypatch, pace=1.0, window=100, limit=60)
    assert handler({"rows": 1})["updated"] == 60
    moved = [row[0] for row in database("select order_id from sales where order_status <> 'placed'")]
    assert sorted(moved) == list(range(first + 200, first + 260))


def test_orders_of_another_batch_are_left_to_it(
    database: Sql, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without skipping them the batch would wait for the other one."""
    handler({"rows": 40})
    change_life(monkeypatch, pace=1.0)
    other = login("generator")
    cursor = other.cursor()
    cursor.execute("update sales set quantity = quantity where order_id % 2 = 0 returning order_id")
    held = {row[0] for row in cursor.fetchall()}
    result = handler({"rows": 1})
    other.commit()
    other.close()
    moved = {row[0] for row in database("select order_id from sales where order_status <> 'placed'")}
    assert result["updated"] == len(moved) == 40 - len(held)
    assert not moved & held


def test_nothing_is_deleted_unless_switched_on(database: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    handler({"rows": 200})
    database("update sales set order_status = 'cancelled' where order_id % 2 = 0")
    change_life(monkeypatch, pace=0.0)
    assert handler({"rows": 1})["deleted"] == 0
    monkeypatch.setenv("GENERATOR_DELETE_SHARE", "1")
    before = {key for key, row in states(database).items() if row[0] == "cancelled"}
    result = handler({"rows": 1})
    assert result["deleted"] == len(before) >= 100
    assert database("select count(*) from sales where order_status = 'cancelled'") == [(0,)]
    assert database("select count(*) from sales") == [(202 - len(before),)], "only cancelled orders go"


def test_deletes_are_a_share_of_the_cancelled(database: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENERATOR_DELETE_SHARE", "0.3")
    handler({"rows": 1000, "batch_id": "many"})
    database("update sales set order_status = 'cancelled'")
    assert handler({"rows": 1, "batch_id": "one"})["deleted"] == pytest.approx(300, abs=60)


def test_an_order_of_a_history_that_is_settled_stays_as_it_is(
    database: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its returns are in it already: those that come back later would double them. What is open goes on at any age."""
    age = default_shop().life.returned_after
    handler({"rows": 1200})
    database("update sales set order_status = (array['shipped', 'cancelled', 'placed'])[order_id % 3 + 1]")
    database("update sales set purchased_at = '2000-01-01'")
    database(f"update sales set order_date_at = current_date - {age} + (order_id / 3 % 2)::int")
    before = states(database)
    old = {
        key for (key,) in database(f"select order_id from sales where order_date_at = current_date - {age}")
    }
    monkeypatch.setenv("GENERATOR_DELETE_SHARE", "1")
    change_life(monkeypatch, pace=1.0)
    handler({"rows": 1})
    after = states(database)
    for status, moves in (("shipped", False), ("cancelled", False), ("placed", True)):
        ours = {key for key in old if before[key][0] == status}
        assert len(ours) > 150 and {before[key] != after.get(key) for key in ours} == {moves}, status
    young = {key: before[key][0] for key in set(before) - old}
    assert sum(after[key][0] == "returned" for key in young if young[key] == "shipped") > 3
    assert not [key for key in young if young[key] == "cancelled" and key in after]


def test_deleted_orders_are_noted_for_a_day(database: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENERATOR_DELETE_SHARE", "1")
    handler({"rows": 100})
    database("update sales set order_status = 'cancelled' where order_id % 2 = 0")
    before = {key for key, row in states(database).items() if row[0] == "cancelled"}
    database(
        "insert into deleted_orders values (-1, now() - interval '25 hours'), (-2, now() - interval '23 hours')"
    )
    change_life(monkeypatch, pace=0.0)
    assert handler({"rows": 1})["deleted"] == len(before) > 0
    assert {row[0] for row in database("select order_id from deleted_orders")} == before | {-2}


def test_an_order_deleted_by_hand_is_noted_too(database: Sql) -> None:
    handler({"rows": 3})
    ((one,),) = database(
        "delete from sales where order_id = (select max(order_id) from sales) returning order_id"
    )
    assert database("select order_id from deleted_orders") == [(one,)]


def test_batches_at_once_neither_wait_for_ever_nor_leave_a_sale_without_its_customer(
    database: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker is a Lambda of its own. Customers and products are new to all of them, orders move in all."""
    monkeypatch.setattr(batch, "engine_for", engine_for.__wrapped__)
    monkeypatch.setenv("GENERATOR_DELETE_SHARE", "0.5")
    together = threading.Barrier(50)

    def invoke(number: int) -> dict[str, Any]:
        together.wait(timeout=60)
        return handler({"rows": 20 + number})

    with ThreadPoolExecutor(50) as workers:
        results = list(workers.map(invoke, range(50)))
    rows = sum(result["rows"] - result["deleted"] for result in results)
    assert database("select count(*), count(distinct order_id) from sales") == [(rows, rows)]
    assert sum(result["updated"] for result in results) > 0
    orphans = """select count(*) from sales as s
        left join customers as c on (c.customer_id, c.cust_name, c.city, c.state, c.country)
            = (s.customer_id, s.cust_name, s.city, s.state, s.country)
        left join products as p on (p.product_id, p.product, p.product_category, p.price)
            = (s.product_id, s.product, s.product_category, s.price)
        where c.customer_id is null or p.product_id is null"""
    assert database(orphans) == [(0,)]


TABLES = ("sales", "customers", "products", "generator_batches")


def contents(sql: Sql) -> list[Any]:
    return [sql(f"select * from {table} order by 1") for table in TABLES]


@pytest.mark.parametrize("after", ["crash", "death of the connection"])
def test_a_failure_at_any_statement_leaves_all_or_nothing(
    database: Sql, login: Login, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """Fails before the first, the second, … statement, until a batch gets through."""
    monkeypatch.setenv("GENERATOR_DELETE_SHARE", "0.5")
    handler({"rows": 50, "batch_id": "earlier"})
    database("update sales set order_status = 'cancelled' where order_id % 3 = 0")
    before = contents(database)
    engine = engine_for(Settings.from_env(os.environ))
    left = 0

    def fail(connection: Any, *_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0 and after == "crash":
            raise RuntimeError("crashed")
        if left < 0:
            pid = connection.connection.dbapi_connection.info.backend_pid
            database("select pg_terminate_backend(%s, 10000)", pid)

    event.listen(engine, "before_cursor_execute", fail)
    event.listen(engine, "commit", fail)
    try:
        failures = 0
        while True:
            left = failures
            try:
                result = handler({"rows": 500, "batch_id": "later"})
                break
            except Exception as error:
                assert "crashed" in str(error) or "terminat" in str(error) or "closed" in str(error)
                assert contents(database) == before
                failures += 1
                assert failures < 30
    finally:
        event.remove(engine, "before_cursor_execute", fail)
        event.remove(engine, "commit", fail)
    # Lock, look up, draw ids, stock twice, two settings, delete, move on, record, commit.
    assert failures == 11
    assert result["repeated"] is False
    assert result["updated"] > 0 and result["deleted"] > 0
    assert database("select count(*) from sales") == [(550 - result["deleted"],)]


def test_a_failure_amid_the_rows_leaves_nothing(database: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Encoder.chunks

    def broken(*arguments: Any) -> Any:
        chunks = whole(*arguments)
        yield next(chunks)
        yield next(chunks)
        raise RuntimeError("cut off")

    monkeypatch.setattr(Encoder, "chunks", broken)
    with pytest.raises(Exception, match="cut off"):
        handler({"rows": 20_000, "batch_id": "cut"})
    assert contents(database) == [[], [], [], []]
    monkeypatch.setattr(Encoder, "chunks", whole)
    assert handler({"rows": 5, "batch_id": "cut"})["repeated"] is False


def test_prices_and_people_follow_the_shop_but_sales_keep_theirs(
    database: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler({"rows": 300, "batch_id": "old"})
    sold = database("select product_id, price from sales order by order_id")
    database("update products set price = price + 1, created_at = '2020-01-01', updated_at = '2020-01-01'")
    handler({"rows": 2000, "batch_id": "new"})
    products = dict(database("select product_id, price::text from products"))
    assert products == {p.product_id: f"{p.price / 100:.2f}" for p in default_shop().products}
    assert database("select count(*) from products where updated_at > created_at")[0][0] > 25
    assert database("select product_id, price from sales order by order_id limit 300") == sold


@pytest.mark.parametrize("as_replica", [False, True])
@pytest.mark.parametrize("column", ["customer_id", "product_id"])
def test_a_sale_needs_its_customer_and_product(
    database: Sql, login: Login, column: str, as_replica: bool
) -> None:
    """Also in the mode in which the generator inserts, where foreign keys rest."""
    handler({"rows": 5})
    connection = login("generator")
    cursor = connection.cursor()
    if as_replica:
        cursor.execute("set session_replication_role = replica")
    cursor.execute("create temporary table more as select * from sales")
    cursor.execute("update more set order_id = order_id + 1000000")
    cursor.execute(f"update more set {column} = 999999 where order_id = (select min(order_id) from more)")
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        cursor.execute("insert into sales select * from more")
    connection.close()
    for statement in ("delete from customers", "delete from products"):
        with pytest.raises(psycopg2.errors.ForeignKeyViolation):
            database(statement)


def test_without_its_privilege_the_generator_is_only_slower(database: Sql) -> None:
    database("revoke set on parameter session_replication_role from generator")
    try:
        assert handler({"rows": 50})["rows"] == 50
    finally:
        database("grant set on parameter session_replication_role to generator")
    assert database("select count(*) from sales") == [(50,)]


def test_the_newest_orders_are_found_by_the_primary_key(
    database: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large the table: only the window is read."""
    change_life(monkeypatch, window=1000, delete=0.5)
    handler({"rows": 20_000})
    database("analyze sales")
    seen: list[str] = []
    engine = engine_for(Settings.from_env(os.environ))

    def explain(_: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if "order_status" in statement and "copy" not in statement:
            cursor.execute(f"explain {statement}", parameters)
            seen.append("\n".join(row[0] for row in cursor.fetchall()))

    event.listen(engine, "before_cursor_execute", explain)
    try:
        handler({"rows": 1})
    finally:
        event.remove(engine, "before_cursor_execute", explain)
    assert len(seen) == 2, "moving on and deleting"
    for plan in seen:
        assert plan.count("sales_pkey") >= 2 and "Seq Scan" not in plan


def test_customers_of_an_unfinished_batch_cannot_go(database: Sql, login: Login) -> None:
    """The check takes the lock that a foreign key takes."""
    handler({"rows": 5})
    batch_at_work = login("generator")
    cursor = batch_at_work.cursor()
    cursor.execute("set session_replication_role = replica")
    cursor.execute("create temporary table more as select * from sales")
    database("delete from sales")
    cursor.execute("insert into sales select * from more")
    database("set lock_timeout = '200ms'")
    with pytest.raises(psycopg2.errors.LockNotAvailable):
        database("delete from customers")
    batch_at_work.close()
