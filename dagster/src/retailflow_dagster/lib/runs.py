"""Our runs: the tags by which people filter and the sensor decides, and what is known of past ones."""

import dagster as dg

from .airbyte import Job
from .concurrency import TAG

#: What asked for the run: schedule, airbyte (the sensor), verify (`make run`); hand where nobody says.
SOURCE = "retailflow/source"
#: The tick of the schedule that a cycle belongs to, in UTC.
CYCLE = "retailflow/cycle"
#: The Airbyte job that the run started, or whose rows it transforms.
AIRBYTE_JOB = "retailflow/airbyte_job_id"

#: The job that has the tag of a cycle without being one: it reads the marts and writes nothing.
HISTORY_JOB = "history_job"
#: The jobs whose ends the dashboards show.
RECORDED = ("sales_job", "transform_job", HISTORY_JOB)

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def tags(source: str, *, cycle: str = "", airbyte_job_id: str = "") -> dict[str, str]:
    """Tags of a run that `source` asks for."""
    known = {SOURCE: source, CYCLE: cycle, AIRBYTE_JOB: airbyte_job_id}
    return {key: value for key, value in known.items() if value}


def unfinished_cycle(instance: dg.DagsterInstance) -> str | None:
    """Id of a run that writes the marts and is waiting or running; None where there is none."""
    runs = instance.get_runs(dg.RunsFilter(tags=TAG, statuses=UNFINISHED))
    return next((run.run_id for run in runs if run.job_name != HISTORY_JOB), None)


def unfinished_history(instance: dg.DagsterInstance) -> str | None:
    """Id of a run that tests the whole history and is waiting or running; None where there is none."""
    runs = instance.get_runs(dg.RunsFilter(job_name=HISTORY_JOB, statuses=UNFINISHED), limit=1)
    return runs[0].run_id if runs else None


def run_of_airbyte_job(instance: dg.DagsterInstance, job: Job) -> str | None:
    """Id of the run that started the Airbyte job or was requested for it; None where there is none.

    A run that had ended when the job started belongs to another job of the same id, of an Airbyte that was installed
    before this one.
    """
    records = instance.get_run_records(dg.RunsFilter(tags={AIRBYTE_JOB: str(job.id)}), limit=10)
    for record in records:
        if record.end_time is None or record.end_time >= job.started:
            return record.dagster_run.run_id
    return None


def last_transform_began(instance: dg.DagsterInstance, step: str) -> float:
    """When the transforming step of the last cycle that succeeded began, in seconds since 1970; 0 for never."""
    succeeded = dg.RunsFilter(tags=TAG, statuses=[dg.DagsterRunStatus.SUCCESS])
    runs = instance.get_runs(succeeded, limit=10)  # the newest may be tests of the whole history, once a day
    cycle = next((run.run_id for run in runs if run.job_name != HISTORY_JOB), None)
    stats = instance.get_run_step_stats(cycle, [step]) if cycle else []
    return max((stat.start_time or 0.0 for stat in stats), default=0.0)
