"""The cards of the role metabase, on an emulated Snowflake: what they say of failing runs, silent days and periods."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from retailflow_emulators.dashboards.queries import bind
from retailflow_emulators.snowflake.testing import EmulatedSnowflake, emulated_snowflake

CONTENT = Path(__file__).parents[2] / "roles" / "metabase" / "files" / "content"
CARDS: dict[str, dict[str, Any]] = {
    key: card
    for file in CONTENT.glob("*.yml")
    for key, card in yaml.safe_load(file.read_text().replace("LATE_MINUTES", "15"))["cards"].items()
}
NAMES = ("from", "to", "country", "state")
RunCard = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def snowflake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedSnowflake]:
    with emulated_snowflake(tmp_path_factory.mktemp("content")) as server:
        server.query("create database ANALYTICS")
        server.query("create schema ANALYTICS.MARTS")
        server.query("use schema ANALYTICS.MARTS")
        server.query(
            "create table PIPELINE_RUNS (RUN_ID varchar, JOB varchar, STATUS varchar, BEGAN_AT timestamp_ntz,"
            " ENDED_AT timestamp_ntz, PROBLEM varchar)"
        )
        server.query(
            "create table FCT_SALES (ORDER_ID number(38, 0), COUNTRY varchar, STATE varchar, PURCHASE_DATE date,"
            " NET_REVENUE number(20, 2), CREATED_AT timestamp_tz, LOADED_AT timestamp_tz)"
        )
        server.query(
            "create table NET_REVENUE_BY_COUNTRY (COUNTRY varchar, ORDERS number(38, 0), NET_REVENUE number(38, 2))"
        )
        server.query(
            "create table DIM_DATES as select dateadd('day', 1 - row_number() over (order by seq4()), cast(sysdate() as date))"
            " DATE_DAY from table(generator(rowcount => 400))"
        )
        yield server


@pytest.fixture
def card(snowflake: EmulatedSnowflake) -> RunCard:
    """Runs a card with values of its variables; every table is empty before."""
    for table in ("PIPELINE_RUNS", "FCT_SALES", "NET_REVENUE_BY_COUNTRY"):
        snowflake.query(f"delete from {table}")

    def run(key: str, **values: str) -> list[tuple[Any, ...]]:
        kinds = CARDS[key].get("variables", {})
        tags = {name: {"name": name, "type": kinds.get(name, "text")} for name in NAMES}
        sql, bound = bind({"native": CARDS[key]["sql"], "template-tags": tags}, dict(values))
        with snowflake.connect() as session, session.cursor() as cursor:
            cursor.execute("use schema ANALYTICS.MARTS")
            cursor.execute(sql, bound or None)
            return [tuple(row) for row in cursor.fetchall()]

    return run


def sell(snowflake: EmulatedSnowflake, days_ago: int, money: str, country: str = "India") -> None:
    snowflake.query(
        f"insert into FCT_SALES select 1, '{country}', 'S', dateadd('day', -{days_ago}, cast(sysdate() as date)), {money},"
        " current_timestamp(), current_timestamp()"
    )


def ran(
    snowflake: EmulatedSnowflake, minutes_ago: int, status: str, problem: str = "", job: str = "sales_job"
) -> None:
    moment = f"dateadd('minute', -{minutes_ago}, sysdate())"
    snowflake.query(
        f"insert into PIPELINE_RUNS select 'r', '{job}', '{status}', {moment}, {moment}, '{problem}'"
    )


def states(rows: list[tuple[Any, ...]]) -> dict[str, str]:
    return {area: state for area, state, _ in rows}


def test_state_is_failing_while_the_runs_since_the_last_success_fail(
    card: RunCard, snowflake: EmulatedSnowflake
) -> None:
    ran(snowflake, 30, "FAILURE", "an older one")
    ran(snowflake, 20, "SUCCESS")
    assert states(card("state"))["Cycles"] == "Well"
    ran(snowflake, 10, "FAILURE", "sync: refused")
    ran(snowflake, 5, "FAILURE", "sync: refused again")
    ran(snowflake, 1, "CANCELED")
    ran(snowflake, 1, "SUCCESS", job="history_job")
    rows = card("state")
    assert states(rows)["Cycles"] == "Failing"
    assert states(rows)["Daily tests"] == "Well"
    (detail,) = (detail for area, _, detail in rows if area == "Cycles")
    assert detail.startswith("Failed 2 times since ") and detail.endswith("sync: refused again")


@pytest.mark.parametrize(
    ("problem", "state"),
    [("reconcile: RAW differs", "Failing"), ("sync: refused", "Unknown")],
)
def test_reconciliation_fails_where_it_is_what_failed(
    card: RunCard, snowflake: EmulatedSnowflake, problem: str, state: str
) -> None:
    ran(snowflake, 20, "SUCCESS")
    ran(snowflake, 10, "FAILURE", problem)
    assert states(card("state"))["Reconciliation"] == state


def test_state_of_a_new_site_is_not_known(card: RunCard) -> None:
    assert states(card("state")) == {
        "Cycles": "Unknown",
        "Reconciliation": "Unknown",
        "Daily tests": "Unknown",
        "Arrival of orders": "Unknown",
        "Marts": "Well",
    }


def test_marts_that_disagree_are_wrong(card: RunCard, snowflake: EmulatedSnowflake) -> None:
    sell(snowflake, 1, "10.00")
    assert states(card("state"))["Marts"] == "Wrong"
    snowflake.query("insert into NET_REVENUE_BY_COUNTRY values ('India', 1, 10.00)")
    assert states(card("state"))["Marts"] == "Well"


def test_what_is_not_well_is_red_by_a_rule_of_the_card() -> None:
    rules = CARDS["state"]["settings"]["table.column_formatting"]
    assert {rule["value"] for rule in rules if rule["highlight_row"]} == {"Failing", "Wrong", "Late"}


def test_a_day_without_orders_is_a_zero(card: RunCard, snowflake: EmulatedSnowflake) -> None:
    sell(snowflake, 4, "10.00")
    sell(snowflake, 1, "20.00", country="Kenya")
    revenue = [float(money) for _, money in card("net_revenue_by_day")]
    assert revenue == [10, 0, 0, 20, 0]
    assert [orders for _, orders in card("orders_by_day", country="Kenya")] == [0, 0, 0, 1, 0]
    today = datetime.datetime.now(datetime.UTC).date()
    since = (today - datetime.timedelta(days=1)).isoformat()
    assert len(card("net_revenue_by_day", **{"from": since, "to": since})) == 1


def test_a_period_is_compared_with_the_one_before(card: RunCard, snowflake: EmulatedSnowflake) -> None:
    for days_ago, money in (
        (0, "500.00"),
        (1, "10.00"),
        (30, "20.00"),
        (31, "7.00"),
        (60, "1.00"),
        (61, "900.00"),
    ):
        sell(snowflake, days_ago, money)
    ((_, now, before),) = card("net_revenue_of_period")
    assert (float(now), float(before)) == (30, 8)
    ((_, now, before),) = card("net_revenue_per_order")
    assert (float(now), float(before)) == (15, 4)
    today = datetime.datetime.now(datetime.UTC).date()
    days = [(today - datetime.timedelta(days=number)).isoformat() for number in (31, 30)]
    ((_, now, before),) = card("net_revenue_of_period", **{"from": days[0], "to": days[1]})
    assert (float(now), float(before)) == (27, 0)
    ((_, now, _),) = card("orders_per_day", **{"from": days[0], "to": days[1]})
    assert float(now) == 1
