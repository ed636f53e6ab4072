"""What queries read: tables, files of stages, results, sequences, and functions that no grant allows."""

from __future__ import annotations

import functools
import re
from typing import Any

import duckdb
from sqlglot import exp

from ..errors import NotEmulatedError, is_snowflakes, sql_error
from .needed import INFORMATION, LOCATION, METERING, Needs, first_words, name_of, names_in, path, table_of

VIEWS_OF_INFORMATION = ("TABLES", "VIEWS", "COLUMNS", "SCHEMATA", "DATABASES", "LOAD_HISTORY")
# Functions that DuckDB knows and Snowflake does not, and that tell or do what no grant allows.
_FOREIGN = re.compile(
    r"_sf_.*|_fs_.*|duckdb_.*|pragma_.*|pg_.*|read_.*|(?!result_).*_scan|glob|query|query_table|sniff_csv|getenv|getvariable|nextval"
    r"|currval|current_setting|set_config|in_search_path|current_catalog|txid_current|parquet_.*|which_secret|.*_secrets?"
    r"|has_.*_privilege|sql_auto_complete|summary|repeat_row|unnest|generate_series|range|json_execute_.*|json_serialize_.*"
    r"|from_substrait.*|checkpoint|force_checkpoint|enable_.*|disable_.*|storage_info|test_.*|icu_.*|write_log|parse_log_.*",
    re.IGNORECASE,
)


@functools.cache
def _functions_of_duckdb() -> frozenset[str]:
    with duckdb.connect() as connection:
        rows = connection.execute("select distinct upper(function_name) from duckdb_functions()").fetchall()
    return frozenset(name for (name,) in rows)


def _is_foreign(name: str) -> bool:
    """Whether only DuckDB has a function: what works here by accident is unknown to Snowflake."""
    return name in _functions_of_duckdb() and not is_snowflakes(name)


_TABLE_FUNCTIONS = {
    "INFER_SCHEMA",
    "RESULT_SCAN",
    "GENERATOR",
    "FLATTEN",
    "SPLIT_TO_TABLE",
    "STRTOK_SPLIT_TO_TABLE",
}


def reads(tree: exp.Expr, found: Needs, targets: tuple[Any, ...] = ()) -> None:
    """Add what a statement reads, anywhere in it, but not the tables that it writes to."""
    skipped = {id(table_of(target)) for target in targets}
    for node in tree.walk():
        if isinstance(node, exp.Table):
            if id(node) not in skipped:
                _source(node, found)
        elif isinstance(node, (exp.From, exp.Join)):
            if not isinstance(
                node.this, (exp.Table, exp.Subquery, exp.TableFromRows, exp.Values, exp.Lateral, exp.Paren)
            ):
                raise NotEmulatedError(f"FROM {node.this.sql(dialect='snowflake')[:60]}")
        elif isinstance(node, exp.TableFromRows):
            _rows(node.this, found)
        elif isinstance(node, exp.Lateral):
            if not isinstance(node.this, exp.Subquery):
                _rows(node.this, found)
        elif isinstance(node, exp.Column):
            _sequence(node, found)
        elif isinstance(node, exp.Anonymous):
            if _FOREIGN.fullmatch(str(node.this)) or _is_foreign(str(node.this).upper()):
                raise sql_error(
                    2140, "42601", f"SQL compilation error:\nUnknown function {str(node.this).upper()}."
                )
        elif isinstance(node, (exp.Into, exp.Pragma, exp.Command)):
            raise NotEmulatedError(first_words(node))


def _source(table: exp.Table, found: Needs) -> None:
    this = table.this
    if isinstance(this, (exp.Var, exp.Literal)) and str(this.this).startswith("@"):
        stage(str(this.this), found, "READ", "USAGE")
        found.compute = True
        for value in (table.args.get("format"), table.args.get("file_format")):
            if isinstance(value, exp.Expr):
                file_format(value, found)
        return
    if isinstance(this, (exp.Anonymous, exp.Func)):
        _rows(this, found)
        return
    names = path(table)
    if len(names) == 1 and _is_cte(table, names[0]):
        return
    found.compute = True
    if names == METERING:
        found.add("DATABASE", ("SNOWFLAKE",), "USAGE")
    elif names[0] == "SNOWFLAKE" and len(names) == 3:
        raise NotEmulatedError(f"{'.'.join(names)}: only {'.'.join(METERING)} is there")
    elif len(names) > 1 and names[-2] == INFORMATION:
        if names[-1] not in VIEWS_OF_INFORMATION:
            raise NotEmulatedError(f"{INFORMATION}.{names[-1]}")
        found.add("DATABASE", names[:-2])
    else:
        found.add("TABLE", names, "SELECT")


def _rows(function: Any, found: Needs) -> None:
    """A function that gives rows."""
    if isinstance(function, (exp.Generator, exp.Explode, exp.Posexplode)):
        return
    name = str(function.this).upper() if isinstance(function, exp.Anonymous) else ""
    if name not in _TABLE_FUNCTIONS:
        shown = function.sql(dialect="snowflake") if isinstance(function, exp.Expr) else str(function)
        raise NotEmulatedError(f"the table function {shown[:60]}")
    if name == "RESULT_SCAN":
        found.results.append(function.expressions[0].sql(dialect="snowflake"))


def _sequence(column: exp.Column, found: Needs) -> None:
    if column.name.upper() == "NEXTVAL" and column.args.get("table"):
        parts = [column.args.get(part) for part in ("catalog", "db", "table")]
        found.add("SEQUENCE", tuple(name_of(part) for part in parts if part), "USAGE")


def _is_cte(table: exp.Table, name: str) -> bool:
    """Whether a name is that of a WITH around it, seen from where it stands."""
    node: exp.Expr = table
    while parent := node.parent:
        if isinstance(parent, exp.With):
            before = parent.expressions[: next(i for i, one in enumerate(parent.expressions) if one is node)]
            if any(_cte_name(one) == name for one in before):
                return True
            if parent.args.get("recursive") and _cte_name(node) == name and _is_recursive_part(node, table):
                return True
        else:
            with_ = parent.args.get("with_")
            around = with_.expressions if with_ is not None and node is not with_ else []
            if any(_cte_name(one) == name for one in around):
                return True
        node = parent
    return False


def _cte_name(cte: exp.Expr) -> str:
    return name_of(cte.args["alias"].this)


def _is_recursive_part(cte: exp.Expr, table: exp.Table) -> bool:
    """Whether a table stands in the second part of a UNION, where a recursive query may name itself."""
    body = cte.this
    if not isinstance(body, exp.Union):
        return False
    node: exp.Expr | None = table
    while node is not None and node is not body:
        if node is body.expression:
            return True
        node = node.parent
    return False


def stage(text: str, found: Needs, *privileges: str) -> None:
    found.add(LOCATION, (text,), *privileges)


def file_format(value: exp.Expr, found: Needs) -> None:
    if isinstance(value, exp.Table):
        found.add("FILE FORMAT", path(value), "USAGE")
    elif isinstance(value, exp.Literal) and value.is_string:
        found.add("FILE FORMAT", names_in(value.name), "USAGE")
