"""Builds and tests against what ordinary rows can hold, against a RAW that moves on, and against one that was refreshed."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import dagster as dg
import pytest

from dbt_support import dbt
from raw_support import FIRST, LOAD, SECOND, SHOP, WRITTEN, change, marts
from retailflow_emulators.snowflake.testing import EmulatedSnowflake

CYCLE = ("build", "--exclude-resource-type", "unit_test")
TESTS = ("test", "--exclude-resource-type", "unit_test")
LATER, LATEST = "2026-01-05 00:00:00+00", "2026-01-06 00:00:00+00"

#: Pairs of places that a careless key takes for one.
ALIKE = [
    (("France", "Nord|Est", "Lille"), ("France", "Nord", "Est|Lille")),
    (("a|b", "c", "d"), ("a", "b|c", "d")),
    (("a", "b~", "|c"), ("a", "b", "~||c")),
    (("a", "b~~", "c"), ("a", "b", "~~c")),
    (("a|", "|", "b"), ("a", "||", "b")),
]
BLANKS = ["\t", "\n", "\r\n", "\u00a0", " \u2003\u3000 ", "\u200b\ufeff", "\x0b\x0c\x85\u2028"]
#: The first and the last day of a date in PostgreSQL and Snowflake alike, leap days, and days between.
DAYS = ["0001-01-01", "1900-03-01", "2000-02-29", "2031-07-15", "2099-12-31", "2100-03-01", "9999-12-31"]


def order(
    order_id: int, day: str = "2026-01-01", place: tuple[str, str, str] = ("France", "Rhone", "Lyon")
) -> str:
    country, state, city = (f"$${name}$$" for name in place)
    return (
        f"insert into RAW.RETAIL.SALES select {WRITTEN.format(at=SECOND)}, {order_id}, 'n', 'p', 'c', 1, 2.0::float,"
        f" 0.0::float, 1.0::float, 1, 1, '{day}', '{day}', {city}, {state}, {country}, 'paid', null"
    )


@pytest.fixture
def connected(connected: EmulatedSnowflake) -> Iterator[EmulatedSnowflake]:
    """As of the module's other tests: filled and built once, and moved on by each test."""
    if not connected.query("select count(*) from RAW.RETAIL.SALES")[0][0]:
        for after, rows in ((0, 300), (10_000, 200), (30_000, 10)):  # three blocks
            connected.query(LOAD.format(at=FIRST, after=after, rows=rows))
        for statement in SHOP:
            connected.query(statement)
        dbt(*CYCLE)
    yield connected


@pytest.mark.timeout(600)
def test_no_row_that_postgresql_allows_breaks_a_cycle(connected: EmulatedSnowflake) -> None:
    places = [place for pair in ALIKE for place in pair]
    for number, place in enumerate(places):
        connected.query(order(40_000 + number, place=place))
    for number, blank in enumerate(BLANKS):
        connected.query(order(41_000 + number, place=("Blank", f"{blank}New York{blank} ", blank)))
    connected.query(order(41_999, place=("Blank", "New\u00a0York", "\u200b")))
    for number, day in enumerate(DAYS):
        connected.query(order(42_000 + number, day=day))
    dbt(*CYCLE)

    facts = "ANALYTICS.MARTS.FCT_SALES"
    keys = connected.query(f"select location_id from {facts} where order_id between 40000 and 40999")
    assert len(set(keys)) == len(set(places))
    blank = connected.query(
        f"select distinct state, city from {facts} where order_id between 41000 and 41999"
    )
    assert blank == [("New York", "Unknown")]
    ((first, last, rows, days),) = connected.query(
        "select min(date_day), max(date_day), count(*), count(distinct date_day) from ANALYTICS.MARTS.DIM_DATES"
    )
    assert (first, last) == (datetime.date(1, 1, 1), datetime.date(9999, 12, 31))
    assert rows == days == (last - first).days + 1, "a calendar without gaps"
    connected.query("delete from RAW.RETAIL.SALES where order_id >= 42000")
    connected.query("delete from ANALYTICS.MARTS.FCT_SALES where order_id >= 42000")


