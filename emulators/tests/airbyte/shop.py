"""A shop under CDC: its tables in PostgreSQL and their copies in Snowflake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
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
# Tables that a connection gains later, as the same three; the second one's key is of two columns.
LATER = {
    "customers": {
        "customer_id": ("bigint primary key", "customer_id", '"CUSTOMER_ID"'),
        "city": COLUMNS["city"],
    },
    "products": {
        "sku": ("text", "sku", '"SKU"'),
        "shelf": ("int", "shelf", '"SHELF"'),
        "price": COLUMNS["price"],
        "primary key": ("(sku, shelf)", "1", "1"),
    },
}
META = '"_AIRBYTE_EXTRACTED_AT"::varchar, "_AIRBYTE_META", "_AIRBYTE_GENERATION_ID", "_AB_CDC_LSN"'


class Shop:
    """Tables under CDC and their copies: sales, and what `gain` adds."""

    def __init__(
        self, client: Client, postgres: Postgres, warehouse: Snowflake, schema: str, **more: Any
    ) -> None:
        self.client, self.postgres, self.warehouse, self.schema = client, postgres, warehouse, schema
        self.slot = f"slot_{postgres.database}"[:60]
        self.soft = more.pop("soft", False)
        self.tables: dict[str, dict[str, tuple[str, str, str]]] = {}
        self.create("sales", COLUMNS)
        postgres.execute("create table heartbeat (id int primary key, at timestamptz)")
        postgres.execute("insert into heartbeat values (1, now())")
        postgres.execute("create publication shop for table sales, heartbeat")
        postgres.execute(f"select pg_create_logical_replication_slot('{self.slot}', 'pgoutput')")
        method = {
            "method": "CDC",
            "publication": "shop",
            "replication_slot": self.slot,
            "heartbeat_action_query": "update heartbeat set at = now()",
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

    def create(self, name: str, columns: dict[str, tuple[str, str, str]]) -> None:
        self.tables[name] = columns
        definition = ", ".join(f"{column} {type_}" for column, (type_, _, _) in columns.items())
        self.postgres.execute(f"create table {name} ({definition})")

    def gain(self) -> None:
        """Replicate the tables LATER too."""
        for name, columns in LATER.items():
            self.create(name, columns)

    def publish(self) -> None:
        self.postgres.execute(f"alter publication shop add table {', '.join(LATER)}")
        streams = [STREAM, *({**STREAM, "name": name} for name in LATER)]
        self.client.call("PATCH", f"/connections/{self.connection}", {"configurations": {"streams": streams}})

    def fill_later(self, first: int, last: int) -> None:
        """Rows of the tables LATER."""
        series = f"generate_series({first}, {last}) i"
        self.postgres.execute(f"insert into customers select i, 'city ' || i from {series}")
        self.postgres.execute(f"insert into products select 'sku ' || i / 3, i % 3, i / 100.0 from {series}")

    def assert_equal(self) -> None:
        """Row by row, in every table: the same keys, once each, with the same values."""
        for name in self.tables:
            self._assert_equal(name)

    def _assert_equal(self, name: str) -> None:
        ours = ", ".join(ours for _, ours, _ in self.tables[name].values())
        theirs = ", ".join(theirs for _, _, theirs in self.tables[name].values())
        alive = 'where "_AB_CDC_DELETED_AT" is null' if self.soft else ""
        table = f'RAW."{self.schema}"."{name.upper()}"'
        source = self.postgres.execute(f"select {ours} from {name}")
        target = self.warehouse.query(f"select {theirs} from {table} {alive}")
        different = {*source} ^ {*target}
        if different or len(source) != len(target):
            shown = self.warehouse.query(f"select {theirs}, {META} from {table} {alive}")
            keys = {row[:2] for row in different}
            pytest.fail(
                f"{name}: {len(source)} rows, {len(target)} in RAW, {len(different)} differ: "
                f"{[row for row in source if row[:2] in keys][:5]}\n{[row for row in shown if row[:2] in keys][:10]}"
            )

    @property
    def table(self) -> str:
        return f'RAW."{self.schema}"."SALES"'

    def deleted(self) -> list[int]:
        found = self.warehouse.query(
            f'select "ORDER_ID" from {self.table} where "_AB_CDC_DELETED_AT" is not null order by 1'
        )
        return [id_ for (id_,) in found]
