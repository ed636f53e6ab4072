"""The marts, with a few rows, in the emulated Snowflake of this container."""

import os
from pathlib import Path

os.environ["SNOWFLAKE_DISABLE_PLATFORM_DETECTION"] = "true"
import snowflake.connector

ROWS = [
    ("India", "Maharashtra", "Pune", 3, "1200.50", "200.25", "1000.25"),
    ("India", "Maharashtra", "Mumbai", 1, "10.00", "0.00", "10.00"),
    ("Kenya", "Nairobi", "<script>alert(1)</script>", 2, "99.99", "0.99", "99.00"),
]
SUMS = "sum(ORDERS) ORDERS, " + ", ".join(
    f"cast(sum({name}) as number(38, 2)) {name}"
    for name in ("TOTAL_REVENUE", "TOTAL_DISCOUNT", "NET_REVENUE")
)

connection = snowflake.connector.connect(
    account=os.environ["EMULATED_SNOWFLAKE_ACCOUNT"],
    user=os.environ["EMULATED_SNOWFLAKE_ADMIN_USER"],
    password=Path(os.environ["EMULATED_SNOWFLAKE_ADMIN_PASSWORD_FILE"]).read_text().splitlines()[0],
    warehouse="MOLECULE",
    host="127.0.0.1",
    port=8080,
    disable_ocsp_checks=True,
    network_timeout=30,
)
with connection, connection.cursor() as cursor:
    cursor.execute("use schema ANALYTICS.MARTS")
    cursor.execute(
        "create or replace table NET_REVENUE_BY_CITY (COUNTRY varchar, STATE varchar, CITY varchar, ORDERS number(38, 0),"
        " TOTAL_REVENUE number(38, 2), TOTAL_DISCOUNT number(38, 2), NET_REVENUE number(38, 2))"
    )
    for row in ROWS:
        cursor.execute("insert into NET_REVENUE_BY_CITY values (%s, %s, %s, %s, %s, %s, %s)", row)
    for name, keys in (("STATE", "COUNTRY, STATE"), ("COUNTRY", "COUNTRY")):
        cursor.execute(
            f"create or replace table NET_REVENUE_BY_{name} as select {keys}, {SUMS} from NET_REVENUE_BY_CITY group by {keys}"
        )
    cursor.execute(
        "create or replace table DAILY_REVENUE_BY_CATEGORY as select date '2026-01-01' PURCHASE_DATE,"
        f" 'Books' PRODUCT_CATEGORY, {SUMS} from NET_REVENUE_BY_CITY"
    )
    # Each city's orders as one row, and empty ones to make up their number.
    cursor.execute(
        "create or replace table FCT_SALES as select row_number() over (order by CITY, N) ORDER_ID, COUNTRY, STATE,"
        " date '2026-01-01' PURCHASE_DATE, 'Pen' PRODUCT_NAME, 'Books' PRODUCT_CATEGORY, 1 QUANTITY,"
        + ", ".join(
            f"cast(iff(N = 1, {name}, 0) as number(38, 2)) {name}"
            for name in ("TOTAL_REVENUE", "TOTAL_DISCOUNT", "NET_REVENUE")
        )
        + ", current_timestamp() CREATED_AT, current_timestamp() LOADED_AT"
        " from NET_REVENUE_BY_CITY join (values (1), (2), (3)) as NUMBERS (N) on N <= ORDERS"
    )
    cursor.execute(
        "create or replace table DIM_DATES as select dateadd('day', row_number() over (order by seq4()) - 1,"
        " date '2026-01-01') DATE_DAY from table(generator(rowcount => 3650))"
    )
    cursor.execute(
        "create or replace table PIPELINE_RUNS as select 'a' RUN_ID, 'sales_job' JOB, 'SUCCESS' STATUS,"
        " sysdate() BEGAN_AT, sysdate() ENDED_AT, '' PROBLEM"
    )
