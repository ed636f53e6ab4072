"""Whether a session may run a statement, and what the statement made or dropped, once it has run."""

from __future__ import annotations

import contextlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from sqlglot import exp

from ..errors import NotEmulatedError, sql_error
from . import commands, granting, metering, showing
from .model import ADOPTER, SNOWFLAKE, USAGE_VIEWER, Account, Grant, Key, Thing, key_of, parents
from .needed import INFORMATION, LOCATION, Made, Need, Needs
from .needs import needs_of
from .who import Who, insufficient, missing, unusable
from .words import head

CACHED = 2000  # statements whose needs are remembered
RESULTS_KNOWN = 10_000
_DEEPEST = 50  # views that read views


def is_command(sql: str) -> bool:
    """Whether ``Guard.command`` is for a statement."""
    text = head(sql)
    return any(one.OURS.match(text) for one in (commands, granting, showing))


_WRITES = {"INSERT", "UPDATE", "DELETE", "TRUNCATE"}


@dataclass
class Gate:
    """What all sessions share."""

    account: Account
    meter: metering.Meter
    password: str = ""
    known: OrderedDict[str, Needs] = field(default_factory=OrderedDict)
    results: OrderedDict[str, str] = field(default_factory=OrderedDict)  # whose a result is, by query id

    def needs(self, text: str, tree: exp.Expr) -> Needs:
        """What a statement needs, from its tree or from memory.

        The same text may name other objects where it takes a name from a parameter or a variable.
        """
        if "$" in text or "identifier" in text.lower():
            return needs_of(tree)
        if (found := self.known.get(text)) is None:
            found = self.known[text] = needs_of(tree)
            while len(self.known) > CACHED:
                self.known.popitem(last=False)
        return found

    def remember_result(self, query: str, user: str) -> None:
        """A result belongs to the user who asked for it."""
        self.results[query] = user
        while len(self.results) > RESULTS_KNOWN:
            self.results.popitem(last=False)


class Place(Protocol):
    """A session's current database and schema, and where objects may be looked for."""

    def current(self) -> tuple[str | None, str | None]: ...

    def look(self, key: Key) -> str | None: ...

    def stage(self, text: str) -> tuple[str, tuple[str, ...]]: ...


