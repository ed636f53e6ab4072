"""Says that a run failed, to the address in ALERT_WEBHOOK_URL. Without one the sensor is off."""

import os

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from ...lib import alerts

WEBHOOK = os.environ.get(alerts.URL, "")


@dg.run_failure_sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING if WEBHOOK else dg.DefaultSensorStatus.STOPPED,
    description="Posts JSON to a webhook when a run fails. A webhook that does not answer is logged and not tried again.",
)
def alert_sensor(context: dg.RunFailureSensorContext) -> None:
    """One message per failed run, of any job."""
    run = context.dagster_run
    errors = [
        f"{event.step_key}: {_root_cause(event.step_failure_data.error)}"
        for event in context.get_step_failure_events()
    ] or [context.failure_event.message or "no reason is on record"]
    problem = alerts.send(
        os.environ.get(alerts.URL, ""), alerts.message(run.job_name, run.run_id, run.tags, errors)
    )
    if problem:
        context.log.warning("The webhook was not told that run %s failed: %s.", run.run_id, problem)


def _root_cause(error: SerializableErrorInfo | None) -> str:
    """The innermost message: the outer ones only say which step was being executed."""
    while error and error.cause:
        error = error.cause
    return error.message.strip() if error else "no error is on record"
