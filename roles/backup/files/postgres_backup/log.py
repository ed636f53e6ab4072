"""Storing the log of the server."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import subprocess
import sys
import time
from pathlib import Path

from .alerts import tell
from .basics import Json, RefusedError, iso, iso_of, moment, now, read, write
from .pipeline import Pipeline, seal
from .segments import SEGMENT, cluster_of
from .server import HEARTBEAT, REMIND, SWITCH, Server
from .spool import Spool
from .store import REFUSALS, Store

PAUSE = 5  # seconds between two looks into the spool
# Seconds between two commits of ours: recovery to a moment needs a commit behind it in the log.
COMMIT_AFTER = 20
# Seconds without a new segment after which the server is asked to end the one it writes. After a crash its own archive_timeout is
# silent for up to checkpoint_timeout, 5 minutes: the checkpointer starts while recovery is under way, and then sleeps without it
# (CheckpointerMain, src/backend/postmaster/checkpointer.c).
SWITCH_AFTER = 50
ALERT_AFTER = 120  # seconds of failing after which somebody is told: a store that restarts is no news


def key_of(cluster: str, name: str) -> str:
    """Where a file of the log is in the bucket."""
    return f"{cluster}/wal/{name}.gz.age"


class Log:
    """The log on its way from the spool into the store."""

    def __init__(self, config: Json) -> None:
        self.config = config
        self.spool, self.server, self.store = Spool(config), Server(config), Store(config)

    def ship(self) -> int:
        """Store everything that the spool holds now, oldest first; return how many files. One process at a time."""
        with (self.spool.notes / "ship.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            paths = self.spool.waiting()
            for path in paths:
                self.ship_one(path)
        return len(paths)

    def ship_one(self, path: Path) -> None:
        """Store one file of the spool, then remove it. What is stored is never replaced by something else."""
        content = path.read_bytes()
        name = path.name
        key = key_of(cluster_of(content) if SEGMENT.fullmatch(name) else self.server.cluster(), name)
        digest = hashlib.sha256(content).hexdigest()
        closed = iso_of(path.stat().st_mtime)
        stored = self.store.head(key)
        if stored is None:
            with path.open("rb") as file:
                pipeline = Pipeline(*seal(self.config["recipient"]), feed=file)
                body = pipeline.output.read()
                pipeline.close()
            self.store.put(key, body, sha256=digest, closed=closed)
        elif stored["Metadata"].get("sha256") != digest:
            raise RefusedError(
                f"{key} is stored with another content than {path}. Nothing was replaced: two servers archive as one cluster."
            )
        write(self.spool.shipped, {"file": name, "time": iso(now()), "closed": closed})
        path.unlink()

    def wait_for(self, cluster: str, segment: str, seconds: int = 120) -> None:
        """Wait until a segment is stored, and all before it that the server has; RefusedError if they are not."""
        end = time.monotonic() + seconds
        while True:
            left = self.server.left(segment)  # what is archived by now is in the spool, or was
            self.ship()
            if not left and self.store.head(key_of(cluster, segment)):
                return
            if time.monotonic() > end:
                raise RefusedError(
                    f"{' '.join(left) or segment} did not reach the spool within {seconds} s; see pg_stat_archiver and the "
                    "server's log"
                )
            time.sleep(1)

    def ship_for_ever(self) -> None:
        """Ship until the process is ended; what goes wrong is written down and tried again."""
        committed, pause, stored = 0.0, PAUSE, time.monotonic()
        while True:
            try:
                with contextlib.suppress(
                    RefusedError, subprocess.TimeoutExpired
                ):  # a server that is down has nothing to add
                    if time.monotonic() - committed > COMMIT_AFTER:
                        committed = time.monotonic()
                        self.server.ask(HEARTBEAT, REMIND)
                    if time.monotonic() - stored > SWITCH_AFTER:
                        stored = time.monotonic()
                        self.server.ask(SWITCH)
                count = self.ship()
                if count:
                    stored = time.monotonic()
                    print(f"stored {count} files", flush=True)
                self.healed()
                pause = PAUSE
            except (RefusedError, *REFUSALS, OSError, subprocess.TimeoutExpired) as error:
                print(f"error: {error}", file=sys.stderr, flush=True)
                self.failed(error)
                self.store.log_in_again()
                pause = min(15, pause * 2)
            time.sleep(pause)

    def failed(self, error: Exception) -> None:
        """Note that nothing can be stored, and tell somebody once when that has lasted."""
        path = self.spool.error
        noted = read(path)
        since, told = noted.get("since") or iso(now()), noted.get("told", False)
        write(path, {"since": since, "text": str(error), "told": told})
        if not told and now() - moment(since) > datetime.timedelta(seconds=ALERT_AFTER):
            spooled = self.spool.status()
            told = tell(
                self.config,
                "backup_failed",
                f"PostgreSQL's log cannot be stored since {since}: {error}. The database goes on; {spooled['spool_files']} files "
                f"({spooled['spool_bytes'] >> 20} MB) wait on its host. `make status` shows how it goes.",
            )
            write(path, {"since": since, "text": str(error), "told": told})

    def healed(self) -> None:
        """Forget an error, and tell those who were told of it."""
        noted = read(self.spool.error)
        self.spool.error.unlink(missing_ok=True)
        if noted.get("told"):
            text = f"PostgreSQL's log is stored again; it was not since {noted['since']}."
            tell(self.config, "backup_healed", text)

    def mark(self, database: str, table: str, query: str) -> Json:
        """Note what a table holds and the position of the log at that moment; return when that position is stored, too.

        Writers of the table wait while it is read, so that the position and the answer are of the same moment.
        """
        cluster = self.server.cluster()
        began = time.monotonic()
        answer, position, segment = self.server.ask(
            f"begin; lock table {table} in share mode",
            query,
            "select pg_current_wal_insert_lsn()",
            "select pg_walfile_name(pg_current_wal_insert_lsn() + 1)",
            "commit",
            HEARTBEAT,
            REMIND,
            SWITCH,
            database=database,
        ).splitlines()[:3]
        self.wait_for(cluster, segment)
        return {
            "answer": answer,
            "position": position,
            "cluster": cluster,
            "stored_seconds": round(time.monotonic() - began, 1),
        }
