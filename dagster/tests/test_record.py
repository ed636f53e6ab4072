"""How runs ended is written into the warehouse once, whatever fails in between."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from retailflow_dagster.defs.orchestration.record import record_sensor
from retailflow_dagster.lib.snowflake import Warehouse
from retailflow_emulators.snowflake.testing import EmulatedSnowflake, emulated_snowflake

ROOT = Path(__file__).parents[2]
MADE = (ROOT / "dbt/macros/pipeline_runs.sql").read_text()
TABLE = MADE[MADE.index("create table") : MADE.index("{% endif %}")].replace(
    "{{ target.database }}", "ANALYTICS"
)


@pytest.fixture(scope="module")
def snowflake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedSnowflake]:
    with emulated_snowflake(tmp_path_factory.mktemp("snowflake")) as made:
        for statement in ("create database ANALYTICS", "create schema ANALYTICS.MARTS", TABLE):
            made.query(statement)
        yield made


@pytest.fixture
def warehouse(snowflake: EmulatedSnowflake) -> Warehouse:
    snowflake.query("truncate table ANALYTICS.MARTS.PIPELINE_RUNS")
    key = snowflake.add_user(
        "DBT",
        "TRANSFORMER",
        "usage on database ANALYTICS",
        "usage on schema ANALYTICS.MARTS",
        "select, insert, delete on table ANALYTICS.MARTS.PIPELINE_RUNS",
    )
    return Warehouse(
        account="retailflow",
        host="127.0.0.1",
        port=snowflake.port,
        disable_ocsp_checks=True,
        user="DBT",
        role="TRANSFORMER",
        warehouse="TESTS",
        database="ANALYTICS",
        raw_schema="RAW.RETAIL",
        private_key=key,
        network_timeout=10,
    )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@dg.op(config_schema={"password": str})
def logs_in(context: dg.OpExecutionContext) -> None:
    """Fails where it is given a password, and quotes it."""
    if password := context.op_config["password"]:
        raise ValueError(f'cannot log in with {password}, it\'s 100 % "wrong"')


@dg.job(name="sales_job")
def cycle() -> None:
    """A cycle, as far as the sensor can see."""
    logs_in()


@dg.job(name="prune_runs_job")
def other() -> None:
    """A job whose runs are nobody's concern."""
    logs_in()


def run(instance: dg.DagsterInstance, password: str = "", job: dg.JobDefinition = cycle) -> str:
    config = {"ops": {"logs_in": {"config": {"password": password}}}}
    return job.execute_in_process(run_config=config, instance=instance, raise_on_error=False).run_id


def look(instance: dg.DagsterInstance, warehouse: Warehouse, cursor: str | None) -> tuple[str | None, str]:
    """One look of the sensor: its new cursor, and what it says."""
    context = dg.build_sensor_context(instance, cursor=cursor, resources={"warehouse": warehouse})
    tick = record_sensor.evaluate_tick(context)
    return tick.cursor, str(tick.skip_message)


def on_record(snowflake: EmulatedSnowflake) -> list[tuple[Any, ...]]:
    return snowflake.query(
        "select run_id, job, status, problem from ANALYTICS.MARTS.PIPELINE_RUNS order by ended_at"
    )


def test_every_end_is_on_record_once_and_secrets_are_masked(
    snowflake: EmulatedSnowflake,
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_PG_PASSWORD", "hunter2-secret")
    good, bad = run(instance), run(instance, "hunter2-secret")
    run(instance, job=other)
    cursor, said = look(instance, warehouse, None)
    assert said == "2 runs are on record."
    expected = [
        (good, "sales_job", "SUCCESS", ""),
        (bad, "sales_job", "FAILURE", 'logs_in: ValueError: cannot log in with ***, it\'s 100 % "wrong"'),
    ]
    assert on_record(snowflake) == expected
    assert look(instance, warehouse, cursor) == (cursor, "No run has ended since the last look.")
    look(instance, warehouse, None)  # a look whose cursor was lost
    assert on_record(snowflake) == expected


def test_what_the_warehouse_did_not_take_is_written_by_the_next_look(
    snowflake: EmulatedSnowflake, warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    ended = run(instance)
    snowflake.query("alter table ANALYTICS.MARTS.PIPELINE_RUNS rename to ANALYTICS.MARTS.HIDDEN")
    cursor, said = look(instance, warehouse, None)
    assert cursor is None
    assert said.startswith("The warehouse does not take it: ")
    snowflake.query("alter table ANALYTICS.MARTS.HIDDEN rename to ANALYTICS.MARTS.PIPELINE_RUNS")
    look(instance, warehouse, cursor)
    assert on_record(snowflake) == [(ended, "sales_job", "SUCCESS", "")]


def test_runs_of_a_month_ago_are_removed(
    snowflake: EmulatedSnowflake, warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    for run_id, days in {"old": 31, "young": 29}.items():
        moment = f"dateadd('day', -{days}, sysdate())"
        snowflake.query(
            f"insert into ANALYTICS.MARTS.PIPELINE_RUNS select '{run_id}', 'j', 'SUCCESS', {moment}, {moment}, ''"
        )
    ended = run(instance)
    look(instance, warehouse, None)
    assert [row[0] for row in on_record(snowflake)] == ["young", ended]
