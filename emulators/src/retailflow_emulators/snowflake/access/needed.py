"""What a statement needs, and the names in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from ..errors import NotEmulatedError

Names = tuple[str, ...]
INFORMATION = "INFORMATION_SCHEMA"
LOCATION = "LOCATION"  # the kind of a stage as it is written, `@…`; a STAGE has the parts of its name
METERING = ("SNOWFLAKE", "ACCOUNT_USAGE", "WAREHOUSE_METERING_HISTORY")


@dataclass(frozen=True)
class Need:
    """A privilege, one of those named, on an object; any at all where none is named."""

    kind: str
    names: Names  # as far as they are written out
    privileges: Names = ()
    primary: bool = False  # whether only the current role counts, and no secondary one
    optional: bool = False  # whether the object may be missing
    chosen: bool = False  # by USE or SHOW … IN, which have an error of their own


@dataclass(frozen=True)
class Made:
    """What a statement does to an object; ``source`` is the other table of a swap, rename, clone or copy."""

    verb: str
    kind: str
    names: Names
    source: Names = ()
    replace: bool = False
    exists: bool = False
    copy: bool = False
    temporary: bool = False
    comment: str = ""


@dataclass
class Needs:
    """Everything that a statement needs, and what becomes of the objects."""

    needs: list[Need] = field(default_factory=list)
    compute: bool = False
    made: list[Made] = field(default_factory=list)
    results: list[str] = field(default_factory=list)  # ids of queries whose results are read

    def add(self, kind: str, names: Names, *privileges: str, **more: bool) -> None:
        """One need more, once."""
        need = Need(kind, names, privileges, **more)
        if need not in self.needs:
            self.needs.append(need)


def name_of(node: Any) -> str:
    if not isinstance(node, exp.Identifier):
        raise NotEmulatedError(f"the name {node.sql(dialect='snowflake') if node else ''}")
    return str(node.this) if node.args.get("quoted") else str(node.this).upper()


def table_of(node: Any) -> exp.Table:
    table = node.this if isinstance(node, exp.Schema) else node
    if not isinstance(table, exp.Table):
        raise NotEmulatedError(f"the name {table}")
    return table


def path(node: Any) -> Names:
    """The names of a table, database or schema, as they are stored."""
    table = table_of(node)
    parts = [table.args.get("catalog"), table.args.get("db"), table.args.get("this")]
    return tuple(name_of(part) for part in parts if part is not None and part != "")


def names_in(text: str) -> Names:
    """The names that a string holds: ``DB.SCHEMA."name"``."""
    parts = re.findall(r'"((?:[^"]|"")*)"|([^".\s]+)', text)
    return tuple(quoted.replace('""', '"') if quoted else plain.upper() for quoted, plain in parts)


def first_words(tree: exp.Expr) -> str:
    """What a statement begins with."""
    if isinstance(tree, exp.Command):
        return f"{tree.this} {str(tree.expression).strip()}".upper()[:60].strip()
    return type(tree).__name__.upper()
