"""Writes how runs ended into the warehouse, where the dashboards read it."""

from datetime import UTC, datetime

import dagster as dg

from ...lib.alerts import ENOUGH, without_secrets
from ...lib.runs import ENDED, RECORDED
from ...lib.snowflake import RunRecord, Warehouse

#: Runs that one look writes; a long pause is made up for by the next looks.
BATCH = 100


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes how runs ended into MARTS.PIPELINE_RUNS, which the dashboard Pipeline health reads.",
)
def record_sensor(context: dg.SensorEvaluationContext, warehouse: Warehouse) -> dg.SkipReason:
    """The cursor is the time, in seconds since 1970, of the last change of a run that was written."""
    since = float(context.cursor or 0)
    records = context.instance.get_run_records(
        dg.RunsFilter(statuses=ENDED, updated_after=datetime.fromtimestamp(since, UTC)),
        limit=BATCH,
        order_by="update_timestamp",
        ascending=True,
    )
    if not records:
        return dg.SkipReason("No run has ended since the last look.")
    runs = [
        _record(context.instance, record) for record in records if record.dagster_run.job_name in RECORDED
    ]
    if runs:
        try:
            with warehouse.connect() as session:
                session.record_runs(runs)
        except Exception as error:  # the next look writes them
            return dg.SkipReason(f"The warehouse does not take it: {without_secrets(str(error))[:ENOUGH]}")
    context.update_cursor(str(records[-1].update_timestamp.timestamp()))
    return dg.SkipReason(f"{len(runs)} runs are on record.")


def _record(instance: dg.DagsterInstance, record: dg.RunRecord) -> RunRecord:
    run = record.dagster_run
    began, ended = record.start_time, record.end_time or record.update_timestamp.timestamp()
    return RunRecord(
        run_id=run.run_id,
        job=run.job_name,
        status=run.status.value,
        began_at=datetime.fromtimestamp(began if began is not None else ended, UTC),
        ended_at=datetime.fromtimestamp(ended, UTC),
        problem="" if run.is_success else without_secrets(_problem(instance, run.run_id))[:ENOUGH],
    )


def _problem(instance: dg.DagsterInstance, run_id: str) -> str:
    """The first step that failed with its innermost error, or what Dagster says of the run."""
    failures = instance.get_records_for_run(
        run_id, of_type={dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    )
    for record in failures.records:
        event = record.event_log_entry.get_dagster_event()
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error and error.cause:
                error = error.cause
            return f"{event.step_key}: {error.message.strip() if error else 'no error is on record'}"
    messages = [record.event_log_entry.get_dagster_event().message for record in failures.records]
    return next(filter(None, messages), "no reason is on record")
