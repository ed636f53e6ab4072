"""The publication and the replication slot that CDC reads through: are they there, and are they fit?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import psycopg2.extensions

from ...protocol import ConnectorError, JsonObject
from ..catalog import SourceTable, spelled

# A changed row is named by its primary key, or whole; each partition says for itself which.
_PUBLISHED = """
select n.nspname, c.relname, c.oid::bigint, c.relispartition,
       exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary),
       exists (select from pg_class l
               where (l.oid = c.oid or l.oid in (select relid from pg_partition_tree(c.oid) where isleaf))
                 and (l.relreplident = 'n' or l.relreplident = 'i' and not exists (
                     select from pg_index i where i.indrelid = l.oid and i.indisreplident and i.indisprimary))),
       exists (select from pg_class l join pg_index i on i.indrelid = l.oid
               where (l.oid = c.oid or l.oid in (select relid from pg_partition_tree(c.oid) where isleaf))
                 and l.relreplident = 'd' and i.indisprimary and not i.indimmediate),
       has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT')
from pg_publication_tables p
join pg_namespace n on n.nspname = p.schemaname
join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
where p.pubname = %s order by 1, 2
"""
# Row filters and column lists came with PostgreSQL 15; before, the columns are not there.
_FILTERED = """
select r.prrelid::bigint, r.prrelid::regclass::text
from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
where p.pubname = %s and coalesce(to_jsonb(r) ->> 'prqual', to_jsonb(r) ->> 'prattrs') is not null
"""
# What changes when a publication or a table's place in it does: object ids and the transactions that wrote them.
_MEMBERSHIP = """
select concat_ws(' ', p.oid, p.xmin, (
    select string_agg(concat_ws(' ', r.oid, r.xmin), ',' order by r.oid) from pg_publication_rel r
    where r.prpubid = p.oid and r.prrelid = %(oid)s){schemas})
from pg_publication p where p.pubname = %(name)s
"""
_SCHEMAS = """, (
    select string_agg(concat_ws(' ', s.oid, s.xmin), ',' order by s.oid)
    from pg_publication_namespace s join pg_class c on c.relnamespace = s.pnnspid
    where s.pnpubid = p.oid and c.oid = %(oid)s)"""
_SLOT = """
select slot_type = 'logical' and plugin = 'pgoutput' and database = current_database(), active,
       wal_status is not distinct from 'lost', coalesce((confirmed_flush_lsn - '0/0')::bigint, 0)
from pg_replication_slots where slot_name = %s
"""


def lsn_text(lsn: int) -> str:
    """A place in the log as PostgreSQL spells it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


@dataclass(frozen=True)
class Slot:
    """A replication slot: everything from `confirmed` on can still be read, unless it is `lost`."""

    active: bool
    lost: bool
    confirmed: int


@dataclass(frozen=True)
class Publication:
    """What a publication carries.

    tables: object id -> whether changed rows are named by their primary key. filtered: those of which it publishes
    some rows or columns only. deferrable: those of which the primary key is, so that PostgreSQL names no row by it.
    everything: FOR ALL TABLES. without_key: names of tables. unreadable: schemas and names of those that the user may
    not read.
    """

    name: str
    everything: bool
    tables: Mapping[int, bool]
    filtered: Mapping[int, str]
    deferrable: Collection[int]
    without_key: Sequence[str]
    unreadable: Sequence[tuple[str, str]]

    def keyless(self) -> list[str]:
        """What to say about tables without a primary key, those included that the user may not read."""
        return [
            f"publication {self.name}: {table} has no primary key: give it one" for table in self.without_key
        ]

    def hidden(self, schemas: Collection[str], user: str) -> list[str]:
        """What to say about tables in these schemas that the user may not read."""
        found = [spelled(schema, name) for schema, name in self.unreadable if schema in schemas]
        return [
            f"publication {self.name} carries {table}, which {user} may not read: "
            f"grant select on {table} to {spelled(user)} (and usage on its schema){self._or_drop(table)}"
            for table in found
        ]

    def _or_drop(self, table: str) -> str:
        return "" if self.everything else f", or alter publication {spelled(self.name)} drop table {table}"

    def unfit(self, table: SourceTable) -> str | None:
        """Why the changes of this table cannot be replicated exactly, and what to do; None if they can."""
        if table.oid not in self.tables:
            remedy = (
                "" if self.everything else f": alter publication {spelled(self.name)} add table {table.sql}"
            )
            return f"publication {self.name} does not carry {table.id}{remedy}"
        if why := table.unfit(cdc=True):
            return f"publication {self.name}: {why}{self._or_drop(table.sql)}"
        if table.oid in self.deferrable:
            return (
                f"the primary key of {table.id} is deferrable, so PostgreSQL refuses updates and deletions of its rows "
                f"while it is published: make the key not deferrable, or alter table {table.sql} replica identity full"
            )
        if not self.tables[table.oid]:
            return (
                f"{table.id}, or one of its partitions, does not log the primary key of changed rows: "
                f"alter table {table.sql} replica identity default"
            )
        if table.oid in self.filtered:
            return (
                f"publication {self.name} filters rows or columns of {table.id}, and whole tables are needed: "
                f"alter publication {spelled(self.name)} drop table {table.sql}, then add it without WHERE and columns"
            )
        return None


