"""Tables in every situation that situations.txt names: RAW equals PostgreSQL row by row, by snapshot and by log."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from .conftest import Postgres, Snowflake
from .pipe import Pipe

# What the log tells: none of these tables is read from the start again.
FOLLOWED = {
    "two rows exchange their keys",
    "a key with included columns, in another order",
    "keys that change and stay equal",
}
COLUMNS = ", ".join(f"c{number} int" for number in range(600))


def situations() -> dict[str, tuple[list[str], list[str]]]:
    """By name: the statements before the first sync, and those after it."""
    found = {}
    for block in Path(__file__).with_name("situations.txt").read_text().split("\n## ")[1:]:
        name, _, text = block.partition("\n")
        before, _, after = text.partition("---\n")
        found[name] = _statements(before), _statements(after)
    return found


def _statements(text: str) -> list[str]:
    return [one for one in text.strip().split(";\n") if one]


def run(postgres: Postgres, statements: list[str], table: str) -> None:
    with contextlib.closing(postgres.connect()) as session, session.cursor() as cursor:
        session.autocommit = True
        for statement in statements:
            cursor.execute(
                statement.rstrip(";")
                .replace("{t}", table)
                .replace("{columns}", COLUMNS)
                .replace("{{", "{")
                .replace("}}", "}")
            )


def test_raw_equals_postgresql_in_every_situation(
    postgres: Postgres, warehouse: Snowflake, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    options = "for all tables with (publish_via_partition_root = true)"
    pipe = Pipe(postgres, warehouse, capfdbinary, "SITUATION_", options)
    tables = {name: f"t{number:02}" for number, name in enumerate(situations())}
    for name, (before, _) in situations().items():
        run(postgres, before, tables[name])
    pipe.sync()
    pipe.assert_equal(tables)
    for name, (_, after) in situations().items():
        run(postgres, after, tables[name])
    pipe.sync()
    pipe.assert_equal(tables)
    pipe.sync()
    pipe.assert_equal(tables)
    again = {name for name, table in tables.items() if pipe.generations["public", table] > 1}
    assert not again & FOLLOWED
    assert again, "and tables that were read again count"
