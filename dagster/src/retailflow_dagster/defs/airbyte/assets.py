"""RAW.RETAIL.SALES, replicated by an Airbyte connection."""

import dagster as dg

from retailflow_dagster.defs.postgres.assets import shop_sales
from retailflow_dagster.lib.airbyte import AirbyteSync
from retailflow_dagster.lib.concurrency import POOL
from retailflow_dagster.lib.postgres import Shop
from retailflow_dagster.lib.snowflake import Warehouse

#: The key that dagster-dbt gives to the dbt source ``retail.sales``, so that lineage joins by itself.
RAW_SALES = dg.AssetKey(["retail", "sales"])
#: Metadata of each sync: PostgreSQL's transaction snapshot from before it began.
SNAPSHOT = "postgres_snapshot"


@dg.asset(
    key=RAW_SALES,
    deps=[shop_sales],
    group_name="raw",
    kinds={"airbyte", "snowflake"},
    description="Order lines as Airbyte's Snowflake destination writes them: one row a primary key.",
    pool=POOL,
    retry_policy=dg.RetryPolicy(
        max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
    ),
)
def sync_sales(airbyte: AirbyteSync, shop: Shop, warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """Runs the sync. Notes what was committed before it began, by which `reconcile` judges."""
    snapshot = shop.snapshot()
    result = airbyte.run()
    with warehouse.connect() as session:
        _, rows = session.raw_state()
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows,
            "rows_synced": result.rows,
            "bytes_synced": result.bytes,
            "airbyte_job_id": result.job_id,
            "sync_seconds": round(result.seconds, 1),
            "waited_for_another_job_seconds": round(result.waited_seconds, 1),
            SNAPSHOT: snapshot,
        }
    )
