"""Values that a statement writes into columns of text and VARIANT: what Snowflake prints of them, and texts as texts.

https://docs.snowflake.com/en/sql-reference/data-type-conversion#data-types-that-can-be-cast. DuckDB has texts of its own
for a FLOAT, a TIMESTAMP, a VARIANT and the like. The values of INSERT, UPDATE and MERGE are converted here; CREATE TABLE
with a list of columns casts by itself (``creation.py``). A text for a VARIANT, ARRAY or OBJECT, which DuckDB would read as
JSON, is refused: https://github.com/snowflakedb/snowflake-connector-net/issues/821 shows the error for a VARIANT.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fakesnow.params import index_of_placeholder
from sqlglot import exp

from . import columntypes, inferred, lengths, printing, variants
from .errors import sql_error

if TYPE_CHECKING:
    from .session import Session

_QUERY = "_sf_written_query"
_WIDTH = "sf_width"  # in the metadata of an INSERT: how many columns its query must have
_COLUMNS = (
    "select column_name, data_type from duckdb_columns() "
    "where database_name = ? and schema_name = ? and table_name = ? order by column_index"
)


@dataclass(frozen=True)
class Target:
    """A column that is written: its name, and its type in DuckDB or VARIANT, ARRAY or OBJECT."""

    name: str
    type: str

    @property
    def held(self) -> bool:
        """Whether it holds semi-structured values."""
        return self.type in variants.HOLDERS


def as_texts(statement: exp.Expr, session: Session, params: Any) -> exp.Expr:
    """The statement with what it writes into columns of text converted to texts."""
    if isinstance(statement, exp.Insert) and isinstance(statement.expression, (exp.Query, exp.Values)):
        columns = _columns(statement.this, session)
        given = statement.this.expressions if isinstance(statement.this, exp.Schema) else []
        targets = [columns.get(lengths.name_of(one)) for one in given] or list(columns.values())
        _insert(statement, targets, session, params)
    elif isinstance(statement, exp.Update):
        from_ = statement.args.get("from_")
        read = _Read([statement.this, from_.this if from_ else None], session, params)
        _assign(statement.expressions, _columns(statement.this, session), read)
    elif isinstance(statement, exp.Merge):
        columns = _columns(statement.this, session)
        read = _Read([statement.this, statement.args["using"]], session, params)
        for when in statement.args["whens"].expressions:
            then = when.args.get("then")
            if isinstance(then, exp.Update):
                _assign(then.expressions, columns, read)
            elif isinstance(then, exp.Insert) and isinstance(then.expression, exp.Tuple):
                targets = (
                    [columns.get(lengths.name_of(one)) for one in then.this.expressions]
                    if then.this
                    else list(columns.values())
                )
                _values(then.expression.expressions, targets, read)
    return statement


def _columns(table: exp.Expr, session: Session) -> dict[str, Target]:
    """A table's columns in their order; none where there is no such table."""
    where = lengths.place(table, session)
    found = session._duck_conn.execute(_COLUMNS, list(where)).fetchall()
    kinds = columntypes.known(session._duck_conn, where) if any(type_ == "JSON" for _, type_ in found) else {}
    return {
        name: Target(name, kinds.get(name, "VARIANT") if type_ == "JSON" else type_) for name, type_ in found
    }


def _wanted(value: exp.Expr, target: Target | None) -> bool:
    if target is None or (isinstance(value, (exp.Var, exp.Column)) and value.name.upper() == "DEFAULT"):
        return False
    if target.held:
        return not variants.is_held(value.unalias(), target.type)
    return target.type == "VARCHAR" and (
        isinstance(value, exp.Placeholder) or not printing.is_text(value.unalias())
    )


def _converted(
    value: exp.Expr, target: Target | None, kind: str | None = None, bound: object = None
) -> exp.Expr:
    """A value as a column takes it; ``kind`` says what it is where that is known, ``bound`` is its parameter."""
    if target is not None and target.held:
        return variants.to_be_held(value, target.type, target.name, kind, bound)
    return printing.text(value) if target is not None and target.type == "VARCHAR" else value


def _bound(value: exp.Expr, params: Any) -> object:
    """The parameter that a placeholder stands for."""
    if not isinstance(value, exp.Placeholder) or not isinstance(params, Sequence):
        return None
    number = index_of_placeholder(value.root(), value)
    return params[number] if 0 <= number < len(params) else None


@dataclass
class _Read:
    """What the values of a statement read: tables and queries, and parameters."""

    nodes: Sequence[exp.Expr | None]
    session: Session
    params: Any

    @functools.cached_property
    def sources(self) -> Mapping[str, inferred.Kinds]:
        return inferred.sources_of(self.nodes, columntypes.look(self.session))


def _values(values: Sequence[exp.Expr], targets: Sequence[Target | None], read: _Read) -> None:
    for value, target in zip(values, targets, strict=False):
        if _wanted(value, target):
            kind = inferred.of_value(value, read.sources) if target and target.held else None
            value.replace(_converted(value, target, kind, _bound(value, read.params)))


def _assign(assignments: Sequence[exp.Expr], columns: Mapping[str, Target], read: _Read) -> None:
    _values(
        [one.expression for one in assignments],
        [columns.get(lengths.name_of(one.this)) for one in assignments],
        read,
    )


def _insert(statement: exp.Insert, targets: list[Target | None], session: Session, params: Any) -> None:
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
                    None if isinstance(one, placeholders) and target and target.type == "VARCHAR" else target
                    for one, target in zip(values, targets, strict=False)
                ],
                _Read([], session, params),
            )
        return
    selected = query.selects
    starred = any(one.is_star for one in selected)
    if not starred and (
        len(selected) != len(targets)
        or not any(_wanted(one, target) for one, target in zip(selected, targets, strict=True))
    ):
        return
    if not any(target and (target.held or target.type == "VARCHAR") for target in targets):
        return
    names = [exp.to_identifier(f"_sf_{number}", quoted=True) for number in range(len(targets))]
    values = [exp.column(name.copy(), table=_QUERY) for name in names]
    kinds: Sequence[str | None] = [None] * len(targets)
    given: list[object] = [None] * len(targets)
    if not starred:
        if any(target and target.held for target in targets):
            kinds = inferred.of_result(query, [""] * len(targets), columntypes.look(session))
        given = [_written(one.unalias(), params) for one in selected]
    written = [
        _converted(one, target, kind, bound)
        for one, target, kind, bound in zip(values, targets, kinds, given, strict=True)
    ]
    alias = exp.TableAlias(this=exp.to_identifier(_QUERY, quoted=True), columns=names)
    statement.set(
        "expression", exp.select(*written).from_(exp.Subquery(this=query.unnest().copy(), alias=alias))
    )
    if starred:
        statement.meta[_WIDTH] = len(targets)


def _written(value: exp.Expr, params: Any) -> object:
    """A text that stands in a statement, or is bound to it."""
    return value.name if isinstance(value, exp.Literal) and value.is_string else _bound(value, params)


def check_width(statement: exp.Expr, connection: Any, params: Any) -> None:
    """Refuse a query with a star that has other columns than the INSERT asks for: DuckDB would leave some out."""
    if (width := statement.meta.get(_WIDTH)) is None:
        return
    query = statement.expression.args["from_"].this.this
    found = len(connection.execute(f"describe {query.sql(dialect='duckdb')}", params).fetchall())
    if found != width:
        said = f"Insert value list does not match column list expecting {width} but got {found}"
        raise sql_error(2020, "21S01", f"SQL compilation error:\n{said}")
