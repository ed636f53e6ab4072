"""A schema file is applied where it changes anything, of whatever kind, and reported exactly then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ansible.module_utils.postgres.errors import SetupError
from ansible.module_utils.postgres.setup import Setup

from bench import postgres

SALES = Path(__file__).parents[2] / "lambda/schema/sales.sql"
BASE = """
create schema app;
create role reader;
create table app.shops (id int primary key, name text, country text);
create table app.orders (
    id bigint primary key, shop int references app.shops, note text, amount numeric(10, 2), day date not null default current_date
);
create unique index orders_note on app.orders (note, id);
create view app.big as select id from app.orders where amount > 100;
create sequence app.numbers;
create type app.mood as enum ('glad', 'sad');
create domain app.share as numeric check (value >= 0);
create table app.days (day date, id int) partition by range (day);
create table app.days_2026 partition of app.days for values from ('2026-01-01') to ('2027-01-01');
create table app.archive (day date, id int);
create table app.kept (id int, body text);
create function app.one() returns int language sql return 1;
create function app.touch() returns trigger language plpgsql as $$ begin return new; end $$;
create procedure app.noop() language sql as '';
create aggregate app.total (int) (sfunc = int4pl, stype = int);
create trigger touch before update on app.orders for each row execute function app.touch();
create publication shop for table app.orders;
create policy mine on app.orders using (id > 0);
create rule quiet as on delete to app.kept do instead nothing;
create statistics app.together (dependencies) on shop, day from app.orders;
insert into app.shops values (1, 'one', 'FR');
"""
CHANGES = {
    # publications
    "publish options": "alter publication shop set (publish = 'insert')",
    "publication truncate": "alter publication shop set (publish = 'insert, update, delete')",
    "publication root": "alter publication shop set (publish_via_partition_root = true)",
    "publication tables": "alter publication shop set table app.orders, app.shops",
    "publication row filter": "alter publication shop set table app.orders where (id > 5)",
    "publication column list": "alter publication shop set table app.orders (id, amount)",
    "publication schema": "alter publication shop set tables in schema app",
    "publication owner": "alter publication shop owner to reader",
    # tables
    "policy": "alter policy mine on app.orders using (id > 1)",
    "policy roles": "alter policy mine on app.orders to reader",
    "row security": "alter table app.orders enable row level security",
    "forced row security": "alter table app.orders force row level security",
    "table owner": "alter table app.orders owner to reader",
    "unlogged": "alter table app.archive set unlogged",
    "storage parameters": "alter table app.orders set (fillfactor = 70)",
    "toast parameters": "alter table app.kept set (toast.autovacuum_enabled = false)",
    "replica identity full": "alter table app.orders replica identity full",
    "cluster": "alter table app.orders cluster on orders_pkey",
    "inheritance": "alter table app.kept inherit app.only_base",
    "partition detached": "alter table app.days detach partition app.days_2026",
    "partition bound": "create table app.days_2027 partition of app.days for values from ('2027-01-01') to ('2028-01-01')",
    "trigger disabled": "alter table app.orders disable trigger touch",
    "foreign key's triggers": "alter table app.orders disable trigger all",
    "trigger condition": "create or replace trigger touch before update on app.orders for each row"
    " when (new.id > 3) execute function app.touch()",
    "rule": "create or replace rule quiet as on delete to app.kept where old.id > 3 do instead nothing",
    "check constraint": "alter table app.orders add constraint positive check (amount > 0) not valid",
    "deferrable": "alter table app.orders alter constraint orders_shop_fkey deferrable",
    "index options": "alter index app.orders_note set (fillfactor = 60)",
    "partial index": "create index few on app.orders (id) where amount > 7",
    "renamed index": "alter index app.orders_note rename to orders_remark",
    # columns
    "default": "alter table app.orders alter day set default '2026-01-01'",
    "null": "alter table app.orders alter day drop not null",
    "wider type": "alter table app.archive alter id type bigint",
    "column storage": "alter table app.orders alter note set storage external",
    "column compression": "alter table app.orders alter note set compression pglz",
    "column statistics": "alter table app.orders alter note set statistics 500",
    "column options": "alter table app.orders alter note set (n_distinct = 5)",
    "column grants": "grant select (note) on app.orders to reader",
    "generated column": "alter table app.orders add twice numeric generated always as (amount * 2) stored",
    "generated dropped": "alter table app.made alter twice drop expression",
    "identity": "alter table app.kept alter id set not null; alter table app.kept alter id add generated always as identity",
    "collation": 'alter table app.words alter body type text collate "C"',
    # other objects
    "comment on a table": "comment on table app.orders is 'sold'",
    "comment on a column": "comment on column app.orders.note is 'said'",
    "comment on the schema public": "comment on schema public is 'ours'",
    "comment on the database": "comment on database postgres is 'ours'",
    "comment on a role": "comment on role reader is 'reads'",
    "grant on a table": "grant select on app.orders to reader",
    "grant with option": "grant insert on app.orders to reader with grant option",
    "grant on a schema": "grant usage on schema app to reader",
    "grant on a function": "revoke execute on function app.one() from public",
    "grant on a built-in function": "revoke execute on function pg_catalog.now() from public",
    "grant on a type": "grant usage on type app.mood to reader; revoke usage on type app.mood from public",
    "default privileges": "alter default privileges in schema app grant select on tables to reader",
    "schema owner": "alter schema app owner to reader",
    "view": "create or replace view app.big as select id from app.orders where amount > 200",
    "view option": "alter view app.big set (security_barrier = true)",
    "sequence": "alter sequence app.numbers increment by 5 cache 10",
    "sequence owned": "alter sequence app.numbers owned by app.archive.id",
    "enum value": "alter type app.mood add value 'calm'",
    "domain": "alter domain app.share add constraint small check (value <= 1)",
    "domain default": "alter domain app.share set default 0.5",
    "function body": "create or replace function app.one() returns int language sql return 2",
    "function text": "create or replace function app.touch() returns trigger language plpgsql as $$ begin return old; end $$",
    "function attributes": "alter function app.one() immutable parallel safe cost 5",
    "function setting": "alter function app.one() set search_path = app",
    "procedure": "create or replace procedure app.noop() language sql as 'select 1'",
    "aggregate": "create or replace aggregate app.total (int) (sfunc = int4pl, stype = int, initcond = '7')",
    "extended statistics": "alter statistics app.together set statistics 50",
    "operator": "create operator app.@@@ (leftarg = int, rightarg = int, function = int4pl)",
    "cast": "create cast (app.mood as int) with function app.of_mood(app.mood)",
    "text search": "create text search configuration app.plain (copy = simple)",
    "event trigger": "create event trigger watch on ddl_command_end execute function app.watch()",
    "foreign data wrapper": "create foreign data wrapper other options (a 'b')",
    "role attributes": "alter role reader createdb",
    "role setting": "alter role reader set work_mem = '8MB'",
    "database setting": "alter database postgres set work_mem = '8MB'",
    "membership": "grant pg_monitor to reader",
    "large object": "select lo_create(4711); grant select on large object 4711 to reader",
    # rows
    "rows inserted": "insert into app.shops values (2, 'two', 'DE') on conflict do nothing",
    "rows updated": "update app.shops set name = 'uno' where name <> 'uno'",
    "rows deleted": "delete from app.shops",
}
BASE += """
create table app.words (body text);
create table app.only_base (id int, body text);
create table app.made (id int, twice int generated always as (id * 2) stored);
create function app.of_mood(app.mood) returns int language sql return 1;
create function app.watch() returns event_trigger language plpgsql as $$ begin end $$;
"""
ONCE = {
    "inheritance",
    "partition detached",
    "partition bound",
    "check constraint",
    "partial index",
    "renamed index",
}
ONCE |= {
    "generated column",
    "generated dropped",
    "identity",
    "enum value",
    "domain",
    "operator",
    "cast",
    "text search",
}
ONCE |= {"event trigger", "foreign data wrapper", "large object"}


class Database:
    def __init__(self, port: int) -> None:
        self._login = {"host": "127.0.0.1", "port": port, "user": postgres.ADMIN, "dbname": "postgres"}

    def execute(self, text: str) -> None:
        connection = psycopg2.connect(**self._login)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(text)
        connection.close()

    def apply(self, text: str, check: bool = False) -> Setup:
        params: dict[str, Any] = {"socket_dir": "127.0.0.1", "superuser": postgres.ADMIN}
        setup = Setup(params, check_mode=check)
        setup.reconcile_schema({"database": "postgres", "name": "file.sql", "sql": text})
        return setup


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with pytest.MonkeyPatch.context() as patch, postgres.server() as port:
        patch.setenv("PGPORT", str(port))
        found = Database(port)
        found.execute(BASE)
        yield found


@pytest.mark.parametrize("kind", CHANGES)
def test_every_kind_of_change_is_seen_and_is_none_the_second_time(database: Database, kind: str) -> None:
    change = CHANGES[kind]
    planned = database.apply(change, check=True)
    assert planned.actions == ["apply file.sql to postgres"] and planned.before != planned.after
    database.execute(change)  # works still: check mode has kept nothing
    if kind not in ONCE:
        again = database.apply(change)
        assert (again.actions, again.before, again.after) == ([], [], [])


def test_a_change_is_kept_and_shown_as_check_mode_said(database: Database) -> None:
    change = "create policy theirs on app.shops for select to reader using (country = 'FR')"
    planned, done = database.apply(change, check=True), database.apply(change)
    assert (done.actions, done.before, done.after) == (planned.actions, planned.before, planned.after)
    (shown,) = [line for line in done.after if line.startswith("pg_policy")]
    assert "theirs" in shown and "reader" in shown and "country" in shown
    with pytest.raises(SetupError, match="already exists"):
        database.apply(change)


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "create schema if not exists app; create table if not exists app.shops (id int)",
        "drop trigger if exists touch on app.orders; create trigger touch before update on app.orders"
        " for each row execute function app.touch()",
        "drop view app.big; create view app.big with (security_barrier = true) as select id from app.orders where amount > 200",
        "alter table app.orders drop constraint again; alter table app.orders add constraint again check (id <> 7)",
        "set search_path = app; create table if not exists shops (id int)",
        "set role reader; select 1",
        "create temporary table scratch (id int, body text); insert into scratch values (1, 'x'); drop table scratch",
        "insert into app.shops select 1, 'x', 'y' where false",
        "analyze app.kept",
        "select setval('app.numbers', 100)",
    ],
)
def test_what_is_there_already_is_no_change(database: Database, text: str) -> None:
    database.execute(
        "alter default privileges in schema app revoke select on tables from reader;"
        "create or replace view app.big as select id from app.orders where amount > 200;"
        "alter view app.big set (security_barrier = true);"
        "alter table app.orders drop constraint if exists again;"
        "alter table app.orders add constraint again check (id <> 7);"
        "drop trigger if exists touch on app.orders; create trigger touch before update on app.orders"
        " for each row execute function app.touch()"
    )
    assert database.apply(text).actions == []


def test_a_table_that_is_emptied_is_a_change(database: Database) -> None:
    database.execute("insert into app.archive values ('2026-01-01', 1)")
    setup = database.apply("truncate app.archive")
    assert setup.actions and setup.after == ["rows of app.archive written"]


def test_a_file_that_fails_changes_nothing_and_says_so(database: Database) -> None:
    with pytest.raises(
        SetupError, match="file.sql cannot be applied to postgres: division by zero. It was not applied"
    ):
        database.apply("create table app.half (); select 1 / 0")
    assert database.apply("drop table if exists app.half").actions == []


def test_passwords_are_in_no_diff(database: Database) -> None:
    setup = database.apply("create role secretive password 'in-clear'")
    shown = "\n".join([*setup.before, *setup.after])
    assert setup.actions and "secretive" in shown
    assert "SCRAM" not in shown and "in-clear" not in shown


def test_the_schema_of_the_generator_is_applied_once(database: Database) -> None:
    database.execute("create role generator; create role airbyte; create role auditor")
    text = SALES.read_text(encoding="utf-8")
    assert database.apply(text).actions == ["apply file.sql to postgres"]
    assert database.apply(text).actions == []
