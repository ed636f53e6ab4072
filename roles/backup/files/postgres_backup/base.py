"""Base backups: copies of the whole cluster, and which of them are kept."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterable

from boto3.s3.transfer import TransferConfig

from .basics import Json, RefusedError, iso, moment, now, write
from .log import Log
from .pipeline import Hashing, Pipeline, seal
from .segments import SEGMENT, following
from .way_back import WayBack

# PostgreSQL tries again after a minute at the latest (PGARCH_AUTOWAKE_INTERVAL, src/backend/postmaster/pgarch.c).
ARCHIVE_SECONDS = 90


class Base:
    """Base backups of the server on this host."""

    def __init__(self, config: Json) -> None:
        self.config = config
        self.log = Log(config)
        self.server, self.store = self.log.server, self.log.store
        self.stored = WayBack(config, self.store)

    def make_first(self, new_server: bool = False) -> Json | None:
        """Store the first copy of this cluster; None where one is stored."""
        if self.stored.bases(self.server.cluster()):
            return None
        return self.make(new_server)

    def refuse_new_server(self, cluster: str) -> None:
        """RefusedError where backups of another server are stored: its data may have been lost with the disk of this host."""
        others = [one for other in self.store.clusters() for one in self.stored.reach(other) if one["whole"]]
        if others:
            last = max(others, key=lambda one: str(one["until"]))
            raise RefusedError(
                f"PostgreSQL is a new server here ({cluster}), and the backups are those of another one ({last['cluster']}, "
                f"up to {last['until']}), whose data may be lost. Nothing was stored or removed. "
                "`make restore AT=latest` brings that one back; "
                "`make up NEW=postgres` goes on with the new one."
            )

    def make(self, new_server: bool = False) -> Json:
        """Store a copy of the whole cluster, then remove what is older than the days to keep.

        That a `new_server` begins beside the backups of another one has to be said. So a server of which a copy is stored was
        accepted, and only such a one removes what others have left.
        """
        cluster = self.server.cluster()
        self.server.refuse_unarchived(ARCHIVE_SECONDS)
        if not new_server and not self.stored.bases(cluster):
            self.refuse_new_server(cluster)
        found = self.copy(cluster)
        write(self.log.spool.base, found)
        (mark,) = self.store.listed(f"{cluster}/base/{found['name']}.json")
        # By the clock of the store, which a wrong clock of this host does not move.
        oldest = mark["LastModified"] - datetime.timedelta(days=self.config["keep_days"])
        self.prune(cluster, oldest)
        self.prune_others(cluster, oldest)
        return found

    def copy(self, cluster: str) -> Json:
        """Store a copy of the whole cluster and what its log needs; return what is noted of it."""
        started, clock = now(), time.monotonic()
        name = started.strftime("%Y%m%dT%H%M%SZ")
        # The backup begins at a checkpoint that comes after this, and ends in a segment that is finished when it has ended.
        first = self.server.segment()
        # Without the log: the server then ends the backup only when the log up to its end is in the spool.
        options = ["-D", "-", "-F", "t", "-X", "none", "-c", "fast", "-w"]
        copy = [*self.config["tools"], "pg_basebackup", *self.server.options, *options]
        pipeline = Pipeline(copy, *seal(self.config["recipient"]))
        stream = Hashing(pipeline.output)
        self.store.s3.upload_fileobj(
            stream,
            self.store.bucket,
            f"{cluster}/base/{name}.tar.gz.age",
            Config=TransferConfig(multipart_chunksize=32 << 20, max_concurrency=4),
        )
        pipeline.close()
        ended = now()
        last = following(self.server.segment(), -1)
        self.log.wait_for(cluster, last)
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
            "version": self.server.version(),
        }
        self.store.put(f"{cluster}/base/{name}.json", json.dumps(found).encode())
        return found

    def prune(self, cluster: str, oldest: datetime.datetime) -> None:
        """Remove base backups that no moment within the days to keep needs, and the log before the oldest that stays."""
        bases = self.stored.bases(cluster)
        kept = [one for one in bases if moment(one["ended"]) >= oldest]
        before = [one for one in bases if moment(one["ended"]) < oldest]
        # The newest before the days serves their beginning.
        least = max(1, self.config["keep_least"] - len(kept))
        kept = before[-least:] + kept
        if not kept:
            return
        names = {one["name"] for one in kept}
        # A copy that was cut off has no note.
        self.remove(
            one["Key"]
            for one in self.store.listed(f"{cluster}/base/")
            if one["LastModified"] < oldest and name_of(one["Key"]) not in names
        )
        first = min(one["first_segment"][8:] for one in kept)
        log = ((one["Key"], name_of(one["Key"])) for one in self.store.listed(f"{cluster}/wal/"))
        self.remove(key for key, name in log if SEGMENT.fullmatch(name) and name[8:] < first)

    def prune_others(self, cluster: str, oldest: datetime.datetime) -> None:
        """Remove what earlier servers have left by the same days: all of one that stored nothing within them."""
        if not any(one["whole"] for one in self.stored.reach(cluster)):
            return
        for other in self.store.clusters():
            objects = [one for part in ("base", "wal") for one in self.store.listed(f"{other}/{part}/")]
            if other == cluster or not other.isdecimal() or not objects:
                continue
            # Nothing is stored before the moment that it holds.
            if max(one["LastModified"] for one in objects) >= oldest:
                self.prune(other, oldest)
            else:
                self.remove(one["Key"] for one in objects)

    def remove(self, keys: Iterable[str]) -> None:
        """Delete objects, the notes first: without its note a copy is none."""
        self.store.remove(sorted(keys, key=lambda key: not key.endswith(".json")))


def name_of(key: str) -> str:
    """The name of a copy or a segment, without the folder and what its object ends in."""
    return key.rsplit("/", 1)[1].split(".")[0]
