"""snowflake-connector-python and pandas."""

import pathlib

import pandas as pd
import snowflake.connector as connector
from attempts import FOLDER, LOGIN, attempt, report
from snowflake.connector.pandas_tools import write_pandas

session = connector.connect(**LOGIN)
FRAME = pd.DataFrame({"ID": [1, 2], "name": ["a", None], "AMOUNT": [1.5, 2.25]})


def rows(sql, *params):
    return session.cursor().execute(sql, *params).fetchall()


@attempt("log in, execute, fetch rows, dicts, Arrow and pandas")
def _():
    assert rows("select 1 as A, 'x' as B") == [(1, "x")]
    assert session.cursor(connector.DictCursor).execute("select 1 as A").fetchall() == [{"A": 1}]
    frame = session.cursor().execute("select 1.5::number(10, 2) as A union all select 2").fetch_pandas_all()
    assert sorted(map(str, frame["A"])) == ["1.50", "2.00"]
    assert session.cursor().execute("select 1 as A").fetch_arrow_all().num_rows == 1
    assert [column.name for column in session.cursor().describe("select 1 as A, 'b' as B")] == ["A", "B"]


@attempt("executemany, bindings on the client and on the server")
def _():
    rows("create or replace table MANY (ID number, NAME varchar)")
    session.cursor().executemany("insert into MANY values (%s, %s)", [(1, "a"), (2, None)])
    connector.paramstyle = "qmark"
    other = connector.connect(**LOGIN)
    connector.paramstyle = "pyformat"
    other.cursor().executemany("insert into MANY values (?, ?)", [(3, "c"), (4, "d")])
    assert other.cursor().execute("select ?, ?", (1, "x")).fetchall() == [(1, "x")]
    assert rows("select sum(ID), count(NAME) from MANY") == [(10, 3)]
    other.close()


@attempt("write_pandas, into a table and with auto_create_table")
def _():
    rows('create or replace table FRAMES (ID number, "name" varchar, AMOUNT float)')
    assert write_pandas(session, FRAME, "FRAMES")[:3] == (True, 1, 2)
    assert write_pandas(session, FRAME, "FRAMES_TOO", auto_create_table=True)[:3] == (True, 1, 2)
    for table in ("FRAMES", "FRAMES_TOO"):
        assert rows(f"select * from {table} order by ID") == [(1, "a", 1.5), (2, None, 2.25)]


@attempt("execute_async and the results of a query id")
def _():
    cursor = session.cursor()
    cursor.execute_async("select 5 as N")
    cursor.get_results_from_sfqid(cursor.sfqid)
    assert cursor.fetchall() == [(5,)]
    assert session.get_query_status(cursor.sfqid).name == "SUCCESS"


@attempt("put, list, get and remove of a stage")
def _():
    path = pathlib.Path(FOLDER, "rows.csv")
    path.write_text("1,a\n")
    rows("create or replace stage FILES")
    rows(f"put 'file://{path}' @FILES auto_compress = false")
    assert [row[0] for row in rows("ls @FILES")] == ["files/rows.csv"]
    path.unlink()
    rows(f"get @FILES 'file://{FOLDER}/'")
    assert path.read_text() == "1,a\n"
    assert rows("rm @FILES/rows.csv") and rows("ls @FILES") == []


@attempt("autocommit off, commit and rollback")
def _():
    session.autocommit(False)
    rows("insert into MANY values (9, 'z')")
    session.rollback()
    session.autocommit(True)
    assert rows("select count(*) from MANY where ID = 9") == [(0,)]


@attempt("explain")
def _():
    rows("explain select 1")


session.close()
report()
