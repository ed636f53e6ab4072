"""MERGE as DuckDB's own statement: upstream's temporary table of candidates is one for all sessions and reads twice."""

from __future__ import annotations

import threading

import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

_LOCKS: dict[tuple[str, ...], threading.Lock] = {}
_ACTIONS = {"INSERT": "inserted", "UPDATE": "updated", "DELETE": "deleted"}


def native(merge: exp.Merge) -> exp.Merge:
    """The statement with target columns as DuckDB writes them, and a row for each that it touched."""
    if not merge.args["using"].alias_or_name:
        merge.args["using"].set("alias", exp.TableAlias(this=exp.to_identifier("merge source", quoted=True)))
    source = merge.args["using"].alias_or_name
    for when in merge.args["whens"].expressions:
        then = when.args.get("then")
        if isinstance(then, exp.Update):
            for assignment in then.expressions:
                assignment.set("this", exp.column(assignment.this.this.copy()))
        elif isinstance(then, exp.Insert):
            if then.this:
                for column in then.this.expressions:
                    if isinstance(column, exp.Column):
                        column.replace(exp.column(column.this.copy()))
            for value in then.expression.expressions if then.expression else []:
                for column in value.find_all(exp.Column):
                    if not column.table:
                        column.set("table", exp.to_identifier(source, quoted=True))
    merge.set("returning", exp.Returning(expressions=[exp.column("merge_action")]))
    return merge


def count(rows: pa.Table) -> dict[str, int]:
    """Rows by what happened to them."""
    found = {entry["values"]: entry["counts"] for entry in pc.value_counts(rows.column(0)).to_pylist()}
    return {name: int(found.get(action, 0)) for action, name in _ACTIONS.items()}


def alone(table: tuple[object, ...]) -> threading.Lock:
    """The lock of a table: Snowflake runs the MERGEs of a table one after the other.

    Without it, two at once would both insert the row that neither of them sees.
    """
    return _LOCKS.setdefault(tuple(str(name).upper() for name in table), threading.Lock())
