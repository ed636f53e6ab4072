"""Reacts to syncs that somebody else started: in Airbyte's pages, or by its API."""

import dagster as dg

from ...lib.airbyte import AirbyteSync
from ...lib.runs import last_transform_began, run_of_airbyte_job, tags, unfinished_cycle
from ..airbyte.assets import RAW_SALES
from ..dbt.assets import DBT
from .jobs import transform_job


@dg.sensor(
    job=transform_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Transforms what a sync brought that was started elsewhere, without waiting for the schedule.",
)
def airbyte_sensor(
    context: dg.SensorEvaluationContext, airbyte: AirbyteSync
) -> dg.RunRequest | dg.SkipReason:
    """One run for the newest foreign sync that succeeded since the last look. The cursor is the highest job id that
    needs no more thought.
    """
    try:
        syncs = airbyte.latest_syncs()
    except dg.Failure as error:
        # The cycle fails loudly for the same reason; a failed tick every half minute would only be noise.
        return dg.SkipReason(f"Airbyte gives no answer: {error.description}")
    newest = max((sync.id for sync in syncs if sync.succeeded), default=0)
    if context.cursor is None:
        context.update_cursor(str(newest))
        return dg.SkipReason("The first look: syncs from now on count.")
    if newest <= int(context.cursor):
        return dg.SkipReason("No sync has succeeded since the last look.")
    if run_id := run_of_airbyte_job(context.instance, newest):
        context.update_cursor(str(newest))
        return dg.SkipReason(f"Airbyte job {newest} belongs to run {run_id}.")
    if run_id := unfinished_cycle(context.instance):
        return dg.SkipReason(f"Airbyte job {newest} may be transformed by run {run_id}: wait for its end.")
    if context.instance.get_latest_materialization_event(RAW_SALES) is None:
        return dg.SkipReason("No cycle has synced yet: without one there is nothing to reconcile by.")
    (sync,) = [sync for sync in syncs if sync.id == newest]
    context.update_cursor(str(newest))
    if last_transform_began(context.instance, DBT) > sync.ended:
        return dg.SkipReason(f"A cycle has transformed since Airbyte job {newest} ended.")
    return dg.RunRequest(run_key=f"airbyte-job-{newest}", tags=tags("airbyte", airbyte_job_id=str(newest)))
