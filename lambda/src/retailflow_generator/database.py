"""PostgreSQL: one batch is one transaction, and a batch id is committed once.

``lambda/schema/sales.sql`` is the authority of the tables. Batches may run at once: rows that both need are
locked in the order of their keys, rows that another one holds are skipped.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import functools
import os
import tempfile
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection

from .config import Settings
from .parameter import Parameter, password_of
from .rows import COLUMNS, Draws, money
from .shop import Ints, Life, Shop

batches = Table(
    "generator_batches", MetaData(), Column("batch_id", Text, primary_key=True), Column("result", JSONB)
)

_IDS = "select nextval('public.sales_order_id_seq'::regclass) as id from generate_series(1, :rows) offset 0"
_DRAW_RANGE = text(f"select min(id), max(id) from ({_IDS}) as drawn")
_DRAW_LIST = text(f"select array_agg(id order by id) from ({_IDS}) as drawn")

_STOCK_CUSTOMERS = text(
    """
    insert into public.customers (customer_id, cust_name, city, state, country)
    select pool.*
    from unnest(cast(:ids as bigint[]), cast(:names as text[]), cast(:cities as text[]),
                cast(:states as text[]), cast(:countries as text[]))
        as pool (customer_id, cust_name, city, state, country)
    left join public.customers as known using (customer_id)
    where (known.cust_name, known.city, known.state, known.country)
        is distinct from (pool.cust_name, pool.city, pool.state, pool.country)
    order by customer_id
    on conflict (customer_id) do update set
        cust_name = excluded.cust_name, city = excluded.city, state = excluded.state, country = excluded.country
    """
)
_STOCK_PRODUCTS = text(
    """
    insert into public.products (product_id, product, product_category, price)
    select pool.*
    from unnest(cast(:ids as bigint[]), cast(:names as text[]), cast(:categories as text[]),
                cast(:prices as numeric[]))
        as pool (product_id, product, product_category, price)
    left join public.products as known using (product_id)
    where (known.product, known.product_category, known.price)
        is distinct from (pool.product, pool.product_category, pool.price)
    order by product_id
    on conflict (product_id) do update set
        product = excluded.product, product_category = excluded.product_category, price = excluded.price
    """
)

_REPLICATION_ROLE = text(
    """
    select set_config('session_replication_role', :role, true)
    where has_parameter_privilege('session_replication_role', 'set')
    """
)

# The fate of an order, a number from 0 to 1, follows from its id: who is cancelled and who comes back is settled from
# the start. Whether it moves in this batch follows from the id and the seed of the batch.
_MOVE_ON = text(
    """
    with moving as materialized (
        select order_id, case
            when order_status = 'shipped' then 'returned'
            when fate < :cancelled and (order_status = 'paid' or fate < :cancelled / 2) then 'cancelled'
            when order_status = 'placed' then 'paid'
            else 'shipped'
        end as next_status
        from public.sales
        cross join lateral (
            select (hashint8extended(order_id, 0) & 65535) / 65536.0 as fate,
                (hashint8extended(order_id, :seed) & 65535) / 65536.0 as turn
        ) as chance
        where order_id >= :first and order_id < :end and turn < :pace and (
            order_status in ('placed', 'paid')
            or order_status = 'shipped' and order_date_at > :settled
                and fate >= :cancelled and fate < :cancelled + :returned
        )
        order by order_id
        limit :limit
        for update of sales skip locked
    )
    update public.sales set order_status = moving.next_status
    from moving
    where sales.order_id = moving.order_id and sales.order_id >= :first and sales.order_id < :end
    """
)
_DELETE = text(
    """
    with doomed as materialized (
        select order_id
        from public.sales
        where order_id >= :first and order_id < :end and order_status = 'cancelled'
            and order_date_at > :settled and (hashint8extended(order_id, :seed) & 65535) / 65536.0 < :share
        order by order_id
        limit :limit
        for update skip locked
    )
    delete from public.sales
    using doomed
    where sales.order_id = doomed.order_id and sales.order_id >= :first and sales.order_id < :end
    """
)


@functools.lru_cache(maxsize=1)
def _file_of(authority: str) -> str:
    """A file with the authority's certificate, which is all that libpq takes: one per process, in the folder of the function."""
    descriptor, path = tempfile.mkstemp(prefix="postgres-authority-", suffix=".crt")
    atexit.register(functools.partial(Path(path).unlink, missing_ok=True))
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(authority)
    return path


def _verified(settings: Settings) -> dict[str, str]:
    """How libpq verifies the server; see "SSL Support" in the manual of libpq."""
    if not settings.authority:
        return {}
    return {"sslmode": "verify-full", "sslrootcert": _file_of(settings.authority)}


@functools.lru_cache(maxsize=1)
def engine_for(settings: Settings) -> Engine:
    """The engine of a process: one connection, kept between warm invocations and tested before use."""
    engine = create_engine(
        settings.url,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": settings.connect_timeout,
            "application_name": "retailflow-generator",
            "client_encoding": "utf8",
            **_verified(settings),
        },
    )
    if settings.parameter:
        event.listen(engine, "do_connect", functools.partial(_log_in, settings.parameter))
    return engine


