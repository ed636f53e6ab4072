"""What a session says about itself: ``current_role()`` and its like."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from fakesnow.server import sessions
from sqlglot import exp

if TYPE_CHECKING:
    from .session import Session

QUERIES_KEPT = 1000
_numbers = itertools.count(1)


@dataclass
class About:
    """Who a session is, and what it ran."""

    user: str = "PUBLIC"
    role: str = "PUBLIC"
    warehouse: str | None = None
    account: str = "RETAILFLOW"
    client: str = ""
    session: str = field(default_factory=lambda: str(next(_numbers)))
    queries: deque[str] = field(default_factory=lambda: deque(maxlen=QUERIES_KEPT))

    ANSWERS: ClassVar[dict[str, str]] = {
        "CURRENT_USER": "user",
        "CURRENT_ROLE": "role",
        "CURRENT_WAREHOUSE": "warehouse",
        "CURRENT_ACCOUNT": "account",
        "CURRENT_ACCOUNT_NAME": "account",
        "CURRENT_SESSION": "session",
        "CURRENT_CLIENT": "client",
    }


def _name(node: exp.Expr) -> str:
    if isinstance(node, exp.Anonymous):
        return str(node.this).upper()
    return node.sql_name().upper() if isinstance(node, exp.Func) else ""


def answer(expression: exp.Expr, session: Session) -> exp.Expr:
    """The statement with functions that ask about the session replaced by what they answer."""

    def known(node: exp.Expr) -> exp.Expr:
        name = _name(node)
        if name == "LAST_QUERY_ID":
            return _text(_query(node, session.about))
        if name == "SYSTEM$CANCEL_ALL_QUERIES":
            return _text(_cancel(node))
        if name in About.ANSWERS:
            return _text(getattr(session.about, About.ANSWERS[name]))
        if name == "CURRENT_DATABASE":
            return _text(session.database if session.database_set else None)
        if name == "CURRENT_SCHEMA":
            return _text(session.schema if session.schema_set else None)
        return node

    return expression.transform(known, copy=False)


def _cancel(node: exp.Expr) -> str:
    """Interrupt what another session runs."""
    asked = node.expressions[0].name
    for session in list(sessions.values()):
        if isinstance(about := getattr(session, "about", None), About) and about.session == asked:
            session._duck_conn.interrupt()
            return "1 statements cancelled"
    return "0 statements cancelled"


def _query(node: exp.Expr, about: About) -> str | None:
    """``LAST_QUERY_ID([n])``: from the end where n is negative, from the start of the session otherwise."""
    place = -1
    if node.expressions:
        argument = node.expressions[0]
        place = -int(argument.this.name) if isinstance(argument, exp.Neg) else int(argument.name)
    queries = [query for query in about.queries if query]
    index = place if place < 0 else place - 1
    return queries[index] if -len(queries) <= index < len(queries) else None


def _text(value: str | None) -> exp.Expr:
    text = exp.null() if value is None else exp.Literal.string(value)
    return exp.cast(text, "VARCHAR")
