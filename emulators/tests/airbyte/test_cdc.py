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
CITIES = ["", "Zürich", 'say "hi"', "two\nlines", "tab\tand \\", "'", "😀", None]


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


def lose(shop: Shop, how: str) -> None:
    execute = shop.postgres.execute
    if how == "dropped":
        execute(f"select pg_drop_replication_slot('{shop.slot}')")
    elif how == "dropped and made again":
        execute(f"select pg_drop_replication_slot('{shop.slot}')")
        execute(f"select pg_create_logical_replication_slot('{shop.slot}', 'pgoutput')")
    else:
        execute("alter system set max_slot_wal_keep_size = '1MB'")
        execute("select pg_reload_conf()")
        for _ in range(4):
            execute("select pg_logical_emit_message(true, 'fill', 'x')")
            execute("select pg_switch_wal()")
            execute("checkpoint")
        execute("alter system reset max_slot_wal_keep_size")
        execute("select pg_reload_conf()")
        status = execute(f"select wal_status from pg_replication_slots where slot_name = '{shop.slot}'")
        assert status == [("lost",)]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("dropped", "not found"),
        ("dropped and made again", "has advanced beyond the source's state LSN"),
        ("overrun", "is not valid: wal_status = 'lost'"),
    ],
)
def test_a_lost_slot_is_an_error_until_it_is_made_again_and_refreshed(
    shop: Shop, how: str, words: str
) -> None:
    shop.insert(1, 100)
    shop.sync()
    shop.postgres.execute("delete from sales where order_id <= 10")
    lose(shop, how)
    shop.postgres.execute("update sales set city = 'in no log' where order_id = 11")
    (failure,) = shop.client.sync(shop.connection)["failures"]
    assert f"Replication slot '{shop.slot}' {words}" in failure, "and trying again does not help"
    if how != "dropped and made again":
        if how == "overrun":
            shop.postgres.execute(f"select pg_drop_replication_slot('{shop.slot}')")
        shop.postgres.execute(f"select pg_create_logical_replication_slot('{shop.slot}', 'pgoutput')")
        assert "has advanced beyond" in shop.client.sync(shop.connection)["failures"][0]
    shop.sync("refresh")
    shop.assert_equal()
    assert shop.sync()["rowsSynced"] == 0, "the slot works again"


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


def test_the_slot_waits_for_what_is_loaded(shop: Shop) -> None:
    def passed(lsn: str) -> bool:
        """Whether the slot has moved on past this place in the log."""
        query = (
            f"select confirmed_flush_lsn > '{lsn}' from pg_replication_slots where slot_name = '{shop.slot}'"
        )
        answer: bool = shop.postgres.execute(query)[0][0]
        return answer

    shop.insert(1, 10)
    shop.sync()
    shop.insert(11, 20)
    (inserted,) = shop.postgres.execute("select pg_current_wal_insert_lsn()::text")[0]
    assert shop.sync()["rowsSynced"] == 10
    assert not passed(inserted), "the slot keeps what was loaded until a read begins with its state"
    shop.postgres.execute("update heartbeat set at = now()")
    shop.sync()
    assert passed(inserted)
    shop.insert(21, 30)
    credentials = {"auth_type": "Key Pair Authentication", "private_key": "none"}
    destination = shop.client.call("GET", f"/connections/{shop.connection}")["destinationId"]
    good = shop.warehouse.configuration(shop.schema)
    body = {"configuration": {**good, "credentials": credentials}}
    shop.client.call("PATCH", f"/destinations/{destination}", body)
    assert shop.client.sync(shop.connection)["status"] == "failed"
    shop.client.call("PATCH", f"/destinations/{destination}", {"configuration": good})
    assert shop.sync()["rowsSynced"] == 10, "what was read but not loaded is read again"
    shop.assert_equal()


