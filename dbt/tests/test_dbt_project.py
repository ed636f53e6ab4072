"""The dbt project: documented and keyed throughout, stock SQL on Snowflake, the right cents after a build."""

from __future__ import annotations

import csv
import re
import tomllib
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest
import yaml

import dbt_support
from dbt_support import dbt, manifest
from raw_support import FIRST, LOAD, SECOND, SHOP, change, marts, resources
from retailflow_emulators.snowflake.testing import EmulatedSnowflake


def cents(money: float) -> Decimal:
    """Money as people mean it: 0.1 + 0.2 is 0.30."""
    return Decimal(str(round(money, 2)))


def generic_tests(node: Any) -> set[str]:
    """Names of the generic tests on a node."""
    children = (manifest().nodes.get(child) for child in manifest().child_map[node.unique_id])
    return {child.test_metadata.name for child in children if getattr(child, "test_metadata", None)}


def test_everything_is_described() -> None:
    """Coverage: whatever a person finds in the warehouse says what it is, column by column."""
    nodes = {**resources("model", "seed", "snapshot"), **{s.name: s for s in manifest().sources.values()}}
    assert len(nodes) > 20
    for name, node in nodes.items():
        assert node.description, name
        assert node.columns, name
        assert not [column for column in node.columns.values() if not column.description], name


def test_everything_has_a_key_test() -> None:
    """Coverage: a key is unique and never NULL, in models, seeds and snapshots."""
    for name, node in resources("model", "seed", "snapshot").items():
        assert {"unique", "unique_combination"} & generic_tests(node), name
        assert "not_null" in generic_tests(node), name


def test_keys_of_the_facts_lead_to_every_dimension() -> None:
    facts = resources("model")["fct_sales"]
    tests = [manifest().nodes.get(child) for child in manifest().child_map[facts.unique_id]]
    referred = {
        t.test_metadata.kwargs["to"]
        for t in tests
        if t and getattr(t, "test_metadata", None) and "to" in t.test_metadata.kwargs
    }
    dimensions = {f"ref('{name}')" for name in resources("model") if name.startswith("dim_")}
    assert len(dimensions) == 4
    assert dimensions <= referred


def test_only_staging_reads_raw_and_only_marts_are_bound_by_contract() -> None:
    for name, model in resources("model").items():
        assert bool(model.sources) == name.startswith("stg_"), name
        mart = model.schema == "MARTS"
        assert model.config.contract.enforced == mart, name
        assert all(column.data_type for column in model.columns.values()) or not mart, name


def test_every_model_persists_its_docs() -> None:
    for name, node in resources("model", "seed", "snapshot").items():
        assert node.config.persist_docs == {"relation": True, "columns": True}, name


def content() -> list[dict[str, Any]]:
    """The files of cards and dashboards."""
    files = (dbt_support.ROOT / "roles/metabase/files/content").glob("*.yml")
    return [yaml.safe_load(file.read_text()) for file in files]


def test_exposures_are_the_dashboards_and_what_their_cards_read() -> None:
    cards = {key: card["sql"] for file in content() for key, card in file["cards"].items()}
    dashboards = {key: one for file in content() for key, one in file["dashboards"].items()}
    exposures = {exposure.name: exposure for exposure in manifest().exposures.values()}
    assert set(exposures) == set(dashboards)
    for key, dashboard in dashboards.items():
        read = {
            model
            for placed in dashboard["cards"]
            for model in re.findall(r"marts\.(\w+)", cards[placed["card"]])
        }
        assert exposures[key].label == dashboard["name"]
        assert {node.split(".")[-1] for node in exposures[key].depends_on.nodes} == read


def test_seeds_know_every_place_of_the_shop() -> None:
    shop = tomllib.loads(
        (dbt_support.ROOT / "lambda/src/retailflow_generator/shop.toml").read_text(encoding="utf-8")
    )
    sold = {(country["name"], state) for country in shop["countries"] for state in country["states"]}
    seeds = dbt_support.PROJECT / "seeds"
    with (seeds / "state_codes.csv").open(encoding="utf-8") as file:
        states = {(row["country"], row["state"]): row["state_code"] for row in csv.DictReader(file)}
    with (seeds / "country_codes.csv").open(encoding="utf-8") as file:
        countries = {row["country"]: row["country_code"] for row in csv.DictReader(file)}
    assert sold <= set(states)
    assert {country for country, _ in sold} <= set(countries)
    for (country, _), code in states.items():
        assert code.startswith(countries[country] + "-"), code


def test_dbt_snowflakes_own_sql_runs_on_the_emulated_snowflake_too() -> None:
    """No macro of dbt-snowflake is replaced: what the builds below run is what runs on Snowflake."""
    ours = [macro.name for macro in manifest().macros.values() if macro.package_name == "retailflow"]
    assert "reconcile" in ours
    theirs = ("dbt", "dbt_snowflake")
    # dbt asks projects for these; the test of keys reads facts and RAW as of one load.
    allowed = {"generate_schema_name", "get_where_subquery", "test_relationships"}
    replaced = [name for name in ours for package in theirs if f"macro.{package}.{name}" in manifest().macros]
    assert {name for name in ours if name.startswith("snowflake__")} == {"snowflake__get_where_subquery"}
    assert set(replaced) <= allowed


