"""The entry point of the code location. Loads without a network, a credential or a running system."""

import dagster as dg

from .defs.airbyte.assets import airbyte_sync
from .defs.dashboards.assets import dashboards
from .defs.dbt.assets import dbt_models, manifest, translator
from .defs.orchestration.alerts import alert_sensor
from .defs.orchestration.history import history_job, history_schedule
from .defs.orchestration.jobs import sales_job, transform_job
from .defs.orchestration.record import record_sensor
from .defs.orchestration.retention import prune_runs_job, prune_runs_schedule
from .defs.orchestration.schedules import sales_schedule
from .defs.orchestration.sensors import airbyte_sensor
from .defs.postgres.assets import generator, shop_tables
from .defs.postgres.checks import reconcile
from .resources import resources_from_env


def sales_definitions() -> dg.Definitions:
    """The sales cycle: its assets, its check, its one job."""
    return dg.Definitions(
        assets=[generator, *shop_tables, airbyte_sync, dbt_models, *dashboards(manifest, translator)],
        asset_checks=[reconcile],
        jobs=[sales_job],
        resources=resources_from_env(),
    )


defs = dg.Definitions.merge(
    sales_definitions(),
    dg.Definitions(
        jobs=[transform_job, history_job, prune_runs_job],
        schedules=[sales_schedule, history_schedule, prune_runs_schedule],
        sensors=[airbyte_sensor, alert_sensor, record_sensor],
    ),
)
