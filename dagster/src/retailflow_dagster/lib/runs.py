"""Our runs: the tags by which people filter and the sensor decides, and what is known of past ones."""

import dagster as dg

from retailflow_dagster.lib.concurrency import TAG

#: What asked for the run: schedule, airbyte (the sensor), verify (`make run`); hand where nobody says.
SOURCE = "retailflow/source"
#: The tick of the schedule that a cycle belongs to, in UTC.
CYCLE = "retailflow/cycle"
#: The Airbyte job that the run started, or whose rows it transforms.
AIRBYTE_JOB = "retailflow/airbyte_job_id"

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def tags(source: str, *, cycle: str = "", airbyte_job_id: str = "") -> dict[str, str]:
    """Tags of a run that `source` asks for."""
    known = {SOURCE: source, CYCLE: cycle, AIRBYTE_JOB: airbyte_job_id}
    return {key: value for key, value in known.items() if value}


def unfinished_cycle(instance: dg.DagsterInstance) -> str | None:
    """Id of a run that writes the marts and is waiting or running; None where there is none."""
    runs = instance.get_runs(dg.RunsFilter(tags=TAG, statuses=UNFINISHED), limit=1)
    return runs[0].run_id if runs else None


def run_of_airbyte_job(instance: dg.DagsterInstance, job_id: int) -> str | None:
    """Id of the run that started the Airbyte job or was requested for it; None where there is none."""
    runs = instance.get_runs(dg.RunsFilter(tags={AIRBYTE_JOB: str(job_id)}), limit=1)
    return runs[0].run_id if runs else None


def last_transform_began(instance: dg.DagsterInstance, step: str) -> float:
    """When the transforming step of the last cycle that succeeded began, in seconds since 1970; 0 for never."""
    runs = instance.get_runs(dg.RunsFilter(tags=TAG, statuses=[dg.DagsterRunStatus.SUCCESS]), limit=1)
    stats = instance.get_run_step_stats(runs[0].run_id, [step]) if runs else []
    return max((stat.start_time or 0.0 for stat in stats), default=0.0)
