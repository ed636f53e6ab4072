"""The clock of the cycle, the only one after the generator's: Airbyte's own schedule is off."""

import os
from datetime import UTC

import dagster as dg

from ...lib.runs import tags, unfinished_cycle
from .jobs import sales_job


@dg.schedule(
    job=sales_job,
    cron_schedule=os.environ.get("SALES_CRON_SCHEDULE", "*/5 * * * *"),
    execution_timezone=str(UTC),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="A cycle every few minutes. Skips a tick while a cycle is unfinished, so that none queue up.",
)
def sales_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One run per tick, unless one is still waiting or running."""
    if run_id := unfinished_cycle(context.instance):
        return dg.SkipReason(f"Run {run_id} has not finished yet.")
    tick = context.scheduled_execution_time.astimezone(UTC)
    return dg.RunRequest(tags=tags("schedule", cycle=tick.isoformat(timespec="minutes")))
