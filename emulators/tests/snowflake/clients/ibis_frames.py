"""ibis-framework."""

import ibis
import pandas as pd
from attempts import LOGIN, attempt, report
from ibis import _ as it

session = ibis.snowflake.connect(create_object_udfs=False, **LOGIN)
session.raw_sql("create or replace table SOLD (ID number, CAT varchar, AMOUNT number(10, 2), D date)")
session.raw_sql(
    "insert into SOLD values (1, 'a', 1.10, '2026-01-01'), (2, 'a', 2.20, '2026-01-31'), (3, 'b', 5, null)"
)
sold = session.table("SOLD")


@attempt("list tables, schemas and databases; the schema of a table")
def _():
    assert "SOLD" in session.list_tables()
    assert "PUBLIC" in session.list_databases() and "DB" in session.list_catalogs()
    assert str(sold.schema()["AMOUNT"]) == "decimal(10, 2)"


@attempt("aggregates, joins, windows, dates, texts; to_pandas, to_pyarrow")
def _():
    totals = sold.group_by("CAT").agg(total=it.AMOUNT.sum(), n=it.count()).order_by("CAT").to_pandas()
    assert [str(total) for total in totals["total"]] == ["3.30", "5.00"] and totals["n"].tolist() == [2, 1]
    assert sold.join(sold.view(), "CAT").count().execute() == 5
    ranked = sold.mutate(r=ibis.row_number().over(order_by=it.ID)).to_pandas()
    assert sorted(ranked["r"]) == [0, 1, 2]
    months = sold.filter(it.D.notnull()).select(m=it.D.truncate("M"), u=it.CAT.upper()).distinct().to_pandas()
    assert len(months) == 1 and months["u"].tolist() == ["A"]
    assert sold.to_pyarrow().num_rows == 3
    assert float(sold.AMOUNT.median().execute()) == 2.2


@attempt("create_table from pandas and from an expression, temporary tables, views, insert, memtable")
def _():
    made = session.create_table("MADE", pd.DataFrame({"A": [1, 2], "B": ["x", None]}), overwrite=True)
    session.insert("MADE", pd.DataFrame({"A": [3], "B": ["z"]}))
    assert made.A.sum().execute() == 6
    assert session.create_table("CHEAP", sold.filter(it.AMOUNT < 3), overwrite=True).count().execute() == 2
    assert session.create_table("PASSING", pd.DataFrame({"A": [1, 2]}), temp=True).count().execute() == 2
    assert session.create_view("SEEN", sold, overwrite=True).count().execute() == 3
    assert session.execute(ibis.memtable({"x": [1, 2]}).x.sum()) == 3
    session.drop_table("MADE")


@attempt("SQL of one's own as a table")
def _():
    assert session.sql("select ID + 1 as N from SOLD").N.sum().execute() == 9


session.disconnect()
report()
