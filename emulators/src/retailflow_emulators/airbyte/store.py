"""What the server remembers: workspaces, sources, destinations, connections, stream states, jobs, attempts.

One SQLite file. Every method is one transaction; dictionaries go in and out, with times in seconds since
the epoch. Secrets are kept as given, in a directory that only this user may enter.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

Row = dict[str, Any]
ACTIVE = ("pending", "running", "incomplete")
JOB_STATES = (*ACTIVE, "failed", "succeeded", "cancelled")

_metadata = sa.MetaData()


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.String, primary_key=True)


workspaces = sa.Table("workspaces", _metadata, _id(), sa.Column("name", sa.String, nullable=False))
actors = sa.Table(
    "actors",
    _metadata,
    _id(),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("type", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("workspace_id", sa.ForeignKey("workspaces.id"), nullable=False),
    sa.Column("configuration", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)
connections = sa.Table(
    "connections",
    _metadata,
    _id(),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("workspace_id", sa.ForeignKey("workspaces.id"), nullable=False),
    sa.Column("source_id", sa.ForeignKey("actors.id"), nullable=False),
    sa.Column("destination_id", sa.ForeignKey("actors.id"), nullable=False),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("catalog", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)
states = sa.Table(
    "states",
    _metadata,
    sa.Column("connection_id", sa.ForeignKey("connections.id"), primary_key=True),
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("namespace", sa.String, primary_key=True),
    sa.Column("state", sa.JSON, nullable=False),
)
generations = sa.Table(
    "generations",
    _metadata,
    sa.Column("connection_id", sa.ForeignKey("connections.id"), primary_key=True),
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("namespace", sa.String, primary_key=True),
    sa.Column("generation_id", sa.Integer, nullable=False),
)
# Streams whose new generation has begun and is not complete: the rows before it are still to be removed.
refreshes = sa.Table(
    "refreshes",
    _metadata,
    sa.Column("connection_id", sa.ForeignKey("connections.id"), primary_key=True),
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("namespace", sa.String, primary_key=True),
)
# Where the rows that a stream's state vouches for went, and how many records they were.
targets = sa.Table(
    "targets",
    _metadata,
    sa.Column("connection_id", sa.ForeignKey("connections.id"), primary_key=True),
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("namespace", sa.String, primary_key=True),
    sa.Column("target", sa.JSON, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
)
jobs = sa.Table(
    "jobs",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("connection_id", sa.String, nullable=False),
    sa.Column("workspace_id", sa.String, nullable=False),
    sa.Column("type", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False, default=0),
    sa.Column("bytes", sa.Integer, nullable=False, default=0),
    sqlite_autoincrement=True,
)
# One job per connection at a time, whoever asks.
sa.Index(
    "one_active_job",
    jobs.c.connection_id,
    unique=True,
    sqlite_where=jobs.c.status.in_(ACTIVE),
)
attempts = sa.Table(
    "attempts",
    _metadata,
    sa.Column("job_id", sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Column("rows", sa.Integer, nullable=False, default=0),
    sa.Column("bytes", sa.Integer, nullable=False, default=0),
    sa.Column("failure", sa.JSON),
)


class ActiveJobError(Exception):
    """The connection already has a job that has not ended."""


class InUseError(Exception):
    """Something else still refers to what should be deleted."""


class Store:
    """The server's memory under `data_dir`."""

    def __init__(self, data_dir: Path, workspace: str) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        path = data_dir / "airbyte.sqlite3"
        path.touch(mode=0o600)
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
        sa.event.listen(self._engine, "connect", _set_pragmas)
        _metadata.create_all(self._engine)
        with self._engine.begin() as connection:
            if not connection.execute(sa.select(workspaces)).first():
                connection.execute(workspaces.insert().values(id=str(uuid.uuid4()), name=workspace))

    def close(self) -> None:
        self._engine.dispose()

    # Any table with an id

    def get(self, table: sa.Table, id_: str | int) -> Row | None:
        rows = self._rows(sa.select(table).where(table.c.id == id_))
        return rows[0] if rows else None

    def find(self, table: sa.Table, offset: int = 0, limit: int = -1, **equal: Any) -> list[Row]:
        """Rows whose columns equal the given values (or are among them, for a list), the oldest first."""
        query = sa.select(table).where(*_conditions(table, equal)).order_by(sa.text("rowid"))
        return self._rows(query.offset(offset).limit(limit))

    def add(self, table: sa.Table, **values: Any) -> Row:
        row = {"id": str(uuid.uuid4()), "created_at": time.time(), **values}
        with self._engine.begin() as connection:
            connection.execute(table.insert().values(row))
        return row

    def update(self, table: sa.Table, id_: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(table.update().where(table.c.id == id_).values(values))

    def delete_actor(self, id_: str) -> None:
        """Raises InUseError while a connection uses it."""
        try:
            with self._engine.begin() as connection:
                connection.execute(actors.delete().where(actors.c.id == id_))
        except sa.exc.IntegrityError as error:
            raise InUseError from error

    def delete_connection(self, id_: str) -> None:
        with self._engine.begin() as connection:
            for table in (states, generations, refreshes, targets):
                connection.execute(table.delete().where(table.c.connection_id == id_))
            connection.execute(connections.delete().where(connections.c.id == id_))

    # Streams

    def states(self, connection_id: str) -> list[Row]:
        return self._rows(sa.select(states).where(states.c.connection_id == connection_id))

    def save_state(
        self, connection_id: str, stream: str, namespace: str | None, state: Any, rows: int = 0
    ) -> None:
        """`rows`: how many records the stream has sent since its last state."""
        key = {"connection_id": connection_id, "stream": stream, "namespace": namespace or ""}
        values = {
            "connection_id": connection_id,
            "stream": stream,
            "namespace": namespace or "",
            "state": state,
        }
        with self._engine.begin() as connection:
            connection.execute(states.insert().prefix_with("or replace").values(values))
            connection.execute(
                targets.update().where(*_conditions(targets, key)).values(rows=targets.c.rows + rows)
            )

    def targets(self, connection_id: str) -> dict[tuple[str, str | None], Row]:
        """By stream, where its rows went (`target`), and how many (`rows`)."""
        rows = self._rows(sa.select(targets).where(targets.c.connection_id == connection_id))
        return {(row["stream"], row["namespace"] or None): row for row in rows}

    def set_target(self, connection_id: str, stream: tuple[str, str | None], target: Any, rows: int) -> None:
        values = {
            "connection_id": connection_id,
            "stream": stream[0],
            "namespace": stream[1] or "",
            "target": target,
            "rows": rows,
        }
        with self._engine.begin() as connection:
            connection.execute(targets.insert().prefix_with("or replace").values(values))

    def new_generations(self, connection_id: str, streams: Iterable[tuple[str, str | None]]) -> None:
        """Forget the states of these streams and count their generations up: they will be written again."""
        with self._engine.begin() as connection:
            for stream, namespace in streams:
                key = {"connection_id": connection_id, "stream": stream, "namespace": namespace or ""}
                for table in (states, targets):
                    connection.execute(table.delete().where(*_conditions(table, key)))
                generation = connection.scalar(
                    sa.select(generations.c.generation_id).where(*_conditions(generations, key))
                )
                connection.execute(
                    generations.insert()
                    .prefix_with("or replace")
                    .values(**key, generation_id=(generation or 0) + 1)
                )
                connection.execute(refreshes.insert().prefix_with("or replace").values(key))

    def begin_refreshes(self, connection_id: str, streams: Iterable[tuple[str, str | None]]) -> None:
        """Forget the states of these streams: the next job reads them from the start as a new generation."""
        with self._engine.begin() as connection:
            for stream, namespace in streams:
                key = {"connection_id": connection_id, "stream": stream, "namespace": namespace or ""}
                connection.execute(states.delete().where(*_conditions(states, key)))
                connection.execute(refreshes.insert().prefix_with("or replace").values(key))

    def generations(self, connection_id: str) -> dict[tuple[str, str | None], int]:
        rows = self._rows(sa.select(generations).where(generations.c.connection_id == connection_id))
        return {(row["stream"], row["namespace"] or None): row["generation_id"] for row in rows}

    def refreshing(self, connection_id: str) -> set[tuple[str, str | None]]:
        """The streams whose new generation is not complete."""
        rows = self._rows(sa.select(refreshes).where(refreshes.c.connection_id == connection_id))
        return {(row["stream"], row["namespace"] or None) for row in rows}

    def end_refreshes(self, connection_id: str) -> None:
        """What was being written again is complete."""
        with self._engine.begin() as connection:
            connection.execute(refreshes.delete().where(refreshes.c.connection_id == connection_id))

    # Jobs

    def add_job(self, connection_id: str, workspace_id: str, type_: str) -> Row:
        """Raises ActiveJobError."""
        now = time.time()
        row: Row = {
            "connection_id": connection_id,
            "workspace_id": workspace_id,
            "type": type_,
            "status": "pending",
            "created_at": now,
            "updated_at": now,
            "rows": 0,
            "bytes": 0,
        }
        try:
            with self._engine.begin() as connection:
                result = connection.execute(jobs.insert().values(row))
                key = result.inserted_primary_key
        except sa.exc.IntegrityError as error:
            raise ActiveJobError from error
        assert key is not None
        return {"id": key[0], **row}

    def find_jobs(
        self,
        *,
        offset: int = 0,
        limit: int = 20,
        between: Mapping[str, tuple[float | None, float | None]] | None = None,
        order: tuple[str, bool] = ("created_at", True),
        **equal: Any,
    ) -> list[Row]:
        """Jobs, the newest first unless `order` (column, descending) says otherwise."""
        conditions = _conditions(jobs, equal)
        for name, (start, end) in (between or {}).items():
            conditions += [jobs.c[name] >= start] if start is not None else []
            conditions += [jobs.c[name] <= end] if end is not None else []
        ordering = [column.desc() if order[1] else column.asc() for column in (jobs.c[order[0]], jobs.c.id)]
        return self._rows(sa.select(jobs).where(*conditions).order_by(*ordering).offset(offset).limit(limit))

    def set_job(self, id_: int, only_if: Sequence[str] = ACTIVE, **values: Any) -> bool:
        """Change a job that is in one of the given states; False if it is in none of them."""
        query = jobs.update().where(jobs.c.id == id_, jobs.c.status.in_(only_if))
        with self._engine.begin() as connection:
            return connection.execute(query.values(updated_at=time.time(), **values)).rowcount > 0

    def add_attempt(self, job_id: int, number: int) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                attempts.insert().values(
                    job_id=job_id, number=number, status="running", started_at=time.time()
                )
            )

    def end_attempt(self, job_id: int, number: int, **values: Any) -> None:
        query = attempts.update().where(attempts.c.job_id == job_id, attempts.c.number == number)
        with self._engine.begin() as connection:
            connection.execute(query.values(ended_at=time.time(), **values))

    def attempts(self, job_id: int) -> list[Row]:
        return self._rows(sa.select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.number))

    def forget_jobs(self, before: float, keep: int, at_most: int) -> list[int]:
        """Delete ended jobs that last changed before a time, and all but the newest `at_most` of each connection; its newest
        `keep` stay however old they are. Returns the ids."""
        rank = sa.func.row_number().over(partition_by=jobs.c.connection_id, order_by=jobs.c.id.desc())
        ranked = sa.select(jobs.c.id, jobs.c.status, jobs.c.updated_at, rank.label("rank")).subquery()
        old = sa.select(ranked.c.id).where(
            ranked.c.status.not_in(ACTIVE),
            ranked.c.rank > keep,
            sa.or_(ranked.c.updated_at < before, ranked.c.rank > at_most),
        )
        with self._engine.begin() as connection:
            ids = list(connection.scalars(old))
            connection.execute(attempts.delete().where(attempts.c.job_id.in_(ids)))
            connection.execute(jobs.delete().where(jobs.c.id.in_(ids)))
        return ids

    def fail_active(self, failure: Mapping[str, Any]) -> list[int]:
        """Mark all that was under way as failed: the server that ran it is gone. Returns the job ids."""
        now = time.time()
        with self._engine.begin() as connection:
            ids = list(connection.scalars(sa.select(jobs.c.id).where(jobs.c.status.in_(ACTIVE))))
            connection.execute(
                attempts.update()
                .where(attempts.c.job_id.in_(ids), attempts.c.status == "running")
                .values(status="failed", ended_at=now, failure=dict(failure))
            )
            connection.execute(
                jobs.update().where(jobs.c.id.in_(ids)).values(status="failed", updated_at=now)
            )
        return ids

    def _rows(self, query: sa.Select[Any]) -> list[Row]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _conditions(table: sa.Table, equal: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    return [
        table.c[name].in_(value) if isinstance(value, list | tuple) else table.c[name] == value
        for name, value in equal.items()
        if value is not None
    ]


def _set_pragmas(connection: Any, _: Any) -> None:
    for pragma in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
        connection.execute(f"pragma {pragma}")
