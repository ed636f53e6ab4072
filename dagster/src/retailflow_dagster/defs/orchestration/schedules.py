"""The only clock after the generator's: Airbyte's own schedule is off."""

import os
from datetime import UTC

import dagster as dg

from retailflow_dagster.defs.orchestration.jobs import sales_job

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.schedule(
    job=sales_job,
    cron_schedule=os.environ.get("SALES_CRON_SCHEDULE", "*/5 * * * *"),
    execution_timezone=str(UTC),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="A cycle every few minutes. Skips a tick while a cycle is unfinished, so that none queue up.",
)
def sales_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One run a tick, unless one is still waiting or running."""
    unfinished = context.instance.get_runs(
        dg.RunsFilter(job_name=sales_job.name, statuses=UNFINISHED), limit=1
    )
    if unfinished:
        return dg.SkipReason(f"Run {unfinished[0].run_id} has not finished yet.")
    return dg.RunRequest()
