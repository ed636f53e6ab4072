"""How VARIANT, ARRAY and OBJECT are printed to clients: indented, as the session's JSON_INDENT says.

https://docs.snowflake.com/en/sql-reference/parameters#json-indent. DuckDB indents by four spaces, twenty thousand values in
a few milliseconds; a run of four spaces within a text is set aside while these become as many as are wanted.
"""

from __future__ import annotations

import itertools
import re
from contextvars import ContextVar
from typing import Any

import fakesnow.server as server_module
import pyarrow as pa
import pyarrow.compute as pc

from . import flattening
from .patches import narrowed, patch

DEFAULT, MOST = 2, 16
WIDTH: ContextVar[int] = ContextVar("json_indent", default=0)  # of the session whose statement is answered
_KINDS = ("variant", "array", "object")
_PARAMETER = re.compile(
    r"alter\s+session\s+(?:set\b.*\bjson_indent\s*=\s*(?P<width>\d+)|unset\b.*\bjson_indent\b)",
    re.IGNORECASE | re.DOTALL,
)
_SQL = """select case when left(ltrim(j), 1) in ('{', '[') then replace(replace(json_pretty(cast(
    replace(cast(json(j) as varchar), '    ', $aside) as json)), '    ', repeat(' ', $width)), $aside, '    ') else j end as j
    from _sf_indented"""


def asked(command: str) -> int | None:
    """The JSON_INDENT that a statement sets; None for other statements."""
    found = _PARAMETER.match(command)
    return int(found["width"] or DEFAULT) if found else None


def in_order(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of JSON with the keys of objects in order; equal values are looked at once."""
    texts = values.cast(pa.string())
    if not pc.any(pc.match_substring_regex(texts, r"\{.*,")).as_py():
        return values
    encoded = texts.combine_chunks().dictionary_encode()
    ordered = [
        one if one is None or one[:1] not in "{[" else flattening.ordered(one)
        for one in encoded.dictionary.to_pylist()
    ]
    return pa.chunked_array([pa.array(ordered, pa.string()).take(encoded.indices)])


def indented(values: pa.ChunkedArray, width: int) -> pa.ChunkedArray:
    """A column of JSON, indented."""
    texts = values.cast(pa.string())
    if not pc.any(pc.match_substring_regex(texts, r"^\s*[\[{]")).as_py():
        return values
    aside = next(
        character
        for character in map(chr, itertools.count(0xE000))
        if not pc.any(pc.match_substring(texts, character)).as_py()
    )
    with server_module.shared_fs.duck_conn.cursor() as cursor:
        cursor.register("_sf_indented", pa.table({"j": texts}))
        found: pa.Table = cursor.execute(_SQL, {"aside": aside, "width": width}).to_arrow_table()
    return found.column(0)


@patch(server_module, "to_sf", "SELECT ARRAY_CONSTRUCT(1) is printed on three lines")
def printed(table: pa.Table, rowtype: list[Any]) -> pa.Table:
    """Rows as upstream sends them, with JSON as it is printed."""
    width = WIDTH.get()
    for number, column in enumerate(rowtype):
        if column["type"] in _KINDS and not pa.types.is_null(table.schema.field(number).type):
            new = in_order(table.column(number))
            new = indented(new, width) if width else new
            if pc.any(pc.match_substring(new.cast(pa.string()), flattening.UNDEFINED)).as_py():
                new = pc.replace_substring(new.cast(pa.string()), f'"{flattening.UNDEFINED}"', "undefined")
            table = table.set_column(number, table.schema.field(number).with_type(new.type), new)
    return narrowed(table, rowtype)
