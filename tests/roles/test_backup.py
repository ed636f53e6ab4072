"""Backups of a real PostgreSQL in an emulated S3: what is stored, what is refused, and the way back.

The tests of this file stand on one server and run in order.
"""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from postgres_backup import base, log, way_back
from postgres_backup.alerts import tell
from postgres_backup.base import Base
from postgres_backup.basics import RefusedError, iso, now, read, write
from postgres_backup.log import Log
from postgres_backup.segments import following, holding
from postgres_backup.server import HEARTBEAT, REMIND, SWITCH, UNARCHIVED
from postgres_backup.store import Store

import backup_keys
from retailflow_emulators.ports import free_port
from server_support import ROOT, emulated_aws

BINARIES = Path(os.environ.get("POSTGRES_BINARIES", "/usr/lib/postgresql/15/bin"))
PROGRAM = ROOT / "roles/backup/files/retailflow-backup"
BUCKET = "retailflow-backup"
KEYS = {"aws_access_key_id": "AKIAQAAAAADMINISTRAT", "aws_secret_access_key": "of-the-administrator"}
HOST_KEYS = {"aws_access_key_id": "AKIAQAAAAAPOSTGRESHO", "aws_secret_access_key": "of-the-host"}
ALL = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
# What terraform/hosts.tf lets the postgres host do.
HOST = [
    {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": f"arn:aws:s3:::{BUCKET}"},
    {
        "Effect": "Allow",
        "Action": ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"],
        "Resource": f"arn:aws:s3:::{BUCKET}/*",
    },
]
IDENTITIES = [
    {
        "name": name,
        "access_key_id": keys["aws_access_key_id"],
        "secret_access_key": keys["aws_secret_access_key"],
        "policies": {name: {"Version": "2012-10-17", "Statement": statements}},
    }
    for name, keys, statements in (("administrator", KEYS, ALL), ("host", HOST_KEYS, HOST))
]

pytestmark = [
    pytest.mark.skipif(not (BINARIES / "initdb").exists(), reason=f"no PostgreSQL in {BINARIES}"),
]


class Server:
    """A PostgreSQL that archives into a spool with the role's own command; its folders are those of a host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user = "postgres" if os.geteuid() == 0 else None
        self.owner = pwd.getpwnam(self.user).pw_uid if self.user else os.getuid()
        self.port = free_port()
        for name in ("data", "run", "spool"):
            self.own(folder / name)

    def own(self, path: Path) -> None:
        """Make a folder of the server's."""
        path.mkdir(exist_ok=True, parents=True)
        path.chmod(0o700)
        os.chown(path, self.owner, -1)

    def run(self, *command: str) -> None:
        """Run one of PostgreSQL's programs as its user."""
        subprocess.run(
            [BINARIES / command[0], *command[1:]],
            user=self.user,
            check=True,
            cwd=self.folder,
            capture_output=True,
        )

    def settings(self) -> dict[str, str]:
        """Those of the role, with the spool where it is here."""
        facts = yaml.safe_load((ROOT / "roles/postgres/vars/main.yml").read_text())["__postgres_archive"]
        command = facts["archive_command"].replace("/var/lib/postgresql/spool", str(self.folder / "spool"))
        return {
            "archive_mode": "on",
            "archive_timeout": "30s",
            "archive_command": command,
            "wal_level": "logical",
        }

    def start(self, data: Path) -> None:
        """Start on a data folder and wait until it answers."""
        options = f"-p {self.port} -k {self.folder}/run -c listen_addresses= -c fsync=off " + " ".join(
            f"-c {key}='{value}'" for key, value in self.settings().items() if key != "archive_command"
        )
        path = self.folder / "archive.conf"
        path.write_text(f"archive_command = '{self.settings()['archive_command']}'\n")
        path.chmod(0o644)
        conf = data / "postgresql.conf"
        include = f"include = '{path}'\n"
        if include not in conf.read_text():
            conf.write_text(conf.read_text() + include)
        self.run(
            "pg_ctl",
            "-D",
            str(data),
            "-w",
            "-t",
            "60",
            "-l",
            str(self.folder / "run/log"),
            "-o",
            options,
            "start",
        )

    def stop(self, data: Path, mode: str = "fast") -> None:
        """Stop it."""
        self.run("pg_ctl", "-D", str(data), "-w", "-m", mode, "stop")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="backup-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[str]:
    """The emulated S3, with a bucket."""
    identities = {"EMULATED_AWS_IDENTITIES": json.dumps(IDENTITIES)}
    with emulated_aws(identities, folder / "moto.log") as url:
        client(url).create_bucket(Bucket=BUCKET)
        yield url


def client(url: str) -> Any:
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", **KEYS)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    one = Server(folder)
    one.run("initdb", "-D", str(folder / "data/pgdata"), "-U", "admin", "-A", "trust", "--no-sync", "-N")
    one.start(folder / "data/pgdata")
    yield one
    one.stop(folder / "data/pgdata", "immediate")


@pytest.fixture(scope="module")
def key(folder: Path) -> tuple[str, str]:
    """A key pair of ssh: the public one and the private one."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    return (folder / "key.pub").read_text().strip(), (folder / "key").read_text()


@pytest.fixture(scope="module")
def config(folder: Path, store: str, server: Server, key: tuple[str, str]) -> dict[str, Any]:
    path = folder / "backup.json"
    found = {
        "bucket": BUCKET,
        "region": "us-east-1",
        "endpoint_url": store,
        "assume_role": {},
        "recipient": key[0],
        "spool": str(folder / "spool"),
        "folder": str(folder / "state"),
        "socket": str(folder / "run"),
        "user": "admin",
        "database": "postgres",
        "inside": str(folder / "new"),
        "owner": server.owner,
        "keep_days": 14,
        "keep_least": 2,
        "tools": ["sh", "-c", f'touch "{folder}/tools"; exec "$0" "$@"'],
    }
    path.write_text(json.dumps(found))
    return found


@pytest.fixture(scope="module")
def backup(config: dict[str, Any], server: Server) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in HOST_KEYS.items():
            patch.setenv(name.upper(), value)
        patch.setenv("PGPORT", str(server.port))
        patch.setenv("PATH", f"{BINARIES}:{os.environ['PATH']}")
        one = Base(config)
        one.log.spool.notes.mkdir()
        yield one


def run(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command line."""
    return subprocess.run(
        [sys.executable, str(PROGRAM), "--config", str(folder / "backup.json"), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_segment_has_a_successor() -> None:
    assert following("0000000100000000000000FF") == "000000010000000100000000"
    assert following("000000010000000100000000", -1) == "0000000100000000000000FF"


@pytest.mark.parametrize(
    ("position", "segment"),
    [
        ("0/15B3ACC0", "000000030000000000000015"),
        ("0/0", "000000030000000000000000"),
        ("0/FFFFFFFF", "0000000300000000000000FF"),
        ("1/1000000", "000000030000000100000001"),
        ("2A/FF000000", "000000030000002A000000FF"),
    ],
)
def test_a_position_is_in_a_segment(position: str, segment: str) -> None:
    assert holding(position, "00000003") == segment


def test_nothing_can_be_restored_before_the_first_backup(backup: Any, folder: Path) -> None:
    done = run(folder, "plan", "--at", "latest")
    assert done.returncode == 1
    assert "No backup is stored yet. Nothing was changed." in done.stderr
    assert run(folder, "list").stdout == "[]\n"


def test_a_base_backup_is_stored_encrypted_with_the_log_that_it_needs(
    backup: Any, store: str, server: Server, folder: Path
) -> None:
    backup.server.ask("create table sales (order_id int primary key, net numeric(10, 2))")
    backup.server.ask("insert into sales select n, n / 100.0 from generate_series(1, 20000) as n")
    # Enough for an upload in parts.
    backup.server.ask(
        "create table noise as select md5(n::text) || md5(n::text || 'x') as t from generate_series(1, 250000) as n"
    )
    found = backup.make_first()
    assert found["bytes"] > 8 << 20
    assert (folder / "tools").exists(), "not by the program of the server's image"
    assert found["cluster"] == backup.server.cluster()
    assert backup.make_first() is None
    names = {one["Key"] for one in client(store).list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert f"{found['cluster']}/wal/{found['last_segment']}.gz.age" in names
    body = client(store).get_object(Bucket=BUCKET, Key=f"{found['cluster']}/base/{found['name']}.tar.gz.age")
    assert body["Body"].read(21) == b"age-encryption.org/v1"
    assert backup.log.spool.waiting() == []


def test_a_new_server_beside_the_backups_of_a_lost_one_has_to_be_meant(
    backup: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class New(Base):
        """A base backup of a server that initdb has just made, of which no log has arrived."""

        def copy(self, cluster: str) -> dict[str, str]:
            found = lost | {"cluster": cluster}
            self.store.put(f"{cluster}/base/{lost['name']}.json", json.dumps(found).encode())
            return {"cluster": cluster, "name": lost["name"]}

    lost = backup.stored.reach(backup.server.cluster())[-1]
    stored = [one["Key"] for one in backup.store.listed("")]
    new = New(backup.config | {"keep_days": 0})
    monkeypatch.setattr(new.server, "cluster", lambda: "7000000000000000001")
    for make in (new.make_first, new.make):  # `make up`, and what the timer starts
        with pytest.raises(RefusedError, match=f"{lost['cluster']}, up to {lost['until']}.*make restore"):
            make()
        assert [one["Key"] for one in backup.store.listed("")] == stored
    note = f"7000000000000000001/base/{lost['name']}.json"
    assert new.make_first(new_server=True)["cluster"] == "7000000000000000001"
    assert {one["Key"] for one in backup.store.listed("")} == {*stored, note}, "its own backup is not whole"
    backup.store.remove([note])
    assert run(folder, "first").stdout == "null\n", "the server that is stored may go on"


def test_what_earlier_servers_have_stored_goes_by_the_same_days(
    backup: Any, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Days since each object was stored; what somebody else put into the bucket stays."""
    days = {
        "6901/base/a.json": 30,
        "6901/base/a.tar.gz.age": 30,
        "6901/wal/000000010000000000000001.gz.age": 15,
        "6902/wal/00000002.history.gz.age": 15,
        "6903/base/a.json": 30,
        "6903/base/a.tar.gz.age": 30,
        "6903/wal/000000010000000000000001.gz.age": 30,
        "6903/base/b.tar.gz.age": 29,  # it was cut off
        "6903/base/c.json": 20,
        "6903/base/c.tar.gz.age": 20,
        "6903/wal/000000010000000000000002.gz.age": 20,
        "6903/base/d.json": 15,
        "6903/wal/000000010000000000000003.gz.age": 13,
        "notes/readme": 30,
    }
    segments = {"a": 1, "c": 2, "d": 3}
    for key, age in days.items():
        ended = iso(now() - datetime.timedelta(days=age))
        name = Path(key).stem
        note = {"name": name, "ended": ended, "first_segment": f"00000001{segments.get(name, 0):016X}"}
        client(store).put_object(Bucket=BUCKET, Key=key, Body=json.dumps(note).encode())

    def listed(prefix: str) -> Iterator[dict[str, Any]]:
        for one in Store.listed(backup.store, prefix):
            age = datetime.timedelta(days=days.get(one["Key"], 0))
            yield one | {"LastModified": one["LastModified"] - age}

    monkeypatch.setattr(backup.store, "listed", listed)
    own = [one["Key"] for one in backup.store.listed(backup.server.cluster())]
    oldest = now() - datetime.timedelta(days=14)
    backup.prune_others("6904", oldest)
    assert set(days) <= {one["Key"] for one in listed("")}, "a server without a whole backup removes nothing"
    backup.prune_others(backup.server.cluster(), oldest)
    left = {one["Key"] for one in listed("")}
    assert left == {
        *own,
        "6903/base/c.json",
        "6903/base/c.tar.gz.age",
        "6903/base/d.json",
        "6903/wal/000000010000000000000002.gz.age",
        "6903/wal/000000010000000000000003.gz.age",
        "notes/readme",
    }
    backup.store.remove(sorted(left - set(own)))


def test_a_time_that_is_none_or_has_no_backup_is_refused_with_the_reason(backup: Any, folder: Path) -> None:
    later = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).isoformat()
    for at, words in (
        ("yesterday", "'yesterday' is not a time. Nothing was changed. Write it like"),
        ("2026-13-45 10:00", "is not a time"),
        (later, "is in the future. Nothing was changed."),
        ("2020-01-01 00:00", "is before the first backup: the stored moments go from"),
    ):
        done = run(folder, "plan", "--at", at)
        assert done.returncode == 1 and words in done.stderr, done.stderr


def test_the_latest_moment_is_that_of_the_server_that_wrote_last(
    backup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster of before an upgrade and the one after it; both may hold a moment that was read off a clock that was wrong."""
    day = "2026-11-2{}T12:00:00.000000Z".format
    found = {
        "15": [{"cluster": "15", "name": "a", "ended": day(1), "until": day(6), "whole": True}],
        "17": [{"cluster": "17", "name": "b", "ended": day(5), "until": day(8), "whole": True}],
    }
    way = way_back.WayBack(backup.config)
    monkeypatch.setattr(way.store, "clusters", lambda: list(found))
    monkeypatch.setattr(way, "reach", found.__getitem__)
    for at, cluster, name in (
        ("latest", "", "b"),
        ("latest", "15", "a"),
        (day(3), "", "a"),
        (day(5), "15", "a"),
    ):
        assert way.plan(at, cluster)["name"] == name
    with pytest.raises(RefusedError, match=r"More than one cluster has the moment .*: 15, 17\. .*CLUSTER="):
        way.plan(day(6))


def test_the_spool_refuses_another_segment_of_the_same_name_and_takes_the_same_again(
    server: Server, folder: Path
) -> None:
    command = (
        server.settings()["archive_command"].replace("%f", "00000001000000000000AAAA").replace("%p", "new")
    )
    spooled = folder / "spool/00000001000000000000AAAA"
    work = folder / "work"
    server.own(work)
    for content, accepted in (("one", True), ("one", True), ("two", False)):
        (work / "new").write_text(content)
        assert (subprocess.run(["sh", "-c", command], cwd=work, check=False).returncode == 0) == accepted
        assert spooled.read_text() == "one"
    spooled.unlink()
    assert list((folder / "spool").glob(".*")) == []


def test_a_store_that_refuses_stops_nobody_and_loses_no_segment(
    backup: Any, store: str, folder: Path
) -> None:
    """The database goes on, the spool grows and says so, somebody is told once, and everything is stored in the end."""
    with receiver() as (url, messages), pytest.MonkeyPatch.context() as patch:
        away = Log(backup.config | {"bucket": "gone", "alert_webhook": url})
        shipping = threading.Thread(target=away.ship_for_ever, daemon=True)
        patch.setattr(log, "PAUSE", 0.1)
        patch.setattr(log, "ALERT_AFTER", 0.5)
        shipping.start()
        for number in range(3):
            backup.server.ask(f"insert into sales values ({30000 + number}, 1)", "select pg_switch_wal()")
        wait(lambda: len(backup.log.spool.waiting()) >= 3)
        wait(lambda: "HeadObject" in str(backup.log.spool.status()["error"]))
        status = backup.log.spool.status()
        assert status["spool_files"] >= 3 and status["spool_bytes"] >= 3 << 24 and status["spool_since"]
        wait(lambda: len(messages) == 1)
        first = backup.log.spool.status()["error"]["since"]
        wait(lambda: backup.log.spool.status()["error"]["told"])
        time.sleep(1)  # it fails on, and tells nobody again
        away.store.bucket = BUCKET
        wait(lambda: not backup.log.spool.status()["error"] and not backup.log.spool.waiting())
        wait(lambda: len(messages) >= 2)
        # It ends with this test, as a killed process does.
        away.spool.path = folder / "nowhere"
        patch.setattr(log, "COMMIT_AFTER", 1e9)
    assert [one["event"] for one in messages] == ["backup_failed", "backup_healed"]
    assert f"since {first}: " in messages[0]["text"] and "HeadObject" in messages[0]["text"]
    found = backup.stored.reach(backup.server.cluster())[0]
    assert len(found["segments"]) >= 4 and found["whole"]


@contextlib.contextmanager
def receiver(status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A chat room that answers so; gives its address and the messages that it got."""
    messages: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/token-of-the-room", messages
        finally:
            server.shutdown()


@pytest.mark.parametrize(("status", "taken"), [(204, True), (302, False), (500, False)])
def test_an_alert_that_is_not_taken_is_tried_again_and_shows_no_secret(
    capsys: pytest.CaptureFixture[str], status: int, taken: bool, tmp_path: Path
) -> None:
    with receiver(status) as (url, messages):
        role = {"role_arn": "arn", "access_key": "key", "secret_key": "of-the-host"}
        config = {"spool": tmp_path / "s", "folder": tmp_path, "alert_webhook": url, "assume_role": role}
        one = Log(config | {"bucket": "b", "socket": "s", "user": "u", "database": "d"})
        path = tmp_path / "error.json"
        write(path, {"since": "2026-11-29T06:00:00.000000Z", "text": "away"})
        for _ in range(2):
            one.failed(OSError(f"{url} said that of-the-host is no key"))
    assert len(messages) == (1 if taken else 2)
    assert read(path)["told"] is taken
    told = messages[0]["text"] + capsys.readouterr().err
    assert "token-of-the-room" not in told and "of-the-host" not in told
    assert tell(config | {"alert_webhook": "http://127.0.0.1:1/"}, "event", "text") is False
    assert tell(config | {"alert_webhook": ""}, "event", "text") is False


def test_no_copy_is_begun_while_the_server_cannot_archive(backup: Any) -> None:
    """It would wait for its log as long as that lasts."""
    segment = backup.server.segment()
    others = backup.log.spool.path / segment
    others.write_text("of another server")
    backup.server.ask(HEARTBEAT, SWITCH)
    wait(lambda: backup.server.ask(UNARCHIVED) == segment)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RefusedError, match=f"archive {segment}"):
        patch.setattr(base, "ARCHIVE_SECONDS", 1)
        backup.make()
    others.unlink()
    backup.server.ask(HEARTBEAT, SWITCH)  # wakes the archiver
    wait(lambda: not backup.server.ask(UNARCHIVED))


def wait(done: Any, seconds: float = 30) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


def test_the_log_is_stored_in_time_although_the_server_does_not_end_its_segments(
    backup: Any, folder: Path
) -> None:
    """As in the minutes after a crash."""
    backup.server.ask("alter system set archive_timeout = 0")
    backup.server.ask("select pg_reload_conf()")
    shipping = threading.Thread(target=(one := Log(backup.config)).ship_for_ever, daemon=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "PAUSE", 0.1)
        patch.setattr(log, "SWITCH_AFTER", 1)
        backup.server.ask("insert into sales values (40000, 1)")
        segment = backup.server.segment()
        shipping.start()
        wait(lambda: backup.store.head(f"{backup.server.cluster()}/wal/{segment}.gz.age"))
        one.spool.path = folder / "nowhere"
        patch.setattr(log, "COMMIT_AFTER", 1e9)
        patch.setattr(log, "SWITCH_AFTER", 1e9)
    backup.server.ask("alter system reset archive_timeout")
    backup.server.ask("select pg_reload_conf()")


def forget(backup: Any, server: Server, folder: Path) -> str:
    """Leave a full segment as a crash does just before the server tells its archiver of it; return its name."""
    data = folder / "data/pgdata"
    backup.server.ask("alter system set archive_command = 'false'")
    backup.server.ask("select pg_reload_conf()")
    segment = str(backup.server.segment())
    status = data / f"pg_wal/archive_status/{segment}.ready"
    backup.server.ask(HEARTBEAT, SWITCH)
    wait(status.exists)
    server.stop(data)
    status.unlink()
    server.start(data)
    backup.server.ask("alter system reset archive_command")
    backup.server.ask("select pg_reload_conf()")
    return segment


def test_a_segment_that_a_crash_made_the_server_forget_is_stored(
    backup: Any, server: Server, folder: Path
) -> None:
    cluster = backup.server.cluster()
    forgotten = forget(backup, server, folder)
    backup.server.ask(HEARTBEAT, SWITCH)  # the one behind it is archived
    behind = following(forgotten)
    wait(lambda: backup.log.ship() and backup.store.head(f"{cluster}/wal/{behind}.gz.age"))
    assert backup.store.head(f"{cluster}/wal/{forgotten}.gz.age") is None
    assert backup.stored.reach(cluster)[-1]["segments"][-1] < forgotten, "the log is whole up to the gap"

    shipping = threading.Thread(target=(one := Log(backup.config)).ship_for_ever, daemon=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "PAUSE", 0.1)
        shipping.start()
        wait(lambda: backup.server.left(behind) in ([forgotten], []))
        backup.server.ask(HEARTBEAT, SWITCH)  # wakes the archiver
        wait(lambda: backup.store.head(f"{cluster}/wal/{forgotten}.gz.age"))
        one.spool.path = folder / "nowhere"
        patch.setattr(log, "COMMIT_AFTER", 1e9)
        patch.setattr(log, "SWITCH_AFTER", 1e9)
    wait(lambda: backup.stored.reach(cluster)[-1]["segments"][-1] >= behind)


def test_a_mark_waits_for_the_segments_before_it(backup: Any, server: Server, folder: Path) -> None:
    cluster = backup.server.cluster()
    forgotten = forget(backup, server, folder)
    mark = backup.log.mark("postgres", "sales", "select count(*) from sales")
    assert backup.store.head(f"{cluster}/wal/{forgotten}.gz.age")
    assert backup.stored.reach(cluster)[-1]["segments"][-1] >= holding(mark["position"], forgotten[:8])


def test_the_segment_that_is_written_now_is_left_alone(backup: Any, folder: Path) -> None:
    backup.server.ask("insert into sales values (50000, 1)", REMIND)
    status = folder / "data/pgdata/pg_wal/archive_status"
    now_written = backup.server.segment()
    assert not [one for one in status.iterdir() if one.name.startswith(now_written)]
    backup.server.ask("delete from sales where order_id = 50000")


def test_a_position_behind_the_stored_log_is_refused(backup: Any, folder: Path, key: tuple[str, str]) -> None:
    done = run(
        folder,
        "fetch",
        *("--at", "latest", "--position", "7F/1000000", "--into", str(folder / "new")),
        stdin=key[1],
    )
    assert done.returncode != 0 and "7F/1000000 is behind it. Nothing was changed" in done.stderr
    assert not (folder / "new").exists()


def test_a_segment_that_is_stored_is_never_replaced(backup: Any, folder: Path, server: Server) -> None:
    found = backup.stored.reach(backup.server.cluster())[0]
    name = found["segments"][-1]
    header = b"\0" * 24 + int(backup.server.cluster()).to_bytes(8, "little") + b"other"
    (folder / "spool" / name).write_bytes(header)
    with pytest.raises(RefusedError, match="Nothing was replaced"):
        backup.log.ship()
    (folder / "spool" / name).unlink()


def totals(backup: Any) -> str:
    return str(backup.server.ask("select count(*), sum(net) from sales"))


def restored(backup: Any, server: Server, folder: Path, key: str, *where: str) -> Iterator[str]:
    """Fetch into a new folder, start on it beside nothing else, and yield what the table holds there."""
    done = run(folder, "fetch", *where, "--into", str(folder / "new"), stdin=key)
    assert done.returncode == 0, done.stderr
    server.stop(folder / "data/pgdata")
    try:
        server.start(folder / "new/pgdata")
        wait(lambda: backup.server.ask("select pg_is_in_recovery()") == "f")
        yield totals(backup)
    finally:
        server.stop(folder / "new/pgdata")
        shutil.rmtree(folder / "new")
        server.start(folder / "data/pgdata")


def test_a_restore_ends_before_the_table_was_dropped(
    backup: Any, server: Server, folder: Path, key: tuple[str, str]
) -> None:
    before = totals(backup)
    time.sleep(1)
    at = iso(now())
    time.sleep(1)
    backup.server.ask("drop table sales", "select pg_switch_wal()")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(way_back, "COMMIT_AFTER", -10)  # no other commits came here
        wait(lambda: backup.log.ship() >= 0 and run_plan(backup, at))
        plan = backup.stored.plan(at)
        done = backup.stored.fetch(plan, folder / "new", key[1])
        assert done["segments"] == len(plan["segments"])
        # What an earlier call has left: one that was cut off while it read, and one that nothing used.
        (folder / "new.part/pgdata/base").mkdir(parents=True)
        (folder / "new/pgdata/left").touch()
        assert backup.stored.fetch(plan, folder / "new", key[1])["segments"] == done["segments"]
    assert not (folder / "new/pgdata/left").exists() and not (folder / "new.part").exists()
    server.stop(folder / "data/pgdata")
    server.start(folder / "new/pgdata")
    wait(lambda: backup.server.ask("select pg_is_in_recovery()") == "f")
    assert totals(backup) == before
    again = run(folder, "fetch", "--at", "latest", "--into", str(folder / "new"), stdin=key[1])
    assert again.returncode == 1 and "it may hold data that are nowhere else. Nothing was" in again.stderr
    assert totals(backup) == before
    become_server(server, folder)
    backup.log.ship()
    # Restored again before a base backup of the first restore was made, and then to a moment of before both.
    for timeline in (3, 4):
        assert backup.stored.fetch(plan, folder / "new", key[1])
        server.stop(folder / "data/pgdata")
        server.start(folder / "new/pgdata")
        wait(lambda: backup.server.ask("select pg_is_in_recovery()") == "f")
        assert totals(backup) == before
        become_server(server, folder)
        assert backup.make()["timeline"] == timeline


def become_server(server: Server, folder: Path) -> None:
    """What was restored becomes the server, as a restore does it."""
    server.stop(folder / "new/pgdata")
    shutil.rmtree(folder / "data/pgdata")
    shutil.move(folder / "new/pgdata", folder / "data/pgdata")
    shutil.rmtree(folder / "new")
    server.start(folder / "data/pgdata")


def run_plan(backup: Any, at: str) -> bool:
    try:
        return bool(backup.stored.plan(at))
    except RefusedError:
        return False


def test_a_mark_is_restored_exactly(backup: Any, server: Server, folder: Path, key: tuple[str, str]) -> None:
    query = "select count(*) || ' ' || sum(net) from sales"
    mark = backup.log.mark("postgres", "sales", query)
    backup.server.ask("delete from sales where order_id < 100", "select pg_switch_wal()")
    where = ("--at", "latest", "--position", mark["position"])
    for found in restored(backup, server, folder, key[1], *where):
        assert found.replace("|", " ") == mark["answer"]
    assert mark["stored_seconds"] < 30


@pytest.mark.parametrize("part", ["base", "wal"])
def test_a_backup_with_a_changed_bit_is_refused(
    backup: Any, store: str, folder: Path, key: tuple[str, str], part: str
) -> None:
    found = backup.stored.reach(backup.server.cluster())[-1]
    name = f"base/{found['name']}.tar.gz.age" if part == "base" else f"wal/{found['segments'][0]}.gz.age"
    object_key = f"{found['cluster']}/{name}"
    stored = client(store).get_object(Bucket=BUCKET, Key=object_key)
    body = stored["Body"].read()
    changed = bytearray(body)
    changed[len(body) // 2] ^= 1
    put = {"Bucket": BUCKET, "Key": object_key, "Metadata": stored["Metadata"]}
    client(store).put_object(Body=bytes(changed), **put)
    done = run(folder, "fetch", "--at", "latest", "--into", str(folder / "new"), stdin=key[1])
    client(store).put_object(Body=body, **put)
    assert not list(folder.glob("new*"))
    assert done.returncode == 1
    assert "cannot be read" in done.stderr and "The running server was not touched" in done.stderr, (
        done.stderr
    )


def pair(folder: Path, name: str) -> tuple[str, str]:
    """Another key pair of ssh."""
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip(), path.read_text()


def test_a_log_that_goes_on_with_another_key_is_read_with_both_and_with_neither_alone(
    backup: Any, server: Server, folder: Path, key: tuple[str, str], config: dict[str, Any]
) -> None:
    new = pair(folder, "new-key")
    backup.config["recipient"] = new[0]
    try:
        mark = backup.log.mark("postgres", "sales", "select count(*) || ' ' || sum(net) from sales")
    finally:
        backup.config["recipient"] = key[0]
    where = ("--at", "latest", "--position", mark["position"])
    for found in restored(backup, server, folder, f"{new[1]}\n{key[1]}", *where):
        assert found.replace("|", " ") == mark["answer"]
    for alone in (new[1], key[1]):
        done = run(folder, "fetch", *where, "--into", str(folder / "new"), stdin=alone)
        assert done.returncode == 1 and "cannot be read" in done.stderr


def test_a_key_that_is_lost_is_noticed(folder: Path, key: tuple[str, str]) -> None:
    new = pair(folder, "third")
    readable = backup_keys.backup_readable
    assert readable(key[0], key[1]) and readable(key[0].split(" ", 2)[0] + " " + key[0].split()[1], key[1])
    assert readable(key[0], f"{new[1]}\n{key[1].rstrip()}") and not readable(key[0], new[1])
    assert not readable("", new[1]) and not readable(key[0], "")


def test_another_key_cannot_read_it(backup: Any, folder: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "other")], check=True)
    other = (folder / "other").read_text()
    done = run(folder, "fetch", "--at", "latest", "--into", str(folder / "new"), stdin=other)
    assert done.returncode == 1 and "cannot be read" in done.stderr


def test_old_backups_go_and_one_before_the_days_to_keep_stays(backup: Any, store: str) -> None:
    cluster = backup.server.cluster()
    old = backup.stored.reach(cluster)
    assert len(old) >= 2
    first = old[0]["first_segment"]
    # Tomorrow: the store's clock counts whole seconds, in which several backups may end.
    backup.config["keep_days"], kept = -1, backup.config["keep_days"]
    backup.config["keep_least"] = 1
    backup.make()
    backup.config["keep_days"], backup.config["keep_least"] = kept, 2
    left = backup.stored.reach(cluster)
    assert len(left) == 1 and left[0]["whole"]
    names = [one["Key"].rsplit("/", 1)[1] for one in backup.store.listed(f"{cluster}/wal/")]
    assert not any(name.startswith(first) for name in names)
