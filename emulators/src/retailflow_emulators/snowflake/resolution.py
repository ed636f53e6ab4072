"""Expressions whose meaning depends on the types of their operands, as Snowflake's types have it.

A rewrite (``rewrites.py``) marks such an expression as a call ``_SF_<RULE>(operands…)``. What the types are only
DuckDB knows, once names are bound. So the statement is tried with every mark in the form of a function that takes no
such arguments: DuckDB binds operands first, and its error names their types. The mark is then replaced by what its
rule (``rules.py``) makes of these types, and the next try comes to the next mark. A statement that fails to bind has
no effect, so the last try is the statement itself.

A statement with twenty marks costs twenty tries, and dbt sends the same ones in every cycle. So what a statement became is
remembered with its text and the types of its parameters and of all columns that it may read; nothing else decides.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from decimal import Decimal
from typing import Any

import duckdb
from sqlglot import exp

from .rules import RULES, split
from .sqltypes import SqlType

PREFIX = "_SF_"
TRIES = 4000  # marks in one statement, at most
KEPT = 1000  # statements that are remembered
_TOKEN = re.compile(rf"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\b{PREFIX}(?P<rule>[A-Z0-9]+)\(")
_FOUND = re.compile(
    r"argument types 'bit_count\(STRUCT\(p(?P<number>\d+) INTEGER\)(?:, (?P<types>.*?))?\)'\. You might",
    re.DOTALL,
)


def marks(sql: str) -> Iterator[re.Match[str]]:
    """The marks of a statement, outside of strings and quoted names."""
    return (found for found in _TOKEN.finditer(sql) if found["rule"])


def with_probes(sql: str) -> str:
    """The statement with each mark as a call that DuckDB refuses with the types of its operands."""
    numbers = iter(range(TRIES))

    def probe(found: re.Match[str]) -> str:
        return f"bit_count({{'p{next(numbers)}': 0}}, " if found["rule"] else found[0]

    return _TOKEN.sub(probe, sql)


_resolved: OrderedDict[Hashable, str] = OrderedDict()
_lock = threading.Lock()


def tables(statement: exp.Expr) -> frozenset[str] | None:
    """What a statement reads, as DuckDB names it; None where it reads more than tables and views, such as files."""
    own = {id(one) for one in (statement.find(exp.Table),) if isinstance(statement, exp.Create)}
    queries = {one.alias for one in statement.find_all(exp.CTE)}
    found = set()
    for table in statement.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            return None
        if id(table) not in own and (table.db or table.name not in queries):
            found.add(
                exp.Table(**{part: table.args.get(part) for part in ("this", "db", "catalog")}).sql("duckdb")
            )
    return frozenset(found)


def types_of(connection: Any, names: frozenset[str], parameters: Any) -> Hashable:
    """The types on which those of a statement's operands depend. Raises duckdb.Error where one of the tables is not there."""
    columns = tuple(
        (
            name,
            tuple(
                (one[0], str(one[1]))
                for one in connection.execute(f"select * from {name} limit 0").description
            ),
        )
        for name in sorted(names)
    )
    values = parameters.values() if isinstance(parameters, dict) else parameters or ()
    return columns, tuple(map(_type, values))


def _type(value: object) -> Hashable:
    """What decides the type that DuckDB gives a parameter: of some numbers the value, of a moment whether it has a time zone."""
    if isinstance(value, Decimal) or (isinstance(value, int) and value.bit_length() > 30):
        return str(value)
    return type(value), getattr(value, "tzinfo", None) is None


def resolve(
    sql: str, run: Callable[[str], None], probe: Callable[[str], None], types: Hashable = None
) -> str:
    """Run a statement, its marks replaced one by one; returns the statement that ran.

    ``probe`` finds the types. It is ``run`` itself, but not in a transaction: DuckDB aborts one at the first error.
    ``types`` are those that ``types_of`` found; without them nothing is remembered. Raises what ``run`` raises.
    """
    if types is None:
        return _resolve(sql, run, probe)
    key = sql, types
    known = _resolved.get(key)
    if known is None:
        known = _resolve(sql, run, probe)
    else:
        run(known)
    with _lock:
        _resolved[key] = known
        _resolved.move_to_end(key)
        while len(_resolved) > KEPT:
            _resolved.popitem(last=False)
    return known


def _resolve(sql: str, run: Callable[[str], None], probe: Callable[[str], None]) -> str:
    for _ in range(TRIES):
        if not any(marks(sql)):
            run(sql)
            return sql
        try:
            probe(with_probes(sql))
        except duckdb.BinderException as error:
            found = _FOUND.search(str(error))
            if not found:
                raise
            sql = _replaced(
                sql, int(found["number"]), [SqlType.parse(one) for one in split(found["types"] or "")]
            )
    raise duckdb.BinderException("the statement has more expressions than the emulated Snowflake can resolve")


def _replaced(sql: str, number: int, types: list[SqlType]) -> str:
    """The statement with one of its marks replaced by what its rule says."""
    mark = list(marks(sql))[number]
    end = _end(sql, mark.end())
    operands = split(sql[mark.end() : end])
    return f"{sql[: mark.start()]}{RULES[mark['rule']](operands, types)}{sql[end + 1 :]}"


def _end(sql: str, start: int) -> int:
    """Where the parenthesis closes that was opened before ``start``."""
    depth = 1
    for found in re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[()]").finditer(sql, start):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if not depth:
            return found.start()
    raise ValueError(f"no closing parenthesis: {sql[start:]}")
