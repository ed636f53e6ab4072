"""Where the streams of a read begin: their positions and the slot."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import psycopg2.extensions

from ...protocol import ConnectorError, RefreshRequiredError, Stream, log
from .. import limits
from ..catalog import SourceTable
from .position import CdcPosition, stream_id, stream_names
from .replication import Replication, Slot, lsn_text


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
        known = [(table, stream) for table, stream in pairs if (stream.name, stream.namespace) in saved]
        slot = self._usable_slot([stream for _, stream in known])
        system, now = self._ask(
            "select system_identifier::text, (pg_current_wal_flush_lsn() - '0/0')::bigint "
            "from pg_control_system()"
        )
        foreign, lost = [], []
        for table, stream in known:
            position = CdcPosition.of_state(saved[stream.name, stream.namespace], table.primary_key)
            if (
                position is None
                or (position.system, position.table) != (system, table.oid)
                or position.lsn > now
            ):
                foreign.append(stream)
            elif position.lsn < slot.confirmed:
                lost.append(stream)
            else:
                positions[stream_id(stream)] = position
        if foreign:
            raise RefreshRequiredError(
                f"{stream_names(foreign)} was read by another method, or from another server or table before: it is read again",
                foreign,
            )
        if lost:
            self._refresh(lost, f"slot {self._replication.slot} has moved on past the last sync")
        if positions:
            confirmed = max(slot.confirmed, min(position.lsn for position in positions.values()))
        else:
            confirmed = max(slot.confirmed, self._settled())
        if confirmed > slot.confirmed:
            self._advance(confirmed)
        for table, stream in pairs:
            new = CdcPosition(system, table.oid, confirmed, initial=True, key=None, horizon=0)
            positions.setdefault(stream_id(stream), new)
        return positions

    def _usable_slot(self, known: Sequence[Stream]) -> Slot:
        """The slot; one that is gone is made again if the user wants that."""
        slot = self._replication.find_slot(self._control)
        if slot and not slot.lost:
            if slot.active:
                raise ConnectorError(
                    f"slot {self._replication.slot} is being read by another process", "transient_error"
                )
            return slot
        why = self._replication.lost_slot if slot else self._replication.missing_slot
        if not self._replication.resync:
            raise ConnectorError(why, "config_error")
        name = self._replication.slot
        if slot:
            self._ask("select pg_drop_replication_slot(%s)::text", name)
        self._ask("select pg_create_logical_replication_slot(%s, 'pgoutput')::text", name)
        log(f"made slot {name} again", "WARN")
        if known:
            self._refresh(known, why)
        made = self._replication.find_slot(self._control)
        assert made
        return made

    def _refresh(self, streams: Sequence[Stream], why: str) -> NoReturn:
        if self._replication.resync:
            raise RefreshRequiredError(f"{why}; {stream_names(streams)} is read again", streams)
        raise ConnectorError(
            f"{why}: changes are lost. Refresh the connection, or set invalid_cdc_cursor_position_behavior "
            "to “Re-sync data”",
            "config_error",
        )

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
