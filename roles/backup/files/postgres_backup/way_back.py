"""What is stored, the way from it to a moment, and a new data folder that PostgreSQL recovers to that moment."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .basics import Json, RefusedError, iso, moment, now, read, write
from .log import COMMIT_AFTER, key_of
from .pipeline import Hashing, Pipeline, secret, unseal
from .segments import following, holding
from .spool import Spool
from .store import Store

FETCHED = "fetched.json"  # beside the log, which goes when the server runs on the data


class WayBack:
    """The way from the store back to a data folder."""

    def __init__(self, config: Json, store: Store | None = None) -> None:
        self.config = config
        self.store = store or Store(config)

    def bases(self, cluster: str) -> list[Json]:
        """The whole base backups of a cluster, oldest first."""
        keys = [one["Key"] for one in self.store.listed(f"{cluster}/base/") if one["Key"].endswith(".json")]
        found = [json.loads(self.store.get(key)["Body"].read()) for key in keys]
        return sorted(found, key=lambda one: str(one["ended"]))

    def names(self, cluster: str) -> dict[str, Json]:
        """What the store has of a cluster's log, by the name of the file."""
        return {
            one["Key"].rsplit("/", 1)[1].removesuffix(".gz.age"): one
            for one in self.store.listed(f"{cluster}/wal/")
        }

    def reach(self, cluster: str) -> list[Json]:
        """The base backups of a cluster with `until`, the moment up to which the log behind them is whole, and its `segments`."""
        names = self.names(cluster)
        found = []
        for one in self.bases(cluster):
            segments, segment = [], one["first_segment"]
            while segment in names:
                segments.append(segment)
                segment = following(segment)
            whole = one["last_segment"] in segments
            until = one["ended"]
            if whole:
                closed = (self.store.head(key_of(cluster, segments[-1])) or {}).get("Metadata", {})
                # Its last commit may be this much older.
                last = moment(closed.get("closed", one["ended"])) - datetime.timedelta(
                    seconds=COMMIT_AFTER + 10
                )
                until = iso(max(moment(one["ended"]), last))
            size = sum(names[name]["Size"] for name in segments)
            found.append(one | {"until": until, "segments": segments, "log_bytes": size, "whole": whole})
        return found

    def list(self) -> list[Json]:
        """Every base backup of every cluster, without the names of its segments."""
        return [
            {key: value for key, value in found.items() if key != "segments"}
            for cluster in self.store.clusters()
            for found in self.reach(cluster)
        ]

    def plan(self, at: str, cluster: str = "") -> Json:
        """Which base backup and which segments lead to a moment; RefusedError with the reason where none do."""
        latest = at.strip() == "latest"
        wanted = None if latest else moment(at)
        if wanted and wanted > now():
            raise RefusedError(f"{at} is in the future. Nothing was changed. It is {iso(now())} now.")
        clusters = self.store.clusters()
        if cluster and cluster not in clusters:
            raise RefusedError(
                f"No backup of a cluster {cluster} is stored; there are {', '.join(clusters) or 'none'}. Nothing was changed."
            )
        bases = [
            one for each in ([cluster] if cluster else clusters) for one in self.reach(each) if one["whole"]
        ]
        if not bases:
            raise RefusedError("No backup is stored yet. Nothing was changed. `make backup` makes one.")
        # The server that wrote last: the one of before an upgrade or of a new start is not meant by `latest`.
        newest = max(bases, key=lambda one: str(one["until"]))["cluster"]
        fitting = [
            one
            for one in bases
            if (
                one["cluster"] == newest
                if wanted is None
                else moment(one["ended"]) <= wanted <= moment(one["until"])
            )
        ]
        if not fitting:
            first = min(one["ended"] for one in bases)
            last = max(one["until"] for one in bases)
            when = (
                "before the first backup"
                if wanted and iso(wanted) < first
                else "not covered by what is stored"
            )
            raise RefusedError(
                f"{at} is {when}: the stored moments go from {first} to {last}. Nothing was changed. `make backups` lists them."
            )
        found = sorted({one["cluster"] for one in fitting})
        if len(found) > 1:
            raise RefusedError(
                f"More than one cluster has the moment {at}: {', '.join(found)}. Nothing was changed. Name one with CLUSTER=…; "
                "`make backups` lists them."
            )
        base = max(fitting, key=lambda one: str(one["ended"]))
        return base | {"at": "" if wanted is None else iso(wanted)}

    def fetch(self, plan: Json, into: Path, identity: str, position: str = "") -> Json:
        """Make a new data folder that recovers to the plan's moment, or to a position, when PostgreSQL starts on it.

        `into` gets `pgdata` and `wal`, and has its name only when it is whole; what an earlier call has left goes first.
        RefusedError if it may hold data that are nowhere else, if the stored log ends before the position, or if a byte of the
        backup was changed.
        """
        last = plan["segments"][-1]
        if position and holding(position, last[:8]) > last:
            raise RefusedError(
                f"The log behind this backup is stored up to the segment {last}, and {position} is behind it. Nothing was "
                "changed. The next one may still be on its way: try again in a minute."
            )
        clock = time.monotonic()
        part = into.with_name(f"{into.name}.part")
        # Where the connection to this host was cut off, the earlier call still runs. Its programs hold the lock, too.
        with (Spool(self.config).notes / "fetch.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if part.exists():
                shutil.rmtree(part)
            if into.exists():
                self.refuse_used(into)
                into.rename(part)
                shutil.rmtree(part)
            try:
                self.read_into(part, plan, identity, position, lock.fileno())
                part.rename(into)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        size = sum(one.stat().st_size for one in into.rglob("*") if one.is_file())
        return {
            "seconds": round(time.monotonic() - clock, 1),
            "bytes": size,
            "segments": len(plan["segments"]),
        }

    def refuse_used(self, into: Path) -> None:
        """RefusedError unless no server has started on a folder that was fetched, and the store still has all that it holds.

        PostgreSQL writes postmaster.opts when it starts (CreateOptsFile, src/backend/postmaster/postmaster.c), and pg_basebackup
        leaves that file out (excludeFiles, src/backend/backup/basebackup.c).
        """
        noted = read(into / "wal" / FETCHED)
        stored = noted and any(
            one["name"] == noted["name"] and one["whole"] and noted["last"] in one["segments"]
            for one in self.reach(noted["cluster"])
        )
        if not stored or (into / "pgdata/postmaster.opts").exists():
            raise RefusedError(
                f"{into} is there already, and it may hold data that are nowhere else. Nothing was changed. "
                "Look what it holds, and remove it."
            )

    def read_into(self, part: Path, plan: Json, identity: str, position: str, lock: int) -> None:
        """Read the backup and the log into a new folder; programs hold the lock while they run."""
        data, wal = part / "pgdata", part / "wal"
        data.mkdir(parents=True, mode=0o700)
        wal.mkdir(mode=0o700)
        with secret(identity) as (paths, options):
            options["pass_fds"] += (lock,)
            unpack = ["tar", "-x", "-p", "--numeric-owner", "-C", str(data)]
            pipeline = Pipeline(*unseal(paths), unpack, feed=subprocess.PIPE, **options)
            self.pour(f"{plan['cluster']}/base/{plan['name']}.tar.gz.age", pipeline, plan["sha256"])

            def segment(name: str) -> None:
                answer = self.store.get(key_of(plan["cluster"], name))
                with tempfile.TemporaryFile(dir=wal) as sealed:  # a pipe would fill up before anybody reads
                    sealed.write(answer["Body"].read())
                    sealed.seek(0)
                    one = Pipeline(*unseal(paths), feed=sealed, **options)
                    content = one.output.read()
                try:
                    one.close()
                    if hashlib.sha256(content).hexdigest() != answer["Metadata"]["sha256"]:
                        raise RefusedError("its checksum is another one")
                except RefusedError as error:
                    raise RefusedError(
                        f"The segment {name} cannot be read: {error}. The running server was not touched."
                    ) from None
                (wal / name).write_bytes(content)

            stored = self.names(plan["cluster"])
            histories = [name for name in stored if name.endswith(".history")]
            assert self.store.s3 is not None  # made once, before the threads share it
            with ThreadPoolExecutor(4) as pool:
                for _ in pool.map(segment, [*plan["segments"], *histories]):
                    pass
        self.keep_timelines(wal, plan["timeline"], stored)
        write(wal / FETCHED, {"cluster": plan["cluster"], "name": plan["name"], "last": plan["segments"][-1]})
        self.configure_recovery(data, plan, position)
        owner = self.config["owner"]
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{owner}:{owner}", str(part)], check=True)

    def keep_timelines(self, wal: Path, timeline: int, stored: Iterable[str]) -> None:
        """Have PostgreSQL start a timeline that no earlier restore has used, also where that one has stored little yet.

        It starts the one after the last whose history file it finds (findNewestTimeLine, src/backend/access/transam/timeline.c).
        """
        waiting = Spool(self.config).waiting()
        for one in waiting:
            if one.name.endswith(".history") and not (wal / one.name).exists():
                shutil.copy(one, wal)
        newest = max(int(name[:8], 16) for name in (*stored, *(one.name for one in waiting)))
        for number in range(timeline + 1, newest + 1):
            path = wal / f"{number:08X}.history"
            if not path.exists():
                path.write_text("# an earlier restore has used this timeline\n")

    def pour(self, key: str, pipeline: Pipeline, sha256: str) -> None:
        """Send an object through programs; RefusedError where its bytes are others than those that were stored."""
        feed = pipeline.running[0].stdin
        assert feed is not None
        body = Hashing(self.store.get(key)["Body"])
        try:
            with contextlib.suppress(BrokenPipeError):
                while block := body.read(1 << 20):
                    feed.write(block)
            with contextlib.suppress(BrokenPipeError):
                feed.close()
            pipeline.output.read()
            pipeline.close()
            if body.sha256.hexdigest() != sha256:
                raise RefusedError("its checksum is another one")
        except RefusedError as error:
            raise RefusedError(
                f"The backup {key} cannot be read: {error}. The running server was not touched."
            ) from None

    def configure_recovery(self, data: Path, plan: Json, position: str) -> None:
        """Tell PostgreSQL where its log is and where to stop; settings of an earlier recovery go."""
        inside = self.config["inside"]
        settings = {
            "restore_command": f'cp "{inside}/wal/%f" "%p"',
            "recovery_target_timeline": "current",
            "recovery_target_action": "promote",
        }
        if position:
            settings["recovery_target_lsn"] = position
        elif plan["at"]:
            settings["recovery_target_time"] = plan["at"].replace("T", " ").replace("Z", "+00")
        path = data / "postgresql.auto.conf"
        kept = [
            line
            for line in (path.read_text().splitlines() if path.exists() else [])
            if not line.startswith(("restore_command", "recovery_"))
        ]
        path.write_text("\n".join([*kept, *(f"{key} = '{value}'" for key, value in settings.items())]) + "\n")
        (data / "recovery.signal").touch()
