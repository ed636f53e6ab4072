"""Tables as streams: which ones, with which columns and keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg2.extensions
from psycopg2 import sql

from ..protocol import JsonObject

_INTEGER: JsonObject = {"type": ["number", "null"], "airbyte_type": "integer"}
_NUMBER: JsonObject = {"type": ["number", "null"]}
_STRING: JsonObject = {"type": ["string", "null"]}

# The same types that Airbyte's own source-postgres reports. Everything else travels as text.
JSON_TYPES: Mapping[str, JsonObject] = {
    "int2": _INTEGER,
    "int4": _INTEGER,
    "int8": _INTEGER,
    "numeric": _NUMBER,
    "float4": _NUMBER,
    "float8": _NUMBER,
    "bpchar": _STRING,  # as text it would lose its blanks
    "bool": {"type": ["boolean", "null"]},
    "date": {**_STRING, "format": "date"},
    "time": {**_STRING, "format": "time", "airbyte_type": "time_without_timezone"},
    "timestamp": {**_STRING, "format": "date-time", "airbyte_type": "timestamp_without_timezone"},
    "timestamptz": {**_STRING, "format": "date-time", "airbyte_type": "timestamp_with_timezone"},
}
INTEGER_DIGITS = 38  # of Snowflake's NUMBER
FLOAT_DIGITS = 15  # decimal numbers of so many digits are all different as doubles

# What CDC adds to every row, typed as Airbyte's source does: the place of the change in the log, its time, and
# the time of the deletion of a row that is gone.
CDC_LSN, CDC_UPDATED_AT, CDC_DELETED_AT = "_ab_cdc_lsn", "_ab_cdc_updated_at", "_ab_cdc_deleted_at"
CDC_FIELDS: Mapping[str, JsonObject] = {CDC_LSN: _NUMBER, CDC_UPDATED_AT: _STRING, CDC_DELETED_AT: _STRING}
REFRESH_SCHEMA = "PATCH the connection's streams, so that it takes over the source's schema, or let it propagate schema changes"
_PLAIN = re.compile("[a-z_][a-z0-9_]*")
# Their text is the name of another object, which changes without a trace in the table or in the log.
_NAMES_OF_OTHERS = frozenset(
    f"{array}reg{kind}"
    for array in ("", "_")
    for kind in (
        "class",
        "collation",
        "config",
        "dictionary",
        "namespace",
        "oper",
        "operator",
        "proc",
        "procedure",
        "role",
        "type",
    )
)
RESERVED_PREFIX = "_AIRBYTE_"  # of the columns and tables that the destination makes for itself

_TABLES = """
select n.nspname, c.relname, c.oid::bigint, coalesce(k.oid, 0)::bigint,
       array(select a.attname::text
             from unnest(i.indkey::int2[]) with ordinality as u (attnum, position)
             join pg_attribute a on a.attrelid = c.oid and a.attnum = u.attnum
             where u.position <= i.indnkeyatts order by u.position),
       row_security_active(c.oid),
       array(select h.inhrelid::regclass::text from pg_inherits h
             where h.inhparent = c.oid and c.relkind = 'r' order by 1),
       array(select l.oid::regclass::text from pg_class l
             where l.oid in (select relid from pg_partition_tree(c.oid) where isleaf)
               and (l.relkind = 'f' or l.relpersistence = 'u') order by 1)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join pg_index i on i.indrelid = c.oid and i.indisprimary
left join pg_constraint k on k.conrelid = c.oid and k.contype = 'p'
where n.nspname = any(%s) and c.relkind in ('r', 'p') and not c.relispartition
  and has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT')
order by n.nspname, c.relname
"""
_COLUMNS = """
with recursive base (attrelid, attnum, type, modifier) as (
    select attrelid, attnum, atttypid, atttypmod from pg_attribute
    where attrelid::bigint = any(%s) and attnum > 0 and not attisdropped
    union all
    select b.attrelid, b.attnum, t.typbasetype, t.typtypmod
    from base b join pg_type t on t.oid = b.type where t.typtype = 'd'
)
select a.attrelid::bigint, a.attname::text, a.attnum::int, n.nspname::text, d.typname::text,
       case when bn.nspname = 'pg_catalog' then t.typname::text else 'of an extension or a user' end,
       a.atttypid::bigint, b.modifier, a.attgenerated <> '', a.atthasmissing
from base b
join pg_attribute a using (attrelid, attnum)
join pg_type t on t.oid = b.type and t.typtype <> 'd'
join pg_namespace bn on bn.oid = t.typnamespace
join pg_type d on d.oid = a.atttypid
join pg_namespace n on n.oid = d.typnamespace
order by a.attrelid, a.attnum
"""


def spelled(*names: str) -> str:
    """A dotted name as statements need it."""
    return ".".join(name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"' for name in names)


@dataclass(frozen=True)
class Column:
    """A column: `type` is the name of its built-in type (below any domain), `declared` its own, with its schema."""

    name: str
    number: int
    type: str
    declared: tuple[str, str]
    type_id: int
    modifier: int
    generated: bool
    filled: bool  # rows from before the column have a value other than NULL

    @property
    def schema(self) -> JsonObject:
        """JSON-schema type; a numeric without a fraction is an integer, as in Airbyte's own source."""
        if self.type == "numeric" and self.whole_digits is not None:
            return _INTEGER
        return JSON_TYPES.get(self.type, _STRING)

    @property
    def whole_digits(self) -> int | None:
        """Of a numeric without a fraction that Snowflake can hold: how many digits it may have."""
        precision, scale = self._numeric
        digits = precision - scale
        return digits if precision and scale <= 0 and digits <= INTEGER_DIGITS else None

    @property
    def _numeric(self) -> tuple[int, int]:
        """Precision and scale of a numeric; a precision of 0 is none at all."""
        if self.modifier < 4:
            return 0, 0
        packed = self.modifier - 4
        return packed >> 16, ((packed & 0x7FF) ^ 1024) - 1024  # numeric.c: make_numeric_typmod

    @property
    def cast(self) -> sql.Composable:
        """The type as SQL, wherever it lives."""
        return sql.Identifier(*self.declared)

    def unfit_as_key(self, cdc: bool) -> str | None:
        """Why rows cannot be told apart by this column in Snowflake."""
        if cdc and self.generated:
            return "is generated, and PostgreSQL leaves generated columns out of the log"
        precision, _ = self._numeric
        if self.type == "numeric" and self.whole_digits is None and not 0 < precision <= FLOAT_DIGITS:
            return (
                f"is a numeric that a FLOAT cannot hold exactly: give it the type numeric({INTEGER_DIGITS},0) "
                f"or at most {FLOAT_DIGITS} digits"
            )
        return None


