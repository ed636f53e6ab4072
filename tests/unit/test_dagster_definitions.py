"""The code location: what it defines, and that it needs neither network nor settings to say so."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import jinja2
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef

sys.path.insert(0, str(Path(__file__).parent))  # pytest imports by file, and leaves neighbours unseen
import dbt_support

SETTINGS = ("AIRBYTE_", "SHOP_PG_", "SNOWFLAKE_", "DAGSTER_")


@dg.job(name="sales_job")
def namesake() -> None:
    """Has a name and nothing that needs settings."""


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    dbt_support.manifest()
    from retailflow_dagster.definitions import defs as loaded

    return loaded


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:  # schedules want an instance that others could open too
        yield made


def test_lineage_runs_from_the_shop_to_the_countries(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    lineage = {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    }
    assert lineage == {
        "shop/sales": [],
        "retail/sales": ["shop/sales"],
        "STAGING/stg_sales": ["retail/sales"],
        "STAGING/stg_sales_deleted": ["retail/sales"],
        "MARTS/fct_sales": ["STAGING/stg_sales", "STAGING/stg_sales_deleted"],
        "MARTS/daily_revenue_by_category": ["MARTS/fct_sales"],
        "MARTS/net_revenue_by_city": ["MARTS/fct_sales"],
        "MARTS/net_revenue_by_state": ["MARTS/net_revenue_by_city"],
        "MARTS/net_revenue_by_country": ["MARTS/net_revenue_by_state"],
    }


def test_dbt_tests_are_asset_checks_and_reconcile_comes_last(defs: dg.Definitions) -> None:
    from retailflow_dagster.defs.postgres.checks import reconcile

    names = {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    assert {"unique_fct_sales_order_id", "reconcile_net_revenue_by_country_with_state", "reconcile"} <= names
    (spec,) = reconcile.check_specs
    assert spec.blocking
    waits_for = {dep.asset_key.path[-1] for dep in spec.additional_deps}
    assert waits_for == {
        "sales",
        "daily_revenue_by_category",
        "net_revenue_by_city",
        "net_revenue_by_state",
        "net_revenue_by_country",
    }


def test_every_step_that_writes_or_checks_waits_for_the_one_slot(defs: dg.Definitions) -> None:
    job = defs.resolve_job_def("sales_job")
    assert [node.definition.pools for node in job.graph.nodes] == [{"sales"}] * 3
    assert job.tags["retailflow/pipeline"] == "sales"


def test_definitions_load_with_the_network_off_and_no_settings() -> None:
    dbt_support.manifest()
    program = (
        "import socket\n"
        "def refuse(*_): raise AssertionError('loading the definitions uses the network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from retailflow_dagster.definitions import defs\n"
        "print(sorted(job for job in defs.get_repository_def().job_names if not job.startswith('__')))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    environment["PYTHONPATH"] = str(dbt_support.ROOT / "dagster" / "src")
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "['prune_runs_job', 'sales_job']", done.stderr


def test_the_file_that_people_execute_holds_exactly_one_job(defs: dg.Definitions) -> None:
    names = runpy.run_path(str(dbt_support.ROOT / "dagster" / "dbt_sales_staging.py"))
    loadable = (dg.Definitions, dg.JobDefinition, dg.AssetsDefinition)
    (job,) = [value for value in names.values() if isinstance(value, loadable)]
    assert isinstance(job, dg.JobDefinition)
    assert job.name == "sales_job"


def test_a_missing_manifest_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from retailflow_dagster.lib import dbt

    monkeypatch.setattr(dbt, "TARGET_DIR", tmp_path)
    with pytest.raises(FileNotFoundError, match="run `dbt parse` in"):
        dbt.dbt_project()


def test_a_missing_setting_is_named(defs: dg.Definitions, monkeypatch: pytest.MonkeyPatch) -> None:
    from retailflow_dagster.defs.airbyte.assets import sync_sales
    from retailflow_dagster.resources import resources_from_env

    for name in [name for name in os.environ if name.startswith(SETTINGS)]:
        monkeypatch.delenv(name)
    with pytest.raises(dg.DagsterInvalidConfigError) as caught:
        dg.materialize([sync_sales], resources=resources_from_env())
    assert "AIRBYTE_URL" in str(caught.value)


def test_the_schedule_is_on_and_starts_a_run(defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
    schedule = defs.resolve_schedule_def("sales_schedule")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert schedule.cron_schedule == "*/5 * * * *"
    context = dg.build_schedule_context(instance, scheduled_execution_time=datetime(2026, 1, 1, tzinfo=UTC))
    tick = schedule.evaluate_tick(context)
    assert len(tick.run_requests or []) == 1


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTED", "CANCELING"])
def test_the_schedule_skips_while_a_cycle_is_unfinished(
    defs: dg.Definitions, instance: dg.DagsterInstance, status: str
) -> None:
    run = instance.create_run_for_job(namesake, status=dg.DagsterRunStatus[status])
    context = dg.build_schedule_context(instance, scheduled_execution_time=datetime(2026, 1, 1, tzinfo=UTC))
    tick = defs.resolve_schedule_def("sales_schedule").evaluate_tick(context)
    assert not tick.run_requests
    assert run.run_id in str(tick.skip_message)


def test_old_finished_runs_are_pruned_and_others_stay(
    defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    from retailflow_dagster.defs.orchestration.retention import prune_runs

    job = defs.resolve_job_def("prune_runs_job")
    runs = {
        status: instance.create_run_for_job(job, status=dg.DagsterRunStatus[status]).run_id
        for status in ("SUCCESS", "FAILURE", "STARTED")
    }
    assert prune_runs(instance, datetime.now(UTC) - timedelta(hours=1)) == 0
    assert prune_runs(instance, datetime.now(UTC) + timedelta(hours=1)) == 2
    assert [run.run_id for run in instance.get_runs()] == [runs["STARTED"]]


def test_runs_of_a_code_server_that_is_gone_are_failed(
    defs: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retailflow_dagster import entrypoint

    job = defs.resolve_job_def("prune_runs_job")
    launched = {entrypoint.GRPC_INFO_TAG: "{}"}
    orphan = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=launched)
    by_hand = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    waiting = instance.create_run_for_job(job, status=dg.DagsterRunStatus.NOT_STARTED, tags=launched)
    monkeypatch.setattr(dg.DagsterInstance, "get", staticmethod(lambda: instance))
    assert entrypoint.fail_orphans() == 1
    statuses = {run.run_id: run.status.value for run in instance.get_runs()}
    assert statuses == {orphan.run_id: "FAILURE", by_hand.run_id: "STARTED", waiting.run_id: "NOT_STARTED"}


def test_a_database_that_never_answers_ends_the_container(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from retailflow_dagster import entrypoint

    monkeypatch.setenv("DAGSTER_PG_HOST", "127.0.0.1")
    monkeypatch.setenv("DAGSTER_PG_PORT", "1")
    for name in ("DATABASE", "USER", "PASSWORD"):
        monkeypatch.setenv(f"DAGSTER_PG_{name}", "x")
    with pytest.raises(SystemExit, match=r"Gave up waiting .* Connection refused"):
        entrypoint.wait_for_database(seconds=0)


def test_the_rendered_configuration_is_one_that_dagster_accepts(tmp_path: Path) -> None:
    role = dbt_support.ROOT / "roles" / "dagster-dbt-container"
    variables = yaml.safe_load((role / "defaults/main.yml").read_text())
    variables |= {"__dagster_dbt_container_code_port": 4000, "__dagster_dbt_container_location": "retailflow"}
    for name in ("dagster.yaml", "workspace.yaml"):
        template = jinja2.Template(
            (role / f"templates/{name}.j2").read_text(), undefined=jinja2.StrictUndefined
        )
        (tmp_path / name).write_text(template.render(variables, ansible_managed="managed"))
    ref = InstanceRef.from_dir(str(tmp_path))
    assert ref.settings["telemetry"] == {"enabled": False}
    limits = dict(ref.settings)["concurrency"]["runs"]["tag_concurrency_limits"]  # type: ignore[index]
    assert limits == [{"key": "retailflow/pipeline", "value": "sales", "limit": 1}]
    (server,) = yaml.safe_load((tmp_path / "workspace.yaml").read_text())["load_from"]
    assert server["grpc_server"] == {"host": "dagster-dbt", "port": 4000, "location_name": "retailflow"}
