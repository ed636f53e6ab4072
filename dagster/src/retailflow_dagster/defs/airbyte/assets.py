"""RAW.RETAIL: one table per stream of the Airbyte connection; one sync replicates them all."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from ...lib.airbyte import AirbyteSync
from ...lib.concurrency import POOL
from ...lib.freshness import FRESHNESS
from ...lib.postgres import Shop
from ...lib.runs import AIRBYTE_JOB
from ...lib.snowflake import Warehouse
from ..postgres.assets import shop_tables

#: Name of the step.
SYNC = "airbyte_sync"
#: Metadata of each sync: PostgreSQL's transaction snapshot from before it began.
SNAPSHOT = "postgres_snapshot"

# The keys are those that dagster-dbt gives to the dbt sources of `retail`, so that lineage joins by itself.
streams = [
    dg.AssetSpec(
        key=["retail", table.key.path[-1]],
        deps=[table],
        group_name="raw",
        kinds={"airbyte", "snowflake"},
        description=f"The stream {table.key.path[-1]} as Airbyte's Snowflake destination writes it: one row per key.",
        freshness_policy=FRESHNESS,
    )
    for table in shop_tables
]
#: The first stream: what the cycle is about.
RAW_SALES = streams[0].key


@dg.multi_asset(
    name=SYNC,
    specs=streams,
    pool=POOL,
    retry_policy=dg.RetryPolicy(
        max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
    ),
)
def airbyte_sync(
    context: dg.AssetExecutionContext, airbyte: AirbyteSync, shop: Shop, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[Any]]:
    """Runs the sync, all streams at once. Notes what was committed before it began, by which `reconcile` judges."""

    def started(job_id: int) -> None:
        # At the start: the sensor must tell our jobs from others' even when this run is killed.
        context.instance.add_run_tags(context.run_id, {AIRBYTE_JOB: str(job_id)})

    snapshot = shop.snapshot()
    result = airbyte.run(started)
    with warehouse.connect() as session:
        rows = session.raw_rows([spec.key.path[-1] for spec in streams])
    for spec in streams:
        yield dg.MaterializeResult(
            asset_key=spec.key,
            metadata={
                "dagster/row_count": rows[spec.key.path[-1]],
                "rows_synced_in_all_streams": result.rows,
                "bytes_synced_in_all_streams": result.bytes,
                "airbyte_job_id": result.job_id,
                "sync_seconds": round(result.seconds, 1),
                "waited_for_another_job_seconds": round(result.waited_seconds, 1),
                SNAPSHOT: snapshot,
            },
        )
