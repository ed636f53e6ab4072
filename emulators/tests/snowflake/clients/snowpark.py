"""Snowpark."""

import io

import pandas as pd
import snowflake.snowpark.functions as f
from attempts import LOGIN, attempt, report
from snowflake.snowpark import Session, Window

session = Session.builder.configs(LOGIN).create()


@attempt("sql with and without bindings; who and where the session is")
def _():
    assert session.sql("select ? as A, 'x'", params=[1]).collect()[0][0] == 1
    assert session.get_current_database() == '"DB"' and session.get_current_schema() == '"PUBLIC"'
    session.use_schema("PUBLIC")


@attempt("create_dataframe, save_as_table, append, table, to_pandas")
def _():
    frame = session.create_dataframe(
        [[1, "a", 1.5], [2, "a", 2.5], [3, "b", None]], schema=["id", "cat", "amount"]
    )
    frame.write.mode("overwrite").save_as_table("PARKED")
    frame.write.mode("append").save_as_table("PARKED")
    assert session.table("PARKED").count() == 6
    assert session.create_dataframe([[n, str(n)] for n in range(2000)], schema=["a", "b"]).count() == 2000
    assert frame.to_pandas().shape == (3, 3)
    assert session.create_dataframe(pd.DataFrame({"A": [1, 2]})).count() == 2
    assert session.write_pandas(pd.DataFrame({"A": [1]}), "PARKED_FRAME", auto_create_table=True).count() == 1


@attempt("group_by, agg, join, window, pivot, unpivot, describe")
def _():
    frame = session.table("PARKED").distinct()
    total = (
        frame.group_by("cat").agg(f.sum("amount").alias("s"), f.count("*").alias("n")).sort("cat").collect()
    )
    assert [tuple(row) for row in total] == [("a", 4.0, 2), ("b", None, 1)]
    assert frame.join(frame.select("id", f.col("amount").alias("more")), "id").count() == 3
    order = Window.partition_by("cat").order_by(f.col("id").desc())
    assert sorted(r[0] for r in frame.select(f.row_number().over(order)).collect()) == [1, 1, 2]
    assert frame.select("cat", "amount").pivot("cat", ["a", "b"]).sum("amount").collect()[0][0] == 4.0
    assert session.create_dataframe([[1, 2]], schema=["x", "y"]).unpivot("v", "n", ["x", "y"]).count() == 2
    assert frame.describe().count() == 5 and session.range(5).count() == 5


@attempt("merge, update, delete, views, cache_result")
def _():
    target = session.table("PARKED")
    source = session.create_dataframe([[1, "z", 9.0], [7, "n", 1.0]], schema=["id", "cat", "amount"])
    done = target.merge(
        source,
        target["id"] == source["id"],
        [
            f.when_matched().update({"cat": source["cat"]}),
            f.when_not_matched().insert(
                {"id": source["id"], "cat": source["cat"], "amount": source["amount"]}
            ),
        ],
    )
    assert (done.rows_inserted, done.rows_updated) == (1, 2)
    assert target.update({"amount": f.lit(0)}, f.col("id") == 2).rows_updated == 2
    assert target.delete(f.col("id") == 7).rows_deleted == 1
    target.create_or_replace_view("PARKED_VIEW")
    assert target.cache_result().count() == session.table("PARKED_VIEW").count() == 6


@attempt("put_stream and get_stream of a stage")
def _():
    session.sql("create or replace stage PARKING").collect()
    session.file.put_stream(io.BytesIO(b"1,2\n"), "@PARKING/a.csv", auto_compress=False)
    assert session.file.get_stream("@PARKING/a.csv").read() == b"1,2\n"


@attempt("read files of a stage")
def _():
    session.sql("select $1 from @PARKING/a.csv").collect()


@attempt("write files to a stage")
def _():
    session.table("PARKED").write.copy_into_location("@PARKING/out/", file_format_type="csv")


@attempt("stored procedures")
def _():
    session.sql("call P()").collect()


session.close()
report()