def test_a_wrong_password_and_a_dropped_table_are_named_and_repaired(shop: Shop) -> None:
    shop.insert(1, 10)
    shop.sync()
    execute = shop.postgres.execute
    execute("do $$ begin create role locked login; exception when duplicate_object then null; end $$")
    execute("alter role locked superuser password 'right'")

    def log_in(password: str) -> None:
        login = {"configuration": {"username": "locked", "password": password}}
        shop.client.call("PATCH", f"/sources/{shop.source}", login)

    log_in("wrong")
    job = shop.client.sync(shop.connection)
    assert job["status"] == "failed" and 'authentication failed for user "locked"' in job["failures"][0]
    log_in("right")
    shop.sync()
    definition = "create table sales (like kept including all); alter publication shop add table sales"
    execute("create table kept (like sales including all); drop table sales")
    job = shop.client.sync(shop.connection)
    assert job["status"] == "failed" and "no streams named public.sales" in job["failures"][0]
    execute(definition)
    shop.insert(5, 7)
    assert "is another table than the one read before" in shop.sync()["failures"][0]
    shop.assert_equal()


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


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("drop publication shop", "create publication shop"),
        (
            "alter publication shop set (publish = 'insert')",
            "must publish insert, update, delete and truncate",
        ),
        ("alter publication shop set (publish = 'insert, update, delete')", "update, delete and truncate"),
        ("alter role {role} noreplication", "alter role {role} replication"),
        ("select pg_drop_replication_slot('{slot}')", "pg_create_logical_replication_slot('{slot}'"),
        (
            "create table keyless (a int); alter publication shop add table keyless",
            "public.keyless has no primary key",
        ),
        ("alter table sales replica identity nothing", "replica identity default"),
        ("alter publication shop set table sales (order_id, city)", "filters rows or columns"),
        ("revoke select on sales from {role}", "finds no table"),
        ("alter publication shop set table heartbeat", "finds no table"),
        ("", ""),
    ],
)
def test_check_says_what_is_missing(shop: Shop, broken: str, words: str) -> None:
    names = {"role": f"role_{shop.slot}", "slot": shop.slot}
    shop.postgres.execute(
        "create role {role} login replication; grant select on sales to {role}".format(**names)
    )
    shop.postgres.execute(broken.format(**names) or "select 1")
    config = {"configuration": {**shop.config, "username": names["role"]}}
    shop.client.call("PATCH", f"/sources/{shop.source}", config)
    url = f"{shop.client.url}/api/v1/sources/check_connection"
    answer = shop.client.http.post(url, json={"sourceId": shop.source}).json()
    assert answer["status"] == ("failed" if words else "succeeded"), answer
    assert words.format(**names) in answer.get("message", "")


def test_a_heartbeat_that_fails_does_not_fail_the_sync(shop: Shop) -> None:
    role = f"role_{shop.slot}"
    shop.postgres.execute(f"create role {role} login replication; grant select on sales to {role}")
    shop.client.call("PATCH", f"/sources/{shop.source}", {"configuration": {"username": role}})
    (before,) = shop.postgres.execute("select at from heartbeat")[0]
    shop.insert(1, 5)
    shop.sync()
    shop.assert_equal()
    assert shop.postgres.execute("select at from heartbeat")[0][0] == before
    shop.postgres.execute(f"grant select, update on heartbeat to {role}")
    shop.sync()
    assert shop.postgres.execute("select at from heartbeat")[0][0] > before


def test_the_slot_moves_on_while_only_other_tables_are_written(shop: Shop) -> None:
    def busy_rounds() -> list[int]:
        """Bytes of log that the slot holds back after each sync."""
        held = []
        for _ in range(3):
            shop.postgres.execute("insert into busy select repeat('x', 1000) from generate_series(1, 2000)")
            assert shop.sync()["rowsSynced"] == 0
            query = "select (pg_current_wal_lsn() - confirmed_flush_lsn)::bigint from pg_replication_slots where slot_name"
            held.append(shop.postgres.execute(f"{query} = '{shop.slot}'")[0][0])
        return held

    shop.postgres.execute("create table busy (text text)")
    shop.insert(1, 5)
    shop.sync()
    round_bytes = 2_000_000
    assert max(busy_rounds()) < 2 * round_bytes
    method = shop.config["replication_method"]
    silent = {"configuration": {"replication_method": {**method, "heartbeat_action_query": ""}}}
    shop.client.call("PATCH", f"/sources/{shop.source}", silent)
    assert busy_rounds()[-1] > 3 * round_bytes, (
        "without a heartbeat, the log has nothing that moves the slot on"
    )
    shop.client.call("PATCH", f"/sources/{shop.source}", {"configuration": shop.config})
    shop.sync()
    assert max(busy_rounds()) < 2 * round_bytes