@dataclass
class Guard:
    """The checks of one session."""

    gate: Gate
    who: Who
    place: Place
    warehouse: str | None = None
    temporary: dict[tuple[str, ...], Thing] = field(default_factory=dict)  # tables by their full names
    _view_reads: list[list[str]] = field(default_factory=list)

    @property
    def account(self) -> Account:
        """The account of the session."""
        return self.gate.account

    @property
    def current_database(self) -> str | None:
        """The current database."""
        return self.place.current()[0]

    def command(self, sql: str) -> str | showing.Table | None:
        """Run a statement about principals and grants; None for every other."""
        self._alive()
        answer = commands.run(sql, self, self.gate.meter)  # type: ignore[arg-type]
        if answer is None:
            answer = granting.run(sql, self.who, self.place.current())
        if answer is not None:
            return answer
        return showing.run(sql, self.who, self.place.current(), self.warehouse, self.gate.meter)

    def _alive(self) -> None:
        user = self.account.things.get(("USER", self.who.user))
        if user is None or user.settings.get("DISABLED", "false").lower() == "true":
            raise sql_error(390101, "08001", "User access disabled. Contact your local system administrator.")

    def check(self, text: str, tree: exp.Expr, written: str) -> Needs:
        """What a statement needs, after a look at whether all of it is there; ``written`` is what the client sent."""
        needs = self.gate.needs(text, tree)
        for need in needs.needs:
            self._check(need)
        for text_ in needs.results:
            self._check_result(text_)
        if needs.compute and self._usable_warehouse() is None:
            raise no_warehouse()
        if any(made.kind == "VIEW" for made in needs.made):
            self._reading(needs)
            self._view_text = written
        return needs

    @contextlib.contextmanager
    def running(self, needs: Needs) -> Iterator[None]:
        """Run a statement that was checked: on the warehouse, and with its effects recorded if it does not fail."""
        name = self._usable_warehouse() if needs.compute else None
        if needs.compute and (name is None or not self.gate.meter.begin(name)):
            raise no_warehouse()
        try:
            with self._made(needs.made):
                yield
            self._changed(needs)
        finally:
            if name:
                self.gate.meter.end(name)

    def _changed(self, needs: Needs) -> None:
        """Note when tables were written, or defined again."""
        for need in needs.needs:
            written = bool(_WRITES.intersection(need.privileges))
            if need.kind == "TABLE" and (written or need.privileges == ("OWNERSHIP",)):
                thing = self.account.things.get(key_of("TABLE", self.full("TABLE", need.names)))
                if thing is not None:
                    thing.changed = time.time()
                    thing.defined = thing.defined if written else thing.changed

    def _usable_warehouse(self) -> str | None:
        name = self.warehouse
        if name and self.account.has(("WAREHOUSE", name), "USAGE", self.who.roles):
            return name
        return None

    # Needs

    def full(self, kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
        """A full name of an object, with what is current where it is left out."""
        if kind in ("DATABASE", "ACCOUNT") and names:
            return names
        if kind == "DATABASE":
            current = self.place.current()[0]
            if current is None:
                raise sql_error(
                    90105,
                    "22000",
                    "Cannot perform operation. This session does not have a current database. "
                    "Call 'USE DATABASE', or use a qualified name.",
                )
            return (current,)
        if kind == "SCHEMA" and not names:
            return granting.full("TABLE", ("",), self.place.current())[:2]
        return granting.full(kind, names, self.place.current())

    def _check(self, need: Need) -> None:
        kind = need.kind
        if kind == "ACCOUNT":
            for privilege in need.privileges:
                self.who.require_on_account(privilege)
            return
        if kind == LOCATION:
            kind, names = self.place.stage(need.names[0])
            if self._own_stage(kind, names):
                return
        else:
            names = self.full(kind, need.names)
        if kind in ("TABLE", "VIEW") and names in self.temporary:
            own = self.temporary[names]
            if own.owner not in self.who.roles:
                raise missing(kind, need.names)
            if own.kind == "VIEW" and "SELECT" in need.privileges:
                self._check_view(("TABLE", *names), own, 0)
            return
        if len(names) > 1 and names[1] == INFORMATION and kind in ("SCHEMA", "TABLE"):
            kind, names = "DATABASE", names[:1]
        key = key_of(kind, names)
        if key == SNOWFLAKE and self.account.privileges(USAGE_VIEWER, self.who.roles):
            return
        self._adopt(key)
        if need.optional and key not in self.account.things:
            return
        if need.chosen:
            if not self.account.visible(key, self.who.roles):
                raise unusable()
            return
        if need.optional and not self.account.privileges(key, self.who.roles):
            raise insufficient(kind, names)
        written = need.names if kind == need.kind else None
        self.who.require(
            self._kind(key, kind), names, *need.privileges, primary=need.primary, written=written
        )
        thing = self.account.things[key]
        if thing.kind == "VIEW" and "SELECT" in need.privileges:
            self._check_view(key, thing, 0)

    def _kind(self, key: Key, kind: str) -> str:
        thing = self.account.things.get(key)
        return thing.kind if thing and kind in ("TABLE", "VIEW") else kind

    def _check_view(self, key: Key, view: Thing, depth: int) -> None:
        """A view reads with the rights of its owner: https://docs.snowflake.com/en/user-guide/views-introduction"""
        roles = self.account.closure(view.owner)
        for read in view.reads:
            other = tuple(read)
            thing = self.account.things.get(other)
            sees = all(self.account.privileges(one, roles) for one in parents(other))
            if thing is None or depth > _DEEPEST or not (sees and self.account.has(other, "SELECT", roles)):
                name = key[-1] if key else "view"
                inner = missing("TABLE", other[1:])
                # 002037 (42601): https://docs.snowflake.com/en/user-guide/views-materialized
                raise sql_error(
                    2037,
                    "42601",
                    f"SQL compilation error:\nFailure during expansion of view '{name}': {inner.raw_msg}",
                )
            if thing.kind == "VIEW":
                self._check_view(other, thing, depth + 1)

    def _own_stage(self, kind: str, names: tuple[str, ...]) -> bool:
        """The stage of the user, and those of tables, which need what their tables need."""
        if kind == "TABLE" and names not in self.temporary:
            self.who.require("TABLE", names, "OWNERSHIP")
        return kind != "STAGE"

    def _check_result(self, text: str) -> None:
        """Only the user who asked may read a result again.

        https://docs.snowflake.com/en/sql-reference/functions/result_scan
        """
        found = re.fullmatch(r"'((?:[^']|'')*)'", text)
        if found and self.gate.results.get(found[1]) != self.who.user:
            raise sql_error(709, "02000", f"Statement {found[1]} not found")

    def _adopt(self, key: Key) -> None:
        """Know an object that a database holds and the account does not, after a rollback for example."""
        if key not in self.account.things and (kind := self.place.look(key)):
            with self.account.change():
                self.account.things.setdefault(key, Thing(kind, ADOPTER))

    # Effects

    @contextlib.contextmanager
    def _made(self, made: list[Made]) -> Iterator[None]:
        undo: list[Callable[[], None]] = []
        later: list[Callable[[], None]] = []
        for one in made:
            self._prepare(one, undo, later)
        try:
            yield
        except BaseException:
            if undo:
                with self.account.change():
                    for step in undo:
                        step()
            raise
        if later:
            with self.account.change():
                for step in later:
                    step()

    def _prepare(self, made: Made, undo: list[Callable[[], None]], later: list[Callable[[], None]]) -> None:
        """Record what is new before it is there, so that it has its owner whenever the server ends."""
        if made.temporary:
            later.append(lambda: self._temporary(made))
            return
        names = self.full(made.kind, made.names)
        if made.verb != "create" and made.kind in ("TABLE", "VIEW") and names in self.temporary:
            if made.verb == "drop":
                later.append(lambda: self._forget_temporary(names))
            return
        key = key_of(made.kind, names)
        if made.verb == "drop":
            later.append(lambda: self.account.remove(key))
        elif made.verb == "rename":
            to = made.source if len(made.source) == 3 else (*names[: 3 - len(made.source)], *made.source)
            later.append(lambda: self.account.move(key, key_of(made.kind, to)))
        elif made.verb == "swap":
            other = key_of(made.kind, self.full(made.kind, made.source))
            later.append(lambda: self.account.swap(key, other))
        elif made.verb == "comment":
            later.append(lambda: self._set_comment(key, made.comment))
        elif key not in self.account.things:
            with self.account.change():
                self._add(made, names)
            undo.append(lambda: self.account.remove(key))
        elif made.replace:
            later.append(lambda: self._replace(made, names))

    def _set_comment(self, key: Key, comment: str) -> None:
        if key in self.account.things:
            self.account.things[key].comment = comment

    def _reads(self, made: Made) -> list[list[str]]:
        if made.kind != "VIEW":
            return []
        return self._view_reads

    def _reading(self, needs: Needs) -> None:
        """Remember what the view that a statement makes reads, while its names mean what they mean now."""
        found: list[list[str]] = []
        for need in needs.needs:
            if need.kind == "TABLE" and "SELECT" in need.privileges:
                names = self.full("TABLE", need.names)
                if names in self.temporary:
                    if all(made.temporary for made in needs.made):
                        found += self.temporary[names].reads  # what a view within the view reads
                        continue
                    raise NotEmulatedError("a view on a temporary table")
                found.append(list(key_of("TABLE", names)))
        self._view_reads = found

    def _add(self, made: Made, names: tuple[str, ...], copied: list[Grant] | None = None) -> None:
        if made.copy and made.source and copied is None:
            source = self.account.things.get(key_of(made.kind, self.full(made.kind, made.source)))
            copied = list(source.grants) if source else None
        settings = {"TEXT": self._view_text} if made.kind == "VIEW" else {}
        self.account.add(
            made.kind,
            names,
            self.who.role,
            copied,
            comment=made.comment,
            reads=self._reads(made),
            settings=settings,
        )
        if made.kind == "DATABASE":
            self.account.add("SCHEMA", (*names, "PUBLIC"), self.who.role)

    def _replace(self, made: Made, names: tuple[str, ...]) -> None:
        old = self.account.things.get(key_of(made.kind, names))
        copied = [Grant(**vars(grant)) for grant in old.grants] if old and made.copy else None
        if made.kind in ("DATABASE", "SCHEMA"):
            self.account.remove(key_of(made.kind, names))
        self._add(made, names, copied if old else None)

    def _forget_temporary(self, names: tuple[str, ...]) -> None:
        self.temporary.pop(names, None)

    def _temporary(self, made: Made) -> None:
        names, reads = self.full("TABLE", made.names), self._reads(made)
        known = self.temporary.get(names)
        owner = known.owner if known else self.who.role
        self.temporary[names] = Thing(made.kind, owner, reads=reads)

    def drop_database(self, name: str) -> Callable[[], None]:
        """Whether a database may be dropped; returns what is to be called when it was."""
        self._alive()
        self.who.require("DATABASE", (name,), "OWNERSHIP")

        def done() -> None:
            with self.account.change():
                self.account.remove(("DATABASE", name))

        return done

    def check_stage(self, text: str, *privileges: str) -> None:
        """Whether a stage may be used."""
        self._alive()
        self._check(Need(LOCATION, (text,), privileges))

    def check_table(self, names: tuple[str, ...], privilege: str) -> None:
        """Whether a table may be used in this way."""
        self._check(Need("TABLE", names, (privilege,)))

    def check_object(self, kind: str, names: tuple[str, ...], *privileges: str) -> None:
        """Whether an object may be used in this way."""
        self._check(Need(kind, names, privileges))

    def sees(self, kind: str, names: tuple[str, ...]) -> bool:
        """Whether an object may be known of."""
        return self.account.visible(key_of(kind, names), self.who.roles)


def no_warehouse() -> Exception:
    """A statement that needs a warehouse where there is none."""
    return sql_error(
        606,
        "57P03",
        "No active warehouse selected in the current session.  Select an active warehouse with the 'use warehouse' command.",
    )
