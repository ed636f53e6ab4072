"""What PostgreSQL says about the orders since a sync began, with a real server and the shop's schema."""

from __future__ import annotations

from collections.abc import Callable

from retailflow_dagster.lib.postgres import Shop

ORDER = """insert into sales (cust_name, product, product_category, quantity, price, discount, shipping_cost, customer_id,
    product_id, purchased_at, order_date_at, city, state, country)
    values ('A', 'p', 'c', 1, %s, 0, 0, 1, 1, '2026-01-01', '2026-01-01', 'x', 'y', 'z') returning order_id"""


def test_orders_that_came_changed_or_went_since_are_left_out(
    sql: Callable[..., list[tuple[int, ...]]],
) -> None:
    shop = Shop(host="127.0.0.1", port=sql.port, database="postgres", user="auditor", password="")  # type: ignore[attr-defined]
    ids = [sql(ORDER, price)[0][0] for price in (1, 2, 4, 8)]
    sql("delete from sales where order_id = %s", ids[0])
    snapshot = shop.snapshot()
    sql("delete from sales where order_id = %s", ids[1])
    sql("update sales set order_status = 'paid' where order_id = %s", ids[2])
    (new,) = sql(ORDER, 16)[0]
    view = shop.view(snapshot, new)
    assert (view.totals.orders, view.totals.net_revenue) == (1, 8)
    assert sorted(view.changed_since) == [ids[1], ids[2], new]
    assert sorted(shop.view(snapshot, ids[1]).changed_since) == [ids[1]], "what the warehouse cannot know"
