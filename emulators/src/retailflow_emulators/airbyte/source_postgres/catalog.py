"""Tables as streams: which ones, with which columns and keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg2.extensions

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

# What CDC adds to every row, typed as Airbyte's source does: the place of the change in the log, its time, and
# the time of the deletion of a row that is gone.
CDC_LSN, CDC_UPDATED_AT, CDC_DELETED_AT = "_ab_cdc_lsn", "_ab_cdc_updated_at", "_ab_cdc_deleted_at"
CDC_FIELDS: Mapping[str, JsonObject] = {CDC_LSN: _NUMBER, CDC_UPDATED_AT: _STRING, CDC_DELETED_AT: _STRING}

# Only tables with a primary key: without one a row cannot be found again, so nothing could be merged.
_TABLES = """
select n.nspname, c.relname,
       array(select attname::text from pg_attribute a
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum),
       array(select (case when t.typtype = 'd' then b.typname else t.typname end)::text
             from pg_attribute a
             join pg_type t on t.oid = a.atttypid
             left join pg_type b on b.oid = t.typbasetype
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum),
       array(select a.attname::text
             from unnest(i.indkey::int2[]) with ordinality as k (attnum, position)
             join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum order by k.position),
       c.oid::bigint
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join pg_index i on i.indrelid = c.oid and i.indisprimary
where n.nspname = any(%s) and c.relkind in ('r', 'p') and not c.relispartition
  and has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT')
order by n.nspname, c.relname
"""


@dataclass(frozen=True)
class SourceTable:
    """A table that this user may read: column name -> PostgreSQL type name, the primary key, its identity."""

    schema: str
    name: str
    columns: Mapping[str, str]
    primary_key: Sequence[str]
    oid: int

    def stream(self, cdc: bool) -> JsonObject:
        """The table as a stream of an AirbyteCatalog; under CDC with its own cursor and three more fields."""
        properties = {name: JSON_TYPES.get(type_, _STRING) for name, type_ in self.columns.items()}
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
    """Every readable table of `schemas`, those without a primary key included."""
    with connection.cursor() as cursor:
        cursor.execute(_TABLES, (list(schemas),))
        return [
            SourceTable(schema, name, dict(zip(columns, types, strict=True)), keys, oid)
            for schema, name, columns, types, keys, oid in cursor.fetchall()
        ]
