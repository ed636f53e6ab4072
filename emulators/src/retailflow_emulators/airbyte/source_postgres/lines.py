"""What COPY sends, and RECORD lines on their way to stdout."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import BinaryIO

from ..protocol import ConnectorError, Stream

WRITE_BYTES = 1 << 20


def record_header(stream: Stream) -> str:
    """What every RECORD line of a stream starts with, up to its data; "}}" closes the line."""
    record = {"stream": stream.name, "namespace": stream.namespace, "emitted_at": time.time_ns() // 1_000_000}
    head = json.dumps({"type": "RECORD", "record": record}, separators=(",", ":"))
    return head.removesuffix("}}") + ',"data":'


class CopiedValues:
    """The file that a binary COPY of one column writes to, one call per row: `take` gets the values.

    Binary, because PostgreSQL looks for what it has to quote in the other formats, byte by byte.
    """

    _HEADER_BYTES = 19  # in front of the first row: signature, flags and length of the extension
    _ROW_BYTES = 6  # in front of the value: number of columns and length of the value
    _END = b"\xff\xff"

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._begun = False

    def write(self, chunk: bytes) -> None:
        if not self._begun:
            chunk = chunk[self._HEADER_BYTES :]
            self._begun = True
        if chunk and chunk[:2] != self._END:
            self._take(chunk[self._ROW_BYTES :])


def in_utf8(table: str, take: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """`take` for a database in SQL_ASCII, which holds any bytes: those that are no UTF-8 are refused by column."""

    def checked(line: bytes) -> None:
        try:
            line.decode()
        except UnicodeDecodeError:
            data = json.loads(line.decode("latin-1"))["record"]["data"]
            column = next(name for name, value in data.items() if not _is_utf8(value))
            raise not_utf8(table, column.encode("latin-1").decode()) from None
        take(line)

    return checked


def not_utf8(table: str, column: str) -> ConnectorError:
    return ConnectorError(
        f"column {column} of {table} holds bytes that are no UTF-8 text, and the encoding of the database, "
        "SQL_ASCII, does not say what they mean: correct these values, or make the column bytea",
        "config_error",
    )


def _is_utf8(value: object) -> bool:
    try:
        str(value).encode("latin-1").decode()
    except UnicodeError:
        return False
    return True


class Lines:
    """Lines on their way out, a mebibyte at a time. Calls `on_rows` every `step` lines and at the end."""

    def __init__(self, out: BinaryIO, on_rows: Callable[[bytes, int], None], step: int) -> None:
        self._out = out
        self._on_rows = on_rows
        self._step = step
        self._buffer: list[bytes] = []
        self._size = 0
        self._rows = 0

    def take(self, line: bytes) -> None:
        self._buffer.append(line)
        self._size += len(line)
        self._rows += 1
        if self._rows == self._step:
            self.close()
        elif self._size >= WRITE_BYTES:
            self._flush(keep=1)

    def close(self) -> None:
        """Write everything and report the rows since the last report with the last line of them."""
        if self._rows:
            last, rows = self._buffer[-1], self._rows
            self._rows = 0
            self._flush()
            self._on_rows(last, rows)

    def _flush(self, keep: int = 0) -> None:
        """Write the buffer but for its last `keep` lines."""
        cut = len(self._buffer) - keep
        self._out.write(b"".join(self._buffer[:cut]))
        self._out.flush()
        self._buffer = self._buffer[cut:]
        self._size = sum(map(len, self._buffer))
