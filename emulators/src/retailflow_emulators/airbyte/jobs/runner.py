"""Jobs in threads: their queue, their attempts, their ends."""

from __future__ import annotations

import contextlib
import itertools
import logging
import shutil
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..catalogs import Key
from ..protocol import ConnectorError
from ..settings import Settings
from ..store import Row, Store
from ..workers import Connectors
from .attempt import Attempt
from .failures import AttemptFailedError

logger = logging.getLogger("embedded_airbyte")
TAIL_LINES = 200
# Of each connection, as in Airbyte's DefaultJobPersistence: these stay however old they are, and no more than those however new.
LEAST_JOBS = 10
MOST_JOBS = 500


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
        lost = AttemptFailedError(
            "airbyte_platform", "the server stopped while the job ran; the next sync goes on from there"
        )
        for job_id in memory.fail_active(lost.failure):
            logger.warning("job %s failed: %s", job_id, lost)
        shutil.rmtree(settings.data_dir / "work", ignore_errors=True)
        self._forget()

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
            self._forget()

    def _forget(self) -> None:
        """Delete old jobs, with their logs."""
        before = time.time() - self._settings.job_days * 86_400
        for job_id in self._store.forget_jobs(before, LEAST_JOBS, MOST_JOBS):
            shutil.rmtree(self._log_path(job_id, 1).parent, ignore_errors=True)

    def _run_attempts(self, job: Row) -> None:
        cancelled = self._cancelled[job["id"]]
        deadline = time.monotonic() + self._settings.job_timeout
        rows = size = tried = 0
        refreshed: set[Key] = set()
        for number in itertools.count(1):
            if not self._store.set_job(job["id"], status="running"):
                return  # cancelled
            self._store.add_attempt(job["id"], number)
            path = self._log_path(job["id"], number)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", buffering=1) as log_file:
                attempt = Attempt(
                    self._settings, self._store, self._connectors, job, number, log_file, cancelled, deadline
                )
                try:
                    attempt.run()
                    failure = None
                except AttemptFailedError as error:
                    failure = error
                except ConnectorError as error:
                    failure = AttemptFailedError("source", str(error), error.failure_type)
                except Exception as error:
                    logger.exception("job %s, attempt %s", job["id"], number)
                    failure = AttemptFailedError("airbyte_platform", f"internal error: {error!r}")
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
            # An attempt that finds out which streams must be read again is none of the tries: each stream has one.
            tried += attempt.lost <= refreshed
            refreshed |= attempt.lost
            last = (
                tried >= self._settings.max_attempts or not failure.retryable or time.monotonic() > deadline
            )
            self._store.set_job(job["id"], status="failed" if last else "incomplete", rows=rows, bytes=size)
            if last or cancelled.wait(self._settings.retry_delay * number):
                return