@dataclass(frozen=True)
class SourceTable:
    """A table that this user may read: its columns by name, its primary key, its identity."""

    schema: str
    name: str
    columns: Mapping[str, Column]
    primary_key: Sequence[str]
    oid: int
    key_id: int = 0
    filtered: bool = False  # row-level security hides rows from this user
    heirs: Sequence[str] = field(default=())  # tables that inherit from it
    outside: Sequence[str] = field(default=())  # partitions whose changes are in no log

    @property
    def id(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """Its name in a statement."""
        return spelled(self.schema, self.name)

    def unfit(self, cdc: bool) -> str | None:
        """Why the table cannot be replicated exactly, and what to do about it; None if it can."""
        if not self.primary_key:
            return f"{self.id} has no primary key: give it one"
        if self.filtered:
            return (
                f"row-level security hides rows of {self.id} from this user: give the user the attribute "
                "BYPASSRLS, or disable row-level security on the table"
            )
        if self.heirs:
            return (
                f"{self.id} has tables that inherit from it ({', '.join(self.heirs)}), and their rows appear in it "
                "without being its own: end the inheritance, or make it a partitioned table"
            )
        if cdc and self.outside:
            return (
                f"{self.id} has partitions whose changes are not logged ({', '.join(self.outside)}): "
                "detach them, or make them ordinary, logged tables"
            )
        return self._unfit_columns(cdc)

    def _unfit_columns(self, cdc: bool) -> str | None:
        own = {name.upper() for name in CDC_FIELDS} if cdc else set()
        by_name: dict[str, str] = {}
        for name, column in self.columns.items():
            if column.type in _NAMES_OF_OTHERS:
                return (
                    f"column {name} of {self.id} is of type {column.type.removeprefix('_')}, whose text follows the names "
                    "of other objects: give it the type oid or text"
                )
            upper = name.upper()
            if upper in own or upper.startswith(RESERVED_PREFIX):
                return f'column "{name}" of {self.id} has a name that Airbyte keeps for itself: rename it'
            if upper in by_name:
                return (
                    f'columns "{by_name[upper]}" and "{name}" of {self.id} have the same name in upper case, '
                    "which is how Snowflake gets them: rename one"
                )
            by_name[upper] = name
        for name in self.primary_key:
            if why := self.columns[name].unfit_as_key(cdc):
                return f"column {name} in the primary key of {self.id} {why}"
        return None

    def stream(self, cdc: bool) -> JsonObject:
        """The table as a stream of an AirbyteCatalog; under CDC with its own cursor and three more fields."""
        properties = {name: column.schema for name, column in self.columns.items()}
        cursor = {"source_defined_cursor": True, "default_cursor_field": [CDC_LSN]} if cdc else {}
        return {
            "name": self.name,
            "namespace": self.schema,
            "json_schema": {
                "type": "object",
                "properties": {**properties, **(CDC_FIELDS if cdc else {})},
            },
            "supported_sync_modes": ["full_refresh", "incremental"],
            **cursor,
            "source_defined_primary_key": [[name] for name in self.primary_key],
            "is_resumable": True,
        }


def tables(connection: psycopg2.extensions.connection, schemas: Sequence[str]) -> list[SourceTable]:
    """Every readable table of `schemas`, those that cannot be replicated included."""
    with connection.cursor() as cursor:
        cursor.execute(_TABLES, (list(schemas),))
        found = cursor.fetchall()
        cursor.execute(_COLUMNS, ([oid for _, _, oid, *_ in found],))
        columns: dict[int, dict[str, Column]] = {}
        for oid, name, number, schema, declared, type_, *more in cursor.fetchall():
            columns.setdefault(oid, {})[name] = Column(name, number, type_, (schema, declared), *more)
    return [
        SourceTable(schema, name, columns.get(oid, {}), keys, oid, key_id, filtered, heirs, outside)
        for schema, name, oid, key_id, keys, filtered, heirs, outside in found
    ]


def search_path(tables_: Iterable[SourceTable]) -> str:
    """The schemas of the types of all keys, so that the operators by which keys are compared are found."""
    schemas = {table.columns[name].declared[0]: None for table in tables_ for name in table.primary_key}
    return ", ".join(
        ['"pg_catalog"', *('"' + s.replace('"', '""') + '"' for s in schemas if s != "pg_catalog")]
    )


def fields(table: SourceTable, properties: Mapping[str, Any]) -> list[str]:
    """The columns that a stream with these properties asks for."""
    return [name for name in properties if name in table.columns]
