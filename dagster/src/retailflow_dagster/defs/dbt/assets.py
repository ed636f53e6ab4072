"""All dbt models, seeds and snapshots, built by one `dbt build` per cycle; dbt's tests become asset checks."""

import json
import os
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtCliRuntimeError, DagsterDbtTranslator, DbtProject, dbt_assets

from ...lib.concurrency import POOL
from ...lib.dbt import Dbt, dbt_project, deadline, failed_nodes
from ...lib.freshness import FRESHNESS

PROJECT = dbt_project()
TIMEOUT_SECONDS = float(os.environ.get("DBT_TIMEOUT_SECONDS", "900"))

#: The one dbt command of a cycle. Unit tests stay out: they prove code, not data, and `make test` runs them.
BUILD = ["build", "--exclude-resource-type", "unit_test"]

#: Name of the step.
DBT = "dbt_models"
#: The mart that the cycle is about.
FACTS = dg.AssetKey(["MARTS", "fct_sales"])
#: Metadata of an observation of FACTS after each build: where dbt's seconds went.
DBT_START, DBT_RUN = "dbt_start_seconds", "dbt_run_seconds"


class Translator(DagsterDbtTranslator):
    """Groups by the project's folders and gives the marts a freshness policy; the rest is dagster-dbt's."""

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        """The asset of a dbt node."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = manifest["nodes"].get(unique_id)
        if node is None:  # a source: an asset of the sync
            return spec
        if node["resource_type"] != "model":
            return spec.replace_attributes(group_name=f"{node['resource_type']}s")
        folder = node["fqn"][1]
        if folder == "marts":
            spec = spec.replace_attributes(freshness_policy=FRESHNESS)
        # The facts are marts that the intermediate models add up: a group of their own keeps the drawing of the groups
        # free of a loop.
        return spec.replace_attributes(group_name="facts" if node["name"].startswith("fct_") else folder)


translator = Translator()
manifest: Mapping[str, Any] = json.loads(PROJECT.manifest_path.read_text())


#: An error of the warehouse is tried once more, after a pause.
RETRIES = dg.RetryPolicy(max_retries=1, delay=20, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


def run_dbt(
    dbt: Dbt,
    command: Sequence[str],
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    *,
    retry_on_timeout: bool = True,
) -> Generator[Any, None, dict[str, Any]]:
    """Runs a dbt command within TIMEOUT_SECONDS, yields what dagster-dbt makes of its events and returns dbt's
    `run_results.json`. Raises Failure with the nodes that failed; `retry_on_timeout` says whether one that was stopped
    for its time is tried again.
    """
    what = f"dbt {command[0]}"
    # An op brings neither of the two along, as the assets do.
    of_op: dict[str, Any] = (
        {} if context.has_assets_def else {"manifest": manifest, "dagster_dbt_translator": translator}
    )
    with tempfile.TemporaryDirectory(prefix="dbt-") as target:
        invocation = dbt.cli(command, context=context, target_path=Path(target), **of_op)
        try:
            with deadline(invocation.process, TIMEOUT_SECONDS, what, retry_on_timeout):
                yield from invocation.stream()
        except DagsterDbtCliRuntimeError as error:
            failed, only_tests = failed_nodes(Path(target))
            if not failed:
                raise
            # A test that failed on the data fails again on a second look; an error of the warehouse may not.
            raise dg.Failure(f"{what}: " + " | ".join(failed), allow_retries=not only_tests) from error
        results: dict[str, Any] = json.loads((Path(target) / "run_results.json").read_text())
    return results


@dbt_assets(
    manifest=manifest,
    name=DBT,
    dagster_dbt_translator=translator,
    pool=POOL,
    retry_policy=RETRIES,
)
def dbt_models(context: dg.AssetExecutionContext, dbt: Dbt) -> Iterator[Any]:
    """Builds and tests everything downstream of RAW."""
    began = time.monotonic()
    results = yield from run_dbt(dbt, BUILD, context)
    running = float(results["elapsed_time"])
    seconds = {DBT_START: round(time.monotonic() - began - running, 1), DBT_RUN: round(running, 1)}
    context.log_event(dg.AssetObservation(FACTS, metadata=seconds | {"dbt_nodes": len(results["results"])}))
