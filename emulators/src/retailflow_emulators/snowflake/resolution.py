"""Expressions whose meaning depends on the types of their operands, as Snowflake's types have it.

A rewrite (``rewrites.py``) marks such an expression as a call ``_SF_<RULE>(operands…)``. What the types are only
DuckDB knows, once names are bound. So the statement is tried with every mark in the form of a function that takes no
such arguments: DuckDB binds operands first, and its error names their types. The mark is then replaced by what its
rule (``rules.py``) makes of these types, and the next try comes to the next mark. A statement that fails to bind has
no effect, so the last try is the statement itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import duckdb

from .rules import RULES, split
from .sqltypes import SqlType

PREFIX = "_SF_"
TRIES = 4000  # marks in one statement, at most
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


def resolve(sql: str, run: Callable[[str], None], probe: Callable[[str], None]) -> str:
    """Run a statement, its marks replaced one by one; returns the statement that ran.

    ``probe`` finds the types. It is ``run`` itself, but not in a transaction: DuckDB aborts one at the first error.
    Raises what ``run`` raises.
    """
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
