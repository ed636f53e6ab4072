"""Names that need quotes: whatever both products take as the name of a table or a column is replicated."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from .conftest import Postgres, Snowflake
from .pipe import Pipe

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12)


@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(names=st.lists(NAMES, min_size=3, max_size=3, unique_by=str.upper))
@example(names=["my table", "order-items", "50%"])
@example(names=['say "hi"', "it's", "semi;colon"])
@example(names=["select", "a.b", "back\\slash"])
def test_any_name_is_replicated(
    postgres: Postgres, warehouse: Snowflake, capfdbinary: pytest.CaptureFixture[bytes], names: list[str]
) -> None:
    postgres.execute("drop publication if exists everything")
    if postgres.execute("select 1 from pg_replication_slots where database = current_database()"):
        slots = "from pg_replication_slots where database = current_database()"
        postgres.execute(f"select pg_drop_replication_slot(slot_name) {slots}")
    pipe = Pipe(postgres, warehouse, capfdbinary, f"N{abs(hash(tuple(names))) % 10**8}_")
    tables = ['"' + name.replace('"', '""') + '"' for name in names]
    try:
        for table in tables:
            postgres.execute(f"create table {table} (id int primary key, {table} text)")
            postgres.execute(f"insert into {table} values (1, 'one'), (2, 'two')")
        for _ in range(2):
            pipe.sync()
            pipe.assert_equal()
            for table in tables:
                postgres.execute(f"update {table} set {table} = 'again' where id = 1")
    finally:
        for table in tables:
            postgres.execute(f"drop table if exists {table}")