@dataclass(frozen=True)
class Replication:
    """A source's replication method CDC."""

    slot: str
    publication: str
    heartbeat: str
    user: str

    @classmethod
    def of(cls, config: JsonObject) -> Self | None:
        """None where the source's method is another."""
        method = config.get("replication_method") or {}
        if method.get("method") != "CDC":
            return None
        return cls(
            method["replication_slot"],
            method["publication"],
            method.get("heartbeat_action_query") or "",
            config["username"],
        )

    def valid_slot(self, connection: psycopg2.extensions.connection) -> Slot:
        """Raises ConnectorError with what is missing and the statement that makes it."""
        slot = self.find_slot(connection)
        if slot is None:
            raise ConnectorError(self._missing_slot, "config_error")
        if slot.lost:
            raise ConnectorError(self._lost_slot, "config_error")
        return slot

    def membership(self, connection: psycopg2.extensions.connection, table: int) -> str:
        """The identity of the publication and of a table's place in it."""
        query = _MEMBERSHIP.format(schemas=_SCHEMAS if connection.server_version >= 150000 else "")
        with connection.cursor() as cursor:
            cursor.execute(query, {"oid": table, "name": self.publication})
            (told,) = cursor.fetchone() or ("",)
        return str(told)

    # How these sentences begin is source-postgres': ReplicationSlotManager.kt in airbytehq/airbyte.

    @property
    def _missing_slot(self) -> str:
        return (
            f"Replication slot '{self.slot}' not found: "
            f"select pg_create_logical_replication_slot('{self.slot}', 'pgoutput'), then refresh the connection"
        )

    @property
    def _lost_slot(self) -> str:
        return (
            f"Replication slot '{self.slot}' is not valid: wal_status = 'lost'. PostgreSQL has removed the log that it "
            "needed (max_slot_wal_keep_size). Drop it, make it again and refresh the connection"
        )

    def passed_slot(self, confirmed: int, lsn: int) -> str:
        return (
            f"Replication slot '{self.slot}' has advanced beyond the source's state LSN. Confirmed flush LSN: "
            f"{lsn_text(confirmed)}, source LSN: {lsn_text(lsn)}. The changes in between are lost: refresh the connection"
        )

    def publication_of(self, connection: psycopg2.extensions.connection) -> Publication:
        """The publication and what it carries. Raises ConnectorError where CDC cannot work at all."""
        ask = _Asking(connection)
        if ask("select pg_is_in_recovery()")[0][0]:
            raise ConnectorError(
                "this server is a standby, and CDC needs its primary: give the source the primary's host, or the "
                "replication method Standard",
                "config_error",
            )
        (level,) = ask("show wal_level")[0]
        if level != "logical":
            raise ConnectorError(
                f"CDC needs wal_level = logical, but it is {level}: alter system set wal_level = 'logical', restart "
                "PostgreSQL, and make the replication slot where it is not there",
                "config_error",
            )
        if not ask("select rolsuper or rolreplication from pg_roles where rolname = current_user")[0][0]:
            raise ConnectorError(
                f"{self.user} may not read the log: alter role {spelled(self.user)} replication",
                "config_error",
            )
        found = ask(
            "select pubinsert and pubupdate and pubdelete and pubtruncate, puballtables from pg_publication "
            "where pubname = %s",
            self.publication,
        )
        if not found:
            raise ConnectorError(
                f"publication {self.publication} does not exist: "
                f"create publication {spelled(self.publication)} for table …",
                "config_error",
            )
        ((whole, everything),) = found
        if not whole:
            raise ConnectorError(
                f"publication {self.publication} must publish insert, update, delete and truncate: alter "
                f"publication {spelled(self.publication)} set (publish = 'insert, update, delete, truncate')",
                "config_error",
            )
        tables: dict[int, bool] = {}
        without_key, unreadable, deferrable = [], [], set()
        for schema, name, oid, partition, keyed, nameless, deferred, readable in ask(
            _PUBLISHED, self.publication
        ):
            if partition:
                raise ConnectorError(
                    f"publication {self.publication} carries {schema}.{name}, a partition, by itself: alter "
                    f"publication {spelled(self.publication)} set (publish_via_partition_root = true), with the partitioned "
                    "table in it instead of its partitions",
                    "config_error",
                )
            tables[oid] = not nameless
            without_key += [] if keyed else [f"{schema}.{name}"]
            unreadable += [] if readable else [(schema, name)]
            deferrable |= {oid} if deferred else set()
        filtered = dict(ask(_FILTERED, self.publication))
        return Publication(
            self.publication, everything, tables, filtered, deferrable, without_key, unreadable
        )

    def find_slot(self, connection: psycopg2.extensions.connection) -> Slot | None:
        """Raises ConnectorError where the name is that of a slot for something else."""
        found = _Asking(connection)(_SLOT, self.slot)
        if not found:
            return None
        fits, active, lost, confirmed = found[0]
        if not fits:
            raise ConnectorError(
                f"slot {self.slot} is not a logical slot of pgoutput for this database", "config_error"
            )
        return Slot(active, lost, confirmed)


class _Asking:
    def __init__(self, connection: psycopg2.extensions.connection) -> None:
        self._connection = connection

    def __call__(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(query, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
