"""The application database: documents by kind and id, settings and sessions, in PostgreSQL or SQLite."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

Document = dict[str, Any]

_metadata = sa.MetaData()
_documents = sa.Table(
    "embedded_documents",
    _metadata,
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("body", sa.Text, nullable=False),
)
_settings = sa.Table(
    "embedded_settings",
    _metadata,
    sa.Column("name", sa.String(50), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
_sessions = sa.Table(
    "embedded_sessions",
    _metadata,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    sa.Column("user_id", sa.Integer, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),  # seconds since the epoch
)


class Store:
    """Small documents; every method is one transaction. One process owns a store, so one lock orders its writers."""

    def __init__(self, url: sa.URL, clock: Callable[[], float] = time.time) -> None:
        """Open the store and create its tables; sqlalchemy.exc.OperationalError when the database is unreachable."""
        self._engine = sa.create_engine(url, pool_pre_ping=True)
        self._lock = threading.RLock()
        self._clock = clock
        _metadata.create_all(self._engine)

    def close(self) -> None:
        """Drop every connection."""
        self._engine.dispose()

    def all(self, kind: str) -> list[Document]:
        """Every document of ``kind``, oldest first."""
        query = sa.select(_documents.c.body).where(_documents.c.kind == kind).order_by(_documents.c.id)
        with self._engine.begin() as connection:
            return [json.loads(body) for body in connection.scalars(query)]

    def get(self, kind: str, identity: int) -> Document | None:
        """The document, or None."""
        query = sa.select(_documents.c.body).where(_documents.c.kind == kind, _documents.c.id == identity)
        with self._engine.begin() as connection:
            body = connection.scalar(query)
        return None if body is None else json.loads(body)

    def add(self, kind: str, document: Document, only_if_none: bool = False) -> Document | None:
        """Store a new document under the next id and return it; with ``only_if_none``, None if one exists already."""
        highest = sa.select(sa.func.max(_documents.c.id)).where(_documents.c.kind == kind)
        with self._lock, self._engine.begin() as connection:
            last = connection.scalar(highest)
            if only_if_none and last is not None:
                return None
            added = {**document, "id": (last or 0) + 1}
            connection.execute(_documents.insert().values(kind=kind, id=added["id"], body=json.dumps(added)))
        return added

    def update(self, kind: str, identity: int, change: Callable[[Document], Document]) -> Document:
        """Replace the document by what ``change`` makes of it; KeyError when there is none."""
        this = (_documents.c.kind == kind) & (_documents.c.id == identity)
        with self._lock, self._engine.begin() as connection:
            body = connection.scalar(sa.select(_documents.c.body).where(this))
            if body is None:
                raise KeyError(f"{kind} {identity}")
            changed = change(json.loads(body))
            connection.execute(_documents.update().where(this).values(body=json.dumps(changed)))
        return changed

    def rewrite(self, kind: str, change: Callable[[Document], Document], settings: dict[str, str]) -> None:
        """Replace every document of ``kind`` by what ``change`` makes of it, and write settings: all or nothing."""
        these = sa.select(_documents.c.id, _documents.c.body).where(_documents.c.kind == kind)
        with self._lock, self._engine.begin() as connection:
            for identity, body in connection.execute(these).all():
                this = (_documents.c.kind == kind) & (_documents.c.id == identity)
                changed = json.dumps(change(json.loads(body)))
                connection.execute(_documents.update().where(this).values(body=changed))
            for name, value in settings.items():
                connection.execute(_settings.delete().where(_settings.c.name == name))
                connection.execute(_settings.insert().values(name=name, value=value))

    def remove(self, kind: str, identity: int) -> None:
        """Forget the document, if there is one."""
        with self._lock, self._engine.begin() as connection:
            connection.execute(
                _documents.delete().where(_documents.c.kind == kind, _documents.c.id == identity)
            )

    def setting(self, name: str) -> str | None:
        """The value of a setting, or None."""
        with self._engine.begin() as connection:
            return connection.scalar(sa.select(_settings.c.value).where(_settings.c.name == name))

    def set_setting(self, name: str, value: str) -> None:
        """Write a setting."""
        with self._lock, self._engine.begin() as connection:
            connection.execute(_settings.delete().where(_settings.c.name == name))
            connection.execute(_settings.insert().values(name=name, value=value))

    def add_session(self, token_hash: str, user_id: int, seconds: float) -> None:
        """Open a session that lives ``seconds``, and forget those that have expired."""
        now = self._clock()
        with self._lock, self._engine.begin() as connection:
            connection.execute(_sessions.delete().where(_sessions.c.expires_at <= now))
            connection.execute(
                _sessions.insert().values(token_hash=token_hash, user_id=user_id, expires_at=now + seconds)
            )

    def session_user(self, token_hash: str) -> Document | None:
        """The user whose session this is, or None when it is unknown or expired."""
        query = sa.select(_sessions.c.user_id).where(
            _sessions.c.token_hash == token_hash, _sessions.c.expires_at > self._clock()
        )
        with self._engine.begin() as connection:
            user_id = connection.scalar(query)
        return None if user_id is None else self.get("user", user_id)

    def end_session(self, token_hash: str) -> None:
        """Close a session."""
        with self._lock, self._engine.begin() as connection:
            connection.execute(_sessions.delete().where(_sessions.c.token_hash == token_hash))

    def end_sessions(self, user_id: int) -> None:
        """Close every session of a user."""
        with self._lock, self._engine.begin() as connection:
            connection.execute(_sessions.delete().where(_sessions.c.user_id == user_id))
