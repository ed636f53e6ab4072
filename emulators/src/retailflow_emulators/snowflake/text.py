"""Statements as text, before they are parsed."""

from __future__ import annotations

import re
from collections.abc import Mapping

from snowflake.connector.errors import ProgrammingError
from sqlglot.dialects.snowflake import Snowflake
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import TokenType

_BEFORE = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|//[^\n]*(?:\n|$)|/\*.*?\*/)+", re.DOTALL)

# What is quoted or a comment, or the name of a session variable; `$1` is a column, and a name may hold a `$` inside.
_VARIABLE = re.compile(
    r"""'(?:[^'\\]|\\.)*'|"[^"]*"|\$\$.*?\$\$|--[^\n]*|//[^\n]*|/\*.*?\*/|(?<![\w$])\$([A-Za-z_]\w*)""",
    re.DOTALL,
)


def with_variables(command: str, variables: Mapping[str, str]) -> str:
    """A statement with the values of its session variables; ProgrammingError names one that is not set.

    https://docs.snowflake.com/en/sql-reference/session-variables
    """
    known = {name.upper(): value for name, value in variables.items()}

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return found[0]
        if name.upper() not in known:
            raise ProgrammingError(msg=f"Session variable '${name.upper()}' does not exist")
        return known[name.upper()]

    return _VARIABLE.sub(value, command) if "$" in command else command


def bare(command: str) -> str:
    """A statement without the comments and blanks before it, and without those in ``/* */`` and semicolons after it."""
    before = _BEFORE.match(command)
    rest = command[before.end() :] if before else command
    while True:
        rest = rest.rstrip("; \t\r\n")
        begin = rest.rfind("/*") if rest.endswith("*/") else -1
        if begin < 0:
            return rest
        rest = rest[:begin]


def statements(command: str) -> list[str]:
    """The statements of a text that has several, separated by semicolons."""
    text = bare(command)
    if ";" not in text:
        return [command]
    try:
        tokens = Snowflake().tokenize(text)
    except TokenError:
        return [command]
    ends = [token.start for token in tokens if token.token_type == TokenType.SEMICOLON]
    parts = [
        text[begin:end]
        for begin, end in zip([0, *(end + 1 for end in ends)], [*ends, len(text)], strict=True)
    ]
    return [part for part in parts if bare(part)] if ends else [command]
