"""What Snowflake has and the emulator has not: refused with "not emulated: …", never accepted in silence."""

from __future__ import annotations

import re

from sqlglot import exp

from .errors import NotEmulatedError, sql_error

_CREATE = r"create\s+(or\s+replace\s+)?"
_OBJECTS = "stream task pipe alert dynamic_table external_table iceberg_table event_table hybrid_table materialized_view"
_STATEMENTS = {
    _CREATE
    + r"(temp\w*\s+|secure\s+|aggregate\s+|external\s+)*(function|procedure)": "functions and procedures of users",
    r"(drop|alter|describe|desc)\s+(function|procedure)": "functions and procedures of users",
    r"call": "procedures",
    _CREATE + "(" + "|".join(_OBJECTS.split()).replace("_", r"\s+") + ")": "this kind of object",
    r"undrop": "time travel",
    r"explain": "EXPLAIN: the plans of Snowflake's optimizer are not known here",
    r"alter\s+(session|user\s+\S+|account)\s+set\b.*\btransaction_abort_on_error\s*=\s*true": "TRANSACTION_ABORT_ON_ERROR",
    r"execute\s+immediate|begin\s+(?!transaction|work|name)\w|declare": "Snowflake Scripting",
}
_PATTERNS = [
    (re.compile(rf"\s*({pattern})\b", re.IGNORECASE | re.DOTALL), what)
    for pattern, what in _STATEMENTS.items()
]
_FUNCTIONS = {
    "HASH": "HASH: Snowflake's values of it are not known",
    "GET_DDL": "GET_DDL",
    "HASH_AGG": "HASH_AGG: Snowflake's values of it are not known",
}
# Parameters that change what statements answer, and the values that they have here,
# https://docs.snowflake.com/en/sql-reference/parameters
_PARAMETERS = {
    "TIMEZONE": "UTC ETC/UTC GMT ETC/GMT",
    "WEEK_START": "0 1",
    "WEEK_OF_YEAR_POLICY": "0",
    "DATE_INPUT_FORMAT": "AUTO",
    "DATE_OUTPUT_FORMAT": "YYYY-MM-DD AUTO",
    "TIME_INPUT_FORMAT": "AUTO",
    "TIME_OUTPUT_FORMAT": "HH24:MI:SS AUTO",
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
    "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
    "BINARY_INPUT_FORMAT": "HEX",
    "BINARY_OUTPUT_FORMAT": "HEX",
    "QUOTED_IDENTIFIERS_IGNORE_CASE": "FALSE",
    "TWO_DIGIT_CENTURY_START": "1970",
}
_SET = re.compile(r"alter\s+(?:session|account|user\s+\S+)\s+set\s+(.*)", re.IGNORECASE | re.DOTALL)
_GIVEN = re.compile(r"([a-z_]+)\s*=\s*('(?:[^']|'')*'|[^\s,;]+)", re.IGNORECASE)


def check_parameters(given: dict[str, object]) -> None:
    """Refuse a parameter whose value would change answers, which stay the same here."""
    for name, value in given.items():
        known = _PARAMETERS.get(name.upper())
        if known is not None and str(value).strip("'").upper() not in known.split():
            raise NotEmulatedError(
                f"the parameter {name.upper()} = {value}: only {' or '.join(known.split())}"
            )


def check(command: str) -> None:
    """Refuse a statement by its first words."""
    if found := _SET.match(command):
        check_parameters(dict(_GIVEN.findall(found[1])))
    for pattern, what in _PATTERNS:
        if pattern.match(command):
            raise NotEmulatedError(what)


def check_tree(expression: exp.Expr) -> None:
    """Refuse what a statement asks for anywhere."""
    for node in expression.walk():
        name = str(node.this).upper() if isinstance(node, exp.Anonymous) else ""
        if name in _FUNCTIONS:
            raise NotEmulatedError(_FUNCTIONS[name])
        if isinstance(node, exp.When) and node.args.get("source"):
            # https://docs.snowflake.com/en/sql-reference/sql/merge has no such clause
            raise sql_error(1003, "42000", "SQL compilation error:\nsyntax error unexpected 'BY'.")
        if isinstance(node, exp.Generator) and not node.args.get("rowcount"):
            raise NotEmulatedError("GENERATOR without ROWCOUNT")
        if isinstance(node, exp.Pivot) and node.find(exp.PivotAny):
            raise NotEmulatedError("PIVOT … IN (ANY): name the values")
        if (
            isinstance(node, exp.Table)
            and isinstance(node.this, exp.Var)
            and node.name.startswith("@")
            and not node.find_ancestor(exp.Copy)
        ):
            raise NotEmulatedError("SELECT from a stage: COPY INTO a table first")
        if isinstance(node, exp.Table) and (
            node.args.get("when") or node.args.get("changes") or node.args.get("version")
        ):
            raise NotEmulatedError("time travel")
