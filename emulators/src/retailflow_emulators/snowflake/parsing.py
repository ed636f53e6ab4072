"""From the text of a request to the tree of its statement, which is parsed once."""

from __future__ import annotations

from contextvars import ContextVar

import fakesnow.cursor as cursor_module
import fakesnow.server as server_module
from fakesnow.dialect import parse_one as parse_snowflake
from sqlglot import exp

from .access.guard import is_command
from .access.words import tokens
from .errors import sql_error
from .patches import patch

_parsed: ContextVar[dict[str, exp.Expr]] = ContextVar("_parsed", default={})  # noqa: B039 (it stays empty)


@patch(
    server_module, "parse_one", "DESCRIBE USER and CREATE USER, which sqlglot cannot read or complains about"
)
def parse_one(command: str) -> exp.Expr:
    """A statement's tree; statements that upstream does not run have none."""
    if is_command(command):
        return exp.Command(this="SHOW", expression=exp.Literal.string(command))
    tree: exp.Expr = parse_snowflake(command)
    _parsed.set({command: tree})
    return tree


@patch(cursor_module, "parse_one", "the server has parsed a statement already when its cursor runs it")
def parse_once(command: str) -> exp.Expr:
    """The tree of this request's statement, which the cursor may change."""
    known = _parsed.get()
    tree: exp.Expr = known.pop(command) if command in known else parse_snowflake(command)
    return tree


def check_count(command: str) -> None:
    """Refuse two statements in one request: only the first one would run.

    https://docs.snowflake.com/en/sql-reference/parameters#multi-statement-count
    """
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
