"""The one job: everything that the assets of the sales graph need, in one run."""

import dagster as dg

from retailflow_dagster.lib.concurrency import TAG

# In-process: three steps in a row gain nothing from a process each, and every process costs seconds to start.
sales_job = dg.define_asset_job(
    name="sales_job",
    selection=dg.AssetSelection.all(),
    executor_def=dg.in_process_executor,
    tags=TAG,
    description="Sync sales from PostgreSQL into RAW, build and test the marts, reconcile to the cent.",
)
