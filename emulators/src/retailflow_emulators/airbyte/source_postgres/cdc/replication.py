"""The publication and the replication slot that CDC reads through: are they there, and are they fit?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import psycopg2.extensions

from ...protocol import ConnectorError, JsonObject
from ..catalog import SourceTable
from ..spec import RESYNC

_PUBLISHED = """
select n.nspname, c.relname, c.relreplident = 'n',
       exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)
from pg_publication_tables p
join pg_namespace n on n.nspname = p.schemaname
join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
where p.pubname = %s order by 1, 2
"""
# Row filters and column lists came with PostgreSQL 15; before, the columns are not there.
_FILTERED = """
select r.prrelid::regclass::text from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
where p.pubname = %s and coalesce(to_jsonb(r) ->> 'prqual', to_jsonb(r) ->> 'prattrs') is not null
"""
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
class Replication:
    """A source's replication method CDC."""

    slot: str
    publication: str
    heartbeat: str
    resync: bool
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
            method.get("invalid_cdc_cursor_position_behavior") == RESYNC,
            config["username"],
        )

    def check(self, connection: psycopg2.extensions.connection, tables: Sequence[SourceTable]) -> None:
        """Raises ConnectorError with what is missing and the statement that makes it."""
        self.published(connection, tables)
        slot = self.find_slot(connection)
        if slot is None:
            raise ConnectorError(self.missing_slot, "config_error")
        if slot.lost:
            raise ConnectorError(self.lost_slot, "config_error")

    @property
    def missing_slot(self) -> str:
        return (
            f"replication slot {self.slot} does not exist: "
            f"select pg_create_logical_replication_slot('{self.slot}', 'pgoutput')"
        )

    @property
    def lost_slot(self) -> str:
        return (
            f"replication slot {self.slot} is lost: PostgreSQL has removed the log that it needed "
            "(max_slot_wal_keep_size); drop it, make it again and refresh the connection"
        )

    def published(
        self, connection: psycopg2.extensions.connection, tables: Sequence[SourceTable]
    ) -> list[SourceTable]:
        """Those of `tables` that the publication carries. Raises ConnectorError where it is not fit."""
        ask = _Asking(connection)
        (level,) = ask("show wal_level")[0]
        if level != "logical":
            raise ConnectorError(f"CDC needs wal_level = logical, but it is {level}", "config_error")
        if not ask("select rolsuper or rolreplication from pg_roles where rolname = current_user")[0][0]:
            raise ConnectorError(
                f"{self.user} may not read the log: alter role {self.user} replication", "config_error"
            )
        kinds = ask(
            "select pubinsert, pubupdate, pubdelete from pg_publication where pubname = %s", self.publication
        )
        if not kinds:
            raise ConnectorError(
                f"publication {self.publication} does not exist: "
                f"create publication {self.publication} for table …",
                "config_error",
            )
        if not all(kinds[0]):
            raise ConnectorError(
                f"publication {self.publication} must publish insert, update and delete", "config_error"
            )
        found = ask(_PUBLISHED, self.publication)
        for schema, name, nothing, keyed in found:
            if not keyed:
                raise ConnectorError(
                    f"{schema}.{name} is in publication {self.publication} but has no primary key: "
                    "give it one, or take it out",
                    "config_error",
                )
            if nothing:
                raise ConnectorError(
                    f"{schema}.{name} does not log the key of changed rows: "
                    f"alter table {schema}.{name} replica identity default",
                    "config_error",
                )
        if filtered := ask(_FILTERED, self.publication):
            raise ConnectorError(
                f"publication {self.publication} filters rows or columns of {filtered[0][0]}; "
                "whole tables are needed",
                "config_error",
            )
        names = {(schema, name) for schema, name, *_ in found}
        carried = [table for table in tables if (table.schema, table.name) in names]
        if not carried:
            raise ConnectorError(
                f"publication {self.publication} carries no table that {self.user} may read", "config_error"
            )
        return carried

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
