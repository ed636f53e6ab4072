"""What Snowflake says of aggregates where they may not be, and of what is not grouped by."""

from __future__ import annotations

import pytest
import snowflake.connector

from retailflow_emulators.snowflake.testing import EmulatedSnowflake


@pytest.fixture(scope="module")
def sales(warehouse: EmulatedSnowflake) -> EmulatedSnowflake:
    warehouse.query("create or replace table DB.PUBLIC.S (R varchar, Q varchar, AMT number(10, 2))")
    warehouse.query("use schema DB.PUBLIC")
    return warehouse


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select R, Q, sum(AMT) from S group by R", "'S.Q' in select clause is neither an aggregate nor in the group by clause."),
        ("select * from (select r, q, sum(amt) from S s1 group by r) x", "'S1.Q' in select clause is neither an aggregate"),
        ("select AMT + sum(AMT) from S", "[S.AMT] is not a valid group by expression"),
        ("with c as (select Q, count(*) as n from S) select * from c", "[S.Q] is not a valid group by expression"),
        ("select sum(AMT) from S having AMT > 1", "[S.AMT] is not a valid group by expression"),
        ("select R from S group by R order by AMT", "[S.AMT] is not a valid order by expression"),
        ("select count(*) from S group by 5", "[5] is not a valid group by expression"),
        ("select R from S order by 9", "[9] is not a valid order by expression"),
        ("select R from S where sum(AMT) > 1", "Invalid aggregate function in where clause [SUM(S.AMT)]"),
        ("select sum(max(AMT)) from S", "Aggregate functions cannot be nested: [MAX(S.AMT)] nested in [SUM(MAX(S.AMT))]"),
    ],
)  # fmt: skip
def test_an_aggregate_where_none_may_be(sales: EmulatedSnowflake, query: str, said: str) -> None:
    with pytest.raises(snowflake.connector.errors.ProgrammingError) as error:
        sales.query(query)
    assert f"SQL compilation error:\n{said}" in str(error.value.msg)
    assert error.value.sqlstate == "42601"
