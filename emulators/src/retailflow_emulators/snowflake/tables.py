"""Table functions that read what DuckDB does not know: the results of earlier statements, and the files of a stage.

https://docs.snowflake.com/en/sql-reference/functions/result_scan,
https://docs.snowflake.com/en/sql-reference/functions/infer_schema
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
from fakesnow.params import pop_qmark_param
from sqlglot import exp

from . import stages
from .errors import NotEmulatedError, sql_error
from .quoting import literal
from .sqltypes import SqlType

if TYPE_CHECKING:
    from .session import Session

_TYPES = {"text": "TEXT", "float": "REAL", "date": "DATE", "variant": "VARIANT", "timestamp": "TIMESTAMP_NTZ"}
_COLUMNS = ("COLUMN_NAME", "TYPE", "NULLABLE", "EXPRESSION", "FILENAMES", "ORDER_ID")


def read(expression: exp.Expr, session: Session, params: Any) -> exp.Expr:
    """The statement with these table functions as tables of DuckDB."""
    for node in list(expression.find_all(exp.TableFromRows)):
        function = node.this
        name = str(function.this).upper() if isinstance(function, exp.Anonymous) else ""
        if name == "RESULT_SCAN":
            table = _result(function, session)
        elif name == "INFER_SCHEMA":
            table = _schema(expression, function, session, params)
        else:
            continue
        if alias := node.args.get("alias"):
            table.set("alias", alias.copy())
        node.replace(table)
    for extract in list(expression.find_all(exp.GetExtract)):
        # COPY … FROM (SELECT GET($1, 'A') …), as ibis writes $1:"A".
        key = extract.expression
        if isinstance(extract.this, exp.Parameter) and extract.find_ancestor(exp.Copy):
            path = exp.JSONPath(expressions=[exp.JSONPathRoot(), exp.JSONPathKey(this=key.name, quoted=True)])
            extract.replace(exp.JSONExtract(this=extract.this.copy(), expression=path, variant_extract=True))
    return expression


def _result(function: exp.Anonymous, session: Session) -> exp.Expr:
    """The result of an earlier statement as a table of DuckDB."""
    argument = function.expressions[0] if function.expressions else exp.null()
    query = argument.this.name if isinstance(argument, exp.Cast) else argument.name
    kept = session.results_cache.get(query)
    if kept is None:
        raise sql_error(709, "02000", f"Statement {query} not found")
    connection: Any = session._duck_conn
    name = f"result of {query}"
    connection.show(name, kept[0])
    shown = exp.Table(this=exp.to_identifier(name, quoted=True))
    held = [one for one, type_ in session.described.get(query, []) if type_ in ("JSON", "ARRAY", "OBJECT")]
    if not held:
        return shown
    # Arrow has texts for them.
    replaced = [
        exp.alias_(exp.Anonymous(this="json", expressions=[exp.column(one, quoted=True)]), one, quoted=True)
        for one in dict.fromkeys(held)
    ]
    return exp.select(exp.Star(replace=replaced)).from_(shown).subquery("scanned")


def _schema(statement: exp.Expr, function: exp.Anonymous, session: Session, params: Any) -> exp.Expr:
    given: dict[str, Any] = {}
    for argument in function.expressions:
        value = argument.expression
        if isinstance(value, exp.Placeholder):
            bound = exp.Literal.string(str(pop_qmark_param(params, statement, value)))
            value.replace(bound)
            value = bound
        given[argument.name.upper()] = value.name
    session.guard.check_stage(given.get("LOCATION", ""), "READ", "USAGE")
    folder, prefix = stages.find(given.get("LOCATION", ""), session)
    files = stages.files(folder, prefix)
    upper = str(given.get("IGNORE_CASE", "")).upper() == "TRUE"
    rows = []
    if files:
        paths = ", ".join(literal(str(file)) for file in files)
        sql = f"describe select * from read_parquet([{paths}], union_by_name = true)"
        try:
            described = session._duck_conn.execute(sql).fetchall()
        except duckdb.Error as error:
            raise NotEmulatedError("INFER_SCHEMA of other files than parquet") from error
        names = ", ".join(map(stages.shown_name, files))
        for number, (column, type_, *_) in enumerate(described):
            column, type_ = column.upper() if upper else column, _type(type_)
            extract = f"$1:{column}::{type_}"
            rows.append((column, type_, True, extract, names, number))
    found = exp.values(rows or [("", "", True, "", "", 0)], alias="inferred", columns=_COLUMNS)
    selected = exp.select("*").from_(found).where("true" if rows else "false")
    return selected.subquery("inferred")


def _type(name: str) -> str:
    """A column's type in a file, as Snowflake calls it."""
    type_ = SqlType.parse(name)
    if type_.kind == "number":
        return f"NUMBER({38 if type_.integer else type_.precision}, {type_.scale})"
    if name == "TIMESTAMP WITH TIME ZONE":
        return "TIMESTAMP_LTZ"
    known = {"BOOLEAN": "BOOLEAN", "BLOB": "BINARY", "TIME": "TIME"}
    return known.get(name) or _TYPES.get(type_.kind, "VARIANT")
