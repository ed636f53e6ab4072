"""Which row is it: keys of every kind find their rows again, by snapshot and by log, exactly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from retailflow_emulators.airbyte.protocol import ConnectorError
from retailflow_emulators.airbyte.source_postgres import limits
from retailflow_emulators.airbyte.source_postgres.connector import PostgresSource

from .conftest import Postgres, Snowflake
from .pipe import Pipe

QUICK = settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TYPES = """
create schema elsewhere;
create extension citext schema elsewhere;
create type elsewhere.mood as enum ('so so', 'well', 'Well', 'date');
create type elsewhere.date as enum ('2024-01-01', 'never');
create domain elsewhere.code as char(4);
create domain elsewhere.inner_number as numeric(30,0);
create domain elsewhere.number as elsewhere.inner_number;
"""
_words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
_moments = st.datetimes().map(lambda moment: moment.isoformat())


def _whole(digits: int) -> st.SearchStrategy[str]:
    edge = st.sampled_from(
        [10**digits - 1, 1 - 10**digits, 10 ** (digits - 1), 2**53, 2**53 + 1, 2**63, 2**64]
    )
    return (
        st.one_of(st.integers(-(10**digits) + 1, 10**digits - 1), edge)
        .filter(lambda n: abs(n) < 10**digits)
        .map(str)
    )


# PostgreSQL's types of a key column, and texts of values.
KEYS: dict[str, st.SearchStrategy[str]] = {
    "smallint": st.integers(-(2**15), 2**15 - 1).map(str),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "numeric(20,0)": _whole(20),
    "numeric(38,0)": _whole(38),
    "numeric(5,-2)": st.integers(-99999, 99999).map(lambda n: f"{n}00"),
    "numeric(15,3)": st.integers(-(10**15) + 1, 10**15 - 1).map(lambda n: f"{n / 1000:.3f}"),
    "elsewhere.number": _whole(30),
    "text": _words,
    "varchar(6)": _words,
    "char(6)": _words,
    "elsewhere.code": _words.map(lambda word: word[:4]),
    "elsewhere.citext": _words,
    "elsewhere.mood": st.sampled_from(["so so", "well", "Well", "date"]),
    "elsewhere.date": st.sampled_from(["2024-01-01", "never"]),
    "uuid": st.uuids().map(str),
    "boolean": st.booleans().map(str),
    "bytea": st.binary(max_size=4).map(lambda value: "\\x" + value.hex()),
    "date": st.dates().map(str),
    "time": st.times().map(str),
    "timestamp": _moments,
    "timestamptz": _moments.map(lambda moment: moment + "+00"),
    "inet": st.ip_addresses().map(str),
    "interval": st.integers(0, 10**6).map(lambda n: f"{n} seconds"),
    "double precision": st.floats(allow_nan=False, allow_infinity=False).map(repr),
    '"char"': st.sampled_from("abcXYZ"),
    "int4range": st.integers(0, 50).map(lambda n: f"[{n},{n + 3})"),
    "text[]": st.lists(st.sampled_from(["a", "bc"]), max_size=3).map(lambda words: f"{{{','.join(words)}}}"),
}
LARGE = "(select string_agg(md5(i::text), '') from generate_series(1, 200) i)"


@dataclass(frozen=True)
class Made:
    """A table: types of its key's columns, keys of its rows, those that change later."""

    types: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]


@st.composite
def tables(draw: st.DrawFn) -> list[Made]:
    made = []
    for _ in range(4):
        types = tuple(draw(st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=2)))
        keys = draw(st.lists(st.tuples(*(KEYS[type_] for type_ in types)), max_size=8))
        made.append(Made(types, tuple(keys)))
    return made


@pytest.fixture
def pipe(postgres: Postgres, warehouse: Snowflake, capfdbinary: pytest.CaptureFixture[bytes]) -> Pipe:
    postgres.execute(TYPES)
    return Pipe(postgres, warehouse, capfdbinary, "")


@contextlib.contextmanager
def made(pipe: Pipe, wanted: list[Made], run: str) -> Iterator[Pipe]:
    """The tables t0, t1, … with their rows; they go with the example."""
    postgres, names = pipe.postgres, [f"t{number}" for number in range(len(wanted))]
    for name, table in zip(names, wanted, strict=True):
        key = [f"k{place}" for place in range(len(table.types))]
        columns = ", ".join(f"{column} {type_}" for column, type_ in zip(key, table.types, strict=True))
        more = "fixed char(200), large text, fills elsewhere.code, at inet, n numeric(25,0)"
        postgres.execute(f"create table {name} ({columns}, {more}, primary key ({', '.join(key)}))")
        postgres.execute(f"alter table {name} alter large set storage external")
        insert(pipe, name, table.keys)
    fresh = pipe.afresh(f"R{run}_")
    try:
        yield fresh
    finally:
        for name in names:
            postgres.execute(f"drop table {name}")


