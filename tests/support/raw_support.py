"""RAW tables as Airbyte writes them, rows to fill them with, and what a build makes of them."""

from __future__ import annotations

from typing import Any

from dbt_support import manifest
from retailflow_emulators.snowflake.testing import EmulatedSnowflake

META = """
    _AIRBYTE_RAW_ID varchar, _AIRBYTE_EXTRACTED_AT timestamp_tz, _AIRBYTE_META variant,
    _AIRBYTE_GENERATION_ID number(38, 0), CREATED_AT timestamp_tz, UPDATED_AT timestamp_tz,
    _AB_CDC_LSN number(38, 0), _AB_CDC_UPDATED_AT varchar, _AB_CDC_DELETED_AT varchar,
"""
PLACE = "CITY varchar, STATE varchar, COUNTRY varchar"
RAW = (
    f"""create table RAW.RETAIL.SALES ({META} ORDER_ID number(38, 0), CUST_NAME varchar, PRODUCT varchar,
        PRODUCT_CATEGORY varchar, QUANTITY number(38, 0), PRICE float, DISCOUNT float, SHIPPING_COST float,
        CUSTOMER_ID number(38, 0), PRODUCT_ID number(38, 0), PURCHASED_AT date, ORDER_DATE_AT date, {PLACE},
        ORDER_STATUS varchar, ORDERED_AT timestamp_tz)""",
    f"create table RAW.RETAIL.CUSTOMERS ({META} CUSTOMER_ID number(38, 0), CUST_NAME varchar, {PLACE})",
    f"""create table RAW.RETAIL.PRODUCTS ({META} PRODUCT_ID number(38, 0), PRODUCT varchar,
        PRODUCT_CATEGORY varchar, PRICE float)""",
)
FIRST, SECOND = "2026-01-01 00:00:00+00", "2026-01-03 00:00:00+00"
WRITTEN = (
    f"'r', '{{at}}'::timestamp_tz, null, 0, '{FIRST}'::timestamp_tz, '{FIRST}'::timestamp_tz, 0, null, null"
)
NUMBERS = (
    "(select row_number() over (order by seq4()) + {after} as i from table(generator(rowcount => {rows})))"
)
LOAD = f"""
insert into RAW.RETAIL.SALES
select
    {WRITTEN}, i, 'n', 'p', 'c' || mod(i, 3), mod(i, 9), mod(i * 37, 9973) / 100.0::float,
    mod(mod(i * 37, 9973), 100) / 100.0::float, 1.0::float, mod(i, 5), mod(i, 3), '2026-01-01', '2026-01-02',
    'city ' || mod(i, 20), 'state ' || mod(i, 4), 'country ' || mod(i, 2),
    case mod(i, 5) when 1 then 'returned' when 2 then 'cancelled' when 3 then null else 'paid' end, null
from {NUMBERS}
"""
SHOP = (
    f"insert into RAW.RETAIL.CUSTOMERS select {WRITTEN}, i, 'n', 'Lyon', null, 'France' from {NUMBERS}".format(
        at=FIRST, after=-1, rows=5
    ),
    f"insert into RAW.RETAIL.PRODUCTS select {WRITTEN}, i, 'p' || i, 'c', 1.1::float from {NUMBERS}".format(
        at=FIRST, after=-1, rows=3
    ),
)


def resources(*kinds: str) -> dict[str, Any]:
    """Nodes of the project by name."""
    return {node.name: node for node in manifest().nodes.values() if node.resource_type in kinds}


def change(warehouse: EmulatedSnowflake, assignment: str, where: str, at: str = SECOND) -> None:
    """What a later sync brings of old orders."""
    warehouse.query(
        f"update RAW.RETAIL.SALES set {assignment}, _airbyte_extracted_at = '{at}'::timestamp_tz where {where}"
    )


def marts(warehouse: EmulatedSnowflake) -> dict[str, list[tuple[Any, ...]]]:
    """Every table of the marts and every intermediate one with orders, row by row."""
    tables = {
        name: f"select {', '.join(model.columns)} from ANALYTICS.{model.schema}.{name}"
        + " where orders > 0" * name.startswith("int_")
        for name, model in resources("model").items()
        if not name.startswith("stg_")
    }
    return {name: sorted(warehouse.query(query), key=str) for name, query in tables.items()}
