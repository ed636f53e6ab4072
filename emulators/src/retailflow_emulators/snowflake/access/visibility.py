"""What a role may see of SHOW and of the information schema: rows of objects on which it has a privilege."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from sqlglot import exp

from ..quoting import literal
from .guard import Guard
from .model import Key, Thing, key_of
from .needed import INFORMATION, METERING, path
from .showing import moment

_PARTS = {
    "DATABASES": ("name",),
    "SCHEMAS": ("database_name", "name"),
    "COLUMNS": ("database_name", "schema_name", "table_name"),
    "PRIMARY KEYS": ("database_name", "schema_name", "table_name"),
    "UNIQUE KEYS": ("database_name", "schema_name", "table_name"),
    "IMPORTED KEYS": ("fk_database_name", "fk_schema_name", "fk_table_name"),
}
_KIND = {"DATABASES": "DATABASE", "SCHEMAS": "SCHEMA", "STAGES": "STAGE", "FILE FORMATS": "FILE FORMAT"}
_KIND |= {"SEQUENCES": "SEQUENCE"}


def without_limit(tree: exp.Show) -> tuple[int | None, str | None, str | None]:
    """Take LIMIT, LIKE and STARTS WITH out of a SHOW: they count after what may not be seen has gone."""
    limit, like, starts = tree.args.get("limit"), tree.args.get("like"), tree.args.get("starts_with")
    for name in ("limit", "starts_with"):
        tree.set(name, None)
    number = limit.expression if isinstance(limit, exp.Limit) else None
    return (
        int(number.name) if isinstance(number, exp.Expr) and number.name.isdigit() else None,
        like.name if isinstance(like, exp.Expr) else None,
        starts.name if isinstance(starts, exp.Expr) else None,
    )


def filtered(
    table: pa.Table,
    what: str,
    guard: Guard,
    rules: tuple[int | None, str | None, str | None],
    count: Callable[[Key], int],
) -> pa.Table:
    """The rows of a SHOW that a session may see, with what the account knows of each; ``count`` counts rows of a table."""
    limit, like, starts = rules
    parts = _PARTS.get(what, ("database_name", "schema_name", "name"))
    kind = _KIND.get(what, "TABLE")
    if not set(parts) <= set(table.column_names):
        return table
    columns = [table.column(part).to_pylist() for part in parts]
    keep: list[int] = []
    things: list[Thing | None] = []
    pattern = _pattern(like) if like is not None else None
    account, roles = guard.account, guard.who.roles
    everything = account.manages_grants(roles)
    for number, names in enumerate(zip(*columns, strict=True)):
        if what == "SCHEMAS" and str(names[-1]).upper() == INFORMATION:
            key: Key = key_of("DATABASE", names[:1])
        else:
            key = key_of(kind, names)
        if not (account.visible(key, roles) or (everything and kind not in ("STAGE", "FILE FORMAT"))):
            continue
        name = str(names[-1])
        if (pattern and not pattern.fullmatch(name)) or (starts and not name.startswith(starts)):
            continue
        keep.append(number)
        things.append(account.things.get(key))
        if limit is not None and len(keep) >= limit:
            break
    table = table.take(pa.array(keep, pa.int64()))
    if what == "SCHEMAS":
        found = [INFORMATION if name.upper() == INFORMATION else name for name in table["name"].to_pylist()]
        table = table.set_column(table.column_names.index("name"), "name", pa.array(found, pa.string()))
    for column in ("owner", "comment") if what != "COLUMNS" and not what.endswith("KEYS") else ():
        if column in table.column_names:
            table = _with_column(table, column, things)
        elif what == "SCHEMAS":
            table = table.append_column(column, pa.nulls(len(things), pa.string()))
            table = _with_column(table, column, things)
    if what.endswith("KEYS"):
        return _since(table, things)
    return _measured(
        _since(table, things), what, [key_of(kind, names) for names in _named(table, parts)], things, count
    )


def _named(table: pa.Table, parts: tuple[str, ...]) -> list[tuple[str, ...]]:
    return list(zip(*(table.column(part).to_pylist() for part in parts), strict=True))


def _since(table: pa.Table, things: list[Thing | None]) -> pa.Table:
    """When objects were made, where the account knows it."""
    if "created_on" not in table.column_names or not any(things):
        return table
    at = table.column_names.index("created_on")
    moments = [
        moment(thing.at) if thing and thing.at else old
        for thing, old in zip(things, table.column(at).to_pylist(), strict=True)
    ]
    return table.set_column(at, "created_on", pa.array(moments, table.schema.field(at).type))


def _measured(
    table: pa.Table, what: str, keys: list[Key], things: list[Thing | None], count: Callable[[Key], int]
) -> pa.Table:
    """The rows of tables, and the texts of views as they were written; bytes are not known."""
    names = table.column_names
    if what in ("TABLES", "OBJECTS") and "rows" in names:
        views = [thing is not None and thing.kind == "VIEW" for thing in things]
        rows = [None if view else count(key) for key, view in zip(keys, views, strict=True)]
        table = table.set_column(names.index("rows"), "rows", pa.array(rows, pa.int64()))
        table = table.set_column(names.index("bytes"), "bytes", pa.nulls(len(keys), pa.int64()))
    if what == "VIEWS" and "text" in names:
        texts = [
            thing.settings.get("TEXT", old) if thing else old
            for thing, old in zip(things, table.column("text").to_pylist(), strict=True)
        ]
        table = table.set_column(names.index("text"), "text", pa.array(texts, pa.string()))
    return table


def _with_column(table: pa.Table, column: str, things: list[Thing | None]) -> pa.Table:
    old = table.column(column).to_pylist()
    values: list[Any] = [
        (getattr(thing, column) or (old_value if column == "comment" else "")) if thing else old_value
        for thing, old_value in zip(things, old, strict=True)
    ]
    return table.set_column(table.column_names.index(column), column, pa.array(values, pa.string()))


def _pattern(like: str) -> re.Pattern[str]:
    parts = {"%": ".*", "_": "."}
    return re.compile("".join(parts.get(one, re.escape(one)) for one in like), re.IGNORECASE | re.DOTALL)


def rewritten(tree: exp.Expr, guard: Guard) -> exp.Expr:
    """A statement that reads the information schema or the metering history only as far as a role may see it."""
    for table in list(tree.find_all(exp.Table)):
        if not isinstance(table.this, exp.Identifier):
            continue
        names = path(table)
        if names == METERING:
            _replace(table, _metering(guard))
        elif len(names) > 1 and names[-2] == INFORMATION:
            database = names[0] if len(names) == 3 else guard.current_database
            if database and (text := _visible(names[-1], database, guard, table)):
                _replace(table, text)
    return tree


def _replace(table: exp.Table, text: str) -> None:
    subquery: exp.Expr = exp.maybe_parse(f"({text})", dialect="duckdb")
    alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name.upper(), quoted=True))
    select = subquery.this if isinstance(subquery, (exp.Paren, exp.Subquery)) else subquery
    table.replace(exp.Subquery(this=select, alias=alias))


_COLUMNS = {
    "TABLES": ("TABLE_SCHEMA", "TABLE_NAME"),
    "VIEWS": ("TABLE_SCHEMA", "TABLE_NAME"),
    "COLUMNS": ("TABLE_SCHEMA", "TABLE_NAME"),
    "LOAD_HISTORY": ("SCHEMA_NAME", "TABLE_NAME"),
    "SCHEMATA": ("SCHEMA_NAME",),
    "DATABASES": ("DATABASE_NAME",),
}
_OWNER = {
    "TABLES": "TABLE_OWNER",
    "VIEWS": "TABLE_OWNER",
    "SCHEMATA": "SCHEMA_OWNER",
    "DATABASES": "DATABASE_OWNER",
}


def _visible(view: str, database: str, guard: Guard, table: exp.Table) -> str | None:
    """The query for a view of the information schema, joined with what the account knows of the objects.

    What is known is one literal: a statement with a condition for each object takes long to parse where there are many.
    """
    place = _COLUMNS.get(view)
    if place is None:
        return None
    found = table.copy()
    found.set("alias", None)
    # A query of its own: upstream puts another table in the place of some views, without the alias.
    source = f"select * from {found.sql(dialect='duckdb', comments=False)}"
    if view == "TABLES":
        source += f" union all by name {_VIEWS} where database_name = {literal(database)}"
    known = _known(view, database, guard)
    fields = json.dumps([dict.fromkeys((*place, *_TOLD), "VARCHAR")])
    # DuckDB expands a struct that is unnested; the names of its fields are no names of Snowflake's.
    objects = f"(select unnest(from_json({literal(json.dumps(known))}, {literal(fields)}), recursive := true)) as known"
    same = " and ".join(f"known.{column} = found.{column}" for column in place)
    replaced = ", ".join(f"{value} as {column}" for column, value in _replaced(view, known).items())
    star = f"found.* replace ({replaced})" if replaced else "found.*"
    return f"select {star} from ({source}) as found join {objects} on {same}"


# https://docs.snowflake.com/en/sql-reference/info-schema/tables
_VIEWS = """select database_name as TABLE_CATALOG, schema_name as TABLE_SCHEMA, view_name as TABLE_NAME, 'VIEW' as TABLE_TYPE,
    'NO' as IS_INSERTABLE_INTO, 'YES' as IS_TYPED, 'NO' as AUTO_CLUSTERING_ON, comment as COMMENT, 'NO' as IS_TEMPORARY,
    'NO' as IS_ICEBERG, 'NO' as IS_DYNAMIC, 'NO' as IS_IMMUTABLE, 'NO' as IS_HYBRID from duckdb_views()"""


# Columns of the information schema, and which moments of an object they are the latest of.
_MOMENTS = {"CREATED": ("at",), "LAST_ALTERED": ("at", "changed", "defined"), "LAST_DDL": ("at", "defined")}
_TOLD = ("known_owner", "known_text", *(f"known_{name.lower()}" for name in _MOMENTS))
Known = dict[str, str]


def _known(view: str, database: str, guard: Guard) -> list[Known]:
    """The objects of a view that a role may see: the names, the owner, when they were made and changed, a view's text."""
    place = _COLUMNS[view]
    kind = "DATABASE" if view == "DATABASES" else {1: "SCHEMA", 2: "TABLE"}[len(place)]
    account, roles = guard.account, guard.who.roles
    found: list[Known] = []
    for key, thing in list(account.things.items()):
        if key[0] != kind or (kind != "DATABASE" and key[1] != database) or not account.visible(key, roles):
            continue
        names = key[1:] if kind == "DATABASE" else key[2:]
        one = dict(zip(place, names, strict=True)) | {"known_owner": thing.owner}
        if thing.at:
            for column, moments in _MOMENTS.items():
                at = moment(max(getattr(thing, name) for name in moments))
                one[f"known_{column.lower()}"] = str(at)
            if "TEXT" in thing.settings:
                one["known_text"] = thing.settings["TEXT"]
        found.append(one)
    if view == "SCHEMATA" and not any(one[place[0]] == INFORMATION for one in found):
        found.append({place[0]: INFORMATION, "known_owner": ""})
    return found


