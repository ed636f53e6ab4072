#!/usr/bin/env python3
"""Backups of one PostgreSQL server in an S3 bucket, and the way back; `retailflow-backup --help` lists the commands.

PostgreSQL copies each segment of its log into a spool folder and never waits for the bucket. `ship` stores what the spool holds,
`base` stores a copy of the whole cluster. Everything is compressed and encrypted here, for a key that this host does not have
(`age`, https://age-encryption.org/v1: authenticated, so a changed byte is found when it is read). In the bucket:

- `<system identifier>/base/<start>.tar.gz.age`, and `<start>.json`, which is written last: without it there is no backup;
- `<system identifier>/wal/<segment>.gz.age`.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

Json = dict[str, Any]

CONFIG = "/etc/retailflow/backup.json"
PAUSE = 5  # seconds between two looks into the spool
# Seconds between two commits of ours: recovery to a moment needs a commit behind it in the log.
HEARTBEAT = 20
# Seconds without a new segment after which the server is asked to end the one it writes. After a crash its own archive_timeout is
# silent for up to checkpoint_timeout, 5 minutes: the checkpointer starts while recovery is under way, and then sleeps without it
# (CheckpointerMain, src/backend/postmaster/checkpointer.c).
SWITCH_AFTER = 50
ALERT_AFTER = 120  # seconds of failing after which somebody is told: a store that restarts is no news
SESSION = 1800  # seconds after which new credentials are asked for
SEGMENT = re.compile(r"[0-9A-F]{24}")
ARCHIVED = re.compile(r"[0-9A-F]{8}\.history|[0-9A-F]{24}(\.[0-9A-F]{8}\.backup|\.partial)?")
# Only in memory and only while a restore runs: `age` opens it by its number.
IDENTITY = "/proc/self/fd/{}"


class RefusedError(Exception):
    """Something that cannot be done; the text says what, what was not changed, and what to do."""


def now() -> datetime.datetime:
    """This moment in UTC."""
    return datetime.datetime.now(datetime.UTC)


def iso(moment: datetime.datetime) -> str:
    """A moment as ISO 8601 in UTC, to the microsecond."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment(text: str) -> datetime.datetime:
    """The moment that a person or a file names; without a zone it is UTC. RefusedError for what is no date with a time."""
    try:
        found = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        found = None
    if found is None or ":" not in text:
        raise RefusedError(
            f"'{text}' is not a time. Nothing was changed. Write it like 2026-11-28 12:00:00, in UTC, or with a zone such as "
            "+01:00; 'latest' is the newest moment that is stored."
        )
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def following(segment: str, count: int = 1) -> str:
    """The name of a later segment of the same timeline, for segments of 16 MB: 256 of them share a middle part."""
    number = (int(segment[8:16], 16) << 8) + int(segment[16:24], 16) + count
    return f"{segment[:8]}{number >> 8:08X}{number & 0xFF:08X}"


def cluster_of(segment: bytes) -> str:
    """The system identifier in the header of a segment (XLogLongPageHeaderData, src/include/access/xlog_internal.h)."""
    return str(struct.unpack_from("=Q", segment, 24)[0])


def write(path: Path, content: Json) -> None:
    """Replace a small file whole."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content) + "\n")
    new.replace(path)


def read(path: Path) -> Json:
    """What such a file holds; nothing where it is not there yet."""
    try:
        return dict(json.loads(path.read_text()))
    except (FileNotFoundError, ValueError):
        return {}


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer that sends a message elsewhere is an error."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


class Hashing:
    """A stream that is read once, with the checksum and the size of what went through."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.sha256 = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        block = self.stream.read(size)
        self.sha256.update(block)
        self.size += len(block)
        return block


class Pipeline:
    """Programs of which each reads what the one before writes; `close` raises RefusedError if any of them failed."""

    def __init__(
        self, *commands: list[str], feed: IO[bytes] | int = subprocess.DEVNULL, **options: Any
    ) -> None:
        self.commands = commands
        self.running: list[subprocess.Popen[bytes]] = []
        for command in commands:
            source = self.running[-1].stdout if self.running else feed
            self.running.append(
                subprocess.Popen(
                    command,
                    stdin=source,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=os.environ | {"LC_ALL": "C"},
                    **options,
                )
            )
            if self.running[:-1]:
                source.close()  # type: ignore[union-attr]

    @property
    def output(self) -> IO[bytes]:
        """What the last one writes."""
        stream = self.running[-1].stdout
        assert stream is not None
        return stream

    def close(self) -> list[str]:
        """Wait for all; return what each wrote to its standard error."""
        said = []
        for one in self.running:
            assert one.stderr is not None
            said.append(one.stderr.read().decode(errors="replace"))
        failed = [
            f"{command[0]}: {' '.join(text.split())[-300:] or 'no reason given'}"
            for command, one, text in zip(self.commands, self.running, said, strict=True)
            if one.wait() != 0
        ]
        if failed:
            raise RefusedError("; ".join(failed))
        return said


