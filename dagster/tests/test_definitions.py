"""The code location: what it defines, and that it needs neither network nor settings to say so."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher.base import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.remote_representation.external_data import RepositorySnap

import dbt_support
import moto_support

SNAPSHOT = Path(__file__).parent / "snapshots/dagster_definitions.json"
SETTINGS = ("AIRBYTE_", "SHOP_PG_", "SNOWFLAKE_", "DAGSTER_")


@dg.job(name="sales_job", tags={"retailflow/pipeline": "sales"})
def namesake() -> None:
    """Has name and tag of a cycle, and nothing that needs settings."""


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    dbt_support.manifest()
    from retailflow_dagster.definitions import defs as loaded

    return loaded


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:  # schedules want an instance that others could open too
        yield made


def described(defs: dg.Definitions) -> dict[str, Any]:
    """What the code location defines, as a reviewer wants to see it change."""
    graph = defs.resolve_asset_graph()
    repository = defs.get_repository_def()
    assets = {}
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        policy = node.freshness_policy_or_from_metadata
        assets[key.to_user_string()] = {
            "from": sorted(parent.to_user_string() for parent in node.parent_keys),
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "made_by": node.assets_def.node_def.name if node.is_executable else None,
            "stale_after_s": policy and policy.fail_window.to_timedelta().total_seconds(),
            "checks": sorted(check.name for check in node.check_keys),
        }
    return {
        "assets": assets,
        "jobs": {
            job.name: {"steps": sorted(node.name for node in job.graph.nodes), "tags": dict(job.tags)}
            for job in repository.get_all_jobs()
            if not job.name.startswith("__")
        },
        "schedules": {
            one.name: {"cron": one.cron_schedule, "job": one.job_name, "on": one.default_status.value}
            for one in repository.schedule_defs
        },
        "sensors": {
            one.name: {
                "every_s": one.minimum_interval_seconds,
                "jobs": sorted(target.job_name for target in one.targets),
                "on": one.default_status.value,
            }
            for one in repository.sensor_defs
        },
    }


def test_what_is_defined_is_what_was_reviewed(defs: dg.Definitions) -> None:
    if os.environ.get("WRITE_SNAPSHOT"):
        SNAPSHOT.write_text(json.dumps(described(defs), indent=1) + "\n")
    assert described(defs) == json.loads(SNAPSHOT.read_text()), (
        f"If the change is meant, write {SNAPSHOT.name} again: "
        "WRITE_SNAPSHOT=1 pytest dagster/tests/test_definitions.py"
    )


def test_lineage_runs_from_the_generator_to_the_countries(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    behind = {
        key.to_user_string()
        for key in graph.get_ancestor_asset_keys(dg.AssetKey(["MARTS", "net_revenue_by_country"]))
    }
    assert {"generator", "shop/sales", "retail/sales", "STAGING/stg_sales", "MARTS/fct_sales"} <= behind
    for stream in ("sales", "customers", "products"):
        node = graph.get(dg.AssetKey(["retail", stream]))
        assert node.parent_keys == {dg.AssetKey(["shop", stream])}
        assert graph.get(dg.AssetKey(["shop", stream])).parent_keys == {dg.AssetKey("generator")}
        assert node.execution_set_asset_keys >= {dg.AssetKey(["retail", "sales"])}, "one sync brings all"


def test_groups_of_assets_read_from_left_to_right(defs: dg.Definitions) -> None:
    """No group feeds another one that feeds it in turn: Dagster's drawing of the groups has no loop."""
    graph = defs.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    feeds = {
        (graph.get(parent).group_name, node.group_name)
        for node in nodes
        for parent in node.parent_keys
        if graph.get(parent).group_name != node.group_name
    }
    order = TopologicalSorter({})
    for before, after in feeds:
        order.add(after, before)
    groups = list(order.static_order())  # raises CycleError where there is a loop
    assert (
        groups.index("staging") < groups.index("facts") < groups.index("intermediate") < groups.index("marts")
    )


