"""Errors of aggregates and of GROUP BY in Snowflake's words, which name the expression and its table.

https://docs.snowflake.com/en/sql-reference/constructs/group-by has the one of a column that is not grouped by, and
https://docs.snowflake.com/en/release-notes/bcr-bundles/un-bundled/bcr-1533 the one of an expression.
"""

from __future__ import annotations

import re

from snowflake.connector.errors import ProgrammingError
from sqlglot import exp
from sqlglot.errors import SqlglotError

from .errors import sql_error
from .parsing import read_again

_UNGROUPED = re.compile(r'column "(.+?)" must appear in the GROUP BY clause')
_TERM = re.compile(r"(GROUP BY|ORDER) term out of range")


def explained(error: BaseException, statement: str | None) -> ProgrammingError | None:
    """Snowflake's error for one of DuckDB's about aggregates; None for another one."""
    text = str(error)
    ungrouped, term = _UNGROUPED.search(text), _TERM.search(text)
    where, nested = (
        "WHERE clause cannot contain aggregates" in text,
        "aggregate function calls cannot be nested" in text,
    )
    if not statement or not (ungrouped or term or where or nested):
        return None
    try:
        tree = read_again(statement)
    except SqlglotError:
        return None
    if ungrouped:
        return _ungrouped(tree, ungrouped[1])
    for select in tree.find_all(exp.Select):
        # The numbers of these two are not known.
        if where and (found := _aggregate(select.args.get("where"))):
            return _said(2035, f"Invalid aggregate function in where clause [{_shown(found, select)}]")
        if nested:
            for one in select.find_all(exp.AggFunc):
                if inner := _aggregate(one.this):
                    said = f"[{_shown(inner, select)}] nested in [{_shown(one, select)}]"
                    return _said(2036, f"Aggregate functions cannot be nested: {said}")
        if term:
            part, width = ("group" if term[1] == "GROUP BY" else "order"), len(select.selects)
            for key in (select.args.get(part) or exp.Group()).expressions:
                number = key.this if isinstance(key, exp.Ordered) else key
                if isinstance(number, exp.Literal) and not number.is_string and int(number.name) > width:
                    return _said(979, f"[{number.name}] is not a valid {part} by expression")
    return None


def _ungrouped(tree: exp.Expr, name: str) -> ProgrammingError:
    for select in tree.find_all(exp.Select):
        order = select.args.get("order")
        for part, nodes in (
            ("select", select.expressions),
            ("order", [order] if order else []),
            ("group", [select]),
        ):
            for column in (one for node in nodes for one in node.find_all(exp.Column)):
                if column.name.upper() == name.upper() and column.find_ancestor(exp.Select) is select:
                    shown = _shown(column, select)
                    if part == "select" and select.args.get("group"):
                        said = (
                            f"'{shown}' in select clause is neither an aggregate nor in the group by clause."
                        )
                        return _said(1104, said)
                    return _said(
                        979,
                        f"[{shown}] is not a valid {'order' if part == 'order' else 'group'} by expression",
                    )
    return _said(979, f"[{name}] is not a valid group by expression")


def _aggregate(node: exp.Expr | None) -> exp.Expr | None:
    """The first aggregate in an expression that belongs to its query."""
    for found in node.find_all(exp.AggFunc) if node is not None else ():
        if not isinstance(found.parent, exp.Window):
            return found
    return None


def _shown(node: exp.Expr, select: exp.Select) -> str:
    """An expression as Snowflake shows it: names in upper case, columns with their table where there is but one."""
    shown = node.copy()
    from_ = select.args.get("from_")
    table = from_.this if from_ and not select.args.get("joins") else None
    named = table.alias_or_name if isinstance(table, (exp.Table, exp.Subquery)) else ""
    for column in shown.find_all(exp.Column):
        if named and not column.args.get("table"):
            column.set("table", exp.to_identifier(named))
    for name in shown.find_all(exp.Identifier):
        if not name.args.get("quoted"):
            name.set("this", str(name.this).upper())
    return shown.sql(dialect="snowflake")


def _said(number: int, text: str) -> ProgrammingError:
    return sql_error(number, "42601", f"SQL compilation error:\n{text}")
