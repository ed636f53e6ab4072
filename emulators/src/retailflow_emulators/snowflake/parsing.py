"""From the text of a request to the tree of its statement, which is parsed once."""

from __future__ import annotations

import re
from contextvars import ContextVar
from decimal import Decimal
from math import isinf

import fakesnow.cursor as cursor_module
import fakesnow.server as server_module
from fakesnow.dialect import parse_one as parse_snowflake
from sqlglot import exp

from .access.guard import is_command
from .access.words import tokens
from .errors import sql_error
from .patches import patch
from .sqltypes import DIGITS

_ODD = re.compile(r"[\^&]|(?<!\|)\|(?!\|)|<<|(?<!-)>>|<=>|~")
_QUERIES = re.compile(r"\s*(?:select|with|insert|update|delete|merge|create)\b", re.IGNORECASE)
_EXPONENT = re.compile(r"\d[eE][+-]?\d")
_parsed: ContextVar[dict[str, exp.Expr]] = ContextVar("_parsed", default={})  # noqa: B039 (it stays empty)


@patch(
    server_module, "parse_one", "DESCRIBE USER and CREATE USER, which sqlglot cannot read or complains about"
)
def parse_one(command: str) -> exp.Expr:
    """A statement's tree; statements that upstream does not run have none."""
    if is_command(command):
        return exp.Command(this="SHOW", expression=exp.Literal.string(command))
    tree = _exact(parse_snowflake(command), command)
    _parsed.set({command: tree})
    return tree


def _exact(tree: exp.Expr, command: str) -> exp.Expr:
    """The tree, in which a number that is written with an exponent is a NUMBER where one holds it.

    https://docs.snowflake.com/en/sql-reference/functions/system_typeof: 1e10 is a NUMBER(11, 0).
    """
    if _EXPONENT.search(command):
        for node in tree.find_all(exp.Literal):
            if not node.is_string and "e" in node.name.lower():
                written = (
                    f"{Decimal(node.name):f}"
                    if abs(int(node.name.lower().partition("e")[2])) <= DIGITS
                    else ""
                )
                if isinf(float(node.name)):
                    raise sql_error(100039, "22003", f"Numeric value '{node.name}' is out of range")
                if written and len(written.replace(".", "")) <= DIGITS:
                    node.set("this", written)
    return tree


@patch(cursor_module, "parse_one", "the server has parsed a statement already when its cursor runs it")
def parse_once(command: str) -> exp.Expr:
    """The tree of this request's statement, which the cursor may change."""
    known = _parsed.get()
    tree: exp.Expr = known.pop(command) if command in known else _exact(parse_snowflake(command), command)
    return tree


def check_count(command: str) -> None:
    """Refuse two statements in one request: only the first one would run.

    https://docs.snowflake.com/en/sql-reference/parameters#multi-statement-count
    """
    check_operators(command)
    if ";" not in command.rstrip("; \n\t\r"):
        return
    parts = 1
    empty = True
    for token in tokens(command):
        if token.kind == "mark" and token.text == ";":
            parts, empty = parts + (not empty), True
        else:
            empty = False
    count = parts - (empty and parts > 1)
    if count > 1:
        raise sql_error(
            8,
            "0A000",
            f"Actual statement count {count} did not match the desired statement count 1.",
        )


def check_operators(command: str) -> None:
    """Refuse operators that sqlglot reads and Snowflake has not.

    https://docs.snowflake.com/en/sql-reference/operators lists all; BITAND, BITSHIFTLEFT and the like are functions.
    """
    if not _ODD.search(command) or not _QUERIES.match(command):
        return
    marks = "".join(one.text if one.kind == "mark" else " " for one in tokens(command))
    if found := _ODD.search(marks):
        raise sql_error(1003, "42000", f"SQL compilation error:\nsyntax error unexpected '{found[0]}'.")


def asks_for_name(expression: exp.Expr) -> bool:
    """Whether a name comes with the parameters of the request, which are not known yet."""
    return any(
        isinstance(table.this, (exp.DynamicIdentifier, exp.Anonymous)) and table.this.find(exp.Placeholder)
        for table in expression.find_all(exp.Table)
    )


def read_again(text: str) -> exp.Expr:
    """The tree of a statement as it was written, where the one that runs has been changed."""
    tree: exp.Expr = parse_snowflake(text)
    return tree
