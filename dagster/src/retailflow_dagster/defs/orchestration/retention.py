"""Removes old runs: 288 cycles a day would fill Dagster's database, which keeps every event for ever."""

import os
from datetime import UTC, datetime, timedelta

import dagster as dg

from ...lib.runs import ENDED

DAYS = float(os.environ.get("RUN_RETENTION_DAYS", "14"))
BATCH = 200


def prune_runs(instance: dg.DagsterInstance, before: datetime) -> int:
    """Deletes finished runs that were created before the given time, with their logs; returns how many."""
    deleted = 0
    while runs := instance.get_runs(dg.RunsFilter(statuses=ENDED, created_before=before), limit=BATCH):
        for run in runs:
            instance.compute_log_manager.delete_logs(prefix=[run.run_id])
            instance.delete_run(run.run_id)
        deleted += len(runs)
    return deleted


@dg.op
def prune_old_runs(context: dg.OpExecutionContext) -> None:
    """Deletes finished runs that are older than RUN_RETENTION_DAYS."""
    deleted = prune_runs(context.instance, datetime.now(UTC) - timedelta(days=DAYS))
    context.log.info("Deleted %d runs older than %g days.", deleted, DAYS)


@dg.job(executor_def=dg.in_process_executor)
def prune_runs_job() -> None:
    """Keeps Dagster's database and log folder small."""
    prune_old_runs()


prune_runs_schedule = dg.ScheduleDefinition(
    name="prune_runs_schedule",
    job=prune_runs_job,
    cron_schedule="17 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
