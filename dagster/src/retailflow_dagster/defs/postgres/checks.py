"""The end of a cycle: PostgreSQL, RAW and the marts agree to the cent, or the run fails and says where."""

import time

import dagster as dg

from retailflow_dagster.defs.airbyte.assets import RAW_SALES, SNAPSHOT
from retailflow_dagster.lib.concurrency import POOL
from retailflow_dagster.lib.postgres import Shop
from retailflow_dagster.lib.reconcile import Level, totals_by_place, verdict
from retailflow_dagster.lib.snowflake import Session, Warehouse

FACTS = dg.AssetKey(["MARTS", "fct_sales"])
MARTS = (
    "daily_revenue_by_category",
    "net_revenue_by_city",
    "net_revenue_by_state",
    "net_revenue_by_country",
)

#: A sync started elsewhere may replace rows between two of our queries; a second look leaves those rows out.
LOOKS = 3

#: Names of the steps as people say them.
STEPS = {RAW_SALES.to_python_identifier(): "sync", "dbt_models": "dbt"}

LOAD_AGAIN = (
    "Rows are missing, doubled, changed or deleted between PostgreSQL and RAW: refresh the stream in Airbyte."
)
BUILD_AGAIN = "Rebuild: dbt build --full-refresh --select fct_sales+"


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
            levels, left_out = compare(shop, session, snapshot)
            if all(level.agrees for level in levels):
                break
    return dg.AssetCheckResult(
        passed=all(level.agrees for level in levels),
        description=verdict(levels),
        metadata={
            "totals": dg.MetadataValue.json(totals_by_place(levels)),
            "orders_changed_since_sync": left_out,
            "seconds": dg.MetadataValue.json(
                {**_seconds_of_steps(context), "reconcile": round(time.monotonic() - began, 1)}
            ),
        },
    )


def compare(shop: Shop, session: Session, snapshot: str) -> tuple[list[Level], int]:
    """The levels of the journey, and how many orders had to be left out."""
    max_order_id, _ = session.raw_state()
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
    return levels, len(left_out)


def _snapshot_of_last_sync(instance: dg.DagsterInstance) -> str:
    event = instance.get_latest_materialization_event(RAW_SALES)
    metadata = event.asset_materialization.metadata if event and event.asset_materialization else {}
    if SNAPSHOT not in metadata:
        raise dg.Failure("No sync is on record to judge by: run sales_job.", allow_retries=False)
    return str(metadata[SNAPSHOT].value)


def _seconds_of_steps(context: dg.AssetCheckExecutionContext) -> dict[str, float]:
    """Wall seconds of the steps of this run that have ended: where the time of the cycle went."""
    stats = context.instance.get_run_step_stats(context.run.run_id)
    return {
        STEPS.get(step.step_key, step.step_key): round(step.end_time - step.start_time, 1)
        for step in stats
        if step.start_time and step.end_time
    }
