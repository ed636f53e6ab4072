"""How far a stream has been read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from ...protocol import JsonObject, Stream


@dataclass(frozen=True)
class CdcPosition:
    """How far a stream has been read.

    lsn: every change committed before it has been read. key: in a snapshot under way (`initial`), the primary
    key of the last row. horizon: a truncation committed before it is already in what the snapshot saw.
    system and table: the identity of the PostgreSQL cluster and of the table that all this is about.
    """

    system: str
    table: int
    lsn: int
    initial: bool
    key: Mapping[str, Any] | None
    horizon: int

    def state(self) -> JsonObject:
        return {"version": 1, "method": "CDC", **asdict(self)}

    @classmethod
    def of_state(cls, blob: Mapping[str, Any], keys: Sequence[str]) -> Self | None:
        """None where the state is of another replication method or primary key."""
        if (blob.get("version"), blob.get("method")) != (1, "CDC"):
            return None
        if blob["key"] is not None and set(blob["key"]) != set(keys):
            return None
        return cls(blob["system"], blob["table"], blob["lsn"], blob["initial"], blob["key"], blob["horizon"])


def stream_id(stream: Stream) -> str:
    return f"{stream.namespace}.{stream.name}"


def stream_names(streams: Sequence[Stream]) -> str:
    return ", ".join(map(stream_id, streams))
