"""Values that a statement writes into columns of text and VARIANT: what Snowflake prints of them, and texts as texts.

https://docs.snowflake.com/en/sql-reference/data-type-conversion#data-types-that-can-be-cast. DuckDB has texts of its own
for a FLOAT, a TIMESTAMP, a VARIANT and the like. The values of INSERT, UPDATE and MERGE are converted here; CREATE TABLE
with a list of columns casts by itself (``creation.py``). DuckDB would read a text for a VARIANT as JSON, where Snowflake
keeps it: https://docs.snowflake.com/en/sql-reference/data-types-semistructured#label-data-type-variant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from . import lengths, printing, variants
from .errors import sql_error

if TYPE_CHECKING:
    from .session import Session

_QUERY = "_sf_written_query"
_WIDTH = "sf_width"  # in the metadata of an INSERT: how many columns its query must have
_COLUMNS = (
    "select column_name, data_type from duckdb_columns() "
    "where database_name = ? and schema_name = ? and table_name = ? order by column_index"
)


def as_texts(statement: exp.Expr, session: Session, params: Any) -> exp.Expr:
    """The statement with what it writes into columns of text converted to texts."""
    if isinstance(statement, exp.Insert) and isinstance(statement.expression, (exp.Query, exp.Values)):
        columns = _columns(statement.this, session)
        given = statement.this.expressions if isinstance(statement.this, exp.Schema) else []
        _insert(
            statement, [columns.get(lengths.name_of(one)) for one in given] or list(columns.values()), params
        )
    elif isinstance(statement, exp.Update):
        _assign(statement.expressions, _columns(statement.this, session))
    elif isinstance(statement, exp.Merge):
        columns = _columns(statement.this, session)
        for when in statement.args["whens"].expressions:
            then = when.args.get("then")
            if isinstance(then, exp.Update):
                _assign(then.expressions, columns)
            elif isinstance(then, exp.Insert) and isinstance(then.expression, exp.Tuple):
                types = (
                    [columns.get(lengths.name_of(one)) for one in then.this.expressions]
                    if then.this
                    else list(columns.values())
                )
                _values(then.expression.expressions, types)
    return statement


def _columns(table: exp.Expr, session: Session) -> dict[str, str]:
    """The types of a table's columns in DuckDB, in their order; none where there is no such table."""
    where = list(lengths.place(table, session))
    return dict(session._duck_conn.execute(_COLUMNS, where).fetchall())


def _wanted(value: exp.Expr, type_: str | None) -> bool:
    default = isinstance(value, (exp.Var, exp.Column)) and value.name.upper() == "DEFAULT"
    if type_ == "JSON":
        return not default and not variants.is_held(value.unalias())
    return (
        type_ == "VARCHAR"
        and not default
        and (isinstance(value, exp.Placeholder) or not printing.is_text(value.unalias()))
    )


def _converted(value: exp.Expr, type_: str | None) -> exp.Expr:
    """A value as a column of this type takes it."""
    if type_ == "VARCHAR":
        return printing.text(value)
    return variants.to_be_held(value) if type_ == "JSON" else value


def _values(values: Sequence[exp.Expr], types: Sequence[str | None]) -> None:
    for value, type_ in zip(values, types, strict=False):
        if _wanted(value, type_):
            value.replace(_converted(value, type_))


def _assign(assignments: Sequence[exp.Expr], columns: dict[str, str]) -> None:
    _values(
        [one.expression for one in assignments],
        [columns.get(lengths.name_of(one.this)) for one in assignments],
    )


def _insert(statement: exp.Insert, types: list[str | None], params: Any) -> None:
    query = statement.expression
    if isinstance(query, exp.Values):
        if all(isinstance(one, str) for one in params or []):
            placeholders: tuple[type[exp.Expr], ...] = (exp.Placeholder,)
        else:
            placeholders = ()
        for row in query.expressions:
            values = row.expressions if isinstance(row, exp.Tuple) else [row]
            _values(
                values,
                [
                    None if isinstance(one, placeholders) and type_ == "VARCHAR" else type_
                    for one, type_ in zip(values, types, strict=False)
                ],
            )
        return
    selected = query.selects
    starred = any(one.is_star for one in selected)
    if not starred and (
        len(selected) != len(types)
        or not any(_wanted(one, type_) for one, type_ in zip(selected, types, strict=True))
    ):
        return
    if not {"VARCHAR", "JSON"} & set(types):
        return
    names = [exp.to_identifier(f"_sf_{number}", quoted=True) for number in range(len(types))]
    values = [exp.column(name.copy(), table=_QUERY) for name in names]
    written = [_converted(one, type_) for one, type_ in zip(values, types, strict=True)]
    alias = exp.TableAlias(this=exp.to_identifier(_QUERY, quoted=True), columns=names)
    statement.set(
        "expression", exp.select(*written).from_(exp.Subquery(this=query.unnest().copy(), alias=alias))
    )
    if starred:
        statement.meta[_WIDTH] = len(types)


def check_width(statement: exp.Expr, connection: Any, params: Any) -> None:
    """Refuse a query with a star that has other columns than the INSERT asks for: DuckDB would leave some out."""
    if (width := statement.meta.get(_WIDTH)) is None:
        return
    query = statement.expression.args["from_"].this.this
    found = len(connection.execute(f"describe {query.sql(dialect='duckdb')}", params).fetchall())
    if found != width:
        said = f"Insert value list does not match column list expecting {width} but got {found}"
        raise sql_error(2020, "21S01", f"SQL compilation error:\n{said}")