class Backup:
    """The store, the spool and the server, as the configuration names them."""

    def __init__(self, config: Json) -> None:
        self.config = config
        self.bucket: str = config["bucket"]
        self.spool = Path(config["spool"])
        self.folder = Path(config["folder"])
        self._client: Any = None
        self._since = 0.0

    # --- the store ------------------------------------------------------------------------------------------

    @property
    def s3(self) -> Any:
        """A client of the store with credentials that are still good."""
        if self._client is None or time.monotonic() - self._since > SESSION:
            options: Json = {"region_name": self.config["region"]}
            if self.config.get("endpoint_url"):
                options["endpoint_url"] = self.config["endpoint_url"]
            role = self.config.get("assume_role") or {}
            session = boto3.Session()
            if role:
                answer = boto3.client(
                    "sts",
                    aws_access_key_id=role["access_key"],
                    aws_secret_access_key=role["secret_key"],
                    **options,
                ).assume_role(RoleArn=role["role_arn"], RoleSessionName="backup")["Credentials"]
                session = boto3.Session(
                    answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"]
                )
            style = {"addressing_style": "path" if self.config.get("endpoint_url") else "auto"}
            settings = Config(
                s3=style,
                connect_timeout=5,
                read_timeout=20,
                retries={"max_attempts": 2},
                max_pool_connections=16,
            )
            self._client = session.client("s3", config=settings, **options)
            self._since = time.monotonic()
        return self._client

    def listed(self, prefix: str) -> Iterator[Json]:
        """Every object under a prefix, in the order of the keys."""
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            yield from page.get("Contents", [])

    def clusters(self) -> list[str]:
        """The system identifiers of all servers that were ever stored here."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Delimiter="/")
        return [one["Prefix"].rstrip("/") for page in pages for one in page.get("CommonPrefixes", [])]

    def head(self, key: str) -> Json | None:
        """What the store says of an object, or None."""
        try:
            return dict(self.s3.head_object(Bucket=self.bucket, Key=key))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise

    # --- the server -----------------------------------------------------------------------------------------

    def ask(self, *statements: str, database: str = "") -> str:
        """What the server answers to SQL; RefusedError if it does not."""
        where = ["-h", self.config["socket"], "-U", self.config["user"]]
        command = [
            "psql",
            *where,
            "-d",
            database or self.config["database"],
            "-XqAtw",
            "-v",
            "ON_ERROR_STOP=1",
        ]
        for one in statements:
            command += ["-c", one]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=600,
            env=os.environ | {"LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "5"},
        )
        if done.returncode:
            raise RefusedError(f"PostgreSQL did not answer: {' '.join(done.stderr.split())}")
        return done.stdout.strip()

    def cluster(self) -> str:
        """The system identifier of the server that runs."""
        return self.ask("select system_identifier from pg_control_system()")

    def segment(self) -> str:
        """The segment of the log that the server writes now."""
        return self.ask("select pg_walfile_name(pg_current_wal_insert_lsn() + 1)")

    # --- storing --------------------------------------------------------------------------------------------

    def sealed(self) -> list[list[str]]:
        """The programs that compress and encrypt."""
        return [["gzip", "-1"], ["age", "-r", self.config["recipient"]]]

    def waiting(self) -> list[Path]:
        """What the spool holds, oldest first; unfinished copies begin with a dot."""
        if not self.spool.is_dir():
            return []
        found = [one for one in self.spool.iterdir() if ARCHIVED.fullmatch(one.name)]
        return sorted(found, key=lambda one: (one.stat().st_mtime, one.name))

    def ship(self) -> int:
        """Store everything that the spool holds now, oldest first; return how many files. One process at a time."""
        with (self.folder / "ship.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            paths = self.waiting()
            for path in paths:
                self.store(path)
        return len(paths)

    def store(self, path: Path) -> None:
        """Store one file of the spool, then remove it. What is stored is never replaced by something else."""
        content = path.read_bytes()
        name = path.name
        key = f"{cluster_of(content) if SEGMENT.fullmatch(name) else self.cluster()}/wal/{name}.gz.age"
        digest = hashlib.sha256(content).hexdigest()
        closed = iso(datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC))
        stored = self.head(key)
        if stored is None:
            with path.open("rb") as file:
                pipeline = Pipeline(*self.sealed(), feed=file)
                body = pipeline.output.read()
                pipeline.close()
            metadata = {"sha256": digest, "closed": closed}
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=metadata)
        elif stored["Metadata"].get("sha256") != digest:
            raise RefusedError(
                f"{key} is stored with another content than {path}. Nothing was replaced: two servers archive as one cluster."
            )
        write(self.folder / "shipped.json", {"file": name, "time": iso(now()), "closed": closed})
        path.unlink()

    def tell(self, event: str, text: str) -> bool:
        """Send a message to the address for alerts; False where there is none or it does not take it."""
        url = self.config.get("alert_webhook")
        if not url:
            return False
        for secret_one in (url, (self.config.get("assume_role") or {}).get("secret_key")):
            text = text.replace(secret_one, "***") if secret_one else text
        body = json.dumps({"text": f"RetailFlow: {text}", "event": event}).encode()
        try:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            urllib.request.build_opener(NoRedirect).open(request, timeout=10).close()
        except (OSError, ValueError) as error:
            # Without its text, which may hold the address.
            print(f"error: the alert was not sent: {type(error).__name__}", file=sys.stderr, flush=True)
            return False
        return True

    def failed(self, path: Path, error: Exception) -> None:
        """Note that nothing can be stored, and tell somebody once when that has lasted."""
        noted = read(path)
        since, told = noted.get("since") or iso(now()), noted.get("told", False)
        write(path, {"since": since, "text": str(error), "told": told})
        if not told and now() - moment(since) > datetime.timedelta(seconds=ALERT_AFTER):
            spooled = self.status()
            told = self.tell(
                "backup_failed",
                f"PostgreSQL's log cannot be stored since {since}: {error}. The database goes on; {spooled['spool_files']} files "
                f"({spooled['spool_bytes'] >> 20} MB) wait on its host. `make status` shows how it goes.",
            )
            write(path, {"since": since, "text": str(error), "told": told})

    def healed(self, path: Path) -> None:
        """Forget an error, and tell those who were told of it."""
        noted = read(path)
        path.unlink(missing_ok=True)
        if noted.get("told"):
            self.tell(
                "backup_healed", f"PostgreSQL's log is stored again; it was not since {noted['since']}."
            )

    def ship_for_ever(self) -> None:
        """Ship until the process is ended; what goes wrong is written down and tried again."""
        path = self.folder / "error.json"
        beat, pause, stored = 0.0, PAUSE, time.monotonic()
        while True:
            try:
                with contextlib.suppress(
                    RefusedError, subprocess.TimeoutExpired
                ):  # a server that is down has nothing to add
                    if time.monotonic() - beat > HEARTBEAT:
                        beat = time.monotonic()
                        self.ask("select pg_logical_emit_message(true, 'backup', '')")
                    if time.monotonic() - stored > SWITCH_AFTER:
                        stored = time.monotonic()
                        self.ask("select pg_switch_wal()")
                count = self.ship()
                if count:
                    stored = time.monotonic()
                    print(f"stored {count} files", flush=True)
                self.healed(path)
                pause = PAUSE
            except (RefusedError, BotoCoreError, ClientError, OSError, subprocess.TimeoutExpired) as error:
                print(f"error: {error}", file=sys.stderr, flush=True)
                self.failed(path, error)
                self._client = None  # perhaps the credentials are too old
                pause = min(15, pause * 2)
            time.sleep(pause)

    def first(self, new_server: bool = False) -> Json | None:
        """Store the first copy of this cluster; None where one is stored.

        RefusedError where backups of another one are there: its data may have been lost with the disk of this host. That a
        `new_server` begins beside them has to be said.
        """
        cluster = self.cluster()
        if self.bases(cluster):
            return None
        others = [one for other in self.clusters() for one in self.reach(other) if one["whole"]]
        if others and not new_server:
            last = max(others, key=lambda one: str(one["until"]))
            raise RefusedError(
                f"PostgreSQL is a new server here ({cluster}), and the backups are those of another one ({last['cluster']}, "
                f"up to {last['until']}), whose data may be lost. Nothing was stored or removed. "
                "`make restore AT=latest` brings that one back; "
                "`make up NEW=postgres` goes on with the new one."
            )
        return self.base()

    def base(self) -> Json:
        """Store a copy of the whole cluster."""
        cluster = self.cluster()
        started, clock = now(), time.monotonic()
        name = started.strftime("%Y%m%dT%H%M%SZ")
        key = f"{cluster}/base/{name}.tar.gz.age"
        server = ["-h", self.config["socket"], "-U", self.config["user"]]
        # The backup begins at a checkpoint that comes after this, and ends in a segment that is finished when it has ended.
        first = self.segment()
        # Without the log: the server then ends the backup only when the log up to its end is in the spool.
        options = ["-D", "-", "-F", "t", "-X", "none", "-c", "fast", "-w"]
        copy = [*self.config["tools"], "pg_basebackup", *server, *options]
        pipeline = Pipeline(copy, *self.sealed())
        stream = Hashing(pipeline.output)
        self.s3.upload_fileobj(
            stream, self.bucket, key, Config=TransferConfig(multipart_chunksize=32 << 20, max_concurrency=4)
        )
        pipeline.close()
        ended = now()
        last = following(self.segment(), -1)
        self.wait_for(cluster, last)
        found = {
            "cluster": cluster,
            "name": name,
            "started": iso(started),
            "ended": iso(ended),
            "seconds": round(time.monotonic() - clock, 1),
            "bytes": stream.size,
            "sha256": stream.sha256.hexdigest(),
            "timeline": int(first[:8], 16),
            "first_segment": first,
            "last_segment": last,
            "version": self.ask("show server_version"),
        }
        body = json.dumps(found).encode()
        self.s3.put_object(Bucket=self.bucket, Key=f"{cluster}/base/{name}.json", Body=body)
        write(self.folder / "base.json", found)
        self.prune(cluster)
        return found

    def wait_for(self, cluster: str, segment: str, seconds: int = 120) -> None:
        """Wait until a segment is stored; RefusedError if it is not."""
        end = time.monotonic() + seconds
        while True:
            self.ship()
            if self.head(f"{cluster}/wal/{segment}.gz.age"):
                return
            if time.monotonic() > end:
                raise RefusedError(
                    f"the segment {segment} did not reach the spool within {seconds} s; see pg_stat_archiver and the server's log"
                )
            time.sleep(1)

    def prune(self, cluster: str) -> None:
        """Remove base backups that no moment within the days to keep needs, and the log before the oldest that stays."""
        bases = self.bases(cluster)
        oldest = now() - datetime.timedelta(days=self.config["keep_days"])
        kept = [one for one in bases if moment(one["ended"]) >= oldest]
        before = [one for one in bases if moment(one["ended"]) < oldest]
        least = max(
            1, self.config["keep_least"] - len(kept)
        )  # the newest before the days serves their beginning
        kept = before[-least:] + kept
        for one in before[:-least]:
            for end in (".json", ".tar.gz.age"):
                self.s3.delete_object(Bucket=self.bucket, Key=f"{cluster}/base/{one['name']}{end}")
        first = min(one["first_segment"][8:] for one in kept)
        for one in self.listed(f"{cluster}/wal/"):
            name = one["Key"].rsplit("/", 1)[1].split(".")[0]
            if SEGMENT.fullmatch(name) and name[8:] < first:
                self.s3.delete_object(Bucket=self.bucket, Key=one["Key"])

    # --- looking --------------------------------------------------------------------------------------------

    def bases(self, cluster: str) -> list[Json]:
        """The whole base backups of a cluster, oldest first."""
        keys = [one["Key"] for one in self.listed(f"{cluster}/base/") if one["Key"].endswith(".json")]
        found = [json.loads(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()) for key in keys]
        return sorted(found, key=lambda one: str(one["ended"]))

    def reach(self, cluster: str) -> list[Json]:
        """The base backups of a cluster with `until`, the moment up to which the log behind them is whole, and its `segments`."""
        names = {
            one["Key"].rsplit("/", 1)[1].removesuffix(".gz.age"): one
            for one in self.listed(f"{cluster}/wal/")
        }
        found = []
        for one in self.bases(cluster):
            segments, segment = [], one["first_segment"]
            while segment in names:
                segments.append(segment)
                segment = following(segment)
            whole = one["last_segment"] in segments
            until = one["ended"]
            if whole:
                closed = (self.head(f"{cluster}/wal/{segments[-1]}.gz.age") or {}).get("Metadata", {})
                # Its last commit may be this much older.
                last = moment(closed.get("closed", one["ended"])) - datetime.timedelta(seconds=HEARTBEAT + 10)
                until = iso(max(moment(one["ended"]), last))
            size = sum(names[name]["Size"] for name in segments)
            found.append(one | {"until": until, "segments": segments, "log_bytes": size, "whole": whole})
        return found

    def plan(self, at: str, cluster: str = "") -> Json:
        """Which base backup and which segments lead to a moment; RefusedError with the reason where none do."""
        latest = at.strip() == "latest"
        wanted = None if latest else moment(at)
        if wanted and wanted > now():
            raise RefusedError(f"{at} is in the future. Nothing was changed. It is {iso(now())} now.")
        clusters = self.clusters()
        if cluster and cluster not in clusters:
            raise RefusedError(
                f"No backup of a cluster {cluster} is stored; there are {', '.join(clusters) or 'none'}. Nothing was changed."
            )
        bases = [
            one for each in ([cluster] if cluster else clusters) for one in self.reach(each) if one["whole"]
        ]
        if not bases:
            raise RefusedError("No backup is stored yet. Nothing was changed. `make backup` makes one.")
        fitting = [
            one for one in bases if wanted is None or moment(one["ended"]) <= wanted <= moment(one["until"])
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

    def status(self) -> Json:
        """How storing goes, without asking the store."""
        waiting = self.waiting()
        oldest = min((one.stat().st_mtime for one in waiting), default=0.0)
        base = read(self.folder / "base.json")
        return {
            "spool_files": len(waiting),
            "spool_bytes": sum(one.stat().st_size for one in waiting),
            "spool_since": iso(datetime.datetime.fromtimestamp(oldest, datetime.UTC)) if waiting else "",
            "shipped": read(self.folder / "shipped.json"),
            "error": read(self.folder / "error.json"),
            "base": {
                key: base[key] for key in ("name", "ended", "seconds", "bytes", "cluster") if key in base
            },
        }

    def mark(self, database: str, table: str, query: str) -> Json:
        """Note what a table holds and the position of the log at that moment; return when that position is stored, too.

        Writers of the table wait while it is read, so that the position and the answer are of the same moment.
        """
        cluster = self.cluster()
        began = time.monotonic()
        answer, position, segment = self.ask(
            f"begin; lock table {table} in share mode",
            query,
            "select pg_current_wal_insert_lsn()",
            "select pg_walfile_name(pg_current_wal_insert_lsn() + 1)",
            "commit",
            "select pg_logical_emit_message(true, 'backup', '')",
            "select pg_switch_wal()",
            database=database,
        ).splitlines()[:3]
        self.wait_for(cluster, segment)
        return {
            "answer": answer,
            "position": position,
            "cluster": cluster,
            "stored_seconds": round(time.monotonic() - began, 1),
        }

    # --- the way back ---------------------------------------------------------------------------------------

    def fetch(self, plan: Json, into: Path, identity: str, position: str = "") -> Json:
        """Make a new data folder that recovers to the plan's moment, or to a position, when PostgreSQL starts on it.

        `into` gets `pgdata` and `wal`; RefusedError if it is there already or if a byte of the backup was changed.
        """
        if into.exists():
            raise RefusedError(
                f"{into} is there already. Nothing was changed. Look what it holds, and remove it."
            )
        clock = time.monotonic()
        data, wal = into / "pgdata", into / "wal"
        data.mkdir(parents=True, mode=0o700)
        wal.mkdir(mode=0o700)
        with secret(identity) as (path, options):
            unseal = ["age", "-d", "-i", path]
            key = f"{plan['cluster']}/base/{plan['name']}.tar.gz.age"
            unpack = ["tar", "-x", "-p", "--numeric-owner", "-C", str(data)]
            pipeline = Pipeline(unseal, ["gzip", "-d"], unpack, feed=subprocess.PIPE, **options)
            self.pour(key, pipeline, plan["sha256"])

            def segment(name: str) -> None:
                answer = self.s3.get_object(Bucket=self.bucket, Key=f"{plan['cluster']}/wal/{name}.gz.age")
                with tempfile.TemporaryFile(dir=wal) as sealed:  # a pipe would fill up before anybody reads
                    sealed.write(answer["Body"].read())
                    sealed.seek(0)
                    one = Pipeline(unseal, ["gzip", "-d"], feed=sealed, **options)
                    content = one.output.read()
                try:
                    one.close()
                    if hashlib.sha256(content).hexdigest() != answer["Metadata"]["sha256"]:
                        raise RefusedError("its checksum is another one")
                except RefusedError as error:
                    raise RefusedError(
                        f"The segment {name} cannot be read: {error}. {self.untouched(into)}"
                    ) from None
                (wal / name).write_bytes(content)

            client = self.s3  # made once, before the threads share it
            assert client is not None
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(segment, plan["segments"]))
        self.configure_recovery(data, plan, position)
        owner = self.config["owner"]
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{owner}:{owner}", str(into)], check=True)
        size = sum(one.stat().st_size for one in into.rglob("*") if one.is_file())
        return {
            "seconds": round(time.monotonic() - clock, 1),
            "bytes": size,
            "segments": len(plan["segments"]),
        }

    @staticmethod
    def untouched(into: Path) -> str:
        """What a failed fetch leaves."""
        return f"The running server was not touched; what was read so far is in {into}."

    def pour(self, key: str, pipeline: Pipeline, sha256: str) -> None:
        """Send an object through programs; RefusedError where its bytes are others than those that were stored."""
        feed = pipeline.running[0].stdin
        assert feed is not None
        body = Hashing(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"])
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


@contextlib.contextmanager
def secret(text: str) -> Iterator[tuple[str, Json]]:
    """A file that is in memory alone, as the path and the options with which a program that is started sees it."""
    number = os.memfd_create("identity")
    try:
        os.write(number, text.rstrip("\n").encode() + b"\n")
        os.set_inheritable(number, True)
        yield IDENTITY.format(number), {"pass_fds": (number,)}
    finally:
        os.close(number)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="retailflow-backup", description="Backups of PostgreSQL in an S3 bucket"
    )
    parser.add_argument("--config", default=CONFIG)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ship", help="store what the spool holds, until ended")
    one = commands.add_parser("base", help="store a copy of the whole cluster")
    one.add_argument("--alert", action="store_true", help="tell the address for alerts if it fails")
    one = commands.add_parser("first", help="the same, where none of this cluster is stored")
    one.add_argument("--new-server", action="store_true", help="beside the backups of another one")
    commands.add_parser("status", help="how storing goes")
    commands.add_parser("list", help="what is stored")
    one = commands.add_parser("mark", help="note what a table holds and wait until that is stored")
    for name in ("--database", "--table", "--query"):
        one.add_argument(name, required=True)
    for name in ("plan", "fetch"):
        one = commands.add_parser(
            name, help="the way to a moment" if name == "plan" else "walk it, the key on stdin"
        )
        one.add_argument("--at", required=True)
        one.add_argument("--cluster", default="")
        if name == "fetch":
            one.add_argument("--into", required=True, type=Path)
            one.add_argument("--position", default="")
    given = parser.parse_args()
    try:
        backup = Backup(json.loads(Path(given.config).read_text()))
        backup.folder.mkdir(parents=True, exist_ok=True)
        answer: Any = None
        if given.command == "ship":
            backup.ship_for_ever()
        elif given.command == "base":
            try:
                answer = backup.base()
            except (RefusedError, BotoCoreError, ClientError) as error:
                if given.alert:
                    backup.tell("backup_failed", f"The base backup of PostgreSQL failed: {error}")
                raise
        elif given.command == "first":
            answer = backup.first(given.new_server)
        elif given.command == "status":
            answer = backup.status()
        elif given.command == "list":
            answer = [
                {key: value for key, value in found.items() if key != "segments"}
                for cluster in backup.clusters()
                for found in backup.reach(cluster)
            ]
        elif given.command == "mark":
            answer = backup.mark(given.database, given.table, given.query)
        elif given.command == "plan":
            answer = backup.plan(given.at, given.cluster)
            answer["segments"] = len(answer["segments"])
        else:
            plan = backup.plan(given.at, given.cluster)
            answer = backup.fetch(plan, given.into, sys.stdin.read(), given.position)
        print(json.dumps(answer))
    except RefusedError as error:
        sys.exit(f"error: {error}")
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"error: the store s3://{backup.bucket} refused: {error}")


if __name__ == "__main__":
    main()
