"""What the owner of the source changes between two syncs: RAW equals PostgreSQL again after the next one."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import psycopg2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from retailflow_emulators.airbyte.protocol import ConnectorError
from retailflow_emulators.airbyte.source_postgres import limits
from retailflow_emulators.airbyte.source_postgres.connector import PostgresSource

from .conftest import Postgres, Snowflake
from .pipe import Pipe

COLUMNS = "id int, part int default 0, note text, amount numeric(10,2), mood mood_{t} default 'well', u int not null unique"
OPTIONS = "with (publish_via_partition_root = true)"
# By name: statements about a table {t}. What an earlier change has made impossible is left out.
CHANGES = {
    "rows change": "update {t} set note = 'changed' where id < 3; delete from {t} where id = 4",
    "truncated": "truncate {t}; insert into {t} (id, u, note) values (1, 1, 'after')",
    "rewritten": "alter table {t} alter amount type numeric(10,2) using amount * 2",
    "retyped": "alter table {t} alter amount type text using 'about ' || amount",
    "column renamed": "alter table {t} rename note to remark",
    "columns exchange names": "alter table {t} rename note to other; alter table {t} rename mood to note; "
    "alter table {t} rename other to mood",
    "column again": "alter table {t} drop note; alter table {t} add note text",
    "column with a default": "alter table {t} add extra int default 7",
    "column without one": "alter table {t} add later text; update {t} set later = 'now' where id = 2",
    "column gone, then again": "alter table {t} drop amount",
    "key renamed": "alter table {t} rename id to number",
    "key widened": "alter table {t} drop constraint {t}_pkey, add primary key (id, part); "
    "insert into {t} (id, part, u) values (2, 9, 900); delete from {t} where id = 3 and part = 0",
    "key exchanged and back": "alter table {t} drop constraint {t}_pkey, add primary key (u); "
    "update {t} set u = u + 1000; delete from {t} where id = 5; "
    "alter table {t} drop constraint {t}_pkey, add primary key (id)",
    "named by another index": "alter table {t} replica identity using index {t}_u_key; "
    "delete from {t} where id = 2; alter table {t} replica identity default",
    "unpublished for a while": "alter publication everything drop table {t}; delete from {t} where id = 1; "
    "alter publication everything add table {t}",
    "exchanged": "alter table {t} rename to gone; create table {t} (like gone including all); "
    "insert into {t} (id, u, note) values (77, 77, 'the new one'); drop table gone; "
    "alter publication everything add table {t}",
    "label renamed": "alter type mood_{t} rename value 'well' to 'fine'",
    "vacuumed": "vacuum full {t}",
}
PARTITIONS = {
    "rows change": "update p set note = 'changed' where id < 3; update p set id = id + 100 where id between 3 and 5",
    "attached with rows": "create table p9 (like p including all); insert into p9 values (900, 'there before'); "
    "alter table p attach partition p9 for values from (900) to (1000)",
    "made empty, then filled": "create table p8 partition of p for values from (800) to (900); insert into p values (801, 'new')",
    "detached": "alter table p detach partition p0",
    "dropped": "drop table p0",
    "truncated": "truncate p0",
    "left and back": "alter table p detach partition p0; update p0 set note = 'unseen'; "
    "alter table p attach partition p0 for values from (0) to (100)",
}
QUICK = settings(
    max_examples=1,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def pipe(postgres: Postgres, warehouse: Snowflake, capfdbinary: pytest.CaptureFixture[bytes]) -> Pipe:
    return Pipe(postgres, warehouse, capfdbinary, "", OPTIONS)


@contextlib.contextmanager
def tables(pipe: Pipe, count: int, run: int) -> Iterator[Pipe]:
    """t0, t1, … and the partitioned table p, published and filled; they go with the example."""
    execute = pipe.postgres.execute
    names = [f"t{number}" for number in range(count)]
    for name in names:
        execute(f"create type mood_{name} as enum ('well', 'so so')")
        execute(f"create table {name} ({COLUMNS.format(t=name)}, primary key (id))")
        execute(f"alter publication everything add table {name}")
        execute(f"insert into {name} select i, 0, 'note ' || i, i, 'well', i from generate_series(1, 8) i")
    execute("create table p (id int primary key, note text) partition by range (id)")
    execute("create table p0 partition of p for values from (0) to (100)")
    execute("create table p1 partition of p for values from (100) to (200)")
    execute(
        "insert into p select i, 'note ' || i from generate_series(1, 8) i; alter publication everything add table p"
    )
    fresh = pipe.afresh(f"O{run}_")
    try:
        yield fresh
    finally:
        for name in [*names, "p"]:
            execute(f"drop table if exists {name}; drop type if exists mood_{name}")
        execute("drop table if exists p0")


def apply(pipe: Pipe, statements: str) -> None:
    for statement in statements.split("; "):
        with contextlib.suppress(psycopg2.Error):
            pipe.postgres.execute(statement)


EACH = [[name] for name in CHANGES]


@QUICK
@given(
    changes=st.lists(
        st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=3), min_size=4, max_size=4
    ),
    partitions=st.lists(st.sampled_from(sorted(PARTITIONS)), min_size=1, max_size=2),
)
@example(changes=EACH, partitions=["attached with rows"])
@example(changes=[["column gone, then again"], ["key widened", "rows change"]], partitions=["truncated"])
@example(changes=[["retyped", "truncated"]], partitions=["left and back"])
def test_whatever_the_owner_changes_arrives(
    pipe: Pipe, changes: list[list[str]], partitions: list[str]
) -> None:
    with tables(pipe, len(changes), abs(hash(repr((changes, partitions)))) % 10**8) as fresh:
        fresh.sync()
        for number, names in enumerate(changes):
            for name in names:
                apply(fresh, CHANGES[name].format(t=f"t{number}"))
        for name in partitions:
            apply(fresh, PARTITIONS[name])
        fresh.sync()
        fresh.assert_equal()
        for number, names in enumerate(changes):
            if "column gone, then again" in names:
                apply(fresh, f"alter table t{number} add amount numeric(10,2)")
            apply(fresh, f"delete from t{number} where ctid = (select min(ctid) from t{number})")
        fresh.sync()
        fresh.assert_equal()


def test_a_publication_that_was_made_again_goes_on(pipe: Pipe) -> None:
    with tables(pipe, 2, 1) as fresh:
        fresh.sync()
        execute = pipe.postgres.execute
        execute("drop publication everything; update t0 set note = 'unseen'; delete from t1 where id = 1")
        execute(f"create publication everything for table t0, t1, p {OPTIONS}")
        for _ in range(2):
            execute("update t0 set note = note || '!'")
            fresh.sync()
            fresh.assert_equal()


def test_a_truncation_that_was_not_published_arrives(pipe: Pipe) -> None:
    with tables(pipe, 2, 3) as fresh:
        fresh.sync()
        execute = pipe.postgres.execute
        execute("alter publication everything set (publish = 'insert, update, delete')")
        execute("delete from t1 where id = 1; truncate t0")
        with pytest.raises(ConnectorError, match="must publish insert, update, delete and truncate"):
            PostgresSource().check(pipe.config)
        execute("alter publication everything set (publish = 'insert, update, delete, truncate')")
        fresh.sync()
        fresh.assert_equal()


def test_the_settings_of_the_role_change_no_value(pipe: Pipe) -> None:
    execute = pipe.postgres.execute
    role = f"role_{pipe.postgres.database}"
    execute(f"create role {role} superuser login")
    for setting in (
        "extra_float_digits = -3", "intervalstyle = iso_8601", "bytea_output = escape", "timezone = 'Asia/Tokyo'",
        "datestyle = German", "search_path = nowhere", "row_security = off", "lc_messages = 'C'",
        "default_transaction_isolation = serializable", "statement_timeout = 1", "standard_conforming_strings = off",
        "quote_all_identifiers = on", "default_transaction_read_only = on",
    ):  # fmt: skip
        execute(f"alter role {role} set {setting}")
    pipe.config["username"] = role
    execute(
        "create table odd (id timestamptz primary key, f float8, g float4, i interval, b bytea, d date); "
        "alter publication everything add table odd"
    )
    row = "'2024-01-31 23:59:59.123456+05', 0.1 + 0.2, 1.1, '1 day 02:03:04.5', '\\x005c27', '2024-02-01'"
    execute(f"insert into odd values ({row})")
    fresh = pipe.afresh("SETTINGS_")
    fresh.sync()
    fresh.assert_equal()
    execute(f"update odd set id = '2000-01-01'; insert into odd values ({row})")
    fresh.sync()
    fresh.assert_equal()


def test_rows_that_are_hidden_are_not_success(pipe: Pipe) -> None:
    execute, role = pipe.postgres.execute, f"role_{pipe.postgres.database}"
    execute(f"create role {role} login replication")
    execute(
        f"create table odd (id int primary key); grant select on odd to {role}; insert into odd values (1), (2)"
    )
    execute("alter publication everything add table odd")
    pipe.config["username"] = role
    PostgresSource().check(pipe.config)
    pipe.discover()
    execute(
        f"alter table odd enable row level security; create policy one on odd for select to {role} using (id = 1)"
    )
    with pytest.raises(ConnectorError, match=r"row-level security hides rows of public\.odd.*BYPASSRLS"):
        PostgresSource().check(pipe.config)


def test_a_published_partition_names_the_remedy(pipe: Pipe) -> None:
    with tables(pipe, 1, 2):
        pipe.postgres.execute("alter publication everything set (publish_via_partition_root = false)")
        with pytest.raises(ConnectorError, match=r"set \(publish_via_partition_root = true\)"):
            PostgresSource().check(pipe.config)


@pytest.mark.parametrize("stops", [[1], [2, 1], []])
def test_the_rows_of_before_stay_until_the_new_ones_are_whole(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, stops: list[int]
) -> None:
    """A column has another type, so the table is read again; `stops` are syncs that die after so many checkpoints."""
    monkeypatch.setattr(limits, "CHECKPOINT_ROWS", 2)
    execute, query = pipe.postgres.execute, pipe.warehouse.query
    execute("create table kept (id int primary key, n int); alter publication everything add table kept")
    execute("insert into kept select i, i * 10 from generate_series(1, 7) i")
    fresh = pipe.afresh(f"KEPT{len(stops)}_")
    fresh.sync()
    schema = f"KEPT{len(stops)}_PUBLIC"
    table = f'RAW."{schema}"."KEPT"'
    before = query(f'select "ID", "N" from {table} order by 1')
    execute("alter table kept alter n type text using 'about ' || n; delete from kept where id = 7")
    for stop in stops:
        fresh.sync(stop_after=stop)
        assert query(f'select "ID", "N" from {table} order by 1') == before, "whole, as they were"
    fresh.sync()
    fresh.assert_equal()
    listed = f"select table_name from RAW.information_schema.tables where table_schema = '{schema}'"
    assert ("KEPT",) in query(listed) and not [name for (name,) in query(listed) if "TMP" in name]


def test_a_sync_that_was_killed_before_it_dropped_the_rows_of_before_goes_on(pipe: Pipe) -> None:
    execute, query = pipe.postgres.execute, pipe.warehouse.query
    execute("create table kept (id int primary key, n int); alter publication everything add table kept")
    execute("insert into kept values (1, 1), (2, 2)")
    fresh = pipe.afresh("DROPPED_")
    fresh.sync()
    place = 'RAW."DROPPED_PUBLIC".'
    query(f'create table {place}"OLD" as select * from {place}"KEPT"')
    execute("truncate kept; insert into kept values (3, 3)")
    fresh.sync()
    # As if the exchange were done and the platform did not know that the generation is complete.
    short = hashlib.sha256(b"KEPT").hexdigest()[:16].upper()
    query(f'alter table {place}"OLD" rename to {place}"_AIRBYTE_TMP_{short}_REFRESH"')
    fresh.unfinished.update(fresh.states)
    execute("insert into kept values (4, 4)")
    fresh.sync()
    fresh.assert_equal()
    assert query(f'select count(*) from {place}"KEPT"') == [(2,)]
