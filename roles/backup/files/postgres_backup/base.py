"""Base backups: copies of the whole cluster, and which of them are kept."""

from __future__ import annotations

import datetime
import json
import time

from boto3.s3.transfer import TransferConfig

from .basics import Json, RefusedError, iso, moment, now, write
from .log import Log
from .pipeline import Hashing, Pipeline, seal
from .segments import SEGMENT, following
from .way_back import WayBack


class Base:
    """Base backups of the server on this host."""

    def __init__(self, config: Json) -> None:
        self.config = config
        self.log = Log(config)
        self.server, self.store = self.log.server, self.log.store
        self.stored = WayBack(config, self.store)

    def make_first(self, new_server: bool = False) -> Json | None:
        """Store the first copy of this cluster; None where one is stored.

        RefusedError where backups of another one are there: its data may have been lost with the disk of this host. That a
        `new_server` begins beside them has to be said.
        """
        cluster = self.server.cluster()
        if self.stored.bases(cluster):
            return None
        others = [one for other in self.store.clusters() for one in self.stored.reach(other) if one["whole"]]
        if others and not new_server:
            last = max(others, key=lambda one: str(one["until"]))
            raise RefusedError(
                f"PostgreSQL is a new server here ({cluster}), and the backups are those of another one ({last['cluster']}, "
                f"up to {last['until']}), whose data may be lost. Nothing was stored or removed. "
                "`make restore AT=latest` brings that one back; "
                "`make up NEW=postgres` goes on with the new one."
            )
        return self.make()

    def make(self) -> Json:
        """Store a copy of the whole cluster."""
        cluster = self.server.cluster()
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
        write(self.log.spool.base, found)
        self.prune(cluster)
        return found

    def prune(self, cluster: str) -> None:
        """Remove base backups that no moment within the days to keep needs, and the log before the oldest that stays."""
        bases = self.stored.bases(cluster)
        oldest = now() - datetime.timedelta(days=self.config["keep_days"])
        kept = [one for one in bases if moment(one["ended"]) >= oldest]
        before = [one for one in bases if moment(one["ended"]) < oldest]
        # The newest before the days serves their beginning.
        least = max(1, self.config["keep_least"] - len(kept))
        kept = before[-least:] + kept
        for one in before[:-least]:
            for end in (".json", ".tar.gz.age"):
                self.store.remove(f"{cluster}/base/{one['name']}{end}")
        first = min(one["first_segment"][8:] for one in kept)
        for one in self.store.listed(f"{cluster}/wal/"):
            name = one["Key"].rsplit("/", 1)[1].split(".")[0]
            if SEGMENT.fullmatch(name) and name[8:] < first:
                self.store.remove(one["Key"])