def _log_in(
    parameter: Parameter, dialect: Dialect, _record: Any, cargs: Any, cparams: dict[str, Any]
) -> DBAPIConnection:
    """Log in with the password of the parameter: "Generating dynamic authentication tokens" in SQLAlchemy's manual.

    A process that is warm may know the password of before a rotation. When it is refused, the parameter is read again, once.
    """
    password = password_of(parameter)
    try:
        return dialect.connect(*cargs, **cparams | {"password": password})
    except psycopg2.OperationalError as error:
        # SQLSTATE 28P01, of which psycopg2 tells nothing but the message before there is a connection.
        if "password authentication failed" not in str(error):
            raise
        password_of.cache_clear()
        if password_of(parameter) == password:
            raise
        return dialect.connect(*cargs, **cparams | {"password": password_of(parameter)})


class _Stream:
    """Byte chunks as the file that COPY reads."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)

    def read(self, _size: int = -1) -> bytes:
        return next(self._chunks, b"")


def _one_ahead(chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
    """Yield the chunks, making the next one while the server still reads the last."""
    source = iter(chunks)
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, source, None)
        while (chunk := coming.result()) is not None:
            coming = worker.submit(next, source, None)
            yield chunk


def draw_order_ids(connection: Connection, rows: int) -> Ints:
    """Draw ``rows`` order ids that nobody else has or will get, ascending.

    They are one range unless somebody else drew in between. Then that range is left unused, and the next draw
    lists every number, which takes twice as long.
    """
    first, last = connection.execute(_DRAW_RANGE, {"rows": rows}).one()
    if last - first + 1 == rows:
        return np.arange(first, last + 1, dtype=np.int64)
    return np.array(connection.execute(_DRAW_LIST, {"rows": rows}).scalar_one(), dtype=np.int64)


@dataclass
class Stock:
    """Indices of the shop's customers and products that earlier batches of a history have put there."""

    customers: set[int] = field(default_factory=set)
    products: set[int] = field(default_factory=set)


def stock(connection: Connection, shop: Shop, draws: Draws, known: Stock) -> None:
    """See that customers and products hold everybody and everything of these rows, as the shop knows them.

    What is ``known`` is not looked at again; whatever is new is added to it.
    """
    people = set(np.unique(draws.customer).tolist()) - known.customers
    if people:
        customers = [shop.customers[i] for i in people]
        connection.execute(
            _STOCK_CUSTOMERS,
            {
                "ids": [c.customer_id for c in customers],
                "names": [c.name for c in customers],
                "cities": [c.city for c in customers],
                "states": [c.state for c in customers],
                "countries": [c.country for c in customers],
            },
        )
    goods = set(np.unique(draws.product).tolist()) - known.products
    if goods:
        products = [shop.products[i] for i in goods]
        connection.execute(
            _STOCK_PRODUCTS,
            {
                "ids": [p.product_id for p in products],
                "names": [p.name for p in products],
                "categories": [p.category for p in products],
                "prices": [money(p.price) for p in products],
            },
        )
    known.customers |= people
    known.products |= goods


def copy_rows(connection: Connection, chunks: Iterable[bytes]) -> None:
    """Load binary COPY data in the order of ``COLUMNS`` into sales.

    As a replica, so that the whole statement is checked against customers and products and not every row by
    itself (see the trigger sales_check_references); a login that may not do that is slower.
    """
    connection.execute(_REPLICATION_ROLE, {"role": "replica"})
    with (
        contextlib.closing(connection.connection.cursor()) as cursor,
        contextlib.closing(_one_ahead(chunks)) as ahead,
    ):
        cursor.copy_expert(
            f"copy public.sales ({', '.join(COLUMNS)}) from stdin (format binary)", _Stream(ahead)
        )
    connection.execute(_REPLICATION_ROLE, {"role": "origin"})


def advance_orders(
    connection: Connection, life: Life, seed: int, first_order_id: int, today: dt.date
) -> tuple[int, int]:
    """Advance earlier orders: move some by one step, delete some cancelled ones; returns how many of each.

    Only the ``life.window`` order ids before ``first_order_id`` are read, by the primary key, and at most
    ``life.limit`` of them change in each way. What was ordered ``life.returned_after`` days before ``today`` neither comes
    back nor is deleted: in a history that is settled. Rows that another batch holds are left to it.
    """
    orders = {
        "first": first_order_id - life.window,
        "end": first_order_id,
        "seed": seed,
        "limit": life.limit,
        "settled": today - dt.timedelta(days=life.returned_after),
    }
    deleted = 0
    if life.delete:
        deleted = connection.execute(_DELETE, orders | {"share": life.delete}).rowcount
    moves = orders | {"pace": life.pace, "cancelled": life.cancelled, "returned": life.returned}
    return connection.execute(_MOVE_ON, moves).rowcount, deleted


def write_once(
    engine: Engine, batch_id: str, write: Callable[[Connection], dict[str, Any]]
) -> tuple[dict[str, Any], bool]:
    """Run ``write`` and record its result, in one transaction, unless ``batch_id`` was committed before.

    Returns the result, and whether it is that of an earlier delivery. Two deliveries at once wait for each
    other; a crash at any point leaves all or nothing.
    """
    with engine.begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(batch_id, 0))))
        earlier = connection.execute(select(batches.c.result).where(batches.c.batch_id == batch_id)).scalar()
        if earlier is not None:
            return dict(earlier), True
        result = write(connection)
        connection.execute(insert(batches).values(batch_id=batch_id, result=result))
        return result, False
