"""Reacts to syncs that somebody else started: in Airbyte's pages, or by its API."""

import json

import dagster as dg

from ...lib.airbyte import AirbyteSync, Job
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
    """One run for the newest foreign sync that succeeded since the last look. The cursor is the sync that needs no more
    thought.
    """
    try:
        syncs = airbyte.latest_syncs()
    except dg.Failure as error:
        # The cycle fails loudly for the same reason; a failed tick every half minute would only be noise.
        return dg.SkipReason(f"Airbyte gives no answer: {error.description}")
    sync = next((sync for sync in syncs if sync.succeeded), None)
    if context.cursor is None:
        context.update_cursor(_cursor(sync))
        return dg.SkipReason("The first look: syncs from now on count.")
    if sync is None or _is_seen(sync, context.cursor):
        return dg.SkipReason("No sync has succeeded since the last look.")
    if run_id := run_of_airbyte_job(context.instance, sync):
        context.update_cursor(_cursor(sync))
        return dg.SkipReason(f"Airbyte job {sync.id} belongs to run {run_id}.")
    if run_id := unfinished_cycle(context.instance):
        return dg.SkipReason(f"Airbyte job {sync.id} may be transformed by run {run_id}: wait for its end.")
    if context.instance.get_latest_materialization_event(RAW_SALES) is None:
        return dg.SkipReason("No cycle has synced yet: without one there is nothing to reconcile by.")
    context.update_cursor(_cursor(sync))
    if last_transform_began(context.instance, DBT) > sync.ended:
        return dg.SkipReason(f"A cycle has transformed since Airbyte job {sync.id} ended.")
    return dg.RunRequest(
        # Dagster forgets a request whose key it has seen: an id alone comes again with the next Airbyte.
        run_key=f"airbyte-job-{sync.id}-{sync.ended:.0f}",
        tags=tags("airbyte", airbyte_job_id=str(sync.id)),
    )


def _cursor(sync: Job | None) -> str:
    """The sync by id and time; ids alone begin again when Airbyte is installed again."""
    return json.dumps({"job": sync.id, "ended": sync.ended} if sync else {"job": 0, "ended": 0.0})


def _is_seen(sync: Job, cursor: str) -> bool:
    """Whether the cursor names the sync. A cursor of an earlier release is an id alone."""
    seen = json.loads(cursor)
    if isinstance(seen, int):
        return sync.id == seen
    return bool(seen == {"job": sync.id, "ended": sync.ended})
