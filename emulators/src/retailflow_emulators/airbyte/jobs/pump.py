"""What runs between the two connectors of an attempt.

The pump is Airbyte's orchestrator in small: it renames streams, keeps logs and errors for itself, hands
everything else on, and saves a state only when the destination sends it back, which means that its rows are loaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Collection, Mapping
from typing import IO, Any

import orjson

from .. import catalogs
from ..catalogs import Key
from ..protocol import REFRESH_REQUIRED, JsonObject
from ..records import Header, blocks, decode, widen
from ..settings import Settings
from ..store import Row, Store
from ..workers import environment
from .failures import AttemptFailedError


class JobLog:
    """The log file of an attempt: a line per message, with its time, level and origin."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def __call__(self, origin: str, level: str, text: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._file.write(f"{stamp} {level} {origin}: {text}\n")


class Pump:
    """Both connectors as processes, and the messages between them.

    rows, bytes: what the source has sent. lost: streams that can only be read again from the start.
    """

    def __init__(
        self,
        settings: Settings,
        memory: Store,
        job: Row,
        log: JobLog,
        cancelled: threading.Event,
        deadline: float,
    ) -> None:
        self._settings = settings
        self._store = memory
        self._job = job
        self._log = log
        self._cancelled = cancelled
        self._deadline = deadline
        self._failures: list[AttemptFailedError] = []
        self._done = threading.Event()
        self._stopped: str | None = None
        self.lost: set[Key] = set()
        self.rows = 0
        self.bytes = 0

    def run(
        self,
        reading: list[str] | None,
        writing: list[str],
        names: Mapping[Key, Key],
        selected: Mapping[Key, Collection[str]],
    ) -> None:
        """Run both commands. Raises AttemptFailedError.

        `names` gives each stream's name in the destination, `selected` the fields of streams that send only some.
        """
        self._renamed = names
        self._selected = {key: frozenset(fields) for key, fields in selected.items()}
        self._original = {mapped: key for key, mapped in names.items()}
        destination = _popen(writing, stdin=subprocess.PIPE)
        source = _popen(reading) if reading else None
        processes = {"destination": destination, **({"source": source} if source else {})}
        threads = [
            threading.Thread(target=self._follow_errors, args=(origin, process))
            for origin, process in processes.items()
        ]
        threads.append(threading.Thread(target=self._follow_destination, args=(destination,)))
        threads.append(threading.Thread(target=self._watch, args=(processes,)))
        for thread in threads:
            thread.start()
        try:
            assert destination.stdin
            widen(destination.stdin)
            try:
                if source:
                    self._forward(source, destination.stdin)
                else:
                    destination.stdin.write(_completions(self._original))
            except BrokenPipeError:
                if source:
                    _kill(source)  # the destination has ended; its own message says why
            source_code = source.wait() if source else 0
            with contextlib.suppress(BrokenPipeError):
                destination.stdin.close()
            destination_code = destination.wait()
        finally:
            for process in processes.values():
                _kill(process)
            self._done.set()
            for thread in threads:
                thread.join()
        if self._stopped:
            raise AttemptFailedError("airbyte_platform", self._stopped, "config_error")
        if self._failures:
            # Reading again may well repair what else went wrong.
            raise next((f for f in self._failures if f.refresh), self._failures[0])
        # A source that dies of a broken pipe is a symptom: the destination is named first.
        for origin, code in (("destination", destination_code), ("source", source_code)):
            if code:
                raise AttemptFailedError(
                    origin, f"the {origin} connector ended with {_ending(code)}", "transient_error"
                )

    def _watch(self, processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
        while not self._done.wait(0.2):
            if self._cancelled.is_set():
                self._stopped = "the job was cancelled"
            elif time.monotonic() > self._deadline:
                self._stopped = f"the job took longer than {self._settings.job_timeout} s"
            if self._stopped:
                for process in processes.values():
                    _kill(process)
                return

    def _forward(self, source: subprocess.Popen[bytes], out: IO[bytes]) -> None:
        assert source.stdout
        widen(source.stdout)
        header: Header | None = None
        renamed = b""
        for block in blocks(source.stdout):
            if header and (rewritten := header.rewritten(block, renamed)):
                self.rows, self.bytes = self.rows + block.count(b"\n"), self.bytes + len(block)
                out.write(rewritten)
                continue
            lines = []
            for line in block.splitlines(keepends=True):
                if header and line.startswith(header.text):
                    lines.append(renamed + line[len(header.text) :])
                elif (learned := Header.of(line)) and self._obeys(learned.key, line):
                    header = learned
                    name, namespace = self._rename(header.key)
                    renamed = header.renamed(name, namespace)
                    lines.append(renamed + line[len(header.text) :])
                else:
                    lines += self._source_message(line)
                    continue
                self.rows, self.bytes = self.rows + 1, self.bytes + len(line)
            out.write(b"".join(lines))
            out.flush()

    def _rename(self, key: Key) -> Key:
        if key not in self._renamed:
            raise AttemptFailedError(
                "source", f"the source sent stream {key[1]}.{key[0]}, which was not asked for"
            )
        return self._renamed[key]

    def _obeys(self, key: Key, line: bytes) -> bool:
        """Whether a source that repeats its header leaves out the fields that are not selected."""
        selected = self._selected.get(key)
        return not selected or decode(line)["record"]["data"].keys() <= selected

    def _source_message(self, line: bytes) -> list[bytes]:
        """What of a source's message, other than a plain RECORD line, goes on to the destination."""
        message = self._parse("source", line)
        match message.get("type"):
            case "RECORD":
                record = message["record"]
                if selected := self._selected.get((record["stream"], record.get("namespace"))):
                    record["data"] = {k: v for k, v in record["data"].items() if k in selected}
                name, namespace = self._rename((record["stream"], record.get("namespace")))
                record.pop("namespace", None)
                record.update(stream=name, **({"namespace": namespace} if namespace else {}))
                self.rows, self.bytes = self.rows + 1, self.bytes + len(line)
            case "STATE":
                self._redescribe(message["state"]["stream"], self._rename)
            case "TRACE" if message["trace"]["type"] == "STREAM_STATUS":
                self._redescribe(message["trace"]["stream_status"], self._rename)
            case _:
                return []
        return [orjson.dumps(message) + b"\n"]

    def _follow_destination(self, destination: subprocess.Popen[bytes]) -> None:
        assert destination.stdout
        for line in destination.stdout:
            message = self._parse("destination", line)
            if message.get("type") == "STATE":
                stream = message["state"]["stream"]
                self._redescribe(stream, self._original.__getitem__)
                name, namespace = catalogs.key(stream["stream_descriptor"])
                sent = int((message["state"].get("sourceStats") or {}).get("recordCount") or 0)
                self._store.save_state(
                    self._job["connection_id"], name, namespace, stream["stream_state"], sent
                )
                self._store.set_job(self._job["id"], rows=self.rows, bytes=self.bytes)

    def _follow_errors(self, origin: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr
        for line in process.stderr:
            self._log(origin, "WARN", line.decode(errors="replace").rstrip())

    def _redescribe(self, holder: JsonObject, rename: Any) -> None:
        holder["stream_descriptor"] = descriptor(rename(catalogs.key(holder["stream_descriptor"])))

    def _parse(self, origin: str, line: bytes) -> JsonObject:
        """Decode a message; logs and errors are kept here."""
        try:
            message = decode(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self._log(origin, "INFO", line.decode(errors="replace").rstrip())
            return {}
        if message.get("type") == "LOG":
            self._log(origin, message["log"]["level"], message["log"]["message"])
        elif message.get("type") == "TRACE" and message["trace"]["type"] == "ERROR":
            error = message["trace"]["error"]
            kind = error.get("failure_type") or "system_error"
            if error.get("internal_message") == REFRESH_REQUIRED:
                key = catalogs.key(error["stream_descriptor"])
                self.lost.add(key if origin == "source" else self._original[key])
            self._log(origin, "ERROR", error.get("stack_trace") or error.get("internal_message") or "")
            self._failures.append(
                AttemptFailedError(origin, error["message"], kind, error.get("internal_message") or "")
            )
        return message


def _popen(command: list[str], stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def descriptor(key: Key) -> JsonObject:
    return {"name": key[0], **({"namespace": key[1]} if key[1] else {})}


def _completions(streams: Mapping[Key, Key]) -> bytes:
    """What a source sends that has no rows for these streams."""
    lines = []
    for key in streams:
        status = {"stream_descriptor": descriptor(key), "status": "COMPLETE"}
        trace = {"type": "STREAM_STATUS", "emitted_at": time.time() * 1000, "stream_status": status}
        lines.append(json.dumps({"type": "TRACE", "trace": trace}))
    return ("\n".join(lines) + "\n").encode()
