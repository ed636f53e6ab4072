"""Temporary tables and views: each belongs to its session, and hides a permanent table of the same name from it.

DuckDB keeps them in one catalog without schemas, so each has a name of its own there that no other session has. Every
statement of the session is read with these names in the place of Snowflake's
(https://docs.snowflake.com/en/user-guide/tables-temp-transient). SHOW and the information schema do not list them.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlglot import exp

from .errors import NotEmulatedError
from .quoting import identifier

if TYPE_CHECKING:
    from .session import Session

CATALOG = "temp"
Place = tuple[str | None, str | None, str]


@dataclass
class Temporary:
    """The temporary tables and views of a session by Snowflake's names, and what the statement at hand makes or drops."""

    names: dict[Place, str] = field(default_factory=dict)
    views: set[str] = field(default_factory=set)  # those of DuckDB's names that are views
    made: tuple[Place, str, str] | None = None  # with its kind
    dropped: Place | None = None


# Snowpark says SCOPED, https://github.com/snowflakedb/snowpark-python (analyzer_utils.py)
_SCOPED = re.compile(r"(\s*create\s+(?:or\s+replace\s+)?)(?:scoped|local|global)(\s+temp)", re.IGNORECASE)


def plain(command: str) -> str:
    """The statement without words before TEMPORARY that change nothing here."""
    return _SCOPED.sub(r"\1\2", command, count=1)


def is_temporary(create: exp.Expr) -> bool:
    """Whether a statement makes a temporary table or view."""
    return (
        isinstance(create, exp.Create)
        and str(create.args.get("kind")).upper() in ("TABLE", "VIEW")
        and any(isinstance(one, exp.TemporaryProperty) for one in create.args.get("properties") or [])
    )


def renamed(expression: exp.Expr, session: Session) -> exp.Expr:
    """The statement with the session's temporary tables as DuckDB calls them."""
    target, known = _target(expression), session.temporary
    known.made = known.dropped = None
    if is_temporary(expression) and target is not None:
        place = _place(target, session)
        name = known.names.get(place)
        if name is None or expression.args.get("replace"):
            # A new name, because a new table has no history of loads.
            name = f"{uuid.uuid4().hex}.{'.'.join(map(str, place))}"
        known.made = place, name, str(expression.args["kind"]).upper()
        _rename(target, name)
    elif isinstance(expression, exp.Create):
        pass  # a permanent table beside, which stays hidden
    elif target is not None and _place(target, session) in known.names:
        if isinstance(expression, exp.Alter) and expression.find(exp.AlterRename, exp.SwapTable):
            raise NotEmulatedError("ALTER of the name of a temporary table")
        if isinstance(expression, exp.Drop):
            known.dropped = _place(target, session)
    view = known.made is not None and known.made[2] == "VIEW"
    if not known.names and not view:
        return expression
    here = target if isinstance(expression, exp.Create) else None
    queries = {cte.alias.upper() for cte in expression.find_all(exp.CTE)}
    for table in list(expression.find_all(exp.Table)):
        if table is here or not isinstance(table.this, exp.Identifier):
            continue
        name = known.names.get(_place(table, session))
        if table.name.upper() in queries and not table.db:
            continue
        if name is not None:
            if view and _place(table, session) == known.made[0]:  # type: ignore[index]
                raise NotEmulatedError("a temporary view that reads what it replaces")
            _alias(table, expression)
            _rename(table, name)
        elif view:
            _qualify(table, session)
    return expression


def settled(session: Session) -> str | None:
    """Remember what a statement that ran has made or dropped; returns what Snowflake answers, None for other statements."""
    known = session.temporary
    if known.dropped:
        known.views.discard(known.names.pop(known.dropped, ""))
        return f"{known.dropped[2]} successfully dropped."
    if not known.made:
        return None
    place, name, kind = known.made
    if (replaced := known.names.get(place, name)) != name:
        was = "view" if replaced in known.views else "table"
        session._duck_conn.execute(f"drop {was} {CATALOG}.main.{identifier(replaced)}")
        known.views.discard(replaced)
    known.names[place] = name
    if kind == "VIEW":
        known.views.add(name)
    return f"{kind.capitalize()} {place[2]} successfully created."


def _target(expression: exp.Expr) -> exp.Table | None:
    """The table that a statement makes, changes or drops."""
    if not isinstance(expression, (exp.Create, exp.Alter, exp.Drop)):
        return None
    named = expression.args.get("tables") or [expression.this]
    found = named[0].this if isinstance(named[0], exp.Schema) else named[0]
    return found if isinstance(found, exp.Table) and isinstance(found.this, exp.Identifier) else None


def _place(table: exp.Table, session: Session) -> Place:
    def name(part: exp.Expr | None) -> str | None:
        if not isinstance(part, exp.Identifier):
            return None
        return part.name if part.args.get("quoted") else part.name.upper()

    schema = name(table.args.get("db"))
    return (
        name(table.args.get("catalog")) or session.database,
        schema or session.schema,
        name(table.this) or "",
    )


def _alias(table: exp.Table, statement: exp.Expr) -> None:
    """Let columns be named by the table's own name, where a statement reads it."""
    parent = table.parent.parent if isinstance(table.parent, exp.Schema) else table.parent
    changes = (exp.Insert, exp.Create, exp.Alter, exp.Drop, exp.Describe, exp.TruncateTable, exp.Copy)
    if not table.alias and not (parent is statement and isinstance(statement, changes)):
        table.set("alias", exp.TableAlias(this=table.this.copy()))


def _qualify(table: exp.Table, session: Session) -> None:
    """Name a table in full: DuckDB would look for it where the session is when it reads the view."""
    database, schema, _ = _place(table, session)
    if not table.alias:
        table.set("alias", exp.TableAlias(this=table.this.copy()))
    if not table.args.get("db"):
        table.set("db", exp.to_identifier(schema, quoted=True))
    if not table.args.get("catalog"):
        table.set("catalog", exp.to_identifier(database, quoted=True))


def _rename(table: exp.Table, name: str) -> None:
    table.set("this", exp.to_identifier(name, quoted=True))
    table.set("db", exp.to_identifier("main", quoted=True))
    table.set("catalog", exp.to_identifier(CATALOG, quoted=True))