def checks_of_a_cycle() -> set[str]:
    """Names of the checks that a build evaluates."""
    from retailflow_dagster.defs.dbt.assets import dbt_models

    return {spec.name for spec in dbt_models.check_specs}


def history_job() -> tuple[str, dict[str, bool]]:
    """Dagster's daily job: why it failed, empty where it did not, and which checks passed."""
    from retailflow_dagster.definitions import defs

    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def("history_job")
        result = job.execute_in_process(instance=instance, raise_on_error=False)
    failures = [event.step_failure_data.user_failure_data for event in result.get_step_failure_events()]
    assert result.success or failures
    passed = {one.check_name: one.passed for one in result.get_asset_check_evaluations()}
    return " ".join(str(failure and failure.description) for failure in failures), passed


@pytest.mark.timeout(900)
def test_build_after_build_equals_a_full_refresh(connected: EmulatedSnowflake) -> None:
    """An empty warehouse, a first load with unit tests; then new rows, late changes, moves and deletions, with
    a build that fails and one that breaks off on the way.
    """
    dbt("build", "--exclude-resource-type", "unit_test", "test")
    assert all(rows == [] for rows in marts(connected).values())

    for after, rows in ((0, 300), (10_000, 200), (30_000, 10)):  # three blocks
        connected.query(LOAD.format(at=FIRST, after=after, rows=rows))
    for statement in SHOP:
        connected.query(statement)
    dbt("build")
    before = marts(connected)
    assert len(before["fct_sales"]) == 510

    connected.query(LOAD.format(at=SECOND, after=20_000, rows=20))
    change(
        connected, "quantity = quantity + 1, city = 'Moved', price = price + 0.1", "mod(order_id, 100) = 7"
    )
    change(connected, "order_status = 'returned'", "order_id = 10010")
    change(connected, f"_ab_cdc_deleted_at = '{SECOND}'", "mod(order_id, 100) = 9 or order_id > 30000")
    connected.query("update RAW.RETAIL.PRODUCTS set price = 2.2 where product_id = 1")

    change(connected, "discount = 1e12", "order_id = 10007")
    with pytest.raises(AssertionError, match="fct_sales"):
        dbt("run", "--select", "fct_sales+")
    assert marts(connected) == before
    change(connected, "discount = 0.07", "order_id = 10007")

    # A column that the table lacks is filled for the whole history; and then the build breaks off.
    connected.query("alter table ANALYTICS.MARTS.FCT_SALES drop column REFUND")
    dbt("run", "--select", "fct_sales")
    dbt("build", "--exclude-resource-type", "unit_test")

    incremental = marts(connected)
    source = connected.query(
        "select quantity, price, discount, order_status, country from RAW.RETAIL.SALES where _ab_cdc_deleted_at is null"
    )
    assert len(source) == 530 - 10 - 6
    for country in ("country 0", "country 1"):
        ours = [(q, cents(p), cents(d), status) for q, p, d, status, c in source if c == country]
        ((_, orders, revenue, discount, net, refund),) = (
            row for row in incremental["net_revenue_by_country"] if row[0] == country
        )
        assert (orders, revenue) == (len(ours), sum(q * p for q, p, _, _ in ours))
        assert (discount, net) == (sum(q * d for q, _, d, _ in ours), sum(q * (p - d) for q, p, d, _ in ours))
        assert refund == sum(q * (p - d) for q, p, d, status in ours if status in ("returned", "cancelled"))
    assert "Moved" in str(incremental["net_revenue_by_city"])
    assert len(incremental["dim_customers"]) == 5
    assert len(incremental["dim_dates"]) == 365 * 2  # 2026 and 2027

    versions = connected.query(
        "select product_id, unit_price, dbt_valid_to is null from ANALYTICS.SNAPSHOTS.PRODUCTS_HISTORY order by 1, 2"
    )
    old, new, same = Decimal("1.10"), Decimal("2.20"), True
    assert versions == [(0, old, same), (1, old, not same), (1, new, same), (2, old, same)]

    dbt("run", "--full-refresh")
    assert marts(connected) == incremental

    for name, model in resources("model").items():
        schema, table = model.schema, model.alias.upper()
        columns = connected.query(
            "select column_name from ANALYTICS.information_schema.columns"
            f" where table_schema = '{schema}' and table_name = '{table}'"
        )
        assert {column.lower() for (column,) in columns} == set(model.columns), name
    for described in connected.query("describe table ANALYTICS.MARTS.FCT_SALES"):
        assert described[9] == resources("model")["fct_sales"].columns[described[0].lower()].description

    # A row that went bad long ago is not looked at in every cycle, but in the tests of the whole history.
    connected.query("update ANALYTICS.MARTS.FCT_SALES set net_revenue = -1 where order_id = 10")
    bad = "not_negative_fct_sales_net_revenue"
    dbt("build", "--resource-type", "test", "--select", bad)
    why, passed = history_job()
    assert f"dbt test: test.retailflow.{bad}." in why and ": fail: Got 1 result" in why
    assert not passed[bad] and passed["unique_fct_sales_order_id"]
    assert set(passed) == checks_of_a_cycle()

    connected.query(
        "update ANALYTICS.MARTS.FCT_SALES set net_revenue = total_revenue - total_discount where order_id = 10"
    )
    why, passed = history_job()
    assert why == "" and all(passed.values())
