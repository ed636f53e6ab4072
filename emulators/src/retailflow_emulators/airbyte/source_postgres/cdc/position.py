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
    key of the last row, as text. horizon: a truncation committed before it is already in what the snapshot saw.
    system and timeline: the PostgreSQL cluster that all this is about. identity: its table (see identity.py) and
    publication. timeline and identity are None in states of before they were kept.
    """

    system: str
    table: int
    lsn: int
    initial: bool
    key: Mapping[str, Any] | None
    horizon: int
    timeline: int | None = None
    identity: Mapping[str, Any] | None = None

    def state(self) -> JsonObject:
        return {"version": 1, "method": "CDC", **asdict(self)}

    @classmethod
    def of_state(cls, blob: Mapping[str, Any], keys: Sequence[str]) -> Self | None:
        """None where the state is of another replication method or primary key."""
        if (blob.get("version"), blob.get("method")) != (1, "CDC"):
            return None
        if blob["key"] is not None and set(blob["key"]) != set(keys):
            return None
        known = ("system", "table", "lsn", "initial", "key", "horizon", "timeline", "identity")
        return cls(**{name: blob[name] for name in known if name in blob})


def stream_id(stream: Stream) -> str:
    return f"{stream.namespace}.{stream.name}"


def stream_names(streams: Sequence[Stream]) -> str:
    return ", ".join(map(stream_id, streams))
