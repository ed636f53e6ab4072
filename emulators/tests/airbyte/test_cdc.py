"""CDC: what the write-ahead log says reaches Snowflake once, deletions too, whatever is lost on the way."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import orjson
import pytest

from retailflow_emulators.airbyte.protocol import ConnectorError, Stream
from retailflow_emulators.airbyte.source_postgres import limits
from retailflow_emulators.airbyte.source_postgres.connector import PostgresSource

from .conftest import Client, Postgres, Snowflake, wait_for
from .shop import COLUMNS, STREAM, Shop

CITIES = ["", "Zürich", 'say "hi"', "two\nlines", "tab\tand \\", "'", "😀", None]


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


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_a_thousand_random_changes(
    client: Client, postgres: Postgres, warehouse: Snowflake, soft: bool
) -> None:
    shop = Shop(client, postgres, warehouse, f"RANDOM_{'SOFT' if soft else 'HARD'}", soft=soft)
    chance = random.Random(soft)
    shop.insert(1, 300)
    shop.sync()
    connection = postgres.connect()
    with contextlib.closing(connection), connection.cursor() as cursor:
        for number in range(1000):
            id_, price = chance.randrange(1, 500), chance.choice([None, 0.1, 1e7, -3.45])
            values = (chance.choice(CITIES), price, chance.choice([None, "0044-03-15", "9999-12-31"]), id_)
            match chance.randrange(4):
                case 0:
                    cursor.execute("delete from sales where order_id = %s", (id_,))
                case 1:
                    cursor.execute(
                        "update sales set city = %s, price = %s, day = %s where order_id = %s", values
                    )
                case 2:
                    cursor.execute(
                        "insert into sales (city, price, day, order_id, at) values (%s, %s, %s, %s, now()) "
                        "on conflict (order_id) do update set city = excluded.city, at = excluded.at",
                        values,
                    )
                case _:
                    other = (chance.randrange(1, 500), id_)
                    cursor.execute(
                        "update sales set order_id = %s where order_id = %s "
                        "and not exists (select from sales where order_id = %s)",
                        (*other, other[0]),
                    )
            if chance.random() < 0.2:
                (connection.rollback if chance.random() < 0.2 else connection.commit)()
            if number == 500:
                shop.sync()  # while a transaction is open
        connection.commit()
    shop.sync()
    shop.assert_equal()
    (newest,) = shop.postgres.execute("select coalesce(max(order_id), 0) from sales")[0]
    assert bool(shop.deleted()) is soft
    assert newest > 0


def test_large_values_that_an_update_leaves_alone(shop: Shop) -> None:
    large = "(select string_agg(md5(i::text), '') from generate_series(1, 4000) i)"
    shop.postgres.execute(
        f"insert into sales (order_id, note) select i, {large} from generate_series(1, 3) i"
    )
    shop.sync()
    shop.postgres.execute("update sales set city = 'moved'")  # the log does not carry note
    shop.postgres.execute("update sales set order_id = 30 where order_id = 3")
    shop.postgres.execute("update sales set city = 'and gone' where order_id = 2")
    shop.postgres.execute("delete from sales where order_id = 2")
    shop.sync()
    shop.assert_equal()
    assert shop.warehouse.query(f'select min(length("NOTE")) from {shop.table}') == [(32 * 4000,)]
    shop.postgres.execute("alter table sales replica identity full")  # now it carries it with the old row
    shop.postgres.execute("update sales set city = 'again'")
    shop.sync()
    shop.assert_equal()


def test_a_connection_gains_two_tables_later(shop: Shop) -> None:
    shop.insert(1, 500)
    shop.sync()
    shop.gain()
    shop.fill_later(1, 300)  # in no log: nothing carries them yet
    open_ = shop.postgres.connect()
    with contextlib.closing(open_), open_.cursor() as cursor:
        cursor.execute(
            "insert into customers values (1001, 'before it is carried, committed after the sync began')"
        )
        cursor.execute("update products set price = 7 where sku = 'sku 2'")
        shop.publish()
        shop.fill_later(301, 400)  # in the log, and in the snapshot
        shop.postgres.execute("update customers set city = 'twice' where customer_id % 50 = 0")
        shop.postgres.execute("delete from products where sku = 'sku 110'")
        shop.postgres.execute("update sales set city = 'goes on' where order_id <= 20")
        shop.postgres.execute("delete from sales where order_id = 21")
        job = shop.client.start(shop.connection)
        wait_for(lambda: shop.client.over(job) or any("waits for" in line for line in shop.client.logs(job)))
        open_.commit()
    ended = shop.client.ended(job)
    assert (ended["status"], ended["failures"]) == ("succeeded", []), ended
    shop.assert_equal()
    versions = shop.warehouse.query(f'select distinct "_AIRBYTE_GENERATION_ID" from {shop.table}')
    assert len(versions) == 1, "what was there goes on from the slot; it is not read again"
    assert ended["rowsSynced"] < 500 + 400 + 400, ended
    shop.postgres.execute("update sales set city = 'all three' where order_id = 30")
    shop.postgres.execute("delete from customers where customer_id = 1001")
    shop.postgres.execute("update products set shelf = 9 where sku = 'sku 5' and shelf = 1")
    assert shop.sync()["rowsSynced"] == 1 + 1 + 2
    shop.assert_equal()


def sales_stream(shop: Shop, capfdbinary: pytest.CaptureFixture[bytes]) -> Stream:
    """The stream of sales as a platform configures it, for reading in process."""
    PostgresSource().discover(shop.config)
    streams = orjson.loads(capfdbinary.readouterr().out)["catalog"]["streams"]
    found = next(stream for stream in streams if stream["name"] == "sales")
    assert (found["default_cursor_field"], found["source_defined_cursor"]) == (["_ab_cdc_lsn"], True)
    entry = {"stream": found, "sync_mode": "incremental", "destination_sync_mode": "append_dedup"}
    return Stream.from_catalog_entry({**entry, "primary_key": [["order_id"]]})


def test_a_snapshot_does_not_wait_for_ever(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """In process: somebody keeps a transaction open that has written to the table."""
    monkeypatch.setattr(limits, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(limits, "WRITERS_SECONDS", 0.3)
    stream = sales_stream(shop, capfdbinary)
    open_ = shop.postgres.connect()
    with contextlib.closing(open_), open_.cursor() as cursor:
        cursor.execute("insert into sales (order_id) values (1)")
        words = rf"public\.sales cannot begin.*process {open_.info.backend_pid} "
        with pytest.raises(ConnectorError, match=words):
            PostgresSource().read(shop.config, [stream], [])


def test_truncation_and_new_columns(shop: Shop) -> None:
    shop.insert(1, 50)
    shop.sync()
    shop.postgres.execute("truncate sales")
    shop.insert(3, 5)
    shop.sync()
    shop.assert_equal()
    shop.postgres.execute("update sales set city = 'before the column' where order_id = 3")
    shop.postgres.execute("alter table sales add colour text default 'red'")
    shop.postgres.execute("alter table sales drop note")
    shop.postgres.execute("update sales set city = 'after' where order_id = 4")
    shop.sync()
    found = shop.warehouse.query(f'select "ORDER_ID", "COLOUR" from {shop.table} order by 1')
    assert found == [(3, "red"), (4, "red"), (5, "red")], "a column with values makes the table be read again"
    columns = shop.warehouse.query(
        f"select column_name from RAW.information_schema.columns where table_schema = '{shop.schema}'"
    )
    assert ("NOTE",) not in columns, "a generation that is read again has the columns that the source has"


def test_a_type_that_changes_is_followed(shop: Shop) -> None:
    shop.insert(1, 10)
    shop.sync()
    shop.postgres.execute("alter table sales alter price type text using 'price ' || price")
    shop.insert(11, 20)
    assert any("these fields have another type: price" in line for line in shop.sync()["logs"])
    texts = shop.warehouse.query(f'select "ORDER_ID", "PRICE" from {shop.table} order by 1')
    assert texts == shop.postgres.execute("select order_id, price from sales order by 1")
    shop.postgres.execute(
        "alter table sales alter price type numeric(10,2) using replace(price, 'price ', '')::numeric"
    )
    shop.sync()
    shop.assert_equal()


def test_from_standard_to_cdc(shop: Shop) -> None:
    standard = {"configuration": {"replication_method": {"method": "Standard"}}}
    shop.client.call("PATCH", f"/sources/{shop.source}", standard)
    stream = {**STREAM, "cursorField": ["at"]}
    change = {"configurations": {"streams": [stream]}}
    shop.client.call("PATCH", f"/connections/{shop.connection}", change)
    shop.insert(1, 50)
    assert shop.sync()["rowsSynced"] == 50
    shop.postgres.execute("delete from sales where order_id = 7")
    shop.client.call("PATCH", f"/sources/{shop.source}", {"configuration": shop.config})
    assert "another method" in shop.sync()["failures"][0]
    shop.assert_equal()
    shop.postgres.execute("delete from sales where order_id = 8")
    shop.sync()
    shop.assert_equal()


def test_an_interrupted_snapshot_goes_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """In process: a snapshot in steps of 10, of which only the first two states were saved."""
    monkeypatch.setattr(limits, "CHECKPOINT_ROWS", 10)
    shop.insert(1, 35)
    stream = sales_stream(shop, capfdbinary)

    def read(*saved: Any) -> tuple[list[dict[str, Any]], list[Any]]:
        PostgresSource().read(shop.config, [stream], saved)
        messages = [orjson.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
        rows = [message["record"]["data"] for message in messages if message["type"] == "RECORD"]
        return rows, [message["state"] for message in messages if message["type"] == "STATE"]

    rows, states = read()
    assert [row["order_id"] for row in rows] == list(range(1, 36))
    assert len(states) == 5  # three on the way, the end of the snapshot, the end of the log
    assert {row["_ab_cdc_deleted_at"] for row in rows} == {None}
    shop.postgres.execute("update sales set city = 'moved' where order_id in (3, 33)")
    shop.postgres.execute("delete from sales where order_id = 4")
    rows, states = read(states[1])
    ids = [row["order_id"] for row in rows]
    assert ids == [*range(21, 36), 3, 33, 4], "from the key of the second state on, then the log"
    snapshot = max(row["_ab_cdc_lsn"] for row in rows[:15])
    assert all(row["_ab_cdc_lsn"] > snapshot for row in rows[15:])
    assert rows[-1]["_ab_cdc_deleted_at"] == rows[-1]["_ab_cdc_updated_at"]
    same = {name: rows[12][name] for name in rows[12] if name in COLUMNS}
    assert same == {name: rows[16][name] for name in same}, "the log spells a row as the snapshot does"
    assert read(states[-1])[0] == []
    assert read(states[-1])[0] == []
