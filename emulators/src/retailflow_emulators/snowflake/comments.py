"""Comments of columns, which upstream drops: ``COMMENT ON COLUMN`` and ``ALTER TABLE … ALTER c COMMENT '…'``.

https://docs.snowflake.com/en/sql-reference/sql/comment, https://docs.snowflake.com/en/sql-reference/sql/alter-table-column
"""

from __future__ import annotations

import re
from string import Template
from typing import TYPE_CHECKING

from fakesnow import transforms
from fakesnow.transforms import transforms as module
from sqlglot import exp, parse_one

from . import temporary
from .patches import patch
from .quoting import literal

if TYPE_CHECKING:
    from .session import Session

_NAME = r'(?:[\w$]+|"(?:[^"]|"")+")'
_FULL = rf"{_NAME}(?:\s*\.\s*{_NAME}){{0,2}}"
_TEXT = r"(?:'(?:[^'\\]|''|\\.)*'|\$\$.*?\$\$)"
_ALTER = re.compile(
    rf"\s*alter\s+(?:table|view)\s+(?:if\s+exists\s+)?(?P<table>{_FULL})\s+(?:alter|modify)\s*\(?\s*(?P<columns>.*?)\)?\s*;?\s*$",
    re.IGNORECASE | re.DOTALL,
)
_COLUMN = re.compile(
    rf"(?:column\s+)?(?P<column>{_NAME})\s+comment\s+(?P<text>{_TEXT})\s*(?:,\s*|$)",
    re.IGNORECASE | re.DOTALL,
)
_COMMENT = re.compile(
    rf"\s*comment\s+(?:if\s+exists\s+)?on\s+column\s+(?P<table>{_FULL})\s*\.\s*(?P<column>{_NAME})\s+is\s+(?P<text>{_TEXT})\s*;?\s*$",
    re.IGNORECASE | re.DOTALL,
)
patch(module, "SQL_DESCRIBE_TABLE", "DESCRIBE TABLE shows the comments of columns")(
    Template(module.SQL_DESCRIBE_TABLE.template.replace('NULL::VARCHAR AS "comment"', 'COMMENT AS "comment"'))
)


def table_of(command: str) -> exp.Table | None:
    """The table whose columns a statement comments, if it may be one that does nothing else."""
    found = _COMMENT.match(command) or _ALTER.match(command)
    return exp.to_table(found["table"], dialect="snowflake") if found else None


def statements(command: str, session: Session) -> list[str]:
    """DuckDB's statements for one of Snowflake's that does nothing but to comment columns; empty for others."""
    if found := _COMMENT.match(command):
        pairs = [(found["column"], found["text"])]
    elif found := _ALTER.match(command):
        columns = list(_COLUMN.finditer(found["columns"]))
        if "".join(one[0] for one in columns) != found["columns"]:
            return []
        pairs = [(one["column"], one["text"]) for one in columns]
    else:
        return []
    table = temporary.renamed(exp.to_table(found["table"], dialect="snowflake"), session)
    target = table.transform(transforms.upper_case_unquoted_identifiers)
    target.set("alias", None)
    place = target.sql(dialect="duckdb", identify=True)
    return [
        f"comment on column {place}.{_identifier(column)} is {literal(_value(text))}"
        for column, text in pairs
    ]


def _identifier(name: str) -> str:
    return name if name.startswith('"') else f'"{name.upper()}"'


def _value(text: str) -> str:
    return text[2:-2] if text.startswith("$$") else str(parse_one(text, read="snowflake").name)
