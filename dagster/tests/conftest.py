"""Parses the dbt project before any test imports the definitions, which read what the parse wrote; and runs a PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

import dbt_support
from bench import postgres

dbt_support.manifest()
SCHEMA = Path(__file__).parents[2] / "lambda/schema/sales.sql"


@pytest.fixture(scope="session")
def sql() -> Iterator[Callable[..., list[tuple[object, ...]]]]:
    """Run a statement in the shop's database; ``sql.port`` is the server's port."""
    if not (postgres.BINARIES / "initdb").exists():
        pytest.skip(f"no PostgreSQL in {postgres.BINARIES}")
    with postgres.server("generator", "airbyte", "auditor") as port:
        link = psycopg2.connect(host="127.0.0.1", port=port, user=postgres.ADMIN, dbname="postgres")
        link.autocommit = True

        def run(statement: str, *values: object) -> list[tuple[object, ...]]:
            with link.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []

        run.port = port  # type: ignore[attr-defined]
        run(SCHEMA.read_text(encoding="utf-8"))
        run(
            "insert into customers (customer_id, cust_name, city, state, country) values (1, 'A', 'x', 'y', 'z')"
        )
        run("insert into products (product_id, product, product_category, price) values (1, 'p', 'c', 1)")
        yield run
        link.close()
