"""Once a day dbt's tests look at the whole history. Those of a cycle look at what was loaded lately."""

import os
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import dagster as dg

from ...lib.concurrency import POOL, TAG
from ...lib.dbt import Dbt
from ...lib.runs import HISTORY_JOB, tags, unfinished_history
from ..dbt.assets import RETRIES, run_dbt

TEST = ["test", "--exclude-resource-type", "unit_test", "--vars", "whole_history: true"]


@dg.op(out=dg.Out(dg.Nothing), pool=POOL, retry_policy=RETRIES)
def dbt_history(context: dg.OpExecutionContext, dbt: Dbt) -> Iterator[Any]:
    """Runs every data test on every row. Each result is an evaluation of the same asset check as in a cycle."""
    # A second try would take as long, and a cycle waits for it: the next day is soon enough.
    results = yield from run_dbt(dbt, TEST, context, retry_on_timeout=False)
    context.log.info("%d tests in %.1f s.", len(results["results"]), results["elapsed_time"])


# With a cycle's tag: in the middle of one, levels that are built one after the other do not agree.
@dg.job(
    name=HISTORY_JOB,
    executor_def=dg.in_process_executor,
    tags=TAG | tags("hand"),
    description="dbt's tests on all rows instead of those that were loaded lately. Writes nothing.",
)
def history_job() -> None:
    """The tests alone: syncs and builds nothing."""
    dbt_history()


@dg.schedule(
    job=history_job,
    cron_schedule=os.environ.get("HISTORY_CRON_SCHEDULE", "32 2 * * *"),
    execution_timezone=str(UTC),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Once a day, between two ticks of the cycle. Waits its turn behind a cycle that is unfinished.",
)
def history_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One run per tick, unless one is still waiting or running."""
    if run_id := unfinished_history(context.instance):
        return dg.SkipReason(f"Run {run_id} has not finished yet.")
    return dg.RunRequest(tags=tags("schedule"))
