"""The shop's PostgreSQL, read as the auditor: read-only, bounded."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import psycopg2
from psycopg2.extensions import cursor

from .reconcile import SourceView, Totals

# The system column xmin is the low half of the id of the transaction that wrote the row; the high half
# follows from the ids that are handed out now. Visible in the snapshot means: had committed when the
# snapshot was taken.
VIEW = """
with counter as materialized (
    select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next_xid
),

numbered as (
    select
        order_id,
        quantity * price as revenue,
        quantity * discount as discount,
        updated_at,
        next_xid - mod(next_xid - xmin::text::bigint + 4294967296, 4294967296) as xid
    from public.sales, counter
),

judged as (
    select
        *,
        case
            when xid < pg_snapshot_xmin(%(snapshot)s::pg_snapshot)::text::bigint then true
            else pg_visible_in_snapshot(xid::text::xid8, %(snapshot)s::pg_snapshot)
        end as settled
    from numbered
),

gone as (
    select coalesce(array_agg(order_id), '{}') as orders
    from (
        select order_id, next_xid - mod(next_xid - xmin::text::bigint + 4294967296, 4294967296) as xid
        from public.deleted_orders, counter
        where order_id <= %(max_order_id)s
    ) as deleted
    where xid >= pg_snapshot_xmin(%(snapshot)s::pg_snapshot)::text::bigint
        and not pg_visible_in_snapshot(xid::text::xid8, %(snapshot)s::pg_snapshot)
)

select
    count(*) filter (where settled),
    coalesce(sum(revenue) filter (where settled), 0),
    coalesce(sum(discount) filter (where settled), 0),
    coalesce(array_agg(order_id) filter (where not settled and order_id <= %(max_order_id)s), '{}')
    || (select orders from gone),
    max(updated_at) filter (where settled)
from judged
"""


def _hang_up(link: psycopg2.extensions.connection) -> None:
    """Ends a connection from another thread than the one that waits for it."""
    with (
        contextlib.suppress(OSError, psycopg2.InterfaceError),
        socket.socket(fileno=os.dup(link.fileno())) as wire,
    ):
        wire.shutdown(socket.SHUT_RDWR)


class Shop(dg.ConfigurableResource[Any]):
    """Connection parameters; `statement_timeout` in seconds, and `grace` for a server that does not keep to it."""

    host: str
    port: int = 5432
    database: str
    user: str
    password: str
    statement_timeout: int = 120
    grace: float = 10

    @contextmanager
    def _cursor(self) -> Iterator[cursor]:
        link = psycopg2.connect(
            host=self.host,
            port=self.port,
            dbname=self.database,
            user=self.user,
            password=self.password,
            connect_timeout=10,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=4,
            tcp_user_timeout=30_000,
            application_name="retailflow-reconcile",
            options=f"-c statement_timeout={self.statement_timeout * 1000}",
        )
        # The server keeps to its own time limit only while it works: one that hangs is left after a little more.
        left = threading.Timer(self.statement_timeout + self.grace, _hang_up, [link])
        left.daemon = True
        left.start()
        try:
            link.set_session(readonly=True)
            with link.cursor() as cur:
                yield cur
        finally:
            left.cancel()
            link.close()

    def snapshot(self) -> str:
        """What is committed now, as PostgreSQL writes a snapshot (``xmin:xmax:running``)."""
        with self._cursor() as cur:
            cur.execute("select pg_current_snapshot()::text")
            row = cur.fetchone()
            assert row is not None, "a function always returns a row"
            return str(row[0])

    def view(self, snapshot: str, max_order_id: int) -> SourceView:
        """Totals of the rows that are unchanged since the snapshot, and the orders (up to `max_order_id`,
        what the warehouse may know) that were inserted, changed or deleted since.
        """
        with self._cursor() as cur:
            cur.execute(VIEW, {"snapshot": snapshot, "max_order_id": max_order_id})
            row = cur.fetchone()
            assert row is not None, "an aggregate always returns a row"
            orders, revenue, discount, changed_since, last_change = row
            return SourceView(Totals.of(orders, revenue, discount), changed_since, last_change)
