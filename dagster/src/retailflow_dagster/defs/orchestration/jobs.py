"""The jobs: the whole cycle, and the part of it that follows a sync that was started elsewhere."""

import dagster as dg

from ...lib.concurrency import TAG
from ...lib.runs import tags
from ..dbt.assets import dbt_models

# In-process: three steps in a row gain nothing from a process each, and every process costs seconds to start.
sales_job = dg.define_asset_job(
    name="sales_job",
    selection=dg.AssetSelection.all(),
    executor_def=dg.in_process_executor,
    tags=TAG | tags("hand"),
    description="Sync the shop from PostgreSQL into RAW, build and test the marts, reconcile to the cent.",
)

transform_job = dg.define_asset_job(
    name="transform_job",
    selection=dg.AssetSelection.assets(dbt_models),  # its checks come along, `reconcile` too
    executor_def=dg.in_process_executor,
    tags=TAG | tags("hand"),
    description="What follows the sync alone: build and test the marts from RAW as it is, reconcile.",
)
