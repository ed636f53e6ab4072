"""What the source refuses, waits for and says: one sentence that names the table, the reason and what to do."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import psycopg2
import pytest

from retailflow_emulators.airbyte.protocol import ConnectorError
from retailflow_emulators.airbyte.source_postgres import limits
from retailflow_emulators.airbyte.source_postgres.connector import PostgresSource

from .conftest import Postgres, PostgresServer, Snowflake
from .pipe import Pipe

LONGEST = 16 * 1024 * 1024


@pytest.fixture
def pipe(postgres: Postgres, warehouse: Snowflake, capfdbinary: pytest.CaptureFixture[bytes]) -> Pipe:
    return Pipe(postgres, warehouse, capfdbinary, f"SOURCE{abs(hash(postgres.database)) % 10**8}_")


@pytest.mark.parametrize("prepared", [False, True], ids=["session", "prepared transaction"])
def test_a_lock_that_is_waited_for_is_logged_with_its_holder(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], prepared: bool
) -> None:
    assert limits.LOCK_SECONDS == 10
    monkeypatch.setattr(limits, "LOCK_SECONDS", 0.2)
    monkeypatch.setattr(limits, "LOCK_TRIES", 3)
    pipe.postgres.execute("create table t (id int primary key); insert into t values (1)")
    streams = pipe.discover()
    with contextlib.closing(pipe.postgres.connect()) as session, session.cursor() as cursor:
        cursor.execute("lock table t in access exclusive mode")
        holder = f"process {session.info.backend_pid}"
        if prepared:
            cursor.execute("prepare transaction 'forgotten'")
            holder = "a prepared transaction (pg_prepared_xacts)"
        with pytest.raises(ConnectorError, match=r"public\.t was not read: .* has held a lock") as failed:
            pipe._read(streams)
        assert holder in str(failed.value) and failed.value.failure_type == "transient_error"
        logged = capfdbinary.readouterr().out.decode()
        assert logged.count(f"waiting for a lock on public.t, which {holder}") == 3
        monkeypatch.setattr(limits, "LOCK_TRIES", 100)
        end = (
            (lambda: pipe.postgres.execute("rollback prepared 'forgotten'")) if prepared else session.rollback
        )
        ended = threading.Timer(0.5, end)
        ended.start()
        pipe.sync()
        ended.join()
    pipe.assert_equal()


def test_a_prepared_transaction_that_writes_is_named(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(limits, "WRITERS_SECONDS", 0.3)
    execute = pipe.postgres.execute
    execute("create table t (id int primary key, v text)")
    execute("insert into t values (1, 'a')")
    with contextlib.closing(pipe.postgres.connect()) as session, session.cursor() as cursor:
        cursor.execute("insert into t values (2, 'b')")
        cursor.execute("prepare transaction 'half done'")
    try:
        words = "prepared transaction 'half done' in pg_prepared_xacts: commit it"
        with pytest.raises(ConnectorError, match=words):
            pipe.sync()
    finally:
        execute("commit prepared 'half done'")  # whoever makes a slot waits for it
    pipe.sync()
    pipe.assert_equal()


def test_a_standby_is_refused_with_advice_that_can_be_followed(
    postgres_server: PostgresServer, warehouse: Snowflake, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with postgres_server.standby() as standby:
        replication = {"method": "CDC", "publication": "everything", "replication_slot": "slot"}
        config = {**standby.configuration, "replication_method": replication}
        words = "this server is a standby, and CDC needs its primary: give the source the primary's host"
        with pytest.raises(ConnectorError, match=words) as refused:
            PostgresSource().check(config)
        assert refused.value.failure_type == "config_error"
        assert "create publication" not in str(refused.value), "nothing can be made on a standby"
        standard: dict[str, Any] = {**standby.configuration, "replication_method": {"method": "Standard"}}
        with pytest.raises(ConnectorError, match="finds no table to replicate"):
            PostgresSource().check(standard)
        standby.restart_as_primary(wal_level="replica")
        with pytest.raises(
            ConnectorError, match="wal_level = logical, but it is replica: alter system"
        ) as refused:
            PostgresSource().check(config)
        assert refused.value.failure_type == "config_error"
        # As little as CDC needs: it reads the log by statements, so no process that sends it is needed.
        standby.restart_as_primary(max_wal_senders="0", max_replication_slots="1")
        standby.execute("create database least")
        standby.database = "least"
        standby.execute("create table t (id int primary key); insert into t values (1)")
        pipe = Pipe(standby, warehouse, capfdbinary, "LEAST_")
        with pytest.raises(psycopg2.Error, match="all replication slots are in use"):
            standby.execute("select pg_create_logical_replication_slot('second', 'pgoutput')")
        pipe.sync()
        standby.execute("delete from t; insert into t values (2)")
        pipe.sync()
        pipe.assert_equal()


@pytest.mark.parametrize("by", ["snapshot", "log"])
def test_bytes_that_are_no_text_are_named_with_their_column(
    postgres_server: Postgres,
    warehouse: Snowflake,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "UTF8")  # of the test's own statements
    name = f"ascii_{by}"
    postgres_server.execute(f"create database {name} encoding 'SQL_ASCII' template template0")
    postgres = Postgres(postgres_server.port)
    postgres.database = name
    pipe = Pipe(postgres, warehouse, capfdbinary, f"{name}_")
    postgres.execute('create table t (id int primary key, fine text, "Größe" text)')
    postgres.execute("insert into t values (1, 'grün', 'ä')")
    if by == "log":
        pipe.sync()
        pipe.assert_equal()
    postgres.execute("insert into t values (2, 'b', E'Gr\\xfcn')")
    words = r"column Größe of public\.t holds bytes that are no UTF-8 text.*SQL_ASCII.*make the column bytea"
    with pytest.raises(ConnectorError, match=words) as failed:
        pipe.sync()
    assert failed.value.failure_type == "config_error"
    capfdbinary.readouterr()
    postgres.execute("update t set \"Größe\" = 'Grün' where id = 2")
    if by == "snapshot":
        pipe.sync()
        pipe.assert_equal()


@pytest.mark.parametrize("word", ["Größe é", "Привет", "日本語"], ids=["LATIN1", "WIN1251", "EUC_JP"])
def test_a_database_of_another_encoding_is_replicated(
    postgres_server: Postgres,
    warehouse: Snowflake,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    word: str,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "UTF8")  # of the test's own statements
    encoding = request.node.callspec.id
    postgres = Postgres(postgres_server.port)
    postgres.database = f"in_{encoding.lower()}"
    postgres_server.execute(f"create database {postgres.database} encoding '{encoding}' template template0")
    pipe = Pipe(postgres, warehouse, capfdbinary, f"{postgres.database}_")
    postgres.execute(
        f"""create type "e {word}" as enum ('{word}', 'x');
        create table "{word}" (k text primary key, "{word} c" text, c char(20), e "e {word}"[], large text);
        alter table "{word}" alter large set storage external;
        insert into "{word}" values ('{word}', '{word}', '{word}', '{{{word}}}', repeat('{word}', 3000)),
        ('b', null, '', '{{x}}', null)"""
    )
    pipe.sync()
    pipe.assert_equal()
    postgres.execute(
        f"""update "{word}" set "{word} c" = 'u{word}'; update "{word}" set k = k || '{word}' where k = 'b';
        insert into "{word}" values ('c{word}')"""
    )
    pipe.sync()
    pipe.assert_equal()


def test_a_text_above_snowflakes_limit_is_null_with_a_note(pipe: Pipe) -> None:
    """As Airbyte's destination does: SnowflakeValueCoercer.kt in airbytehq/airbyte has 16 MB for a VARCHAR."""
    execute = pipe.postgres.execute
    execute("create table t (id int primary key, v text)")
    table = f'RAW."{pipe._prefix}PUBLIC"."T"'
    for first in (0, 10):  # by the snapshot, and by the log
        execute(
            f"insert into t values ({first}, repeat('x', {LONGEST})), ({first + 1}, repeat('x', {LONGEST + 1}))"
        )
        execute(
            f"insert into t values ({first + 2}, repeat('ü', {LONGEST // 2})), ({first + 3}, repeat('ü', {LONGEST // 2}) || 'x')"
        )
        pipe.sync()
        found = pipe.warehouse.query(
            f'select "ID", length("V"), "_AIRBYTE_META"::varchar from {table} where "ID" >= {first} order by 1'
        )
        assert [row[:2] for row in found] == [
            (first, LONGEST), (first + 1, None), (first + 2, LONGEST // 2), (first + 3, None)
        ]  # fmt: skip
        noted = ["DESTINATION_FIELD_SIZE_LIMITATION" in meta for *_, meta in found]
        assert noted == [False, True, False, True]


def test_a_published_table_that_cannot_be_read_is_refused(pipe: Pipe) -> None:
    execute, role = pipe.postgres.execute, f"Role {pipe.postgres.database}"
    execute(f'create role "{role}" login replication')
    execute(
        'create schema "My Schema"; create table "My Schema"."Odd ""one""" (id int primary key, secret text)'
    )
    execute(f'create table t (id int primary key); grant select on t to "{role}"')
    pipe.config |= {"username": role, "schemas": ["public", "My Schema"]}
    for some in ("select 1", f'grant usage on schema "My Schema" to "{role}"',
                 f'grant select (id) on "My Schema"."Odd ""one""" to "{role}"'):  # fmt: skip
        execute(some)
        with pytest.raises(ConnectorError, match="may not read") as refused:
            PostgresSource().check(pipe.config)
        assert refused.value.failure_type == "config_error"
    statement = str(refused.value).split(": ")[1].split(" (and")[0]
    assert statement == f'grant select on "My Schema"."Odd ""one""" to "{role}"'
    execute(statement)
    PostgresSource().check(pipe.config)
    execute(f'revoke select on "My Schema"."Odd ""one""" from "{role}"')
    pipe.config["schemas"] = ["public"]
    PostgresSource().check(pipe.config)


@pytest.mark.parametrize(
    ("definition", "words", "remedy"),
    [
        ("(id int primary key deferrable, v int)", "is deferrable",
         'alter table public."Odd one" replica identity full'),
        ("(id int primary key, v int); alter table \"Odd one\" replica identity nothing",
         "does not log the primary key", 'alter table public."Odd one" replica identity default'),
        ("(id int primary key, v regclass)", "column v of public.Odd one is of type regclass", None),
        ("(id int primary key, v regtype[])", "column v of public.Odd one is of type regtype", None),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_to_do(pipe: Pipe, definition: str, words: str, remedy: str | None) -> None:
    execute = pipe.postgres.execute
    execute(f'create table t (id int primary key); create table "Odd one" {definition}')
    with pytest.raises(ConnectorError) as refused:
        PostgresSource().check(pipe.config)
    assert words in str(refused.value) and "everything drop table" not in str(refused.value)
    assert [name for _, name in pipe.discover()] == ["t"]
    if remedy is None:
        execute('alter table "Odd one" alter v type text')
    else:
        assert remedy in str(refused.value)
        execute(remedy)
    PostgresSource().check(pipe.config)
    execute('insert into "Odd one" values (1), (2)')
    pipe.sync()
    execute('update "Odd one" set id = 3 where id = 1; delete from "Odd one" where id = 2')
    pipe.sync()
    pipe.assert_equal()
