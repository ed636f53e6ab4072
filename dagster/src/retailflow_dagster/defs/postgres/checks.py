"""The end of a cycle: PostgreSQL, RAW and the marts agree to the cent, or the run fails and says where."""

import time
from datetime import datetime

import dagster as dg

from ...lib.concurrency import POOL
from ...lib.postgres import Shop
from ...lib.reconcile import Level, totals_by_place, verdict
from ...lib.snowflake import Session, Warehouse
from ..airbyte.assets import RAW_SALES, SNAPSHOT, SYNC
from ..dbt.assets import DBT, DBT_RUN, DBT_START, FACTS

MARTS = (
    "daily_revenue_by_category",
    "net_revenue_by_city",
    "net_revenue_by_state",
    "net_revenue_by_country",
)

#: A sync started elsewhere may replace rows between two of our queries; a second look leaves those rows out.
LOOKS = 3

LOAD_AGAIN = (
    "Rows are missing, doubled, changed or deleted between PostgreSQL and RAW: run make refresh STREAM=sales."
)
BUILD_AGAIN = (
    "Build the marts again, in the container dagster-dbt: dbt build --full-refresh --select fct_sales+"
)


@dg.asset_check(
    asset=FACTS,
    name="reconcile",
    additional_deps=[RAW_SALES, *(dg.AssetKey(["MARTS", mart]) for mart in MARTS)],
    blocking=True,
    pool=POOL,
    retry_policy=dg.RetryPolicy(max_retries=1, delay=5),
    description="PostgreSQL, RAW, fct_sales and the revenue marts hold the same orders and money.",
)
def reconcile(
    context: dg.AssetCheckExecutionContext, shop: Shop, warehouse: Warehouse
) -> dg.AssetCheckResult:
    """Compares level by level what was committed when the last sync began."""
    began = time.monotonic()
    snapshot = _snapshot_of_last_sync(context.instance)
    with warehouse.connect() as session:
        for _ in range(LOOKS):
            levels, left_out, last_change = compare(shop, session, snapshot)
            if all(level.agrees for level in levels):
                break
    return dg.AssetCheckResult(
        passed=all(level.agrees for level in levels),
        description=verdict(levels),
        metadata={
            "totals": dg.MetadataValue.json(totals_by_place(levels)),
            "orders_changed_since_sync": left_out,
            "seconds": dg.MetadataValue.json(_seconds(context, began, last_change)),
        },
    )


def compare(shop: Shop, session: Session, snapshot: str) -> tuple[list[Level], int, datetime | None]:
    """The levels of the journey, how many orders had to be left out, and the last change that was compared."""
    max_order_id = session.max_order_id()
    source = shop.view(snapshot, max_order_id)
    left_out = source.changed_since
    raw = session.raw(max_order_id, left_out)
    facts = session.facts(max_order_id, left_out)
    all_facts = session.mart("fct_sales")
    levels = [
        Level("sync", "PostgreSQL", source.totals, "RAW", raw, LOAD_AGAIN),
        Level("transform", "RAW", raw, "fct_sales", facts, BUILD_AGAIN),
        *(
            Level("aggregate", "all of fct_sales", all_facts, mart, session.mart(mart), BUILD_AGAIN)
            for mart in MARTS
        ),
    ]
    return levels, len(left_out), source.last_change


def _snapshot_of_last_sync(instance: dg.DagsterInstance) -> str:
    event = instance.get_latest_materialization_event(RAW_SALES)
    metadata = event.asset_materialization.metadata if event and event.asset_materialization else {}
    if SNAPSHOT not in metadata:
        raise dg.Failure("No sync is on record to judge by: run sales_job.", allow_retries=False)
    return str(metadata[SNAPSHOT].value)


def _seconds(
    context: dg.AssetCheckExecutionContext, began: float, last_change: datetime | None
) -> dict[str, float]:
    """Where the seconds of this run went: `sync`, `dbt_start` and `dbt_run`, `reconcile`; and `row_to_mart`, from
    the last committed change in PostgreSQL that the sync had to bring, to the end of the build.
    """
    run_id = context.run.run_id
    steps = {
        stat.step_key: (stat.start_time, stat.end_time)
        for stat in context.instance.get_run_step_stats(run_id, [SYNC, DBT])
        if stat.start_time and stat.end_time
    }
    seconds = {}
    if SYNC in steps:
        seconds["sync"] = steps[SYNC][1] - steps[SYNC][0]
    observed = context.instance.fetch_observations(FACTS, limit=1).records
    if observed and observed[0].run_id == run_id and observed[0].asset_observation:
        of_dbt = observed[0].asset_observation.metadata
        seconds |= {
            name: float(str(of_dbt[label].value))
            for name, label in {"dbt_start": DBT_START, "dbt_run": DBT_RUN}.items()
        }
    seconds["reconcile"] = time.monotonic() - began
    if {SYNC, DBT} <= steps.keys() and last_change:
        seconds["row_to_mart"] = steps[DBT][1] - last_change.timestamp()
    return {name: round(value, 1) for name, value in seconds.items()}
