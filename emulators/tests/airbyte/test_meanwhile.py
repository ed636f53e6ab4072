"""What the owner of the source does while a sync runs: RAW is right in the end, or one sentence says what to do.

The heartbeat's statement runs between the snapshots and the log, on a connection of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from retailflow_emulators.airbyte.protocol import ConnectorError

from .conftest import Postgres, Snowflake
from .pipe import Pipe

BIG = "(select string_agg(md5(i::text), '') from generate_series(1, 200) i)"
# By table: what is followed, or seen by the sync after it.
CHANGES = {
    "away": "alter publication everything drop table {t}; delete from {t} where id = 1; "
    "alter publication everything add table {t}",
    "retyped": "alter table {t} alter v type int using id; update {t} set v = 7",
    "widened": "alter table {t} add more text default 'm'; update {t} set more = 'n' where id = 1",
    "whole": "alter table {t} replica identity full; update {t} set id = 11 where id = 1",
    "emptied": "truncate {t}; insert into {t} values (1, 'again', '')",
    "rekeyed": "alter table {t} drop constraint {t}_pkey; update {t} set v = 'x'; alter table {t} add primary key (id)",
    "gone": "alter publication everything drop table {t}",
}


def make(execute: Callable[[str], object], *tables: str) -> None:
    for table in tables:
        execute(f"create table {table} (id int primary key, v text, large text)")
        execute(f"alter table {table} alter large set storage external")
        execute(f"insert into {table} select n, 'first', {BIG} from generate_series(1, 4) n")


def change(execute: Callable[[str], object], *tables: str) -> None:
    """So that the values that the log leaves out must be fetched."""
    for table in tables:
        execute(f"update {table} set v = 'second' where id < 3; delete from {table} where id = 4")


def once(pipe: Pipe, statement: str) -> None:
    """Run the statement in the next read, and in none after it."""
    pipe.config["replication_method"]["heartbeat_action_query"] = (
        f"do $do$ begin if to_regclass('public.done') is null then create table done (); {statement}; end if; end $do$"
    )


def tried(pipe: Pipe) -> list[ConnectorError]:
    """A sync as the platform does it: tried again after errors that may heal. The errors."""
    errors: list[ConnectorError] = []
    while not errors or (errors[-1].failure_type == "transient_error" and len(errors) < 3):
        try:
            pipe.sync()
            break
        except ConnectorError as error:
            pipe.drain()
            errors.append(error)
    return errors


@pytest.fixture
def pipe(postgres: Postgres, warehouse: Snowflake, capfdbinary: pytest.CaptureFixture[bytes]) -> Pipe:
    make(postgres.execute, "u", "t")
    prefix = f"MEANWHILE{abs(hash(postgres.database)) % 10**8}_"
    return Pipe(postgres, warehouse, capfdbinary, prefix, "for table u, t")


def test_what_changes_meanwhile_is_seen_by_the_next_sync(pipe: Pipe) -> None:
    execute = pipe.postgres.execute
    make(execute, *CHANGES)
    execute(f"alter publication everything add table {', '.join(CHANGES)}")
    pipe.sync()
    change(execute, *CHANGES)
    once(pipe, "; ".join(statement.replace("{t}", table) for table, statement in CHANGES.items()))
    assert not tried(pipe)
    pipe.sync()
    pipe.assert_equal(dict(zip(CHANGES.values(), CHANGES, strict=True)))
    assert pipe.generations["public", "u"] == 1, "the others are only followed"


@pytest.mark.parametrize(
    "statement",
    [
        "drop publication everything; update t set v = 'third'; create publication everything for table t, u",
        "alter publication everything set (publish = 'insert'); delete from t where id = 1; "
        "alter publication everything set (publish = 'insert, update, delete, truncate')",
        "alter publication everything rename to other; update t set v = 'third'; "
        "alter publication other rename to everything",
        "alter table t drop large; update t set v = 'third'",
        "drop table t",
        "alter table t rename to old; create table t (v text, id int primary key); insert into t values ('new', 9); "
        "alter publication everything set table t, u",
    ],
)  # fmt: skip
def test_what_the_read_misses_is_read_by_the_next_attempt(pipe: Pipe, statement: str) -> None:
    pipe.sync()
    change(pipe.postgres.execute, "t")
    once(pipe, statement)
    errors = tried(pipe)
    assert all("another attempt reads what is there now" in str(error) for error in errors), errors
    assert len(errors) < 2
    pipe.sync()
    pipe.assert_equal()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("perform pg_drop_replication_slot('{slot}')", "Replication slot '{slot}' not found: select pg_create"),
        (
            "drop publication everything; update t set v = 'third'",
            "publication everything does not exist: create publication everything",
        ),
    ],
)  # fmt: skip
def test_what_the_log_is_read_by_is_dropped_meanwhile(pipe: Pipe, statement: str, words: str) -> None:
    pipe.sync()
    change(pipe.postgres.execute, "t")
    once(pipe, statement.format(slot=pipe.slot))
    (error,) = tried(pipe)
    assert error.failure_type == "config_error" and words.format(slot=pipe.slot) in str(error)
