"""Airbyte's replication method "CDC": a snapshot of each table, then what the write-ahead log says.

Each stream's state holds `lsn`: every change committed before it has been read. The slot is moved on only at
the start of a read, to the smallest `lsn` among the states that the platform gives back, which are those
that the destination has committed. So whatever dies, the log still has all that may be missing. `lsn` moves on with the
commits that the read has seen, so a slot of tables at rest needs a heartbeat (see heartbeat.py).

A snapshot begins with the slot already in place, and notes a point in the log before which every transaction that
wrote to the table had ended. Changes since that point are then read on top of the rows of the snapshot: each
carries the place of its commit as `_ab_cdc_lsn`, snapshot rows that of the point, so the newest wins under dedup
however the two overlap. Older changes are left out: they may be of a table that had other columns or another key.
An interrupted snapshot goes on after the last key that was loaded, in a snapshot of its own: what changed between
is in the log.

A stream that a connection gains later begins in the same way, from where the slot stands for the others. The log
has the changes of a table only since the publication carries it, so its snapshot waits for every transaction
that was writing to the table: what such a transaction wrote before would otherwise be in neither.
"""

from .heartbeat import Heartbeat
from .reader import CdcReader
from .replication import Replication

__all__ = ["CdcReader", "Heartbeat", "Replication"]
