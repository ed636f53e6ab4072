"""Warehouses: needed, resumed, suspended when idle, and paid for by the second."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from snowflake_shop import Error, Shop

from retailflow_emulators.snowflake.access.metering import Meter, credits_by_hour
from retailflow_emulators.snowflake.access.model import Account, Thing

HISTORY = (
    "select warehouse_name, credits_used::float, credits_used_compute::float, start_time, end_time "
    "from snowflake.account_usage.warehouse_metering_history"
)


def test_a_statement_that_reads_needs_a_warehouse(shop: Shop) -> None:
    with shop.session("LOADER", warehouse="NOTHING", database="RAW", schema="RETAIL") as session:
        cursor = session.cursor()
        for sql in (
            "select * from SALES",
            "select count(*) from SALES",
            "insert into SALES values (1, 'x', 1)",
            "update SALES set ID = 1",
            "delete from SALES",
            "create table MADE as select 1 as A",
            "copy into SALES from @FILES",
            "select * from information_schema.tables",
        ):
            with pytest.raises(Error, match="No active warehouse selected in the current session") as caught:
                cursor.execute(sql)
            assert (caught.value.errno, caught.value.sqlstate) == (606, "57P03"), sql
        for sql in (
            "select 1",
            "select current_role(), current_warehouse()",
            "select column1 from values (1)",
            "show tables",
            "describe table SALES",
            "create table EMPTY_ONE (A int)",
            "alter table EMPTY_ONE add column B int",
            "drop table EMPTY_ONE",
            "list @FILES",
            "use schema RETAIL",
        ):
            cursor.execute(sql)
        cursor.execute("use warehouse SHARED")
        assert cursor.execute("select count(*) from SALES").fetchall() == [(2,)]


def test_a_warehouse_that_may_not_be_used(shop: Shop) -> None:
    shop.refused(
        "LOADER", "use warehouse TESTS", 2043, "Object does not exist, or operation cannot be performed"
    )
    shop.refused("LOADER", "use warehouse NOTHING", 2043)
    shop.refused("LOADER", "drop warehouse SHARED", 3001)
    shop.refused("LOADER", "alter warehouse SHARED suspend", 3001)
    shop.refused("LOADER", "alter warehouse NOTHING suspend", 2003)
    shop.server.query("revoke usage on warehouse SHARED from role LOADER")
    shop.refused("LOADER", "select count(*) from RAW.RETAIL.SALES", 606)
    shop.server.query("grant usage on warehouse SHARED to role LOADER")
    assert shop.run("LOADER", "select count(*) from RAW.RETAIL.SALES") == [(2,)]


def test_a_warehouse_resumes_and_is_suspended_when_idle(shop: Shop) -> None:
    run = shop.server.query
    run(
        "create warehouse IDLE warehouse_size = medium auto_suspend = 600 initially_suspended = true comment = 'short'"
    )
    state = "show warehouses like 'IDLE'"
    ((_, before, _, size, *_),) = run(state)
    assert (before, size) == ("SUSPENDED", "Medium")
    with shop.server.connect(warehouse="IDLE") as session:
        cursor = session.cursor()
        cursor.execute("select count(*) from RAW.information_schema.tables")
        assert run(state)[0][1] == "STARTED"
        run("alter warehouse IDLE set auto_suspend = 1")
        deadline = time.monotonic() + 60
        while run(state)[0][1] != "SUSPENDED":
            assert time.monotonic() < deadline, "it is not suspended"
            time.sleep(0.1)
        run("alter warehouse IDLE set auto_resume = false auto_suspend = 600")
        with pytest.raises(Error, match="No active warehouse"):
            cursor.execute("select count(*) from RAW.information_schema.tables")
        run("alter warehouse IDLE resume")
        cursor.execute("select count(*) from RAW.information_schema.tables")
    run("alter warehouse IDLE suspend")
    with pytest.raises(Error, match="Invalid state"):
        run("alter warehouse IDLE suspend")
    found = [row for row in run(HISTORY) if row[0] == "IDLE"]  # two rows at the turn of an hour
    credits = sum(row[1] for row in found)
    assert credits == pytest.approx(2 * 60 * 4 / 3600, abs=0.01), (
        "each of the two resumes is a minute of four credits an hour"
    )
    for _, used, compute, start, end in found:
        assert used == compute
        assert (start.minute, start.second, (end - start).total_seconds()) == (0, 0, 3600)
    run("drop warehouse IDLE")
    assert "IDLE" in {row[0] for row in run(HISTORY)}


def test_the_bill_is_for_those_who_have_the_snowflake_database(shop: Shop) -> None:
    shop.refused("REPORTER", HISTORY, 2003, "Database 'SNOWFLAKE' does not exist or not authorized")
    shop.refused("ADMIN", "grant usage on database SNOWFLAKE to role REPORTER", 3000)
    shop.server.query("grant imported privileges on database SNOWFLAKE to role REPORTER")
    assert "SHARED" in {row[0] for row in shop.run("REPORTER", HISTORY)}
    shop.refused("REPORTER", "select * from snowflake.account_usage.query_history", 2, "not emulated")
    shop.server.query("revoke imported privileges on database SNOWFLAKE from role REPORTER")
    shop.refused("REPORTER", HISTORY, 2003)
    shop.server.query("grant database role SNOWFLAKE.USAGE_VIEWER to role REPORTER")
    assert "SHARED" in {row[0] for row in shop.run("REPORTER", HISTORY)}
    shown = [row[1:4] for row in shop.run("REPORTER", "show grants to role REPORTER")]
    assert ("USAGE", "DATABASE_ROLE", "SNOWFLAKE.USAGE_VIEWER") in shown
    shop.refused("REPORTER", "grant database role SNOWFLAKE.USAGE_VIEWER to role PUBLIC", 3102)
    shop.refused("ADMIN", "grant database role SNOWFLAKE.OTHER to role PUBLIC", 2, "not emulated")
    shop.server.query("revoke database role SNOWFLAKE.USAGE_VIEWER from role REPORTER")
    shop.refused("REPORTER", HISTORY, 2003)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("warehouse_size = HUGE", "invalid value"),
        ("auto_suspend = soon", "invalid value"),
        ("auto_suspend = -1", "invalid value"),
        ("auto_resume = maybe", "invalid value"),
        ("max_cluster_count = 3", "not emulated"),
        ("resource_monitor = X", "not emulated"),
        ("colour = blue", "not emulated"),
        ("warehouse_size XSMALL", "syntax error"),
    ],
)
def test_bad_settings_are_refused(shop: Shop, settings: str, words: str) -> None:
    with pytest.raises(Error, match=words):
        shop.server.query(f"create warehouse BAD {settings}")
    assert shop.server.query("show warehouses like 'BAD'") == []


HOUR = 1_800_000_000 // 3600 * 3600


@pytest.mark.parametrize(
    ("start", "end", "size", "wanted"),
    [
        (0, 3600, "XSMALL", {0: 1.0}),
        (0, 1, "XSMALL", {0: 60 / 3600}),
        (0, 61, "XSMALL", {0: 61 / 3600}),
        (3590, 3600, "XSMALL", {0: 10 / 3600, 3600: 50 / 3600}),
        (1800, 9000, "LARGE", {0: 4.0, 3600: 8.0, 7200: 4.0}),
    ],
)
def test_credits_by_hour(start: int, end: int, size: str, wanted: dict[int, float]) -> None:
    thing = Thing("WAREHOUSE", "X", settings={"WAREHOUSE_SIZE": size, "RESUMED_AT": str(HOUR + start)})
    found = {hour - HOUR: credits for hour, credits in credits_by_hour(thing, HOUR + end, True).items()}
    assert found == pytest.approx(wanted)


def test_a_bill_outlives_the_server(tmp_path: Path) -> None:
    """What ran when the server was killed ends, at the latest, when it would have been suspended."""
    account = Account(tmp_path / "account.json")
    account.things[("WAREHOUSE", "W")] = Thing("WAREHOUSE", "SYSADMIN", settings={"AUTO_SUSPEND": "300"})
    meter = Meter(account)
    assert meter.begin("W")
    meter.end("W")
    settings = account.things[("WAREHOUSE", "W")].settings
    for name in ("RESUMED_AT", "FIRST_AT", "USED_AT"):
        settings[name] = str(float(settings[name]) - 7200)
    account.save()
    later = Meter(Account(tmp_path / "account.json"))
    assert sum(row[4] for row in later.history()) == pytest.approx(300 / 3600, abs=1e-3)
    assert "RESUMED_AT" not in later.account.things[("WAREHOUSE", "W")].settings
