"""The PostgreSQL server on this host, over its socket."""

from __future__ import annotations

import os
import subprocess
import time

from .basics import Json, RefusedError

# A commit of ours, which the log has and nobody else sees.
HEARTBEAT = "select pg_logical_emit_message(true, 'backup', '')"
SWITCH = "select pg_switch_wal()"

# What the server has failed to archive since it last succeeded.
UNARCHIVED = "select last_failed_wal from pg_stat_archiver where last_failed_time > coalesce(last_archived_time, '-infinity')"

# The segments up to the one that is written now that have not been archived.
LEFT = """
    select coalesce(string_agg(waldir.name, ' ' order by waldir.name), '') from pg_ls_waldir() as waldir
    where waldir.name ~ '^[0-9A-F]{{24}}$' and left(waldir.name, 8) = left('{segment}', 8) and waldir.name <= '{segment}'
      and not exists (select from pg_ls_archive_statusdir() as status where status.name = waldir.name || '.done')
"""

# Has the archiver take what a crash made it forget. A segment is archived when it has a file .ready, which the server makes when
# the segment is full (XLogWrite, src/backend/access/transam/xlog.c). Where it crashes just before, it makes that file no sooner
# than when the segment is to be removed (XLogArchiveCheckDone, xlogarchive.c), which a replication slot may keep it from for
# hours. Until then nothing behind the gap can be restored.
REMIND = """
    do $$
    declare
        flushed text := pg_walfile_name(pg_current_wal_flush_lsn());
        forgotten text;
    begin
        for forgotten in
            select waldir.name from pg_ls_waldir() as waldir
            where waldir.name ~ '^[0-9A-F]{24}$' and left(waldir.name, 8) = left(flushed, 8) and waldir.name < flushed
                and not exists (
                    select from pg_ls_archive_statusdir() as status
                    where status.name in (waldir.name || '.ready', waldir.name || '.done')
                )
        loop
            execute format(
                'copy (select where false) to %L',
                current_setting('data_directory') || '/pg_wal/archive_status/' || forgotten || '.ready'
            );
        end loop;
    end
    $$
"""


class Server:
    """The server, as the configuration names it."""

    def __init__(self, config: Json) -> None:
        self.database: str = config["database"]
        self.options = ["-h", config["socket"], "-U", config["user"]]

    def ask(self, *statements: str, database: str = "") -> str:
        """What the server answers to SQL; RefusedError if it does not."""
        command = ["psql", *self.options, "-d", database or self.database, "-XqAtw", "-v", "ON_ERROR_STOP=1"]
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

    def refuse_unarchived(self, seconds: float) -> None:
        """RefusedError if the server fails to archive its log for so long: a base backup would wait for it without an end."""
        end = time.monotonic() + seconds
        while failed := self.ask(UNARCHIVED):
            if time.monotonic() > end:
                raise RefusedError(
                    f"PostgreSQL cannot archive {failed}, so no backup can be made. Nothing was stored. Its log says why."
                )
            time.sleep(1)

    def left(self, segment: str) -> list[str]:
        """The segments up to this one, of its timeline, that are not archived yet."""
        return self.ask(LEFT.format(segment=segment)).split()

    def cluster(self) -> str:
        """The system identifier of the server that runs."""
        return self.ask("select system_identifier from pg_control_system()")

    def segment(self) -> str:
        """The segment of the log that the server writes now."""
        return self.ask("select pg_walfile_name(pg_current_wal_insert_lsn() + 1)")

    def version(self) -> str:
        """The version of the server that runs."""
        return self.ask("show server_version")
