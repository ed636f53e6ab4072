"""Where the streams of a read begin: their positions and the slot."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg2.extensions

from ...protocol import ConnectorError, JsonObject, RefreshRequiredError, Stream
from .. import identity, limits
from ..catalog import SourceTable
from .position import CdcPosition, stream_id
from .replication import Replication, Slot, lsn_text

# The log is written in pages, each with a header, of which the longest is that of a segment's first page
# (src/include/access/xlog_internal.h). Where the log ends with a page, the next record begins behind a header that is
# not there yet.
PAGE_BYTES, HEADER_BYTES = 8192, 40


def reachable(end: int) -> int:
    """The last place that a log which ends here may have given as that of its next record."""
    return end if end % PAGE_BYTES else end + HEADER_BYTES


class Beginning:
    """Finds or makes the positions of streams, and moves the slot to where the first of them stands."""

    def __init__(self, replication: Replication, control: psycopg2.extensions.connection) -> None:
        self._replication = replication
        self._control = control

    def positions(
        self,
        pairs: Sequence[tuple[SourceTable, Stream]],
        saved: Mapping[tuple[str, str | None], Mapping[str, Any]],
    ) -> dict[str, CdcPosition]:
        """The positions of all streams by their ids; the slot stands where the first of them does."""
        positions: dict[str, CdcPosition] = {}
        system, timeline = identity.server(self._control)
        (now,) = self._ask("select (pg_current_wal_flush_lsn() - '0/0')::bigint")
        found: list[tuple[SourceTable, Stream, CdcPosition]] = []
        foreign: list[Stream] = []
        for table, stream in pairs:
            if blob := saved.get((stream.name, stream.namespace)):
                if position := CdcPosition.of_state(blob, table.primary_key):
                    found.append((table, stream, position))
                else:
                    foreign.append(stream)
        self._refuse_another_server(found, system, timeline, now)
        slot = self._usable_slot()
        changed = {stream_id(stream): "was read by another method or key before" for stream in foreign}
        identities = {stream_id(stream): self._identity(table) for table, stream in pairs}
        lost: list[int] = []
        for table, stream, position in found:
            current, before = identities[stream_id(stream)], position.identity
            why = identity.difference(self._control, table, before, current) if before else None
            if before and not why and before["publication"] != current["publication"]:
                why = f"left publication {self._replication.publication} for a while, or that was changed"
            if position.table != table.oid:
                why = "is another table than the one read before"
            if why:
                foreign.append(stream)
                changed[stream_id(stream)] = why
            elif position.lsn < slot.confirmed:
                lost.append(position.lsn)
            else:
                kept = identity.merged(before, current) if before else current
                positions[stream_id(stream)] = replace(position, timeline=timeline, identity=kept)
        if foreign:
            raise RefreshRequiredError(
                "; ".join(f"{name} {why}: it is read again from the start" for name, why in changed.items()),
                foreign,
            )
        if lost:
            raise ConnectorError(self._replication.passed_slot(slot.confirmed, min(lost)), "config_error")
        if positions:
            confirmed = max(slot.confirmed, min(position.lsn for position in positions.values()))
        else:
            confirmed = max(slot.confirmed, self._settled())
        if confirmed > slot.confirmed:
            self._advance(confirmed)
        for table, stream in pairs:
            new = CdcPosition(
                system, table.oid, confirmed, True, None, 0, timeline, identities[stream_id(stream)]
            )
            positions.setdefault(stream_id(stream), new)
        return positions

    def _refuse_another_server(
        self,
        found: Sequence[tuple[SourceTable, Stream, CdcPosition]],
        system: str,
        timeline: int,
        now: int,
    ) -> None:
        """A restored or exchanged server may have lost what RAW still has: going on is for a person to decide."""
        for _, stream, position in found:
            before = position.system, position.timeline or timeline
            if before != (system, timeline) or position.lsn > reachable(now):
                raise ConnectorError(
                    f"{stream_id(stream)} was last read from PostgreSQL system {before[0]}, timeline {before[1]}, "
                    f"up to {lsn_text(position.lsn)} of its log; this server is system {system}, timeline "
                    f"{timeline}, at {lsn_text(now)}: it was restored, or it is another one. Nothing was read or "
                    "removed. If it is the right one, refresh the connection",
                    "config_error",
                )

    def _identity(self, table: SourceTable) -> JsonObject:
        return {
            **identity.identity(self._control, table),
            "publication": self._replication.membership(self._control, table.oid),
        }

    def _usable_slot(self) -> Slot:
        slot = self._replication.valid_slot(self._control)
        if slot.active:
            raise ConnectorError(
                f"slot {self._replication.slot} is being read by another process", "transient_error"
            )
        return slot

    def _settled(self) -> int:
        """A place in the log before which every transaction has ended; 0 if one does not end in time."""
        lsn, xmax = self._ask(
            "select (pg_current_wal_flush_lsn() - '0/0')::bigint, "
            "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        )
        deadline = time.monotonic() + limits.SETTLE_SECONDS
        while time.monotonic() < deadline:
            (xmin,) = self._ask("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            if xmin >= xmax:
                return int(lsn)
            time.sleep(0.1)
        return 0

    def _advance(self, lsn: int) -> None:
        self._ask("select pg_replication_slot_advance(%s, %s)::text", self._replication.slot, lsn_text(lsn))

    def _ask(self, query: str, *parameters: Any) -> tuple[Any, ...]:
        with self._control.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchone() or ()
