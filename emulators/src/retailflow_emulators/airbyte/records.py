"""RECORD lines as bytes: counting and routing them without decoding each one.

A source that writes the same header on every line of a stream (ours does) is handled a block at a time with
`bytes.count` and `bytes.replace`; any other spelling of the protocol is decoded line by line. A raw newline
cannot occur inside JSON, so a match after a newline is always the start of a message.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Queue
from typing import IO, Any

import orjson

BLOCK_BYTES = 1 << 20
PIPE_BYTES = 1 << 20  # what an unprivileged process may ask for
_START = b'{"type":"RECORD","record":{'
_DATA = b'"data":'
_END = b"}}}\n"
_INEXACT = re.compile(rb"[0-9]{19}|:-0[,}]")  # numbers of which orjson keeps less than is written
_KEYS = {"stream", "emitted_at", "data"}, {"stream", "emitted_at", "data", "namespace"}


def decode(line: bytes) -> Any:
    """A line of JSON with whole numbers exact to 38 digits and -0 as a double; raises ValueError for what is no JSON.

    Numbers that no double can hold become infinite.
    """
    if not _INEXACT.search(line):
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.loads(line)
    # orjson makes doubles of whole numbers beyond 64 bits, and refuses what no double can hold: both are JSON.
    return json.loads(line, parse_int=_whole)


def _whole(text: str) -> int | float:
    return int(text) if len(text) < 40 and text != "-0" else float(text)


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
            whole = decode(line)["record"]
        except ValueError:
            return None
        if record.keys() != whole.keys() or not _KEYS[0] <= record.keys() <= _KEYS[1]:
            return None
        return cls(line[: cut + len(_DATA)], record["stream"], record.get("namespace"), record["emitted_at"])

    def data(self, block: bytes) -> bytes | None:
        """The data objects of a block of whole lines, one per line; None unless all lines are this header's."""
        if not (block.startswith(self.text) and block.endswith(_END)):
            return None
        between = _END + self.text
        bare = block[len(self.text) : -3].replace(between, b"}\n")
        # How much shorter it became says how many lines it was found in.
        found = (len(block) - len(self.text) - 3 - len(bare)) // (len(between) - 2)
        return bare if found == block.count(b"\n") - 1 else None

    def rewritten(self, block: bytes, text: bytes) -> bytes | None:
        """The block with `text` for this header on every line; None unless all lines are this header's.

        `text` is what `renamed` gives: another than this header's is of another length.
        """
        if not block.startswith(self.text):
            return None
        lines = block.count(b"\n")
        if text == self.text:
            return block if block.count(b"\n" + text) == lines - 1 else None
        rest = block[len(self.text) :]
        changed = rest.replace(b"\n" + self.text, b"\n" + text)
        found = (len(changed) - len(rest)) // (len(text) - len(self.text))
        return text + changed if found == lines - 1 else None

    @property
    def key(self) -> tuple[str, str | None]:
        return self.stream, self.namespace

    def renamed(self, stream: str, namespace: str | None) -> bytes:
        """The same header for another name and namespace; of another length where it differs at all."""
        if (stream, namespace) == self.key:
            return self.text
        where = {"namespace": namespace} if namespace else {}
        record = orjson.dumps({"stream": stream, **where, "emitted_at": self.emitted_at})
        text = _START + record[1:-1] + b"," + _DATA
        # Then `rewritten` sees from the length of a block how often it was replaced, and need not count.
        return text if len(text) != len(self.text) else text.removesuffix(_DATA) + b" " + _DATA


def widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold PIPE_BYTES where the system can do that: fewer wake-ups of either side."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # the user's share of pipe memory is used up
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def blocks(stream: IO[bytes], size: int = BLOCK_BYTES, *, full: bool = False) -> Iterator[bytes]:
    """Blocks of whole lines. An unfinished last line (its writer died) is dropped.

    `full` waits for `size` bytes; else a block is what there is, so that nothing waits on its way.
    """
    rest = b""
    read = stream.read if full else getattr(stream, "read1", stream.read)
    while chunk := read(size):
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            rest += chunk
            continue
        yield rest + chunk[:cut]
        rest = chunk[cut:]


def read_ahead(source: Iterator[bytes], count: int) -> Iterator[bytes]:
    """What `source` yields, read from now on by a thread that may be `count` blocks ahead of who takes them."""
    waiting: Queue[bytes | BaseException | None] = Queue(count)

    def read() -> None:
        try:
            for block in source:
                waiting.put(block)
            waiting.put(None)
        except BaseException as error:
            waiting.put(error)

    # A daemon: whoever gives up does not wait for the rest.
    threading.Thread(target=read, name="read-ahead", daemon=True).start()
    return _taken(waiting)


def _taken(waiting: Queue[bytes | BaseException | None]) -> Iterator[bytes]:
    while (block := waiting.get()) is not None:
        if isinstance(block, BaseException):
            raise block
        yield block
