"""PostgreSQL to Snowflake through the whole server: what is there arrives once, whatever dies."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from retailflow_emulators.airbyte.source_postgres import connector as source_connector
from retailflow_emulators.airbyte.source_postgres import limits

from .conftest import Client, Postgres, Snowflake

STREAM = {
    "name": "sales",
    "namespace": "public",
    "syncMode": "incremental_deduped_history",
    "cursorField": ["updated_at"],
    "primaryKey": [["order_id"]],
}


class Journey:
    def __init__(
        self, client: Client, postgres: Postgres, warehouse: Snowflake, schema: str, **config: Any
    ) -> None:
        self.client, self.postgres, self.warehouse, self.schema = client, postgres, warehouse, schema
        postgres.execute(
            "create table sales (order_id bigint generated always as identity primary key, city text, "
            "price numeric(10,2) not null, updated_at timestamptz not null default now())"
        )
        source = client.actor("source", "postgres", {**postgres.configuration, **config})
        destination = client.actor("destination", "snowflake", warehouse.configuration(schema))
        self.connection = client.connection(source, destination, [STREAM])

    def insert(self, count: int) -> None:
        self.postgres.execute(
            "insert into sales (city, price) select case when i % 10 = 0 then null when i % 10 = 1 then '' "
            f"else 'city ' || i end, i % 1000 / 100.0 from generate_series(1, {count}) i"
        )

    def assert_equal(self) -> None:
        """Row by row: the same ids, once each, with the same values."""
        columns = "{0}, {1}, {2}, {3}"
        theirs = columns.format(
            "order_id", "city", "price::float8", "(extract(epoch from updated_at) * 1000000)::bigint"
        )
        there = columns.format(
            '"ORDER_ID"', '"CITY"', '"PRICE"', 'date_part(epoch_microsecond, "UPDATED_AT")'
        )
        source = self.postgres.execute(f"select {theirs} from sales order by 1")
        target = self.warehouse.query(f'select {there} from RAW."{self.schema}"."SALES" order by 1')
        assert len(source) == len(target)
        assert [tuple(row) for row in source] == target

    def assert_no_orphans(self) -> None:
        tables = self.warehouse.query(
            f"select table_name from RAW.information_schema.tables where table_schema = '{self.schema}'"
        )
        assert tables == [("SALES",)]


@pytest.fixture
def journey(client: Client, postgres: Postgres, warehouse: Snowflake) -> Journey:
    return Journey(client, postgres, warehouse, f"J{abs(hash(postgres.database)) % 10**8}")


def test_first_sync_then_only_what_changed(journey: Journey) -> None:
    journey.insert(2500)
    first = journey.client.sync(journey.connection)
    assert (first["status"], first["rowsSynced"]) == ("succeeded", 2500), first
    journey.assert_equal()
    assert journey.client.sync(journey.connection)["rowsSynced"] == 0, "settled rows are not read again"
    journey.postgres.execute(
        "update sales set city = 'moved', updated_at = clock_timestamp() where order_id <= 30"
    )
    journey.insert(70)
    assert journey.client.sync(journey.connection)["rowsSynced"] == 100
    journey.assert_equal()
    journey.assert_no_orphans()


def test_late_commits_are_found(journey: Journey) -> None:
    journey.insert(10)
    slow = journey.postgres.connect()
    with contextlib.closing(slow), slow.cursor() as cursor:
        cursor.execute("insert into sales (city, price) values ('late', 1)")  # its updated_at is of now
        with contextlib.suppress(Exception), slow.cursor() as nested:
            nested.execute("savepoint inner_one")
            nested.execute("insert into sales (city, price) values ('late, in a subtransaction', 2)")
            nested.execute("release inner_one")
        journey.insert(10)  # younger, and committed before
        assert journey.client.sync(journey.connection)["rowsSynced"] == 20
        journey.insert(5)
        assert journey.client.sync(journey.connection)["status"] == "succeeded"
        slow.commit()
    assert journey.client.sync(journey.connection)["status"] == "succeeded"
    journey.assert_equal()
    assert journey.client.sync(journey.connection)["rowsSynced"] == 0


def test_a_null_cursor_and_equal_cursors(journey: Journey) -> None:
    assert journey.client.sync(journey.connection)["rowsSynced"] == 0  # an empty table
    journey.postgres.execute("alter table sales alter updated_at drop not null")
    journey.postgres.execute(
        "insert into sales (city, price, updated_at) values ('no time', 1, null), ('t', 2, '2020-01-01')"
    )
    assert journey.client.sync(journey.connection)["rowsSynced"] == 2
    journey.postgres.execute("insert into sales (city, price, updated_at) values ('no time', 1, null)")
    journey.postgres.execute(
        "insert into sales (city, price, updated_at) select 's', 3, '2026-01-01' from generate_series(1, 7)"
    )
    assert journey.client.sync(journey.connection)["rowsSynced"] == 8
    assert journey.warehouse.query(f'select count(*) from RAW."{journey.schema}"."SALES"') == [(10,)]


def test_an_interrupted_first_sync_goes_on_where_it_stopped(
    journey: Journey, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """In process: a first pass in steps of 10, of which only the first two states were saved."""
    import orjson

    from retailflow_emulators.airbyte.protocol import Stream

    monkeypatch.setattr(limits, "CHECKPOINT_ROWS", 10)
    journey.insert(35)
    source = source_connector.PostgresSource()
    config = journey.postgres.configuration
    source.discover(config)
    found = orjson.loads(capfdbinary.readouterr().out)["catalog"]["streams"][0]
    entry = {"stream": found, "sync_mode": "incremental", "destination_sync_mode": "append_dedup"}
    stream = Stream.from_catalog_entry(
        {**entry, "cursor_field": ["updated_at"], "primary_key": [["order_id"]]}
    )

    def read(*saved: Any) -> tuple[list[int], list[Any]]:
        source.read(config, [stream], saved)
        messages = [orjson.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
        ids = [message["record"]["data"]["order_id"] for message in messages if message["type"] == "RECORD"]
        return ids, [message["state"] for message in messages if message["type"] == "STATE"]

    ids, states = read()
    assert ids == list(range(1, 36)) and len(states) == 4
    journey.postgres.execute("update sales set updated_at = clock_timestamp() where order_id in (3, 33)")
    ids, states = read(states[1])
    assert ids == list(range(21, 36)), "from the key of the second state on"
    ids, states = read(states[-1])
    assert ids == [3, 33], "what changed while the first pass was interrupted"
    assert read(states[-1])[0] == []
