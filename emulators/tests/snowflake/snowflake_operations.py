"""What was tried with clients that this project was not built with: the table in emulators/README.md.

python emulators/tests/snowflake/snowflake_operations.py --write      writes the table into the README
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
WORKS = "works"
_EXPLAIN = "not emulated: EXPLAIN: the plans of Snowflake's optimizer are not known here"
# Client and version, the script in `clients` that tries it, and the verdict on each of its operations.
OPERATIONS: dict[tuple[str, str, str], dict[str, str]] = {
    ("snowflake-connector-python", "5.2.0", "connector"): {
        "log in, execute, fetch rows, dicts, Arrow and pandas": WORKS,
        "executemany, bindings on the client and on the server": WORKS,
        "write_pandas, into a table and with auto_create_table": WORKS,
        "execute_async and the results of a query id": WORKS,
        "put, list, get and remove of a stage": WORKS,
        "autocommit off, commit and rollback": WORKS,
        "explain": _EXPLAIN,
    },
    ("snowflake-sqlalchemy", "2.1.0", "alchemy"): {
        "ORM: create_all with a sequence, insert, select, update, delete": WORKS,
        "reflection: tables, columns, keys, schemas": WORKS,
        "Core: insert many, update, MERGE, rollback": WORKS,
        "pandas read_sql and to_sql": WORKS,
    },
    ("ibis-framework", "12.0.0", "ibis_frames"): {
        "list tables, schemas and databases; the schema of a table": WORKS,
        "aggregates, joins, windows, dates, texts; to_pandas, to_pyarrow": WORKS,
        "create_table from pandas and from an expression, temporary tables, views, insert, memtable": WORKS,
        "SQL of one's own as a table": WORKS,
    },
    ("snowflake-snowpark-python", "1.53.0", "snowpark"): {
        "sql with and without bindings; who and where the session is": WORKS,
        "create_dataframe, save_as_table, append, table, to_pandas": WORKS,
        "group_by, agg, join, window, pivot, unpivot, describe": WORKS,
        "merge, update, delete, views, cache_result": WORKS,
        "put_stream and get_stream of a stage": WORKS,
        "read files of a stage": "not emulated: SELECT from a stage: COPY INTO a table first",
        "write files to a stage": "not emulated: COPY INTO a stage",
        "stored procedures": "not emulated: procedures",
    },
    ("snowflake-cli", "3.30.0", "command_line"): {
        "connection test": WORKS,
        "sql": WORKS,
        "object list, describe": WORKS,
        "stage create, copy there and back, list-files, remove, drop": WORKS,
        "sql: explain": _EXPLAIN,
    },
}
# An environment is shared where its clients take the same connector.
ENVIRONMENTS = {
    "connector-5": (
        "snowflake-connector-python==5.2.0",
        "snowflake-sqlalchemy==2.1.0",
        "sqlalchemy==2.1.9",
        "ibis-framework[snowflake]==12.0.0",
        "sqlglot==27.29.0",  # ibis takes newer ones, but drops tables wrongly with them
        "pandas==3.1.1",
        "packaging",  # ibis needs both, and does not say so
        "rich",
    ),
    "connector-4": ("snowflake-cli==3.30.0", "snowflake-snowpark-python[pandas]==1.53.0"),
}
_MARKS = "<!-- snowflake's clients -->", "<!-- /snowflake's clients -->"


def environment(script: str) -> str:
    """The environment in which a client's script runs."""
    return "connector-4" if script in ("snowpark", "command_line") else "connector-5"


def table() -> str:
    """The table in Markdown."""
    rows = [
        f"| {name} | {version} | {what} | {verdict} |"
        for (name, version, _), operations in OPERATIONS.items()
        for what, verdict in operations.items()
    ]
    return "\n".join(["| client | version | operations | verdict |", "|---|---|---|---|", *rows])


def written(text: str) -> str:
    """The README with the table as it is now."""
    begin, end = map(re.escape, _MARKS)
    made = "\n".join([_MARKS[0], table(), _MARKS[1]])
    return re.sub(f"{begin}.*{end}", lambda _: made, text, flags=re.DOTALL)


if __name__ == "__main__" and "--write" in sys.argv:
    README.write_text(written(README.read_text()))
