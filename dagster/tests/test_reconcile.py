"""Reconciliation: exact while rows arrive and change, loud when a cent is missing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retailflow_dagster.defs.airbyte.assets import SYNC
from retailflow_dagster.defs.dbt.assets import DBT, DBT_RUN, DBT_START, FACTS
from retailflow_dagster.defs.postgres.checks import MARTS, _seconds, compare
from retailflow_dagster.lib import snowflake
from retailflow_dagster.lib.reconcile import Level, SourceView, Totals, totals_by_place, verdict

NOTHING = Totals.of(0, 0, 0)


def totals(cents: Sequence[int]) -> Totals:
    """One order per number, its revenue in cents, without discount."""
    return Totals.of(len(cents), Decimal(sum(cents)) / 100, 0)


@dataclass(frozen=True)
class Order:
    """An order when the sync began, and since: None where it did not exist or did not change."""

    id: int
    before: int | None
    after: int | None
    raw_saw_the_change: bool


orders = st.builds(
    Order,
    id=st.integers(1, 1000),
    before=st.none() | st.integers(0, 10_000),
    after=st.none() | st.integers(0, 10_000),
    raw_saw_the_change=st.booleans(),
).filter(lambda order: order.before is not None or order.after is not None)
histories = st.lists(orders, unique_by=lambda order: order.id, max_size=30)


class Shop:
    """PostgreSQL after the given history."""

    def __init__(self, history: Sequence[Order]) -> None:
        self.history = history

    def view(self, snapshot: str, max_order_id: int) -> SourceView:
        assert snapshot == "1:1:"
        settled = [order.before for order in self.history if order.after is None and order.before is not None]
        changed = [order.id for order in self.history if order.after is not None and order.id <= max_order_id]
        return SourceView(totals(settled), changed)


class Session:
    """A warehouse: order id to revenue in cents, RAW and fct_sales apart."""

    def __init__(self, raw: dict[int, int]) -> None:
        self.rows, self.fct = dict(raw), dict(raw)

    def max_order_id(self) -> int:
        return max(self.rows, default=0)

    def raw(self, max_order_id: int, without: Sequence[int]) -> Totals:
        return self._less(self.rows, max_order_id, without)

    def facts(self, max_order_id: int, without: Sequence[int]) -> Totals:
        return self._less(self.fct, max_order_id, without)

    def mart(self, name: str) -> Totals:
        return totals(list(self.fct.values()))

    @staticmethod
    def _less(rows: dict[int, int], max_order_id: int, without: Sequence[int]) -> Totals:
        return totals([cents for id_, cents in rows.items() if id_ <= max_order_id and id_ not in without])


def synced(history: Sequence[Order]) -> Session:
    """What a correct sync leaves: the state of when it began, and later changes that it happened to see."""
    raw = {}
    for order in history:
        seen = order.after if order.after is not None and order.raw_saw_the_change else order.before
        if seen is not None:
            raw[order.id] = seen
    return Session(raw)


@given(histories)
def test_rows_that_arrive_or_change_during_a_cycle_raise_no_alarm(history: list[Order]) -> None:
    levels, left_out, _ = compare(Shop(history), synced(history), "1:1:")  # type: ignore[arg-type]
    assert [str(level) for level in levels if not level.agrees] == []
    assert left_out <= sum(order.after is not None for order in history)


@given(histories, st.data())
def test_one_cent_of_one_settled_order_is_found_and_placed(history: list[Order], data: st.DataObject) -> None:
    settled = [order for order in history if order.after is None]
    victim = data.draw(st.sampled_from(settled)) if settled else Order(1001, 5, None, False)
    history = history if settled else [*history, victim]
    session = synced(history)
    stage = data.draw(st.sampled_from(["sync", "transform"]))
    session.fct[victim.id] += 1
    if stage == "sync":
        session.rows[victim.id] += 1
    levels, *_ = compare(Shop(history), session, "1:1:")  # type: ignore[arg-type]
    assert [level.stage for level in levels if not level.agrees] == [stage]
    assert f"{stage}: " in verdict(levels) and "differs by (0 orders, revenue 0.01" in verdict(levels)


def test_a_lost_a_doubled_and_a_deleted_row_are_found() -> None:
    history = [Order(1, 100, None, False), Order(2, 200, None, False)]
    for raw in ({1: 100}, {1: 100, 2: 200, 3: 1}, {}):
        levels, *_ = compare(Shop(history), Session(raw), "1:1:")  # type: ignore[arg-type]
        assert [level.stage for level in levels if not level.agrees] == ["sync"]


def test_a_mart_that_lags_is_named() -> None:
    level = Level(
        "aggregate", "all of fct_sales", totals([1, 2]), "net_revenue_by_city", totals([1]), "Rebuild."
    )
    assert verdict([level]) == (
        "aggregate: net_revenue_by_city (1 orders, revenue 0.01, discount 0.00, net 0.01) differs by"
        " (-1 orders, revenue -0.02, discount 0.00, net -0.02) from all of fct_sales"
        " (2 orders, revenue 0.03, discount 0.00, net 0.03). Rebuild."
    )
    assert totals_by_place([level])["net_revenue_by_city"]["total_revenue"] == "0.01"


@pytest.mark.parametrize(("money", "problem"), [(0.1, TypeError), (Decimal("0.001"), ValueError)])
def test_money_that_hides_a_difference_is_refused(money: object, problem: type[Exception]) -> None:
    with pytest.raises(problem):
        Totals.of(1, money, 0)


class Cursor:
    """Answers the totals of a small table, and keeps what it was asked."""

    def __init__(self, rows: dict[int, int]) -> None:
        self.rows, self.asked = rows, list[str]()

    def execute(self, statement: str, timeout: float) -> None:
        self.asked.append(statement)
        assert timeout > 0
        _, _, ids = statement.partition(" in (")
        wanted = [int(id_) for id_ in ids.strip().rstrip(")").split(",")] if ids else list(self.rows)
        cents = [self.rows[id_] for id_ in wanted if id_ in self.rows]
        self.answer = (len(cents), Decimal(sum(cents)) / 100, Decimal(0))

    def fetchall(self) -> list[tuple[object, ...]]:
        return [self.answer]


def test_many_changed_orders_are_asked_for_in_lists_that_snowflake_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snowflake, "IN_LIST", 2)
    names = snowflake.Warehouse(
        account="a", user="u", role="r", warehouse="w", database="ANALYTICS", raw_schema="RAW.RETAIL"
    )
    cursor = Cursor({1: 100, 2: 200, 3: 300, 4: 400})
    session = snowflake.Session(names, cursor)
    assert session.raw(4, [1, 2, 4, 9, 8]) == totals([300])
    assert len(cursor.asked) == 4
    assert "from RAW.RETAIL.SALES" in cursor.asked[0]


def test_all_marts_are_compared() -> None:
    levels, *_ = compare(Shop([]), Session({}), "1:1:")  # type: ignore[arg-type]
    assert [level.found_in for level in levels] == ["RAW", "fct_sales", *MARTS]
    assert all(level == replace(level, found=NOTHING, expected=NOTHING) for level in levels)


def test_the_seconds_of_a_cycle_are_reported_per_step() -> None:
    instance = dg.DagsterInstance.ephemeral()

    @dg.op(name=SYNC)
    def sync() -> None:
        time.sleep(0.3)

    @dg.op(name=DBT, ins={"after": dg.In(dg.Nothing)})
    def build(context) -> None:  # type: ignore[no-untyped-def]  # Dagster cannot read a postponed annotation
        context.log_event(dg.AssetObservation(FACTS, metadata={DBT_START: 5.0, DBT_RUN: 7.5}))

    @dg.job(executor_def=dg.in_process_executor)
    def cycle() -> None:
        build(sync())

    def seconds(run: dg.DagsterRun, last_change: datetime | None) -> dict[str, float]:
        context: Any = SimpleNamespace(instance=instance, run=run)
        return _seconds(context, time.monotonic() - 2, last_change)

    before = cycle.execute_in_process(instance=instance).dagster_run
    changed = datetime.now(UTC) - timedelta(seconds=60)
    run = cycle.execute_in_process(instance=instance).dagster_run
    told = seconds(run, changed)
    assert told.keys() == {"sync", "dbt_start", "dbt_run", "reconcile", "row_to_mart"}
    assert (told["dbt_start"], told["dbt_run"]) == (5.0, 7.5)
    assert 0.3 <= told["sync"] < 30 and 2 <= told["reconcile"] < 30
    assert 60 <= told["row_to_mart"] < 90, "to the end of the build"
    assert "row_to_mart" not in seconds(run, None), "a shop without a row"
    assert "dbt_run" not in seconds(before, changed), "the last build was another run's"
