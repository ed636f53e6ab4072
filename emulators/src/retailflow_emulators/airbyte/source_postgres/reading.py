"""What one read of a stream asks of PostgreSQL, as SQL.

A stream is read in two ways, both inside one repeatable-read snapshot:

*initial*: the whole table in the order of its primary key. A checkpoint is the last key seen, so an
interrupted first sync goes on where it stopped.

*incremental*: rows after the checkpoint in the order (cursor, primary key), and before them the late ones:
rows at or before the checkpoint that a transaction wrote which had not ended when the last snapshot was
taken. Such a row carries an xmin at or above that of the oldest transaction that was running then
(`pg_snapshot_xmin`), so rows that committed late are found, and settled rows are not read twice. The search
for them reaches `overlap` seconds behind the last snapshot where the cursor is a time, so that an index on
it serves; a transaction must not take longer than that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from psycopg2 import sql

from .catalog import JSON_TYPES, SourceTable

INTEGERS = frozenset({"int2", "int4", "int8"})  # their text is JSON
# A cast to text says of these what their output function does, which is what the log has.
TEXTS = frozenset({"text", "varchar", "json", "jsonb", "uuid"})
TIME_TYPES = frozenset({"timestamptz", "timestamp", "date"})
# What the type's output function says. A row type is "not null" only if all of its fields are.
OUTPUT = "case when {0} is distinct from null then concat({0}) end"
ARGUMENTS = 100  # at most, of a function in PostgreSQL
# The full, epoch-aware id of the transaction that wrote the row: its 32-bit xmin, counted back from now.
_XMIN = sql.SQL("({next_xid} - mod({next_xid} - t.xmin::text::bigint + 4294967296, 4294967296))")


@dataclass(frozen=True)
class Position:
    """A checkpoint: all rows up to here, as seen by a snapshot with this xmin and time, have been read.

    `cursor` is the cursor value as PostgreSQL's JSON prints it (None: the table was empty); `key` the primary
    key of the last row; `initial` is True while the first pass over the table is under way, when `key` alone
    counts and `cursor` is already the table's maximum.
    """

    cursor: str | bool | None
    key: Mapping[str, Any] | None
    xmin: int
    read_at: str
    initial: bool

    def state(self, cursor_field: str) -> dict[str, Any]:
        return {
            "version": 1,
            "cursor_field": cursor_field,
            "cursor": self.cursor,
            "key": dict(self.key) if self.key is not None else None,
            "xmin": self.xmin,
            "read_at": self.read_at,
            "initial": self.initial,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any], cursor_field: str, keys: Sequence[str]) -> Self | None:
        """The position of a state; None where it is of another cursor or key (then all is read again)."""
        if state.get("version") != 1 or state.get("cursor_field") != cursor_field:
            return None
        if state["key"] is not None and set(state["key"]) != set(keys):
            return None
        return cls(state["cursor"], state["key"], state["xmin"], state["read_at"], state["initial"])

    def at(self, row: Mapping[str, Any], keys: Sequence[str], cursor_field: str | None) -> Self:
        """The position after `row`, the data of a record."""
        key = {name: row[name] for name in keys}
        return replace(self, key=key, **({"cursor": row[cursor_field]} if cursor_field else {}))


class Reading:
    """The statements for one table. All values are inlined as literals, because COPY takes no parameters."""

    def __init__(
        self,
        table: SourceTable,
        fields: Sequence[str],
        cursor: str | None,
        next_xid: int,
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        """`constants` are fields that every row gets beside its own."""
        self._table = table
        self._constants = constants or {}
        self._cursor = cursor
        self._from = sql.SQL("{} as t").format(sql.Identifier(table.schema, table.name))
        self._fields = fields
        self._xmin = _XMIN.format(next_xid=sql.Literal(next_xid))

    def initial(self, position: Position) -> sql.Composed:
        after = self._after(self._table.primary_key, position.key)
        return self._select(after, self._table.primary_key)

    def late(self, position: Position, overlap: int) -> sql.Composed:
        """Rows at or before the checkpoint that the last snapshot may not have seen."""
        assert self._cursor is not None
        parts = [
            sql.SQL("{} >= {}").format(self._xmin, sql.Literal(position.xmin)),
            sql.SQL("({}) is not true").format(self._after_cursor(position)),
        ]
        if position.cursor is not None and self._table.columns[self._cursor].type in TIME_TYPES:
            parts.append(
                sql.SQL(
                    "({c} is null or {c} >= least({at}::timestamptz, {value})"
                    " - {overlap} * interval '1 second')"
                ).format(
                    c=self._column(self._cursor),
                    at=sql.Literal(position.read_at),
                    value=self._literal(self._cursor, position.cursor),
                    overlap=sql.Literal(overlap),
                )
            )
        return self._select(sql.SQL(" and ").join(parts), [self._cursor, *self._table.primary_key])

    def changed(self, position: Position) -> sql.Composed:
        """Rows after the checkpoint, the oldest first."""
        assert self._cursor is not None
        return self._select(self._after_cursor(position), [self._cursor, *self._table.primary_key])

    def newest_cursor(self) -> sql.Composed:
        """The largest cursor value of the table, in the spelling of its JSON."""
        assert self._cursor is not None
        return sql.SQL("select to_json(max({})) #>> '{{}}' from {}").format(
            self._column(self._cursor), self._from
        )

    def copy(self, select: sql.Composable, header: str) -> sql.Composed:
        """Binary COPY of one column: `header`, the row as JSON, the closing braces and a newline.

        The row is put together a field at a time: `row_to_json` looks up the type of every value again, and takes a
        sixth longer for the whole line.
        """
        pieces: list[sql.Composable] = []
        before = header + "{"
        for name in self._fields:
            pieces += [sql.Literal(f"{before}{_json(name)}:"), self._json_value(name)]
            before = ","
        pieces.append(
            sql.Literal("".join(f",{_json(n)}:{_json(v)}" for n, v in self._constants.items()) + "}}}\n")
        )
        return sql.SQL("copy (select {} from ({}) as r) to stdout with (format binary)").format(
            _concatenated(pieces), select
        )

    def _json_value(self, name: str) -> sql.Composed:
        value = sql.SQL("r.{}" if self._table.columns[name].type in INTEGERS else "to_json(r.{})")
        return sql.SQL("coalesce({}::text, 'null')").format(value.format(sql.Identifier(name)))

    def _after_cursor(self, position: Position) -> sql.Composed:
        assert self._cursor is not None
        if position.cursor is None:
            return sql.SQL("{} is not null").format(self._column(self._cursor))
        # Without a key, the position is behind every row that has the cursor's value.
        values = {self._cursor: position.cursor, **(position.key or {})}
        return self._after([self._cursor, *self._table.primary_key], values)

    def _after(self, names: Sequence[str], values: Mapping[str, Any] | None) -> sql.Composed:
        if values is None:
            return sql.Composed([sql.SQL("true")])
        known = [name for name in names if name in values]
        return sql.SQL("({}) > ({})").format(
            sql.SQL(", ").join(self._column(name) for name in known),
            sql.SQL(", ").join(self._literal(name, values[name]) for name in known),
        )

    def _select(self, where: sql.Composable, order: Sequence[str]) -> sql.Composed:
        return sql.SQL("select {} from {} where {} order by {}").format(
            sql.SQL(", ").join(map(self._field, self._fields)),
            self._from,
            where,
            sql.SQL(", ").join(self._column(name) for name in order),
        )

    def _column(self, name: str) -> sql.Composed:
        return sql.SQL("t.{}").format(sql.Identifier(name))

    def _field(self, name: str) -> sql.Composed:
        """A column as its JSON-schema type wants it: what has no type of its own becomes text."""
        type_ = self._table.columns[name].type
        if type_ in JSON_TYPES:
            return self._column(name)
        text = "{0}::text as {1}" if type_ in TEXTS else OUTPUT + " as {1}"
        return sql.SQL(text).format(self._column(name), sql.Identifier(name))

    def _literal(self, name: str, value: Any) -> sql.Composed:
        text = value if isinstance(value, str) else json.dumps(value)
        return sql.SQL("{}::{}").format(sql.Literal(text), self._table.columns[name].cast)


def exact(data: bytes) -> dict[str, Any]:
    """A row of JSON with its numbers as the text that they are: a double would change long ones."""
    row: dict[str, Any] = json.loads(data, parse_int=str, parse_float=str)
    return row


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _concatenated(pieces: Sequence[sql.Composable]) -> sql.Composable:
    """Texts one after the other, however many."""
    while len(pieces) > 1:
        groups = [pieces[begin : begin + ARGUMENTS] for begin in range(0, len(pieces), ARGUMENTS)]
        pieces = [sql.SQL("concat({})").format(sql.SQL(", ").join(group)) for group in groups]
    return pieces[0]
