"""The slot and the publication: what is missing is said, and nothing is lost on the way."""

from __future__ import annotations

import pytest

from retailflow_emulators.airbyte.source_postgres.cdc import beginning

from .shop import Shop


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
        ("revoke select on sales from {role}", "grant select on public.sales to {role}"),
        ("alter publication shop drop table sales, heartbeat", "finds no table"),
        ("", ""),
    ],
)
def test_check_says_what_is_missing(shop: Shop, broken: str, words: str) -> None:
    names = {"role": f"role_{shop.slot}", "slot": shop.slot}
    shop.postgres.execute(
        "create role {role} login replication; grant select on sales, heartbeat to {role}".format(**names)
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


@pytest.mark.parametrize(
    ("end", "position", "known"),
    [
        (0xCAFE000, 0xCAFE018, True),  # behind the header of a page that is not there yet
        (0xD000000, 0xD000028, True),  # of the first page of a segment
        (0xCAFE000, 0xCAFE030, False),
        (0xCAFE010, 0xCAFE018, False),
        (0xCAFE010, 0xCAFE010, True),
    ],
)
def test_a_log_that_ends_with_a_page_is_not_that_of_another_server(
    end: int, position: int, known: bool
) -> None:
    assert (position <= beginning.reachable(end)) == known
