"""All dbt models, built by one `dbt build` a cycle; dbt's tests become asset checks."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtCliRuntimeError, dbt_assets

from retailflow_dagster.lib.concurrency import POOL
from retailflow_dagster.lib.dbt import Dbt, dbt_project, deadline, failed_nodes

PROJECT = dbt_project()
TIMEOUT_SECONDS = float(os.environ.get("DBT_TIMEOUT_SECONDS", "900"))


@dbt_assets(
    manifest=PROJECT.manifest_path,
    name="dbt_models",
    pool=POOL,
    retry_policy=dg.RetryPolicy(max_retries=1, delay=20, jitter=dg.Jitter.PLUS_MINUS),
)
def dbt_models(context: dg.AssetExecutionContext, dbt: Dbt) -> Iterator[Any]:
    """Builds and tests everything downstream of RAW. Unit tests stay out: they prove code, not data, and
    `make test` runs them.
    """
    with tempfile.TemporaryDirectory(prefix="dbt-") as target:
        began = time.monotonic()
        invocation = dbt.cli(
            ["build", "--exclude-resource-type", "unit_test"], context=context, target_path=Path(target)
        )
        try:
            with deadline(invocation.process, TIMEOUT_SECONDS, "dbt build"):
                yield from invocation.stream()
        except DagsterDbtCliRuntimeError as error:
            failed, only_tests = failed_nodes(Path(target))
            if not failed:
                raise
            # A test that failed on the data fails again on a second look; an error of the warehouse may not.
            raise dg.Failure("dbt build: " + " | ".join(failed), allow_retries=not only_tests) from error
        results = json.loads((Path(target) / "run_results.json").read_text())
    wall, nodes = time.monotonic() - began, len(results["results"])
    context.log.info(
        "dbt build took %.1f s: %.1f s for %d nodes, the rest to start.", wall, results["elapsed_time"], nodes
    )
