"""DESCRIBE and DROP of what DuckDB has no statements for: results, sequences, file formats."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .errors import sql_error
from .quoting import literal
from .sqltypes import SqlType

if TYPE_CHECKING:
    from .session import Session

_NAME = r'(?:[\w$]+|"(?:[^"]|"")+")'
_FULL = rf"(?P<name>{_NAME}(?:\.{_NAME}){{0,2}})"
_COMMENT = r"(?:\s|/\*(?:(?!\*/).)*\*/)+"
_RESULT = re.compile(r"desc(?:ribe)?\s+result\s+(?:last_query_id\(\s*\)|'(?P<id>[^']+)')$", re.IGNORECASE)
_SEQUENCE = re.compile(rf"desc(?:ribe)?\s+sequence{_COMMENT}{_FULL}$", re.IGNORECASE | re.DOTALL)
_TYPES = {
    "text": "VARCHAR(16777216)",
    "float": "FLOAT",
    "date": "DATE",
    "variant": "VARIANT",
    "timestamp": "TIMESTAMP_NTZ(9)",
    "null": "VARCHAR(16777216)",
}


def query(command: str, session: Session) -> str | None:
    """The query that answers such a statement; None for other statements."""
    if found := _SEQUENCE.match(command):
        return _sequence(found["name"], session)
    return None


def _place(name: str, session: Session) -> tuple[str, ...]:
    names = [
        one[1:-1].replace('""', '"') if one.startswith('"') else one.upper()
        for one in re.findall(_NAME, name)
    ]
    return tuple(str(one) for one in [*[session.database, session.schema][: 3 - len(names)], *names])


def result(command: str, session: Session) -> str | None:
    """The query for DESCRIBE RESULT, https://docs.snowflake.com/en/sql-reference/sql/desc-result"""
    if not (found := _RESULT.match(command)):
        return None
    query_id = found["id"] or next((query for query in reversed(session.about.queries) if query), "")
    columns = session.described.get(query_id)
    if columns is None:
        raise sql_error(709, "02000", f"Statement {query_id} not found")
    rows = ", ".join(f"({literal(name)}, {literal(type_name(type_))})" for name, type_ in columns)
    return f'select "name", "type", \'COLUMN\' as "kind", \'Y\' as "null?" from (values {rows}) as r("name", "type")'


def type_name(name: str) -> str:
    """A type of DuckDB as Snowflake describes it."""
    type_ = SqlType.parse(name)
    if type_.kind == "number":
        return f"NUMBER({38 if type_.integer else type_.precision},{type_.scale})"
    if name == "TIMESTAMP WITH TIME ZONE":
        return "TIMESTAMP_TZ(9)"
    known = {"TIME": "TIME(9)", "BLOB": "BINARY(8388608)", "TIMESTAMP_LTZ": "TIMESTAMP_LTZ(9)"}
    return known.get(name) or (name if name in ("ARRAY", "OBJECT") else _TYPES.get(type_.kind, name))


def _sequence(name: str, session: Session) -> str:
    """https://docs.snowflake.com/en/sql-reference/sql/desc-sequence"""
    place = _place(name, session)
    session.guard.check_object("SEQUENCE", place, "USAGE")
    shown = (
        'select sequence_name as "name", database_name as "database_name", schema_name as "schema_name", '
        'coalesce(last_value + increment_by, start_value) as "next_value", increment_by as "interval", '
        "'SYSADMIN' as \"owner\" from duckdb_sequences() where "
        + " and ".join(
            f"upper({column}) = upper({literal(str(part))})"
            for column, part in zip(("database_name", "schema_name", "sequence_name"), place, strict=True)
        )
    )
    if not session._duck_conn.execute(shown).fetchone():
        message = f"SQL compilation error:\nSequence '{name}' does not exist or not authorized."
        raise sql_error(2003, "02000", message)
    return shown
