#!/usr/bin/env python3
"""Stops who fills a PostgreSQL server's disk before the server stops, and lets them go on when there is space again.

PostgreSQL itself panics when it cannot write its log. So a row in a table of the server, which a trigger reads, refuses new rows
long before that. Only the host sees how much is free, and only a table tells every writer why, in its own words.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import psycopg2

CONFIG = "/etc/retailflow/disk-guard.json"
PAUSE = 5  # seconds between two looks; a batch of a million rows writes about 1 GB
GB = 1 << 30
# Above the limit by this much, the disk has space again; so a limit is not crossed to and fro.
BACK = 1.25


def limit(total: int, config: dict[str, Any]) -> float:
    """The bytes that must be free: a share of the disk, but no more than so many GB."""
    return float(min(total * config["free_percent"] / 100, config["free_gb"] * GB))


def wanted(stopped: set[str], free: int, total: int, spool: int, config: dict[str, Any]) -> dict[str, str]:
    """The reasons to stop, by cause, from what is free on the disk and in the spool; `stopped` are the causes that hold now."""
    least = limit(total, config)
    found = {}
    if free < least * (BACK if "disk" in stopped else 1):
        found["disk"] = (
            f"The generator is stopped: the disk of {config['folder']} on {socket.gethostname()} has {free / GB:.1f} GB of "
            f"{total / GB:.1f} GB free, less than {least / GB:.1f} GB. Free some, or make the volume larger (data_gb in "
            f"network.yml, then make up); it goes on by itself above {least * BACK / GB:.1f} GB."
        )
    most = config["spool_gb"] * GB
    if config["spool"] and spool > most / (BACK if "spool" in stopped else 1):
        found["spool"] = (
            f"The generator is stopped: {spool / GB:.1f} GB of PostgreSQL's log wait in {config['spool']} on "
            f"{socket.gethostname()}, more than {config['spool_gb']} GB, because the store of the backups does not take them. "
            f'See "Backups" in docs/operations.md; it goes on by itself below {most / BACK / GB:.1f} GB.'
        )
    return found


def size(folder: str) -> int:
    """The bytes of the files in a folder, of which some may just be going."""
    held = 0
    for path in Path(folder).iterdir() if folder and Path(folder).is_dir() else ():
        try:
            held += path.stat().st_size
        except FileNotFoundError:
            continue
    return held


class Guard:
    """The server and its disk, as the configuration names them."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.connection: Any = None

    def look(self) -> None:
        """Bring the table to what the disk says; psycopg2.Error where the server does not answer."""
        config = self.config
        if self.connection is None:
            self.connection = psycopg2.connect(
                host=config["socket"],
                port=config.get("port", 5432),
                user=config["user"],
                dbname=config["database"],
                connect_timeout=5,
                application_name="retailflow-disk-guard",
                options="-c statement_timeout=10s",
            )
            self.connection.autocommit = True
        # What is free for a user who is not root, as the server is none.
        disk = os.statvfs(config["folder"])
        free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        table = config["table"]
        with self.connection.cursor() as cursor:
            cursor.execute(f"select cause from {table}")
            stopped = {cause for (cause,) in cursor.fetchall()}
            reasons = wanted(stopped, free, total, size(config["spool"]), config)
            for cause in sorted(reasons.keys() - stopped):
                cursor.execute(
                    f"insert into {table} (cause, reason) values (%s, %s)", (cause, reasons[cause])
                )
                print(reasons[cause], flush=True)
            for cause in sorted(stopped - reasons.keys()):
                cursor.execute(f"delete from {table} where cause = %s", (cause,))
                print(f"The generator goes on: {cause}, {free / GB:.1f} GB are free", flush=True)

    def watch(self) -> None:
        """Look until the process is ended; a server that does not answer is asked again."""
        told = ""
        while True:
            try:
                self.look()
                told = ""
            except (psycopg2.Error, OSError) as error:
                if str(error) != told:
                    told = str(error)
                    print(f"error: {' '.join(told.split())}", file=sys.stderr, flush=True)
                if self.connection is not None:
                    self.connection.close()
                self.connection = None
            time.sleep(PAUSE)


if __name__ == "__main__":
    Guard(json.loads(Path(sys.argv[1] if sys.argv[1:] else CONFIG).read_text())).watch()
