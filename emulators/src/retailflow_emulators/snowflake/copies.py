"""COPY INTO a table: fields of a file by their position or their name, and texts where the table has texts.

https://docs.snowflake.com/en/user-guide/data-load-transform. Upstream reads a field of a file as whatever DuckDB finds in
it, so that ``007`` became 7, and knows no fields by position.
"""

from __future__ import annotations

from typing import Any

from fakesnow import copy_into
from sqlglot import exp

from . import printing
from .patches import patch

LINE_BYTES = 70_000_000  # a text of 16 MB of characters, each of four bytes
DOCUMENT_BYTES = 2**27
_NAMED = "sf_named"  # in the metadata of a COPY: whether its file has columns with names
_TARGET = "sf_types"  # in the metadata of a COPY: the types of the columns that it fills
_TEXT = (exp.DType.VARCHAR, exp.DType.TEXT)
_COLUMNS = (
    "select column_name, data_type from duckdb_columns() "
    "where database_name = ? and schema_name = ? and table_name = ? order by column_index"
)
_read_csv, _read_json = copy_into.ReadCSV.read_expression, copy_into.ReadJSON.read_expression
_inserts, _strip = copy_into._inserts, copy_into._strip_json_extract


@patch(copy_into.ReadCSV, "read_expression", "COPY of a CSV file with a value of more than 2 MB, or with 007")
def read_csv(self: copy_into.ReadCSV, url: str) -> exp.Expr:
    """Upstream's reader of a file, which takes lines as long as Snowflake does, and every field as a text."""
    read = _read_csv(self, url)
    sizes = {"max_line_size": LINE_BYTES, "buffer_size": LINE_BYTES + 1, "all_varchar": True}
    read.set("expressions", [*read.expressions, *(self.make_eq(name, size) for name, size in sizes.items())])
    return read


@patch(copy_into.ReadJSON, "read_expression", "COPY of a JSON document of more than 16 MB")
def read_json(self: copy_into.ReadJSON, url: str) -> exp.Expr:
    """Upstream's reader of a file, which takes documents as long as Snowflake does."""
    read = _read_json(self, url)
    size = self.make_eq("maximum_object_size", DOCUMENT_BYTES)
    read.set("expressions", [*read.expressions, size])
    return read


def note_target(connection: Any, database: str | None, schema: str | None, statement: exp.Copy) -> None:
    """Note the types of the columns that a COPY fills."""
    table = copy_into._extract_table(statement.this)
    where = [table.catalog or database, table.db or schema, table.name]
    types = dict(connection.execute(_COLUMNS, where).fetchall())
    given = statement.this.expressions if isinstance(statement.this, exp.Schema) else []
    statement.meta[_TARGET] = {name: types.get(name) for name in [one.name for one in given] or types}


@patch(copy_into, "_inserts", "COPY … FROM (SELECT $1, UPPER($2) FROM @stage/file.csv)")
def inserts(statement: exp.Copy, params: Any, urls: list[str], parquet: Any = None) -> list[exp.Expr]:
    """Upstream's INSERTs, one for each file, with texts for the columns of text."""
    types = statement.meta.get(_TARGET, {})
    statement.meta[_NAMED] = isinstance(params.file_format, copy_into.ReadParquet)
    found: list[exp.Expr] = _inserts(statement, params, urls, parquet)
    for insert in found:
        selected = insert.expression.expressions
        for row in insert.expression.find_all(exp.Anonymous):
            if str(row.this) == "json_object":  # a row of parquet for a VARIANT
                row.set(
                    "expressions",
                    [one if n % 2 == 0 else printing.as_json(one) for n, one in enumerate(row.expressions)],
                )
        for cast in list(insert.expression.find_all(exp.Cast)):
            if cast.to.this in _TEXT and not isinstance(cast.this, exp.Literal):
                cast.this.replace(printing.text(cast.this))
        if isinstance(params.file_format, copy_into.ReadCSV) and not statement.find(exp.Select):
            for number, one in enumerate(selected, 1):
                if not one.is_star:
                    one.replace(exp.PositionalColumn(this=exp.Literal.number(number)))
            continue
        for one, type_ in zip(list(selected), types.values(), strict=False):
            value = one.this if isinstance(one, exp.Alias) else one
            type_ = (
                types.get(one.alias, type_)
                if isinstance(one, exp.Alias) and insert.args.get("by_name")
                else type_
            )
            if type_ == "VARCHAR" and not value.is_star:
                value.replace(printing.text(value))
    return found


@patch(
    copy_into,
    "_strip_json_extract",
    'COPY … FROM (SELECT $1:"AT" …): a column named like a keyword needs its quotes',
)
def fields(select: exp.Select) -> exp.Select:
    """The SELECT of a COPY with the fields of its file."""
    for column in list(select.find_all(exp.Column)):
        if isinstance(column.this, exp.Parameter):
            column.replace(column.this)
    statement = select.find_ancestor(exp.Copy)
    return _named(select) if statement and statement.meta.get(_NAMED) else _placed(select)


def _named(select: exp.Select) -> exp.Select:
    """Fields of a parquet file, which are columns in DuckDB, with the quotes that upstream takes from ``$1:"AT"``."""
    stripped = _strip(select)
    for name in stripped.find_all(exp.Identifier):
        name.set("quoted", True)
    return stripped


def _placed(select: exp.Select) -> exp.Select:
    """Fields by their position, of which a JSON document is the only one."""
    for field in list(select.find_all(exp.Parameter)):
        field.replace(exp.PositionalColumn(this=exp.Literal.number(field.this.name)))
    return select
