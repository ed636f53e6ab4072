"""Ten threads of dbt's statements and two syncs at once, into one emulated Snowflake."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .conftest import Client, Postgres, Snowflake
from .shop import Shop

THREADS, RUNS = 10, 3


def build(warehouse: Snowflake, number: int) -> list[tuple[Any, ...]]:
    """A model as dbt-snowflake builds it: a table, then MERGEs of a temporary table into it, and its schema looked up."""
    with warehouse.connect(database="BUILT", schema="MARTS") as session:
        run = session.cursor().execute
        model = f"MODEL_{number}"
        run("create schema if not exists BUILT.MARTS")
        made = "select column1 as ID"
        run(f"create or replace transient table {model} as ({made}, 0 as RUN from values (0), (1), (2))")
        for turn in range(1, RUNS + 1):
            source = f"({made}, {turn} as RUN from values (1), ({turn + 2}))"
            run(f"create or replace temporary table {model}__dbt_tmp as {source}")
            run(f"describe table {model}")
            run(
                f"merge into {model} as D using {model}__dbt_tmp as S on D.ID = S.ID when matched then "
                "update set RUN = S.RUN when not matched then insert (ID, RUN) values (S.ID, S.RUN)"
            )
            run(
                "merge into SHARED as D using (select 1 as ID) as S on D.ID = S.ID "
                "when matched then update set N = D.N + 1"
            )
            run("show terse objects in schema BUILT.MARTS")
            run(f"create or replace view V_{number} as (select * from {model})")
        rows: list[tuple[Any, ...]] = run(f"select ID, RUN from V_{number} order by ID").fetchall()  # type: ignore[union-attr,assignment]
        return rows


def test_ten_threads_and_two_syncs_at_once(
    client: Client, postgres_server: Postgres, warehouse: Snowflake
) -> None:
    warehouse.query("create or replace database BUILT")
    warehouse.query("create schema BUILT.MARTS")
    warehouse.query("create table BUILT.MARTS.SHARED as select 1 as ID, 0 as N")
    shops = []
    for number in range(2):
        postgres_server.execute(f"create database busy_{number}")
        postgres = Postgres(postgres_server.port)
        postgres.database = f"busy_{number}"
        shops.append(Shop(client, postgres, warehouse, f"BUSY_{number}"))
        shops[-1].insert(1, 5000)
    with ThreadPoolExecutor(THREADS) as pool:
        jobs = [client.start(shop.connection) for shop in shops]
        built = [pool.submit(build, warehouse, number) for number in range(THREADS)]
        ended = [client.ended(job) for job in jobs]
        for shop in shops:
            shop.postgres.execute(
                "update sales set city = 'moved' where order_id % 7 = 0; delete from sales where order_id = 3"
            )
        jobs = [client.start(shop.connection) for shop in shops]
        ended += [client.ended(job) for job in jobs]
        results = [one.result() for one in built]
    assert [(job["status"], job["failures"]) for job in ended] == [("succeeded", [])] * 4
    for shop in shops:
        shop.assert_equal()
    assert (
        results == [[(0, 0), (1, RUNS), (2, 0), *((turn + 2, turn) for turn in range(1, RUNS + 1))]] * THREADS
    )
    assert warehouse.query("select N from BUILT.MARTS.SHARED") == [(THREADS * RUNS,)]
