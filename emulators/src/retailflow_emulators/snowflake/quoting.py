"""Patches of places where upstream writes a name into SQL without its quotes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import duckdb
from fakesnow import copy_into, cursor, info_schema, macros, transforms
from sqlglot import exp

from .patches import patch

_PLACE = "_SF_CATALOG_"


def identifier(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def schema_setting(database: str, schema: str) -> str:
    """``SET schema`` of DuckDB."""
    return f"schema = {literal(f'{identifier(database)}.{identifier(schema)}')}"


def database_file(folder: Path, name: str) -> Path:
    """The file of a database: characters that paths do not take are written as %XX."""
    return folder / f"{quote(name, safe=' $-')}.db"


@functools.cache
def _keywords() -> frozenset[str]:
    """Words that DuckDB takes for a name only between quotes, where Snowflake takes them as they are."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            "select upper(keyword_name) from duckdb_keywords() where keyword_category <> 'unreserved'"
        ).fetchall()
    return frozenset(word for (word,) in rows)


def quote_keywords(expression: exp.Expr) -> exp.Expr:
    """The statement with quotes around such names."""
    for name in expression.find_all(exp.Identifier):
        if not name.args.get("quoted") and str(name.this).upper() in _keywords():
            name.set("quoted", True)
    return expression


def _by_place(make: Callable[[str], str]) -> Callable[[str], str]:
    def made(catalog: str) -> str:
        text = make(_PLACE).replace(f"'{_PLACE}'", literal(catalog))
        return text.replace(_PLACE, identifier(catalog))

    return made


_CASE = 'CREATE DATABASE "my db": the name of a database needs its quotes in what upstream makes in it'
patch(info_schema, "per_db_creation_sql", _CASE)(_by_place(info_schema.per_db_creation_sql))
patch(macros, "creation_sql", _CASE)(_by_place(macros.creation_sql))


@patch(transforms, "create_database", 'CREATE DATABASE "my db", and its file')
def create_database(expression: exp.Expr, db_path: Path | None = None) -> exp.Expr:
    """CREATE DATABASE attaches a file."""
    if not (isinstance(expression, exp.Create) and str(expression.args.get("kind")).upper() == "DATABASE"):
        return expression
    name = expression.this.name
    file = str(database_file(Path(db_path), name)) if db_path else ":memory:"
    exists = "IF NOT EXISTS " if expression.args.get("exists") else ""
    text = f"{exists}DATABASE {literal(file)} AS {identifier(name)}"
    return exp.Command(this="ATTACH", expression=exp.Literal.string(text), create_db_name=name)


_set_schema = transforms.set_schema


@patch(transforms, "set_schema", 'USE SCHEMA "my schema", and USE "my db" without the word DATABASE')
def set_schema(expression: exp.Expr, current_database: str | None) -> exp.Expr:
    """USE sets the schema, with quotes."""
    if (
        isinstance(expression, exp.Use)
        and not expression.args.get("kind")
        and isinstance(expression.this, exp.Table)
    ):
        expression.set("kind", exp.var("SCHEMA" if expression.this.args.get("db") else "DATABASE"))
    changed = _set_schema(expression, current_database)
    database, schema = changed.args.get("set_database"), changed.args.get("set_schema")
    if database or schema:
        setting = schema_setting(database or str(current_database), schema or "main")
        changed.set("expression", exp.Literal.string(setting))
    return changed


def _escaped(text: str | None) -> str | None:
    return text and text.replace("'", "''")


def _names_escaped(
    function: Callable[..., exp.Expr], kinds: tuple[type[exp.Expr], ...]
) -> Callable[..., exp.Expr]:
    """A transform that writes names between single quotes, given names in which these are doubled."""

    def made(expression: exp.Expr, *names: str | None, **settings: Any) -> exp.Expr:
        if not isinstance(expression, kinds):
            return function(expression, *names, **settings)
        copy = expression.copy()
        for name in copy.find_all(exp.Identifier):
            name.set("this", name.this.replace("'", "''"))
        changed = function(copy, *(_escaped(name) for name in names), **settings)
        return expression if changed is copy else changed

    return made


_keys = _names_escaped(transforms.show_keys, (exp.Show,))


@patch(
    transforms,
    "show_keys",
    "SHOW IMPORTED KEYS lists foreign keys, of which none are kept, and no primary keys",
)
def show_keys(expression: exp.Expr, *names: str | None, **kinds: Any) -> exp.Expr:
    """Keys as upstream shows them; it shows every primary key as one that refers to nothing."""
    changed = _keys(expression, *names, **kinds)
    if isinstance(changed, exp.Select) and changed is not expression and kinds.get("kind") == "FOREIGN":
        return changed.where("false")
    return changed


for _name in (
    "show_columns",
    "show_schemas",
    "show_tables_etc",
    "show_stages",
    "show_sequences",
):
    patch(transforms, _name, 'SHOW TABLES IN SCHEMA "it\'s"')(
        _names_escaped(getattr(transforms, _name), (exp.Show,))
    )


_describe = _names_escaped(transforms.describe_table, (exp.Describe,))


@patch(
    transforms,
    "describe_table",
    'DESCRIBE TABLE "it\'s", and of a table in another database than the current one',
)
def describe(expression: exp.Expr, *names: str | None) -> exp.Expr:
    """DESCRIBE TABLE reads what is known of all databases."""
    described = _describe(expression, *names)
    for table in described.find_all(exp.Table) if described is not expression else []:
        if table.name.lower() == "_fs_columns":
            table.set("catalog", exp.to_identifier("_fs_global"))
    return described


_insert_text_lengths = info_schema.insert_text_lengths_sql


@patch(info_schema, "insert_text_lengths_sql", 'CREATE TABLE "it\'s" ("it\'s" VARCHAR(3))')
def insert_text_lengths_sql(
    catalog: str, schema: str, table: str, text_lengths: list[tuple[str, int]]
) -> str:
    """Names between single quotes."""
    lengths = [(name.replace("'", "''"), size) for name, size in text_lengths]
    one, two, three = (str(_escaped(name)) for name in (catalog, schema, table))
    return _insert_text_lengths(one, two, three, lengths)


_insert_comment = info_schema.insert_table_comment_sql


@patch(info_schema, "insert_table_comment_sql", "COMMENT ON TABLE t IS 'it''s'")
def insert_table_comment_sql(catalog: str, schema: str, table: str, comment: str) -> str:
    """Names and the comment between single quotes."""
    return _insert_comment(*(str(_escaped(text)) for text in (catalog, schema, table, comment)))


def _described(
    table: exp.Table, connection: Any, database: str | None, schema: str | None
) -> list[tuple[str, str]]:
    names = (table.catalog or database, table.db or schema, table.name)
    described = connection.execute("DESCRIBE " + ".".join(identifier(str(name)) for name in names)).fetchall()
    return [(row[0], row[1]) for row in described]


patch(copy_into, "_describe_table", 'COPY INTO "my table" MATCH_BY_COLUMN_NAME')(_described)


class _Escaping(Template):
    """A template of SQL whose values stand between single quotes."""

    def substitute(self, mapping: Any = (), /, **values: Any) -> str:
        return super().substitute({name: str(value).replace("'", "''") for name, value in values.items()})


for _name, _template in list(vars(cursor).items()):
    if isinstance(_template, Template):
        patch(cursor, _name, 'CREATE TABLE "it\'s" answers with the name')(_Escaping(_template.template))