# A column of each kind: PostgreSQL's type, an ordinary value, how RAW shows it, and values that Snowflake has no word for.
TYPES: dict[str, tuple[str, str, Any, list[str]]] = {
    "small": ("smallint", "-7", -7, []),
    "big": ("bigint", "9223372036854775807", 9223372036854775807, []),
    "amount": ("numeric(12,2)", "1234567890.07", 1234567890.07, ["NaN"]),
    "wide": ("numeric", "0.1", 0.1, ["Infinity", "1e400"]),
    "float": ("double precision", "1.5e-300", 1.5e-300, ["-Infinity"]),
    "yes": ("boolean", "true", True, []),
    "day": ("date", "2024-02-29", "2024-02-29", ["infinity", "0044-03-15 BC", "10000-01-01"]),
    "clock": ("time", "23:59:59.999999", "23:59:59.999999", ["24:00:00"]),
    "zoned_clock": ("timetz", "10:00:00+02", "10:00:00+02", []),
    "naive": (
        "timestamp",
        "2024-02-29 01:02:03.000004",
        "2024-02-29 01:02:03.000004",
        ["-infinity", "0001-01-01 BC"],
    ),
    "moment": (
        "timestamptz",
        "2024-02-29 01:02:03.000004+05",
        "2024-02-28 20:02:03.000004",
        ["infinity", "12345-01-01"],
    ),
    "text": ("text", "é😀 \"'\\ \n\t\u2028", "é😀 \"'\\ \n\t\u2028", []),
    "empty": ("text", "", "", []),
    "padded": ("char(5)", "ab", "ab   ", []),
    "json": ("jsonb", '{"a": [1, null, "ü\\n"]}', '{"a": [1, null, "ü\\n"]}', []),
    "words": ("text[]", '{a,"b c",NULL}', '{a,"b c",NULL}', []),
    "bytes": ("bytea", "\\x00ff", "\\x00ff", []),
    "span": ("interval", "1 day 02:00", "1 day 02:00:00", []),
    "id_": ("uuid", "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000a", []),
    "mood": ("mood", "so so", "so so", []),
    "few": ("few", "3", 3, []),
    # More fields than a function of PostgreSQL has arguments.
    **{f"more_{number}": ("int", str(number), number, []) for number in range(100)},
}


def test_every_type_arrives_by_the_snapshot_and_by_the_log(shop: Shop) -> None:
    """Ordinary values exactly, NULL as NULL; what Snowflake cannot hold as NULL, with a note."""
    execute = shop.postgres.execute
    execute("create type mood as enum ('well', 'so so'); create domain few as int check (value < 9)")
    execute("drop table sales cascade")
    columns = ", ".join(f'"{name}" {type_}' for name, (type_, _, _, _) in TYPES.items())
    execute(
        f"create table sales (order_id int primary key, {columns}); alter publication shop add table sales"
    )
    odd = max(len(values) for *_, values in TYPES.values())

    def insert(first: int) -> None:
        with contextlib.closing(shop.postgres.connect()) as connection, connection.cursor() as cursor:
            rows = [[value for _, value, _, _ in TYPES.values()], [None] * len(TYPES)]
            rows += [[dict(enumerate(values)).get(n) for *_, values in TYPES.values()] for n in range(odd)]
            for number, row in enumerate(rows, first):
                holes = ", ".join(["%s"] * (1 + len(row)))
                cursor.execute(f"insert into sales values ({holes})", (number, *row))
            connection.commit()

    def shown(first: int) -> list[tuple[Any, ...]]:
        spelled = {"DAY", "CLOCK", "NAIVE", "MOMENT"}
        names = [name.upper() for name in TYPES]
        data = ", ".join(f'"{name}"::varchar' if name in spelled else f'"{name}"' for name in names)
        where = f'"ORDER_ID" between {first} and {first + 1 + odd}'
        return shop.warehouse.query(
            f'select {data}, "_AIRBYTE_META" from {shop.table} where {where} order by "ORDER_ID"'
        )

    insert(1)
    shop.sync()
    insert(101)
    shop.sync()
    snapshot, changes = shown(1), shown(101)
    assert len(snapshot) == 2 + odd
    for by in (snapshot, changes):
        ordinary = [
            value.split("+00")[0] if name == "moment" else value
            for name, value in zip(TYPES, by[0][:-1], strict=True)
        ]
        assert ordinary == [expected for _, _, expected, _ in TYPES.values()]
        assert set(by[1][:-1]) == {None}
        for number, row in enumerate(by[2:]):
            assert set(row[:-1]) == {None}, row
            nulled = {change["field"] for change in orjson.loads(row[-1])["changes"]}
            assert nulled == {name for name, (*_, values) in TYPES.items() if len(values) > number}
