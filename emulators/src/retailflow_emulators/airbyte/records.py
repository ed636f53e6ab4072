"""RECORD lines as bytes: counting and routing them without decoding each one.

A source that writes the same header on every line of a stream (ours does) is handled a block at a time with
`bytes.count` and `bytes.replace`; any other spelling of the protocol is decoded line by line. A raw newline
cannot occur inside JSON, so a match after a newline is always the start of a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import orjson

BLOCK_BYTES = 1 << 20
_START = b'{"type":"RECORD","record":{'
_DATA = b'"data":'
_KEYS = {"stream", "emitted_at", "data"}, {"stream", "emitted_at", "data", "namespace"}


@dataclass(frozen=True)
class Header:
    """What stands before the data of a RECORD line, and what it says."""

    text: bytes
    stream: str
    namespace: str | None
    emitted_at: int

    @classmethod
    def of(cls, line: bytes) -> Header | None:
        """The header of a RECORD line in compact spelling with the data last, else None."""
        cut = line.find(_DATA)
        if cut < 0 or not line.startswith(_START):
            return None
        try:
            record = orjson.loads(line[:cut] + _DATA + b"{}}}")["record"]
            whole = orjson.loads(line)["record"]
        except orjson.JSONDecodeError:
            return None
        if record.keys() != whole.keys() or not _KEYS[0] <= record.keys() <= _KEYS[1]:
            return None
        return cls(line[: cut + len(_DATA)], record["stream"], record.get("namespace"), record["emitted_at"])

    @property
    def key(self) -> tuple[str, str | None]:
        return self.stream, self.namespace

    def renamed(self, stream: str, namespace: str | None) -> bytes:
        """The same header for another name and namespace."""
        where = {"namespace": namespace} if namespace else {}
        record = orjson.dumps({"stream": stream, **where, "emitted_at": self.emitted_at})
        return _START + record[1:-1] + b"," + _DATA

    def covers(self, block: bytes) -> bool:
        """True if every line of `block` (whole lines) starts with this header."""
        return block.startswith(self.text) and block.count(b"\n" + self.text) == block.count(b"\n") - 1


def blocks(stream: IO[bytes], size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Blocks of whole lines. An unfinished last line (its writer died) is dropped."""
    rest = b""
    read = getattr(stream, "read1", stream.read)  # read1 gives what there is and does not wait for more
    while chunk := read(size):
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            rest += chunk
            continue
        yield rest + chunk[:cut]
        rest = chunk[cut:]
