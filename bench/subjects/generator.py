"""The generator beside the algorithm of the original and beside a bare COPY, into the same PostgreSQL.

What is measured runs in a process of its own, so that its memory and its imports are its own.
"""

from __future__ import annotations

import io
import json
import logging
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..measurement import Measurement
from ..postgres import ADMIN, server

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "lambda/schema/sales.sql"
ROUNDS = 2
SMALL = 5  # rows of the scheduled batch
# The original slows down with every row, so a small number flatters it.
ORIGINAL_ROWS = 3000


def measure(rows: int) -> Iterator[Measurement]:
    """Measure the handler, the bare COPY and the original's algorithm in turn; the best of two rounds each."""
    with server("generator", "airbyte", "auditor") as port:
        admin(port, SCHEMA.read_text(encoding="utf-8"))
        handler, copy = [], []
        for _ in range(ROUNDS):
            copy.append(probe("copy", port, rows))
            handler.append(probe("handler", port, rows))
        original = probe("original", port, ORIGINAL_ROWS)
    fast = max(handler, key=lambda found: found["rows_per_s"])
    rate, floor = fast["rows_per_s"], max(found["rows_per_s"] for found in copy)
    peak = max(found["peak_mb"] for found in handler)
    yield Measurement(
        "generator.rows_per_s", rate, "rows/s", 120_000, peak_mb=peak, note=f"a batch of {rows:,}"
    )
    yield Measurement("generator.vs_original", rate, "rows/s", 100, beside=original["rows_per_s"])
    yield Measurement(
        "generator.vs_copy", rate, "rows/s", 0.5, beside=floor, note="binary COPY, rows made before"
    )
    yield Measurement("generator.peak_mb", peak, "MB", 512, at_most=True, note=f"a batch of {rows:,}")
    yield Measurement(
        "generator.scheduled_s",
        fast["small_s"],
        "s",
        1,
        at_most=True,
        note=f"a batch of {SMALL}, warm, on {rows:,} rows",
    )
    yield Measurement("generator.cold_s", fast["cold_s"], "s", note=f"the first batch of {SMALL}")
    yield Measurement("generator.import_s", fast["import_s"], "s", note="of the handler")


def admin(port: int, statement: str) -> None:
    import psycopg2

    connection = psycopg2.connect(host="127.0.0.1", port=port, user=ADMIN, dbname="postgres")
    connection.autocommit = True
    connection.cursor().execute(statement)
    connection.close()


def probe(what: str, port: int, rows: int) -> dict[str, Any]:
    """Run one probe over empty tables; returns its figures."""
    print(f"… {what}: {rows:,} rows", file=sys.stderr, flush=True)
    admin(port, "truncate public.sales, public.customers, public.products, public.generator_batches")
    admin(port, "checkpoint")
    env = os.environ | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'lambda/src'}:{ROOT / 'emulators/src'}",
        "DB_HOST": "127.0.0.1",
        "DB_PORT": str(port),
        "DB_NAME": "postgres",
        "DB_USER": "generator",
        "DB_PASSWORD": "unused",
    }
    command = [sys.executable, "-m", "bench.subjects.generator", what, str(rows)]
    done = subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _handler(rows: int) -> dict[str, float]:
    started = time.perf_counter()
    from retailflow_generator import handler as module

    import_s = time.perf_counter() - started
    logging.getLogger("retailflow_generator").addHandler(logging.NullHandler())  # keeps the log quiet
    cold_s = _seconds(lambda: module.handler({"rows": SMALL}))
    large_s = _seconds(lambda: module.handler({"rows": rows, "seed": 1, "as_of": "2026-11-22"}))
    # On a table that is full, where as many earlier orders move on as an invocation lets.
    small_s = statistics.median(_seconds(lambda: module.handler({"rows": SMALL})) for _ in range(9))
    return {"import_s": import_s, "cold_s": cold_s, "small_s": small_s, "rows_per_s": rows / large_s}


def _copy(rows: int) -> dict[str, float]:
    """A client that has the rows ready, and nothing to do but COPY them into the table with its indexes.

    As a replica like the generator itself, so that foreign keys do not slow it down.
    """
    import datetime as dt

    import numpy as np
    import psycopg2

    from retailflow_generator.binary import default_encoder
    from retailflow_generator.config import Settings
    from retailflow_generator.database import Stock, engine_for, stock
    from retailflow_generator.rows import COLUMNS, draw
    from retailflow_generator.shop import default_shop

    draws = draw(default_shop(), rows, 1, dt.datetime(2026, 11, 22, tzinfo=dt.UTC))
    with engine_for(Settings.from_env(os.environ)).begin() as connection:
        stock(connection, default_shop(), draws, Stock())
    data = io.BytesIO(b"".join(default_encoder().chunks(draws, np.arange(1, rows + 1))))
    connection = psycopg2.connect(
        host=os.environ["DB_HOST"], port=os.environ["DB_PORT"], user=os.environ["DB_USER"], dbname="postgres"
    )
    cursor = connection.cursor()
    cursor.execute("set session_replication_role = replica")
    statement = f"copy public.sales ({', '.join(COLUMNS)}) from stdin (format binary)"

    def load() -> None:
        cursor.copy_expert(statement, data, size=1 << 20)
        connection.commit()

    return {"rows_per_s": rows / _seconds(load)}


def _original(rows: int) -> dict[str, float]:
    """The algorithm of the original: Faker for every value, one DataFrame per row, concat, then to_sql."""
    import pandas as pd
    from faker import Faker
    from sqlalchemy import create_engine, text

    host, port = os.environ["DB_HOST"], os.environ["DB_PORT"]
    engine = create_engine(f"postgresql+psycopg2://{ADMIN}@{host}:{port}/postgres")
    faker, chance = Faker(), random.Random(1)
    faker.seed_instance(1)

    def generate() -> None:
        table = pd.DataFrame()
        for order_id in range(1, rows + 1):
            price = round(chance.uniform(5, 500), 2)
            day = faker.date_between(start_date="-30d", end_date="today")
            row = {
                "order_id": order_id,
                "cust_name": faker.name(),
                "product": chance.choice(["Lamp", "Shoes", "Novel", "Phone"]),
                "product_category": chance.choice(["Home", "Clothing", "Books", "Electronics"]),
                "quantity": chance.randint(1, 10),
                "price": price,
                "discount": round(price * chance.uniform(0, 0.3), 2),
                "shipping_cost": round(chance.uniform(0, 20), 2),
                "customer_id": chance.randint(1, 1000),
                "product_id": chance.randint(1, 100),
                "purchased_at": day,
                "order_date_at": day,
                "city": faker.city(),
                "state": faker.state(),
                "country": faker.country(),
            }
            table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
        table.to_sql("original_sales", engine, if_exists="append", index=False)

    seconds = _seconds(generate)
    with engine.begin() as connection:
        connection.execute(text("drop table original_sales"))
    return {"rows_per_s": rows / seconds}


if __name__ == "__main__":
    probes = {"handler": _handler, "copy": _copy, "original": _original}
    figures = probes[sys.argv[1]](int(sys.argv[2]))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kB on Linux
    print(json.dumps(figures | {"peak_mb": peak_mb}))
