"""CDC: what the write-ahead log says reaches Snowflake once, deletions too, whatever is lost on the way."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from .conftest import Client, Postgres, Snowflake

STREAM = {"name": "sales", "namespace": "public", "syncMode": "incremental_deduped_history"}
COLUMNS = {  # PostgreSQL's type and text for comparison; Snowflake's
    "order_id": ("bigint primary key", "order_id", '"ORDER_ID"'),
    "city": ("text", "city", '"CITY"'),
    "price": ("numeric(10,2)", "price::float8", '"PRICE"'),
    "day": ("date", "day::text", '"DAY"::varchar'),
    "at": ("timestamptz", "(extract(epoch from at) * 1000000)::bigint", 'date_part(epoch_microsecond, "AT")'),
    "ok": ("boolean", "ok", '"OK"'),
    "note": ("text", "md5(note)", 'md5("NOTE")'),
}
CITIES = ["", "Zürich", 'say "hi"', "two\nlines", "tab\tand \\", "'", "😀", None]


class Shop:
    """A table under CDC and its copy."""

    def __init__(
        self, client: Client, postgres: Postgres, warehouse: Snowflake, schema: str, **more: Any
    ) -> None:
        self.client, self.postgres, self.warehouse, self.schema = client, postgres, warehouse, schema
        self.slot = f"slot_{postgres.database}"[:60]
        self.soft = more.pop("soft", False)
        columns = ", ".join(f"{name} {type_}" for name, (type_, _, _) in COLUMNS.items())
        postgres.execute(f"create table sales ({columns})")
        postgres.execute("create table heartbeat (id int primary key, at timestamptz)")
        postgres.execute("insert into heartbeat values (1, now())")
        postgres.execute("create publication shop for table sales, heartbeat")
        postgres.execute(f"select pg_create_logical_replication_slot('{self.slot}', 'pgoutput')")
        method = {
            "method": "CDC",
            "publication": "shop",
            "replication_slot": self.slot,
            "heartbeat_action_query": "update heartbeat set at = now()",
            "invalid_cdc_cursor_position_behavior": "Re-sync data",
            **more,
        }
        self.config = {**postgres.configuration, "replication_method": method}
        self.source = client.actor("source", "postgres", self.config)
        deletion = {"cdc_deletion_mode": "Soft delete" if self.soft else "Hard delete"}
        target = {**warehouse.configuration(schema), **deletion}
        destination = client.actor("destination", "snowflake", target)
        behaviour = {"nonBreakingSchemaUpdatesBehavior": "propagate_columns"}
        self.connection = client.connection(self.source, destination, [STREAM], **behaviour)

    def insert(self, first: int, last: int) -> None:
        self.postgres.execute(
            "insert into sales select i, 'city ' || i, i % 1000 / 100.0, date '2026-01-01' + i % 300, "
            f"now() - i * interval '1 second', i % 3 = 0, repeat('n', i % 50) from generate_series({first}, {last}) i"
        )

    def sync(self, type_: str = "sync") -> dict[str, Any]:
        job = self.client.sync(self.connection, type_)
        assert job["status"] == "succeeded", job
        return job

    def assert_equal(self) -> None:
        """Row by row: the same ids, once each, with the same values."""
        ours = ", ".join(ours for _, ours, _ in COLUMNS.values())
        theirs = ", ".join(theirs for _, _, theirs in COLUMNS.values())
        alive = 'where "_AB_CDC_DELETED_AT" is null' if self.soft else ""
        source = self.postgres.execute(f"select {ours} from sales order by 1")
        target = self.warehouse.query(f"select {theirs} from {self.table} {alive} order by 1")
        assert len(source) == len(target)
        assert [tuple(row) for row in source] == target

    @property
    def table(self) -> str:
        return f'RAW."{self.schema}"."SALES"'

    def deleted(self) -> list[int]:
        found = self.warehouse.query(
            f'select "ORDER_ID" from {self.table} where "_AB_CDC_DELETED_AT" is not null order by 1'
        )
        return [id_ for (id_,) in found]


@pytest.fixture
def shop(client: Client, postgres: Postgres, warehouse: Snowflake) -> Shop:
    return Shop(client, postgres, warehouse, f"C{abs(hash(postgres.database)) % 10**8}")


def test_inserts_updates_and_deletes_arrive(shop: Shop) -> None:
    shop.insert(1, 1000)
    assert shop.sync()["rowsSynced"] == 1000, "the snapshot alone: the log before it is left out"
    shop.assert_equal()
    assert shop.sync()["rowsSynced"] == 0
    execute = shop.postgres.execute
    execute("update sales set city = 'moved', price = 0.07 where order_id <= 10")
    execute("delete from sales where order_id between 11 and 20")
    execute("update sales set order_id = 5000 where order_id = 21")  # its key: a deletion and an insertion
    shop.insert(2001, 2003)
    assert shop.sync()["rowsSynced"] == 25
    shop.assert_equal()
    # In one transaction: only the end counts.
    execute("begin; delete from sales where order_id = 1; insert into sales values (1, 'back'); commit")
    execute("begin; insert into sales values (9000, 'x'); delete from sales where order_id = 9000; commit")
    with contextlib.suppress(Exception):
        execute("begin; delete from sales; select 1 / 0; commit")
    shop.sync()
    shop.assert_equal()
    assert shop.warehouse.query(f'select count(distinct "_AB_CDC_LSN") > 3 from {shop.table}') == [(True,)]