@pytest.mark.timeout(600)
def test_tests_read_facts_and_raw_as_of_the_load_that_was_built(connected: EmulatedSnowflake) -> None:
    connected.query(order(43_000))
    dbt(*CYCLE)
    for assignment, where in {
        "quantity = quantity + 1, price = price + 1": "order_id in (3, 10003, 43000)",
        "city = 'Moved'": "order_id in (5, 10005)",
        f"_ab_cdc_deleted_at = '{LATER}'": "order_id in (7, 10007)",
    }.items():
        change(connected, assignment, where, at=LATER)
    # New orders of new customers and products.
    connected.query(LOAD.format(at=LATER, after=50_000, rows=3).replace("mod(i, 5), mod(i, 3)", "i, i"))
    for statement in SHOP:
        connected.query(statement.replace("+ -1 as i", "+ 50000 as i").replace("=> 5", "=> 3"))
    dbt(*TESTS)
    connected.query("delete from RAW.RETAIL.SALES where mod(order_id, 100) = 9")
    connected.query(
        f"update RAW.RETAIL.SALES set _airbyte_generation_id = 3, _airbyte_extracted_at = '{LATER}'::timestamp_tz"
    )
    dbt(*TESTS)

    # A lost order and a wrong key are found.
    dbt(*CYCLE)
    connected.query("delete from ANALYTICS.MARTS.FCT_SALES where order_id = 43000")
    connected.query(
        "update ANALYTICS.MARTS.FCT_SALES set customer_id = 4711, order_id = 99999 where order_id = 3"
    )
    with pytest.raises(AssertionError) as caught:
        dbt("test", "--select", "fct_sales,test_type:data")
    for name in (
        "reconcile_fct_sales_with_stg_sales",
        "relationships_fct_sales_customer_id",
        "relationships_fct_sales_order_id",
    ):
        assert name in str(caught.value), name


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("generation", "at", "gone"),
    [
        (
            4,
            LATEST,
            "order_id between 10001 and 10200 or mod(order_id, 50) = 8",
        ),  # a whole block, and some of others
        (1, LATEST, "mod(order_id, 50) = 11"),  # a connection that was made again counts from the beginning
        (6, None, "mod(order_id, 50) = 12"),  # rows whose time says nothing
        (9, None, "true"),
    ],
    ids=["newer", "of a new connection", "without a later load", "empty"],
)
def test_a_refresh_removes_from_the_marts_what_raw_no_longer_has(
    connected: EmulatedSnowflake, generation: int, at: str | None, gone: str
) -> None:
    """By the normal cycle, as Dagster runs it; aggregates and blocks too."""
    from retailflow_dagster.defs.dbt.assets import dbt_models
    from retailflow_dagster.lib.dbt import dbt_resource

    connected.query(f"delete from RAW.RETAIL.SALES where {gone} or _ab_cdc_deleted_at is not null")
    moved = f", _airbyte_extracted_at = '{at}'::timestamp_tz" if at else ""
    connected.query(f"update RAW.RETAIL.SALES set _airbyte_generation_id = {generation}{moved}")
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([dbt_models], resources={"dbt": dbt_resource()}, instance=instance).success
    incremental = marts(connected)
    assert not connected.query(f"select order_id from ANALYTICS.MARTS.FCT_SALES where {gone}")
    ((rows,),) = connected.query("select count(*) from RAW.RETAIL.SALES")
    assert len(incremental["fct_sales"]) == rows
    for name in ("net_revenue_by_country", "daily_revenue_by_category"):
        ((added_up,),) = connected.query(f"select coalesce(sum(orders), 0) from ANALYTICS.MARTS.{name}")
        assert added_up == rows, name
    if generation == 4:
        dbt("run", "--full-refresh")
        assert marts(connected) == incremental
