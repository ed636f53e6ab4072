"""What a table was when it was last read, so that changes which no cursor and no log tells are noticed.

A stream's state holds the identity of its table. The next read compares: where rows may have changed, come or gone
without a trace, the stream is read again from the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2.extensions
from psycopg2 import sql

from ..protocol import JsonObject
from .catalog import SourceTable

# The files of a table or of its partitions, and since which transaction each is a partition.
_FILES = """
select c.oid::bigint::text, pg_relation_filenode(c.oid)::bigint,
       (select i.xmin::text from pg_inherits i where i.inhrelid = c.oid)
from pg_class c
where c.oid = %(oid)s or c.oid in (select relid from pg_partition_tree(%(oid)s::oid::regclass))
"""
# What the text of values is made of besides the values: labels of enums, attributes of composite types, also those
# inside of domains, arrays, ranges and other composite types.
_LABELS = """
with recursive used (type) as (
    select atttypid from pg_attribute where attrelid = %(oid)s and attnum > 0 and not attisdropped
    union
    select part.type from used u join pg_type t on t.oid = u.type
    left join pg_range r on t.oid in (r.rngtypid, (to_jsonb(r) ->> 'rngmultitypid')::oid),
    lateral (
        select unnest(array[t.typelem, t.typbasetype, r.rngsubtype])
        union select atttypid from pg_attribute
        where attrelid = t.typrelid and t.typrelid <> 0 and attnum > 0 and not attisdropped
    ) as part (type)
    where part.type <> 0
)
select e.oid::bigint::text, e.enumlabel::text from pg_enum e where e.enumtypid in (select type from used)
union all
select t.oid::bigint::text, string_agg(concat_ws(' ', a.attnum, a.atttypid), ',' order by a.attnum)
from pg_type t join pg_attribute a on a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
where t.oid in (select type from used) and t.typrelid <> 0
group by t.oid
"""
_SERVER = """
select system_identifier::text, case when pg_is_in_recovery()
       then (select timeline_id from pg_control_checkpoint())
       else ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int end
from pg_control_system()
"""


def server(connection: psycopg2.extensions.connection) -> tuple[str, int]:
    """System identifier and timeline of a cluster: another copy of it, or an earlier state, differs in one of them."""
    with connection.cursor() as cursor:
        cursor.execute(_SERVER)
        system, timeline = cursor.fetchone() or ("", 0)
    return system, timeline


def identity(connection: psycopg2.extensions.connection, table: SourceTable) -> JsonObject:
    """The identity of a table, as it goes into states."""
    with connection.cursor() as cursor:
        cursor.execute(_FILES, {"oid": table.oid})
        files = {oid: [file, since] for oid, file, since in cursor.fetchall()}
        cursor.execute(_LABELS, {"oid": table.oid})
        labels = dict(cursor.fetchall())
    return {
        "table": table.oid,
        "key": [table.key_id, *table.primary_key],
        "columns": {
            name: [column.number, column.type_id, column.schema] for name, column in table.columns.items()
        },
        "files": files,
        "labels": labels,
    }


def merged(old: Mapping[str, Any], new: JsonObject) -> JsonObject:
    """The identity to save: columns that are gone are remembered, because their name may come back."""
    return {**new, "columns": {**old["columns"], **new["columns"]}}


def difference(
    connection: psycopg2.extensions.connection,
    table: SourceTable,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
) -> str | None:
    """What has happened to the table since `old` that makes reading it again necessary, as "it …"; else None."""
    if old["table"] != new["table"]:
        return "is another table than the one read before"
    if old["key"] != new["key"]:
        return "has another primary key than before"
    return (
        _columns(table, old["columns"])
        or _files(connection, old["files"], new["files"])
        or _labels(old["labels"], new["labels"])
    )


def _labels(old: Mapping[str, str], new: Mapping[str, str]) -> str | None:
    changed = any(new.get(id_, label) != label for id_, label in old.items())
    return "has a type with other labels or attributes than before" if changed else None


def _columns(table: SourceTable, old: Mapping[str, Sequence[Any]]) -> str | None:
    newest = max((number for number, *_ in old.values()), default=0)
    for name, column in table.columns.items():
        before = old.get(name)
        if before is None:
            if column.number <= newest:
                return f"has a renamed column, {name}"
            if column.filled or column.generated:
                return f"has a new column, {name}, with values in rows that were read before"
        elif before[0] != column.number:
            return f"has a column, {name}, that was dropped and added again, or renamed"
        elif before[1:] != [column.type_id, column.schema]:
            return f"has a column, {name}, of another type than before"
    return None


def _files(
    connection: psycopg2.extensions.connection,
    old: Mapping[str, Sequence[Any]],
    new: Mapping[str, Sequence[Any]],
) -> str | None:
    if gone := old.keys() - new.keys():
        return f"has lost {len(gone)} of its partitions"
    if any(new[oid][1] != since for oid, (_, since) in old.items()):
        return "has a partition that was detached for a while"
    if any(new[oid][0] != file for oid, (file, _) in old.items()):
        return "was truncated or rewritten"
    # What a partition held when it was attached is in no log; a partition that is empty held nothing that matters.
    for oid in sorted(oid for oid in new.keys() - old.keys() if new[oid][0] is not None):
        with connection.cursor() as cursor:
            cursor.execute("select oid::regclass::text from pg_class where oid = %s", (int(oid),))
            ((name,),) = cursor.fetchall()
            cursor.execute(sql.SQL("select exists (select from only {})").format(sql.SQL(name)))
            if cursor.fetchone() == (True,):
                return f"has a new partition, {name}, that is not empty"
    return None