def _replaced(view: str, known: list[Known]) -> dict[str, str]:
    """What takes the place of columns of a view, where anything is known."""
    if view not in _OWNER or not known:
        return {}
    found = {_OWNER[view]: "known.known_owner"}
    columns = list(_MOMENTS) if view in ("TABLES", "VIEWS") else ["CREATED", "LAST_ALTERED"]
    if any("known_created" in one for one in known):
        found |= {column: f"known.known_{column.lower()}::timestamptz" for column in columns}
    if view == "VIEWS":
        found["VIEW_DEFINITION"] = "coalesce(known.known_text, found.VIEW_DEFINITION)"
    return found


def _metering(guard: Guard) -> str:
    """https://docs.snowflake.com/en/sql-reference/account-usage/warehouse_metering_history"""
    rows = [
        f"('{start:%Y-%m-%d %H:%M:%S}+00'::timestamptz, '{end:%Y-%m-%d %H:%M:%S}+00'::timestamptz, {number}, {literal(name)}, "
        f"{credits:.9f}::decimal(38, 9), {credits:.9f}::decimal(38, 9), 0::decimal(38, 9))"
        for start, end, number, name, credits in guard.gate.meter.history()
    ]
    none = "(null::timestamptz, null::timestamptz, 0, '', 0::decimal(38, 9), 0::decimal(38, 9), 0::decimal(38, 9))"
    names = "START_TIME END_TIME WAREHOUSE_ID WAREHOUSE_NAME CREDITS_USED CREDITS_USED_COMPUTE CREDITS_USED_CLOUD_SERVICES"
    listed = ", ".join(f'"{name}"' for name in names.split())
    where = "" if rows else " where false"
    return f"select * from (values {', '.join(rows or [none])}) as metered({listed}){where}"
