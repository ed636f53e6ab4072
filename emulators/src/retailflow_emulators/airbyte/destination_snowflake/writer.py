"""Incoming lines to batches to loads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ..protocol import ConnectorError, JsonObject, Stream, emit, log
from ..records import Header, decode
from .batch import Batch
from .table import Table
from .warehouse import Warehouse

BATCH_ROWS = 250_000


def refuse_one_name(warehouse: Warehouse, streams: Sequence[Stream]) -> None:
    """Raises ConnectorError where two streams would be written to one table, before anything is written."""
    owners: dict[str, Stream] = {}
    for stream in streams:
        other = owners.setdefault(name := warehouse.table(stream).qualified, stream)
        if other is not stream:
            raise ConnectorError(
                f"streams {other.name} and {stream.name} would both be written to {name}: give one of them another "
                "prefix or namespace. Nothing was written",
                "config_error",
            )


class Writer:
    """Turns the incoming lines into batches and loads each one while the next is being read."""

    def __init__(self, warehouse: Warehouse, streams: Sequence[Stream], folder: Path) -> None:
        self._warehouse = warehouse
        self._folder = folder
        self._streams = {(stream.name, stream.namespace): stream for stream in streams}
        refuse_one_name(warehouse, streams)
        self._tables = {key: warehouse.prepare(stream) for key, stream in self._streams.items()}
        self._batches: dict[tuple[str, str | None], Batch] = {}
        self._complete: list[Stream] = []
        self._states: list[JsonObject] = []
        self._header: Header | None = None
        self._made = 0
        self._loader = ThreadPoolExecutor(max_workers=1)
        self._loading: Future[None] | None = None

    def take(self, block: bytes) -> None:
        if self._header and (data := self._header.data(block)):
            self._add(block, self._header.key, data, self._header.emitted_at)
            return
        run: list[bytes] = []  # lines that share the header
        for line in block.splitlines(keepends=True):
            if self._header and line.startswith(self._header.text):
                run.append(line)
                continue
            self._flush_run(run)
            if header := Header.of(line):
                self._header = header
                run.append(line)
            else:
                self._take_message(line)
        self._flush_run(run)

    def finish(self) -> None:
        self._submit()
        self._wait()
        self._loader.shutdown()
        for stream in self._complete:
            self._warehouse.truncate_older(self._tables[stream.name, stream.namespace], stream)
        self._warehouse.drop_staging(list(self._tables.values()))

    def _flush_run(self, run: list[bytes]) -> None:
        if run and self._header:
            lines = b"".join(run)
            self._add(lines, self._header.key, self._header.data(lines), self._header.emitted_at)
            run.clear()

    def _take_message(self, line: bytes) -> None:
        try:
            message = decode(line)
        except ValueError:
            log("ignored a line that is no Airbyte message", "WARN")
            return
        match message.get("type"):
            case "RECORD":
                self._add(line, (message["record"]["stream"], message["record"].get("namespace")))
            case "STATE":
                self._states.append(message)
                if sum(batch.rows for batch in self._batches.values()) >= BATCH_ROWS:
                    self._submit()
            case "TRACE" if message["trace"].get("type") == "STREAM_STATUS":
                status = message["trace"]["stream_status"]
                if status["status"] == "COMPLETE":
                    descriptor = status["stream_descriptor"]
                    self._complete.append(self._stream((descriptor["name"], descriptor.get("namespace"))))
            case _:
                pass

    def _stream(self, key: tuple[str, str | None]) -> Stream:
        if key not in self._streams:
            raise ConnectorError(f"stream {key[0]} of namespace {key[1]} is not in the catalog")
        return self._streams[key]

    def _add(
        self, lines: bytes, key: tuple[str, str | None], data: bytes | None = None, emitted_at: int = 0
    ) -> None:
        stream = self._stream(key)
        if key not in self._batches:
            self._made += 1
            # The name is never used again: Snowflake skips a file name that it has loaded before.
            path = self._folder / f"{self._tables[key].suffix}_{self._made:06d}.parquet"
            self._batches[key] = Batch(stream, self._tables[key], path)
        self._batches[key].add(lines, data, emitted_at)

    def _submit(self) -> None:
        """Hand what has been read to the loader; at most one load runs while one batch is being filled."""
        self._wait()
        batches, states = self._batches, self._states
        self._batches, self._states = {}, []
        for batch in batches.values():
            batch.close()
        work = [(self._tables[key], batch) for key, batch in batches.items()]
        self._loading = self._loader.submit(self._load, work, states)

    def _load(self, work: list[tuple[Table, Batch]], states: list[JsonObject]) -> None:
        for table, batch in work:
            self._warehouse.load(table, batch)
            batch.path.unlink()
        for message in states:
            emit(message)

    def _wait(self) -> None:
        if self._loading:
            self._loading.result()
            self._loading = None