def test_exposures_are_the_end_of_the_lineage(defs: dg.Definitions) -> None:
    from retailflow_dagster.defs.dashboards.assets import dashboards
    from retailflow_dagster.defs.dbt.assets import manifest, translator

    models = ["model.retailflow.net_revenue_by_city", "source.retailflow.retail.sales"]
    exposure = {"name": "revenue", "type": "dashboard", "label": "Revenue", "description": ""}
    exposure |= {"url": "http://localhost/1", "depends_on": {"nodes": models}}
    (spec,) = dashboards({**manifest, "exposures": {"exposure.retailflow.revenue": exposure}}, translator)
    assert spec.key == dg.AssetKey(["dashboards", "revenue"])
    assert {dep.asset_key.to_user_string() for dep in spec.deps} == {
        "MARTS/net_revenue_by_city",
        "retail/sales",
    }
    assert (spec.description, spec.metadata["url"].value) == ("Revenue", "http://localhost/1")


def test_dbt_tests_are_asset_checks_and_reconcile_comes_last(defs: dg.Definitions) -> None:
    from retailflow_dagster.defs.postgres.checks import reconcile

    names = {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    assert {"unique_fct_sales_order_id", "reconcile_net_revenue_by_country_with_state", "reconcile"} <= names
    (spec,) = reconcile.check_specs
    assert spec.blocking
    waits_for = {dep.asset_key.path[-1] for dep in spec.additional_deps}
    assert waits_for >= {
        "sales",
        "daily_revenue_by_category",
        "net_revenue_by_city",
        "net_revenue_by_state",
        "net_revenue_by_country",
    }


def test_every_step_that_writes_or_checks_waits_for_the_one_slot(defs: dg.Definitions) -> None:
    for name, steps in {"sales_job": 3, "transform_job": 2, "history_job": 1}.items():
        job = defs.resolve_job_def(name)
        assert [node.definition.pools for node in job.graph.nodes] == [{"sales"}] * steps
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
    assert done.stdout.strip() == "['history_job', 'prune_runs_job', 'sales_job', 'transform_job']", (
        done.stderr
    )


def test_the_file_that_people_execute_holds_exactly_one_job_and_all_that_belongs_to_it(
    defs: dg.Definitions,
) -> None:
    from retailflow_dagster.defs.postgres.assets import TABLES

    names = runpy.run_path(str(dbt_support.ROOT / "dagster" / "dbt_sales_staging.py"))
    (repository,) = [value for value in names.values() if isinstance(value, dg.RepositoryDefinition)]
    loadable = (dg.Definitions, dg.JobDefinition, dg.AssetsDefinition)
    assert not [value for value in names.values() if isinstance(value, loadable)]
    assert repository.job_names == ["sales_job"]
    # What every command asks that lists something: `dagster job list`, `asset list`, `definitions validate`.
    snapshot = RepositorySnap.from_def(repository)
    whole = defs.resolve_asset_graph()
    assert {node.asset_key for node in snapshot.asset_nodes} == whole.get_all_asset_keys()
    assert {node.key for node in snapshot.asset_check_nodes} == whole.asset_check_keys
    # `dagster asset materialize --select …` runs a part of it.
    part = {dg.AssetKey(["retail", stream]) for stream in TABLES}
    job = repository.get_implicit_job_def_for_assets(part)
    assert job and job.get_subset(asset_selection=part).asset_layer.executable_asset_keys == part


@pytest.mark.timeout(240)
def test_dagster_lists_the_job_of_the_file_that_people_execute() -> None:
    dbt_support.manifest()
    environment = os.environ | {"PYTHONPATH": str(dbt_support.ROOT / "dagster" / "src")}
    done = subprocess.run(
        [Path(sys.executable).with_name("dagster"), "job", "list", "-f", "dbt_sales_staging.py"],
        cwd=dbt_support.ROOT / "dagster",
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("Job: ")] == ["Job: sales_job"]


def test_a_missing_manifest_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from retailflow_dagster.lib import dbt

    monkeypatch.setattr(dbt, "TARGET_DIR", tmp_path)
    with pytest.raises(FileNotFoundError, match="run `dbt parse` in"):
        dbt.dbt_project()


def test_a_missing_setting_is_named(defs: dg.Definitions, monkeypatch: pytest.MonkeyPatch) -> None:
    from retailflow_dagster.defs.airbyte.assets import airbyte_sync
    from retailflow_dagster.resources import resources_from_env

    for name in [name for name in os.environ if name.startswith(SETTINGS)]:
        monkeypatch.delenv(name)
    with pytest.raises(dg.DagsterInvalidConfigError) as caught:
        dg.materialize([airbyte_sync], resources=resources_from_env())
    assert "AIRBYTE_URL" in str(caught.value)


def test_the_schedule_is_on_and_starts_a_run(defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
    schedule = defs.resolve_schedule_def("sales_schedule")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert schedule.cron_schedule == "*/5 * * * *"
    context = dg.build_schedule_context(instance, scheduled_execution_time=datetime(2026, 1, 1, tzinfo=UTC))
    tick = schedule.evaluate_tick(context)
    (request,) = tick.run_requests or []
    assert request.tags["retailflow/source"] == "schedule"
    assert request.tags["retailflow/cycle"] == "2026-01-01T00:00+00:00"


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTED", "CANCELING"])
def test_the_schedule_skips_while_a_cycle_is_unfinished(
    defs: dg.Definitions, instance: dg.DagsterInstance, status: str
) -> None:
    run = instance.create_run_for_job(namesake, status=dg.DagsterRunStatus[status], tags=namesake.tags)
    context = dg.build_schedule_context(instance, scheduled_execution_time=datetime(2026, 1, 1, tzinfo=UTC))
    tick = defs.resolve_schedule_def("sales_schedule").evaluate_tick(context)
    assert not tick.run_requests
    assert run.run_id in str(tick.skip_message)


def test_the_history_is_tested_once_a_day_and_waits_its_turn_behind_a_cycle(
    defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    schedule = defs.resolve_schedule_def("history_schedule")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert schedule.execution_timezone == "UTC"
    minute, hour, *days = schedule.cron_schedule.split()  # type: ignore[union-attr]
    assert minute.isdecimal() and hour.isdecimal() and days == ["*"] * 3
    assert int(minute) % 5, "a cycle of the same minute would be first"
    instance.create_run_for_job(namesake, status=dg.DagsterRunStatus.STARTED, tags=namesake.tags)
    context = dg.build_schedule_context(instance, scheduled_execution_time=datetime(2026, 1, 1, tzinfo=UTC))
    (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.tags["retailflow/source"] == "schedule"


def test_unfinished_tests_of_the_history_postpone_others_and_allow_one_cycle_to_queue(
    defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    job = defs.resolve_job_def("history_job")
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=job.tags)
    context = dg.build_schedule_context(instance, scheduled_execution_time=datetime(2026, 1, 1, tzinfo=UTC))
    again = defs.resolve_schedule_def("history_schedule").evaluate_tick(context)
    assert not again.run_requests and run.run_id in str(again.skip_message)
    cycles = defs.resolve_schedule_def("sales_schedule")
    assert cycles.evaluate_tick(context).run_requests
    queued = instance.create_run_for_job(namesake, status=dg.DagsterRunStatus.NOT_STARTED, tags=namesake.tags)
    assert queued.run_id in str(cycles.evaluate_tick(context).skip_message)


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


def rendered(folder: Path, **variables: Any) -> InstanceRef:
    """The role's configuration, rendered by Ansible and read by Dagster."""
    role = dbt_support.ROOT / "roles/dagster-dbt-container"
    tasks = [
        {
            "ansible.builtin.template": {
                "src": f"{role}/templates/{name}.j2",
                "dest": f"{folder}/{name}",
                "mode": "0600",
            }
        }
        for name in ("dagster.yaml", "workspace.yaml")
    ]
    files = [f"{role}/{part}/main.yml" for part in ("defaults", "vars")]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars_files": files}
    (folder / "play.yml").write_text(yaml.safe_dump([play | {"tasks": tasks}]))
    (folder / "variables.json").write_text(
        json.dumps(variables | {"ansible_python_interpreter": sys.executable})
    )
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", "-e", "@variables.json", "play.yml"],
        cwd=folder,
        env=os.environ
        | {
            "ANSIBLE_CONFIG": str(dbt_support.ROOT / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return InstanceRef.from_dir(str(folder))


def test_the_rendered_configuration_is_one_that_dagster_accepts(tmp_path: Path) -> None:
    ref = rendered(tmp_path)
    assert ref.settings["telemetry"] == {"enabled": False}
    limits = dict(ref.settings)["concurrency"]["runs"]["tag_concurrency_limits"]  # type: ignore[index]
    assert limits == [{"key": "retailflow/pipeline", "value": "sales", "limit": 1}]
    assert type(ref.run_launcher).__name__ == "DefaultRunLauncher"
    monitoring = dict(ref.settings)["run_monitoring"]
    assert (
        monitoring["enabled"]
        and max(monitoring["start_timeout_seconds"], monitoring["cancel_timeout_seconds"]) <= 120
    )
    (server,) = yaml.safe_load((tmp_path / "workspace.yaml").read_text())["load_from"]
    assert server["grpc_server"] == {"host": "dagster-dbt", "port": 4000, "location_name": "retailflow"}


def test_runs_by_ecs_are_configured_as_dagster_aws_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("HOST", "PORT", "DATABASE", "USER", "PASSWORD"):
        monkeypatch.setenv(f"DAGSTER_PG_{name}", "1")
    ref = rendered(
        tmp_path,
        dagster_dbt_container_run_launcher="ecs",
        dagster_dbt_container_code_address="10.0.0.3",
        dagster_dbt_container_ecs_cluster="shop",
        dagster_dbt_container_max_runs=10,
        dagster_dbt_container_shop_password="hidden-password",
        container_service_task={
            "definition": "arn:aws:ecs:us-east-1:123456789012:task-definition/shop-dagster-run:2"
        },
    )
    assert "hidden-password" not in (tmp_path / "dagster.yaml").read_text()
    (server,) = yaml.safe_load((tmp_path / "workspace.yaml").read_text())["load_from"]
    assert server["grpc_server"]["host"] == "10.0.0.3"
    settings: Any = dict(ref.settings)
    assert settings["concurrency"]["runs"]["max_concurrent_runs"] == 10
    assert settings["run_retries"] == {
        "enabled": True,
        "max_retries": 1,
        "retry_on_asset_or_op_failure": False,
    }
    # Made by dagster-aws, which judges the configuration by its schema and the API's, and looks its task definition up.
    sent: dict[str, Any] = {}
    with moto_support.account("ecs") as clients:
        for revision in range(3):
            clients["ecs"].register_task_definition(
                family="shop-dagster-run",
                containerDefinitions=[{"name": "dagster-run", "image": f"dagster:{revision}", "memory": 64}],
            )
        launcher: Any = ref.run_launcher
        assert type(launcher).__name__ == "EcsRunLauncher"
        assert launcher.task_definition.endswith("/shop-dagster-run:2")
        assert launcher.secrets_tags == [] and launcher.secrets == []
        monkeypatch.setattr(launcher, "_run_task", lambda **given: sent.update(given) or TASK)
        with dg.DagsterInstance.ephemeral() as instance:
            monkeypatch.setattr(type(instance), "get_ref", lambda self: ref)
            launcher.register_instance(instance)
            run = a_run(instance)
            launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
            assert instance.get_run_by_id(run.run_id).tags["ecs/task_arn"] == TASK["taskArn"]
    assert sent["cluster"] == "shop" and sent["launchType"] == "EC2"
    assert sent["placementStrategy"] == [{"type": "spread", "field": "instanceId"}]
    assert "networkConfiguration" not in sent
    (override,) = sent["overrides"]["containerOverrides"]
    assert override["name"] == "dagster-run" and override["command"][:3] == ["dagster", "api", "execute_run"]
    # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
    assert len(json.dumps(sent["overrides"])) < 8192


TASK = {"taskArn": "arn:task", "clusterArn": "arn:cluster"}


def a_run(instance: Any) -> Any:
    """A run of the cycle as the daemon hands it to a launcher."""
    location = GrpcServerCodeLocationOrigin(host="10.0.0.3", port=4000, location_name="retailflow")
    code = RepositoryPythonOrigin(
        executable_path="/opt/venv/bin/python",
        code_pointer=ModuleCodePointer("retailflow_dagster.definitions", "defs", "/opt/retailflow/dagster"),
        entry_point=["dagster"],
    )
    return instance.create_run_for_job(
        namesake,
        remote_job_origin=RemoteRepositoryOrigin(location, "__repository__").get_job_origin("sales_job"),
        job_code_origin=JobPythonOrigin("sales_job", code),
    )
