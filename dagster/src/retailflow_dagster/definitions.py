"""The entry point of the code location. Loads without a network, a credential or a running system."""

import dagster as dg

from retailflow_dagster.defs.airbyte.assets import sync_sales
from retailflow_dagster.defs.dbt.assets import dbt_models
from retailflow_dagster.defs.orchestration.jobs import sales_job
from retailflow_dagster.defs.orchestration.retention import prune_runs_job, prune_runs_schedule
from retailflow_dagster.defs.orchestration.schedules import sales_schedule
from retailflow_dagster.defs.postgres.assets import shop_sales
from retailflow_dagster.defs.postgres.checks import reconcile
from retailflow_dagster.resources import resources_from_env


def sales_definitions() -> dg.Definitions:
    """The sales cycle: its assets, its check, its one job."""
    return dg.Definitions(
        assets=[shop_sales, sync_sales, dbt_models],
        asset_checks=[reconcile],
        jobs=[sales_job],
        resources=resources_from_env(),
    )


defs = dg.Definitions.merge(
    sales_definitions(),
    dg.Definitions(jobs=[prune_runs_job], schedules=[sales_schedule, prune_runs_schedule]),
)