def insert(pipe: Pipe, name: str, keys: tuple[tuple[str, ...], ...]) -> None:
    with contextlib.closing(pipe.postgres.connect()) as connection, connection.cursor() as cursor:
        for key in keys:
            holes = ", ".join(["%s"] * len(key))
            cursor.execute(
                f"insert into {name} values ({holes}, 'padded', {LARGE}, 'ab', '10.0.0.1', 18446744073709551617) "
                "on conflict do nothing",
                key,
            )
        connection.commit()


_SAMPLES = [
    Made(("numeric(20,0)",), (("9007199254740992",), ("9007199254740993",))),
    Made(("numeric(38,0)",), (("18446744073709551616",), ("18446744073709551617",), ("9" * 38,))),
    Made(("elsewhere.citext", "char(6)"), (("Ab", "x"), ("b", " y"))),
    Made(("elsewhere.mood", "elsewhere.date"), (("Well", "never"), ("well", "2024-01-01"))),
]


@QUICK
@given(wanted=tables())
@example(wanted=_SAMPLES)
def test_rows_with_any_key_arrive_change_and_go(pipe: Pipe, wanted: list[Made]) -> None:
    with made(pipe, wanted, f"{abs(hash(tuple(wanted))) % 10**8}") as fresh:
        fresh.sync()
        fresh.assert_equal()
        for number, table in enumerate(wanted):
            execute = pipe.postgres.execute
            # What is TOASTed is not in the log of an update, and one row of each kind goes.
            execute(f"update t{number} set fills = 'x', n = n + 1")
            execute(f"update t{number} set fixed = 'c' where ctid = (select min(ctid) from t{number})")
            execute(f"delete from t{number} where ctid = (select max(ctid) from t{number})")
            insert(pipe, f"t{number}", table.keys[-1:])
        fresh.sync()
        fresh.assert_equal()


@QUICK
@given(wanted=tables(), stop=st.integers(1, 12))
@example(wanted=_SAMPLES, stop=2)
@example(wanted=[Made(("numeric(30,0)",), tuple((str(n),) for n in range(-3, 9)))], stop=3)
def test_an_interrupted_snapshot_reads_every_row(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, wanted: list[Made], stop: int
) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_ROWS", 2)
    with made(pipe, wanted, f"S{abs(hash((tuple(wanted), stop))) % 10**8}") as fresh:
        fresh.sync(stop_after=stop)
        fresh.sync()
        fresh.assert_equal()


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("(a numeric primary key)", "numeric that a FLOAT cannot hold"),
        ("(a numeric(16,2) primary key)", "numeric that a FLOAT cannot hold"),
        ("(a numeric(39,0) primary key)", "numeric that a FLOAT cannot hold"),
        ("(a int, b int generated always as (a + 1) stored, primary key (a, b))", "column b in the primary key"),
        ("(a int primary key, _ab_cdc_lsn int)", '"_ab_cdc_lsn"'),
        ('(a int primary key, "_Ab_Cdc_Deleted_At" text)', '"_Ab_Cdc_Deleted_At"'),
        ("(a int primary key, _airbyte_raw_id text)", '"_airbyte_raw_id"'),
        ("(a int primary key, _airbyte_tmp_arrival int)", '"_airbyte_tmp_arrival"'),
        ('(a int primary key, "A" int)', 'columns "a" and "A"'),
        ("(a int)", "has no primary key"),
        ("(a int primary key); create table child (primary key (a)) inherits (odd)",
         "tables that inherit from it (public.child)"),
        ("(a int primary key, b int not null unique); alter table odd replica identity using index odd_b_key",
         "replica identity default"),
        ("(a int primary key) partition by range (a); create unlogged table p partition of odd default",
         "partitions whose changes are not logged (public.p)"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_told_row_by_row_is_refused(pipe: Pipe, definition: str, words: str) -> None:
    pipe.postgres.execute("alter publication everything set (publish_via_partition_root = true)")
    pipe.postgres.execute("create table fit (a int primary key)")
    PostgresSource().check(pipe.config)
    pipe.postgres.execute(f"create table odd {definition}")
    with pytest.raises(ConnectorError, match="public.odd") as refused:
        PostgresSource().check(pipe.config)
    assert refused.value.failure_type == "config_error"
    assert words in str(refused.value) and "everything drop table" not in str(refused.value)
    assert {name for _, name in pipe.discover()} - {"child"} == {"fit"}, (
        "the others are replicated all the same"
    )


def test_a_key_that_snowflake_cannot_hold_is_an_error_not_a_lost_row(pipe: Pipe) -> None:
    pipe.postgres.execute(
        "create table odd (day date primary key); insert into odd values ('infinity'), ('2024-01-01')"
    )
    fresh: Any = pipe
    with pytest.raises(ConnectorError, match='DAY in the primary key of "RAW"."PUBLIC"."ODD" got a value'):
        fresh.sync()
