"""Jobs: a source piped into a destination, attempt by attempt.

The pump between them is Airbyte's orchestrator in small: it renames streams, keeps logs and errors for
itself, hands everything else on, and saves a state only when the destination sends it back, which
means that its rows are loaded. Whatever is killed, the next sync starts from the last such state.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import orjson

from . import catalogs, store
from .catalogs import Key
from .protocol import REFRESH_REQUIRED, ConnectorError, JsonObject
from .records import Header, blocks, decode, widen
from .settings import Settings
from .store import Row, Store
from .workers import Connectors, environment, write_json

logger = logging.getLogger("embedded_airbyte")
TAIL_LINES = 200


class AttemptFailed(Exception):
    """Why an attempt ended; `origin` is source, destination or airbyte_platform."""

    def __init__(
        self, origin: str, message: str, failure_type: str = "system_error", internal: str = ""
    ) -> None:
        super().__init__(message)
        self.failure: JsonObject = {
            "failureOrigin": origin,
            "failureType": failure_type,
            "externalMessage": message,
            "internalMessage": internal,
            "timestamp": int(time.time() * 1000),
        }

    @property
    def retryable(self) -> bool:
        return bool(self.failure["failureType"] != "config_error")


class JobRunner:
    """Runs jobs in threads, each with its two subprocesses."""

    def __init__(self, settings: Settings, memory: Store, connectors: Connectors) -> None:
        self._settings = settings
        self._store = memory
        self._connectors = connectors
        self._threads = ThreadPoolExecutor(max_workers=settings.max_jobs, thread_name_prefix="job")
        self._cancelled: dict[int, threading.Event] = {}
        # A cancelled job frees its connection at once, its processes end a moment later: the next job waits for that.
        self._busy: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        lost = AttemptFailed(
            "airbyte_platform", "the server stopped while the job ran; the next sync goes on from there"
        )
        for job_id in memory.fail_active(lost.failure):
            logger.warning("job %s failed: %s", job_id, lost)
        shutil.rmtree(settings.data_dir / "work", ignore_errors=True)

    def start(self, connection: Row, type_: str) -> Row:
        """Queue a job. Raises store.ActiveJobError."""
        job = self._store.add_job(connection["id"], connection["workspace_id"], type_)
        self._cancelled[job["id"]] = threading.Event()
        self._threads.submit(self._run, job)
        return job

    def cancel(self, job_id: int) -> bool:
        """False if the job has ended already."""
        if event := self._cancelled.get(job_id):
            event.set()
        return self._store.set_job(job_id, status="cancelled")

    def stop(self) -> None:
        """End every job now; their states are kept."""
        for event in list(self._cancelled.values()):
            event.set()
        self._threads.shutdown(cancel_futures=True)

    def log_tail(self, job_id: int, attempt: int) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            text = self._log_path(job_id, attempt).read_text(encoding="utf-8", errors="replace")
            return text.splitlines()[-TAIL_LINES:]
        return []

    def _log_path(self, job_id: int, attempt: int) -> Path:
        return self._settings.data_dir / "jobs" / str(job_id) / f"attempt-{attempt}.log"

    def _run(self, job: Row) -> None:
        try:
            with self._busy[job["connection_id"]]:
                self._run_attempts(job)
        except Exception:
            logger.exception("job %s", job["id"])
            self._store.set_job(job["id"], status="failed")
        finally:
            self._cancelled.pop(job["id"], None)

    def _run_attempts(self, job: Row) -> None:
        cancelled = self._cancelled[job["id"]]
        deadline = time.monotonic() + self._settings.job_timeout
        rows = size = 0
        for number in range(1, self._settings.max_attempts + 1):
            if not self._store.set_job(job["id"], status="running"):
                return  # cancelled
            self._store.add_attempt(job["id"], number)
            path = self._log_path(job["id"], number)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", buffering=1) as log_file:
                attempt = _Attempt(self, job, number, log_file, cancelled, deadline)
                try:
                    attempt.run()
                    failure = None
                except AttemptFailed as error:
                    failure = error
                except ConnectorError as error:
                    failure = AttemptFailed("source", str(error), error.failure_type)
                except Exception as error:
                    logger.exception("job %s, attempt %s", job["id"], number)
                    failure = AttemptFailed("airbyte_platform", f"internal error: {error!r}")
                if failure:
                    attempt.log(
                        failure.failure["failureOrigin"], "ERROR", f"attempt {number} failed: {failure}"
                    )
            rows, size = rows + attempt.rows, size + attempt.bytes
            self._store.end_attempt(
                job["id"],
                number,
                status="failed" if failure else "succeeded",
                rows=attempt.rows,
                bytes=attempt.bytes,
                failure=failure.failure if failure else None,
            )
            if not failure:
                self._store.set_job(job["id"], status="succeeded", rows=rows, bytes=size)
                logger.info("job %s succeeded: %s rows", job["id"], rows)
                return
            logger.warning("job %s, attempt %s failed: %s", job["id"], number, failure)
            last = (
                number == self._settings.max_attempts or not failure.retryable or time.monotonic() > deadline
            )
            self._store.set_job(job["id"], status="failed" if last else "incomplete", rows=rows, bytes=size)
            if last or cancelled.wait(self._settings.retry_delay * number):
                return


class _Attempt:
    """One run of a source into a destination."""

    def __init__(
        self,
        runner: JobRunner,
        job: Row,
        number: int,
        log_file: IO[str],
        cancelled: threading.Event,
        deadline: float,
    ) -> None:
        self._runner = runner
        self._store = runner._store
        self._job = job
        self._number = number
        self._log_file = log_file
        self._cancelled = cancelled
        self._deadline = deadline
        self._failures: list[AttemptFailed] = []
        self._lost: set[Key] = set()  # streams that the source can only read anew
        self._done = threading.Event()
        self._stopped: str | None = None
        self.rows = 0
        self.bytes = 0

    def run(self) -> None:
        """Raises AttemptFailed, or ConnectorError from discovery."""
        connection = self._store.get(store.connections, self._job["connection_id"])
        if connection is None:
            raise AttemptFailed("airbyte_platform", "the connection was deleted", "config_error")
        source = self._store.get(store.actors, connection["source_id"])
        destination = self._store.get(store.actors, connection["destination_id"])
        assert source and destination
        self._prepare(connection, source)
        read_catalog, write_catalog = catalogs.protocol_catalogs(
            connection,
            self._job["id"],
            self._store.generations(connection["id"]),
            self._store.refreshing(connection["id"]),
        )
        keys = [catalogs.key(stream) for stream in connection["settings"]["configurations"]]
        self._renamed = {key: catalogs.mapped(key, connection["settings"]) for key in keys}
        self._original = {mapped: key for key, mapped in self._renamed.items()}
        work = self._runner._settings.data_dir / "work"
        work.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work) as name:
            folder = Path(name)
            reading = [
                *self._runner._connectors.find("source", type_=source["type"]).command,
                "read",
                *("--config", write_json(folder, "source.json", source["configuration"])),
                *("--catalog", write_json(folder, "source_catalog.json", read_catalog)),
                *(
                    "--state",
                    write_json(folder, "state.json", self._saved_states(connection["id"], read_catalog)),
                ),
            ]
            writing = [
                *self._runner._connectors.find("destination", type_=destination["type"]).command,
                "write",
                *("--config", write_json(folder, "destination.json", destination["configuration"])),
                *("--catalog", write_json(folder, "destination_catalog.json", write_catalog)),
            ]
            try:
                self._execute(None if self._job["type"] in ("reset", "clear") else reading, writing)
            except AttemptFailed:
                if self._lost:
                    self._store.new_generations(connection["id"], self._lost)
                raise
        self._store.end_refreshes(connection["id"])

    def _prepare(self, connection: Row, source: Row) -> None:
        """New generations where tables are written anew; a new catalog where schema changes propagate.

        A stream without a state is read from its beginning: rows that an attempt loaded without saving its
        state may be gone from the source by now, so they are of an older generation too.
        """
        configurations = connection["settings"]["configurations"]
        known = {(row["stream"], row["namespace"] or None) for row in self._store.states(connection["id"])}
        first = self._number == 1
        whole = first and self._job["type"] in ("reset", "clear")
        named = self._store.refreshing(connection["id"]) if first and self._job["type"] == "refresh" else ()
        anew = [
            stream
            for stream in configurations
            if whole
            or catalogs.key(stream) in named
            or stream["syncMode"] in catalogs.OVERWRITING
            or (stream["syncMode"] in catalogs.INCREMENTAL and catalogs.key(stream) not in known)
        ]
        self._store.new_generations(connection["id"], map(catalogs.key, anew))
        if str(connection["settings"]["nonBreakingSchemaUpdatesBehavior"]).startswith("propagate"):
            connectors = self._runner._connectors
            found = connectors.discover(
                connectors.find("source", type_=source["type"]), source["configuration"]
            )
            for stream in configurations:
                try:
                    catalogs.find(found, *catalogs.key(stream))
                except catalogs.CatalogError as error:
                    raise AttemptFailed("source", str(error), "config_error") from error
            if found != connection["catalog"]["streams"]:
                self.log(
                    "airbyte_platform", "INFO", "the source's schema has changed; new columns are taken over"
                )
                connection["catalog"] = {"streams": found}
                self._store.update(store.connections, connection["id"], catalog=connection["catalog"])

    def _saved_states(self, connection_id: str, catalog: JsonObject) -> list[JsonObject]:
        incremental = {
            catalogs.key(s["stream"]) for s in catalog["streams"] if s["sync_mode"] == "incremental"
        }
        return [
            {
                "type": "STREAM",
                "stream": {"stream_descriptor": _descriptor(key), "stream_state": row["state"]},
            }
            for row in self._store.states(connection_id)
            if (key := (row["stream"], row["namespace"] or None)) in incremental
        ]

    def _execute(self, reading: list[str] | None, writing: list[str]) -> None:
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
                    self._pump(source, destination.stdin)
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
            raise AttemptFailed("airbyte_platform", self._stopped, "config_error")
        if self._failures:
            raise self._failures[0]
        # A source that dies of a broken pipe is a symptom: the destination is named first.
        for origin, code in (("destination", destination_code), ("source", source_code)):
            if code:
                raise AttemptFailed(
                    origin, f"the {origin} connector ended with {_ending(code)}", "transient_error"
                )

    def _watch(self, processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
        while not self._done.wait(0.2):
            if self._cancelled.is_set():
                self._stopped = "the job was cancelled"
            elif time.monotonic() > self._deadline:
                self._stopped = f"the job took longer than {self._runner._settings.job_timeout} s"
            if self._stopped:
                for process in processes.values():
                    _kill(process)
                return

    def _pump(self, source: subprocess.Popen[bytes], out: IO[bytes]) -> None:
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
                elif learned := Header.of(line):
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
            raise AttemptFailed(
                "source", f"the source sent stream {key[1]}.{key[0]}, which was not asked for"
            )
        return self._renamed[key]

    def _source_message(self, line: bytes) -> list[bytes]:
        """What of a source's message, other than a plain RECORD line, goes on to the destination."""
        message = self._parse("source", line)
        match message.get("type"):
            case "RECORD":
                record = message["record"]
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
                self._store.save_state(self._job["connection_id"], name, namespace, stream["stream_state"])
                self._store.set_job(self._job["id"], rows=self.rows, bytes=self.bytes)

    def _follow_errors(self, origin: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr
        for line in process.stderr:
            self.log(origin, "WARN", line.decode(errors="replace").rstrip())

    def _redescribe(self, holder: JsonObject, rename: Any) -> None:
        holder["stream_descriptor"] = _descriptor(rename(catalogs.key(holder["stream_descriptor"])))

    def _parse(self, origin: str, line: bytes) -> JsonObject:
        """Decode a message; logs and errors are kept here."""
        try:
            message = decode(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self.log(origin, "INFO", line.decode(errors="replace").rstrip())
            return {}
        if message.get("type") == "LOG":
            self.log(origin, message["log"]["level"], message["log"]["message"])
        elif message.get("type") == "TRACE" and message["trace"]["type"] == "ERROR":
            error = message["trace"]["error"]
            kind = error.get("failure_type") or "system_error"
            if origin == "source" and error.get("internal_message") == REFRESH_REQUIRED:
                self._lost.add(catalogs.key(error["stream_descriptor"]))
            self.log(origin, "ERROR", error.get("stack_trace") or error.get("internal_message") or "")
            self._failures.append(
                AttemptFailed(origin, error["message"], kind, error.get("internal_message") or "")
            )
        return message

    def log(self, origin: str, level: str, text: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._log_file.write(f"{stamp} {level} {origin}: {text}\n")


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


def _descriptor(key: Key) -> JsonObject:
    return {"name": key[0], **({"namespace": key[1]} if key[1] else {})}


def _completions(streams: Mapping[Key, Key]) -> bytes:
    """What a source with nothing to say about these streams sends."""
    lines = []
    for key in streams:
        status = {"stream_descriptor": _descriptor(key), "status": "COMPLETE"}
        trace = {"type": "STREAM_STATUS", "emitted_at": time.time() * 1000, "stream_status": status}
        lines.append(json.dumps({"type": "TRACE", "trace": trace}))
    return ("\n".join(lines) + "\n").encode()
