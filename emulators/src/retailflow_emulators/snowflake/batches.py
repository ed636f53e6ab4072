"""An INSERT with arrays of parameters: one statement for all rows, which are all there afterwards or none.

Clients send the rows of ``executemany`` as an array a placeholder:
https://docs.snowflake.com/en/developer-guide/python-connector/python-connector-example#inserting-multiple-rows. Upstream
runs the statement a row at a time, each as a statement of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fakesnow.converter import from_binding
from sqlglot import exp

from .text import bare

KIND = "ROWS"  # the type of the one binding that carries the others
MOST_PARAMETERS = 50_000  # of one statement of DuckDB, which numbers them with 16 bits
MOST_VALUES, MOST_QUERIES = 1_000, 100  # rows of one statement of DuckDB; queries are nested in each other


@dataclass(frozen=True)
class Rows:
    """The parameters of a statement, a tuple for each of its rows."""

    rows: list[tuple[Any, ...]]

    @property
    def sample(self) -> tuple[Any, ...]:
        """Parameters to read the statement with: of each column the first that is not NULL."""
        return tuple(
            next((one for one in column if one is not None), None) for column in zip(*self.rows, strict=True)
        )


def bound(statement: dict[str, Any]) -> dict[str, Any] | None:
    """The bindings of an INSERT with arrays as one binding, which ``read`` reads; None for other statements."""
    bindings = statement.get("bindings") or {}
    if not any(isinstance(one["value"], list) for one in bindings.values()):
        return None
    if bare(statement["sqlText"])[:6].lower() != "insert":
        return None
    return {"1": {"type": KIND, "value": {"columns": [bindings[str(n + 1)] for n in range(len(bindings))]}}}


def read(binding: dict[str, Any], one: Any = from_binding) -> Rows:
    """The rows of a binding that ``bound`` made, each value read by ``one``."""
    columns = [
        [one({**column, "value": value}) for value in column["value"]]
        for column in binding["value"]["columns"]
    ]
    return Rows(list(zip(*columns, strict=True)))


def statements(insert: exp.Insert, rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[exp.Insert, list[Any]]]:
    """An INSERT of DuckDB as few statements that write all rows, each with its parameters.

    A statement that does not take one parameter a placeholder, in the order of the text, is repeated a row at a time.
    """
    query = insert.expression
    marks = [one.this for one in insert.find_all(exp.Placeholder)]
    values = isinstance(query, exp.Values) and len(query.expressions) == 1
    most = min(MOST_VALUES if values else MOST_QUERIES, max(1, MOST_PARAMETERS // max(1, len(rows[0]))))
    if any(marks) or len(marks) != len(rows[0]) or insert.args.get("with_"):
        most = 1
    text = exp.var((query.expressions[0] if values else query).sql(dialect="duckdb"))
    for number in range(0, len(rows), most):
        part = rows[number : number + most]
        whole = insert.copy() if len(part) > 1 else insert
        if len(part) > 1 and values:
            whole.expression.set("expressions", [text] * len(part))
        elif len(part) > 1:
            whole.set("expression", exp.var(" UNION ALL ".join([f"SELECT * FROM ({text.name})"] * len(part))))
        yield whole, list(itertools.chain.from_iterable(part))
