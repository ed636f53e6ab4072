"""What a session says about itself: ``current_role()`` and its like."""

from __future__ import annotations

import itertools
import json
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from fakesnow.server import sessions
from sqlglot import exp

from .access.who import insufficient
from .errors import NotEmulatedError

if TYPE_CHECKING:
    from .session import Session

QUERIES_KEPT = 1000
_numbers = itertools.count(1)


@dataclass
class About:
    """Where a session is, and what it ran; who it is, its guard knows."""

    account: str = "RETAILFLOW"
    client: str = ""
    session: str = field(default_factory=lambda: str(next(_numbers)))
    queries: deque[str] = field(default_factory=lambda: deque(maxlen=QUERIES_KEPT))

    ANSWERS: ClassVar[dict[str, str]] = {
        "CURRENT_ACCOUNT": "account",
        "CURRENT_ACCOUNT_NAME": "account",
        "CURRENT_SESSION": "session",
        "CURRENT_CLIENT": "client",
    }


def _name(node: exp.Expr) -> str:
    if isinstance(node, exp.Anonymous):
        return str(node.this).upper()
    return node.sql_name().upper() if isinstance(node, exp.Func) else ""


# What a view would have to ask whenever it is read; here the answer would be the one of the session that made it.
_OF_ROLES = {
    "CURRENT_USER",
    "CURRENT_ROLE",
    "CURRENT_AVAILABLE_ROLES",
    "CURRENT_SECONDARY_ROLES",
    "IS_ROLE_IN_SESSION",
}


def answer(expression: exp.Expr, session: Session) -> exp.Expr:
    """The statement with functions that ask about the session replaced by what they answer."""
    view = isinstance(expression, exp.Create) and str(expression.args.get("kind")).upper() == "VIEW"

    def known(node: exp.Expr) -> exp.Expr:
        name = _name(node)
        if name == "LAST_QUERY_ID":
            query = _query(node, session.about)
            # RESULT_SCAN wants the id itself.
            scanned = isinstance(node.parent, exp.Anonymous) and _name(node.parent) == "RESULT_SCAN"
            return exp.Literal.string(str(query)) if scanned else _text(query)
        if name == "SYSTEM$CANCEL_ALL_QUERIES":
            return _text(_cancel(node, session))
        if name in _OF_ROLES:
            if view:
                raise NotEmulatedError(f"{name} in a view")
            return _of_roles(name, node, session)
        if name == "CURRENT_WAREHOUSE":
            return _text(session.guard.warehouse)
        if name in About.ANSWERS:
            return _text(getattr(session.about, About.ANSWERS[name]))
        if name == "CURRENT_DATABASE":
            return _text(session.database if session.database_set else None)
        if name == "CURRENT_SCHEMA":
            return _text(session.schema if session.schema_set else None)
        return node

    return expression.transform(known, copy=False)


def _of_roles(name: str, node: exp.Expr, session: Session) -> exp.Expr:
    who = session.guard.who
    if name == "CURRENT_USER":
        return _text(who.user)
    if name == "CURRENT_ROLE":
        return _text(who.role)
    if name == "CURRENT_AVAILABLE_ROLES":
        return _text(json.dumps(sorted(who.account.available_roles(who.user))))
    if name == "CURRENT_SECONDARY_ROLES":
        roles = sorted(who.account.roles_of(who.user) - {who.role, "PUBLIC"}) if who.secondary else []
        return _text(json.dumps({"roles": ",".join(roles), "value": "ALL" if who.secondary else ""}))
    asked = node.expressions[0] if node.expressions else node.args.get("this")
    if not isinstance(asked, exp.Literal):
        raise NotEmulatedError("IS_ROLE_IN_SESSION of something other than a written name")
    return exp.true() if asked.name in who.roles else exp.false()


def _cancel(node: exp.Expr, own: Session) -> str:
    """Interrupt what another session of the same user runs."""
    asked = node.expressions[0].name
    for session in list(sessions.values()):
        if isinstance(about := getattr(session, "about", None), About) and about.session == asked:
            if session.guard.who.user != own.guard.who.user:  # type: ignore[attr-defined]
                raise insufficient("session", (asked,))
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
