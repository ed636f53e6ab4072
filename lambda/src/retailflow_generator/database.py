"""PostgreSQL: one batch is one transaction, and a batch id is committed once.

``lambda/schema/sales.sql`` is the authority of the tables.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    Table,
    Text,
    create_engine,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from retailflow_generator.config import Settings
from retailflow_generator.rows import COLUMNS
from retailflow_generator.shop import Ints

batches = Table(
    "generator_batches", MetaData(), Column("batch_id", Text, primary_key=True), Column("result", JSONB)
)

# Draws :rows numbers. They are one range unless somebody else drew in between: only then list them.
_DRAW = text(
    """
    with drawn as materialized (
        select nextval(pg_get_serial_sequence('public.sales', 'order_id')) as id
        from generate_series(1, :rows)
    )
    select min(id), case when max(id) - min(id) + 1 = count(*) then null else array_agg(id order by id) end
    from drawn
    """
)


@functools.lru_cache(maxsize=1)
def engine_for(settings: Settings) -> Engine:
    """The engine of a process: one connection, kept between warm invocations and tested before use."""
    return create_engine(
        settings.url,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": settings.connect_timeout,
            "application_name": "retailflow-generator",
            "client_encoding": "utf8",
        },
    )


class _Stream:
    """Byte chunks as the file that COPY reads."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)

    def read(self, _size: int = -1) -> bytes:
        return next(self._chunks, b"")


def draw_order_ids(connection: Connection, rows: int) -> Ints:
    """Draw ``rows`` order ids that nobody else has or will get, ascending."""
    first, listed = connection.execute(_DRAW, {"rows": rows}).one()
    return (
        np.arange(first, first + rows, dtype=np.int64) if listed is None else np.array(listed, dtype=np.int64)
    )


def copy_rows(connection: Connection, chunks: Iterable[bytes]) -> None:
    """Load COPY text in the order of ``COLUMNS`` into sales."""
    with contextlib.closing(connection.connection.cursor()) as cursor:
        cursor.copy_expert(f"copy public.sales ({', '.join(COLUMNS)}) from stdin", _Stream(chunks))


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
