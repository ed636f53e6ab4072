"""What a statement needs: privileges on which objects, whether a warehouse, and what it makes, drops or renames.

Every statement is one of the kinds below; another one is refused as not emulated, never let through. Which privilege a
statement needs is said under "Access control requirements" on its page of https://docs.snowflake.com/en/sql-reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from ..errors import NotEmulatedError, sql_error
from .model import IN_SCHEMA
from .needed import INFORMATION, Made, Needs, first_words, name_of, path
from .reading import file_format, reads, stage

_SHOWN = {"TABLES", "VIEWS", "OBJECTS", "COLUMNS", "STAGES", "FILE FORMATS", "SEQUENCES"}
_SHOWN |= {"PRIMARY KEYS", "UNIQUE KEYS", "IMPORTED KEYS"}


def needs_of(tree: exp.Expr) -> Needs:
    """What a statement needs; NotEmulatedError where its kind is not known."""
    found = Needs()
    for kind, handle in _KINDS.items():
        if isinstance(tree, kind):
            handle(tree, found)
            return found
    if isinstance(tree, (exp.Column, exp.Alias, exp.Identifier)):
        words = tree.sql(dialect="snowflake").split()
        raise sql_error(
            1003,
            "42000",
            f"SQL compilation error:\nsyntax error line 1 at position 0 unexpected '{words[0]}'.",
        )
    raise NotEmulatedError(first_words(tree))


def _query(tree: exp.Expr, found: Needs) -> None:
    reads(tree, found)


def _insert(tree: exp.Insert, found: Needs) -> None:
    privileges = ("INSERT", "DELETE") if tree.args.get("overwrite") else ("INSERT",)
    for privilege in privileges:
        found.add("TABLE", path(tree.this), privilege)
    reads(tree, found, (tree.this,))
    found.compute = True


def _update(tree: exp.Update, found: Needs) -> None:
    found.add("TABLE", path(tree.this), "UPDATE")
    reads(tree, found, (tree.this,))
    found.compute = True


def _delete(tree: exp.Delete, found: Needs) -> None:
    found.add("TABLE", path(tree.this), "DELETE")
    reads(tree, found, (tree.this,))
    found.compute = True


_MERGED = {"INSERT": exp.Insert, "UPDATE": exp.Update, "DELETE": exp.Delete}


def _merge(tree: exp.Merge, found: Needs) -> None:
    for when in tree.args["whens"].expressions:
        then = when.args.get("then")
        for privilege, kind in _MERGED.items():
            if isinstance(then, kind) or str(then).upper() == privilege:
                found.add("TABLE", path(tree.this), privilege)
    reads(tree, found, (tree.this,))
    found.compute = True


def _truncate(tree: exp.TruncateTable, found: Needs) -> None:
    for table in tree.expressions:
        found.add("TABLE", path(table), "TRUNCATE", optional=bool(tree.args.get("exists")))


def _copy(tree: exp.Copy, found: Needs) -> None:
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    if isinstance(target, exp.Table) and isinstance(target.this, (exp.Var, exp.Literal)):
        raise NotEmulatedError("COPY INTO a stage")
    if not tree.args.get("kind"):
        raise NotEmulatedError("COPY without INTO")
    found.add("TABLE", path(tree.this), "INSERT")
    for node in tree.find_all(exp.Property):
        if node.name.upper() == "FORMAT_NAME" and isinstance(value := node.args.get("value"), exp.Expr):
            file_format(value, found)
    inside = {id(table) for node in tree.find_all(exp.Property) for table in node.find_all(exp.Table)}
    for source in tree.args.get("files") or []:
        plain = source if isinstance(source, exp.Table) else None
        if plain is not None and isinstance(plain.this, (exp.Var, exp.Literal)):
            text = str(plain.this.this)
            if not text.startswith("@"):
                raise NotEmulatedError("COPY from another place than a stage")
            stage(text, found, "READ", "USAGE")
        elif isinstance(source, exp.Subquery) and id(source) not in inside:
            reads(source, found)
        else:
            raise NotEmulatedError("COPY from another place than a stage")
    found.compute = True


def _properties(tree: exp.Expr, kind: type[exp.Expr]) -> list[Any]:
    properties = tree.args.get("properties")
    return [one for one in properties.expressions if isinstance(one, kind)] if properties else []


def _create(tree: exp.Create, found: Needs) -> None:
    kind = str(tree.args.get("kind")).upper()
    if kind not in ("DATABASE", "SCHEMA", *IN_SCHEMA):
        raise NotEmulatedError(f"CREATE {kind}")
    clone, names = tree.args.get("clone"), path(tree.this)
    like = [*_properties(tree, exp.LikeProperty)]
    temporary = bool(_properties(tree, exp.TemporaryProperty))
    comments = _properties(tree, exp.SchemaCommentProperty)
    made = Made(
        "create",
        kind,
        names,
        source=path((clone or like[0]).this) if clone or like else (),
        replace=bool(tree.args.get("replace")),
        exists=bool(tree.args.get("exists")),
        copy=bool(_properties(tree, exp.CopyGrantsProperty)),
        temporary=temporary and kind in ("TABLE", "VIEW"),
        comment=comments[0].this.name if comments else "",
    )
    found.made.append(made)
    if kind == "DATABASE":
        if clone:
            raise NotEmulatedError("clones of databases")
        found.add("ACCOUNT", (), "CREATE DATABASE", primary=True)
        if made.replace:
            found.add("DATABASE", names, "OWNERSHIP", optional=True)
        return
    if kind == "SCHEMA":
        if clone:
            raise NotEmulatedError("clones of schemas")
        found.add("DATABASE", names[:-1], "CREATE SCHEMA", primary=True)
        if made.replace:
            found.add("SCHEMA", names, "OWNERSHIP", optional=True)
        return
    # A temporary table needs no privilege but the use of its schema.
    if made.temporary and kind == "TABLE":
        found.add("SCHEMA", names[:-1])
    else:
        found.add("SCHEMA", names[:-1], f"CREATE {kind}", primary=True)
    if made.replace and not made.temporary:
        found.add(kind, names, "OWNERSHIP", optional=True)
    if _properties(tree, exp.UsingTemplateProperty):
        raise NotEmulatedError("CREATE TABLE USING TEMPLATE")
    skipped: tuple[Any, ...] = (tree.this,)
    for reference in tree.find_all(exp.Reference):
        target = reference.this.this if isinstance(reference.this, exp.Schema) else reference.this
        found.add("TABLE", path(target), "REFERENCES")
        skipped = (*skipped, target)
    reads(tree, found, skipped)
    found.compute = kind == "TABLE" and tree.args.get("expression") is not None


def _drop(tree: exp.Drop, found: Needs) -> None:
    kind = str(tree.args.get("kind")).upper()
    if kind not in ("SCHEMA", *IN_SCHEMA):
        raise NotEmulatedError(f"DROP {kind}")
    for table in tree.args.get("tables") or [tree.this]:
        names = path(table)
        found.add(kind, names, "OWNERSHIP", optional=bool(tree.args.get("exists")))
        found.made.append(Made("drop", kind, names))


def _alter(tree: exp.Alter, found: Needs) -> None:
    kind = str(tree.args.get("kind")).upper()
    if kind == "SESSION":
        return
    if kind not in ("TABLE", "VIEW"):
        raise NotEmulatedError(f"ALTER {kind}")
    names, optional = path(tree.this), bool(tree.args.get("exists"))
    found.add(kind, names, "OWNERSHIP", optional=optional)
    skipped: list[Any] = [tree.this]
    for action in tree.args.get("actions") or []:
        if isinstance(action, (exp.SwapTable, exp.AlterRename)):
            other = path(action.this)
            skipped.append(action.this)
            if isinstance(action, exp.SwapTable):
                # "You must have the ownership privilege on the tables you are swapping":
                # https://stephenallwright.com/snowflake-swap-table/; Snowflake's own page was not found to say so.
                found.add(kind, other, "OWNERSHIP")
                found.made.append(Made("swap", kind, names, source=other))
            else:
                if len(other) > 1:
                    found.add("SCHEMA", other[:-1], f"CREATE {kind}")
                found.made.append(Made("rename", kind, names, source=other))
        if isinstance(action, exp.AlterSet):
            for comment in action.find_all(exp.SchemaCommentProperty):
                found.made.append(Made("comment", kind, names, comment=comment.this.name))
        if isinstance(action, exp.Command):
            raise NotEmulatedError(f"ALTER {kind} {action}"[:60])
        for reference in action.find_all(exp.Reference):
            target = reference.this.this if isinstance(reference.this, exp.Schema) else reference.this
            found.add("TABLE", path(target), "REFERENCES")
            skipped.append(target)
    reads(tree, found, tuple(skipped))


def _comment(tree: exp.Comment, found: Needs) -> None:
    kind = str(tree.args.get("kind")).upper()
    if kind == "COLUMN":
        parts = [tree.this.args.get(part) for part in ("catalog", "db", "table")]
        found.add("TABLE", tuple(name_of(part) for part in parts if part), "OWNERSHIP")
        return
    if kind not in ("TABLE", "VIEW", "STAGE", "FILE FORMAT", "SEQUENCE"):
        raise NotEmulatedError(f"COMMENT ON {kind}")
    names = path(tree.this)
    found.add(kind, names, "OWNERSHIP", optional=bool(tree.args.get("exists")))
    found.made.append(Made("comment", kind, names, comment=tree.expression.name))


def _use(tree: exp.Use, found: Needs) -> None:
    kind = str(tree.args.get("kind") or "").upper()
    names = path(tree.this)
    if kind not in ("", "DATABASE", "SCHEMA"):
        raise NotEmulatedError(f"USE {kind}")
    schema = kind == "SCHEMA" or (not kind and len(names) > 1)
    found.add("SCHEMA" if schema else "DATABASE", names, chosen=True)


def _show(tree: exp.Show, found: Needs) -> None:
    what, scope, kind = tree.name.upper(), tree.args.get("scope"), tree.args.get("scope_kind")
    if what in ("DATABASES", "FUNCTIONS", "PROCEDURES"):
        return
    if what not in {"SCHEMAS", *_SHOWN}:
        raise NotEmulatedError(f"SHOW {what}")
    if not isinstance(scope, exp.Table):
        return
    names = path(scope)
    if what == "FILE FORMATS" and kind == "TABLE":
        kind = "SCHEMA"
    if what == "SCHEMAS" or kind == "DATABASE":
        found.add("DATABASE", names[-1:], chosen=True)
    elif kind == "SCHEMA":
        found.add("SCHEMA", names, chosen=True)
    elif kind in ("TABLE", "VIEW"):
        found.add("TABLE", names)
    else:
        raise NotEmulatedError(f"SHOW {what} IN {kind}")


def _describe(tree: exp.Describe, found: Needs) -> None:
    kind = str(tree.args.get("kind") or "TABLE").upper()
    if not isinstance(tree.this, exp.Table):
        inner = needs_of(tree.this)
        found.needs, found.results = inner.needs, inner.results
        return
    if isinstance(tree.this.this, (exp.Var, exp.Literal, exp.Func)):
        raise NotEmulatedError("DESCRIBE of something without a name")
    if kind not in ("DATABASE", "SCHEMA", *IN_SCHEMA):
        raise NotEmulatedError(f"DESCRIBE {kind}")
    names = path(tree.this)
    if kind in ("TABLE", "VIEW") and len(names) > 1 and names[-2] == INFORMATION:
        found.add("DATABASE", names[:-2])
    else:
        found.add(kind, names)


def _put(tree: exp.Put, found: Needs) -> None:
    stage(str(tree.args["target"].name), found, "WRITE", "USAGE")


def _list(tree: exp.ListStage, found: Needs) -> None:
    stage(str(tree.this.name), found, "READ", "USAGE")


def _set(tree: exp.Set, found: Needs) -> None:
    for item in tree.expressions:
        if (
            not isinstance(item, exp.SetItem)
            or str(item.args.get("kind") or "VARIABLE").upper() != "VARIABLE"
        ):
            raise NotEmulatedError("SET of another thing than a variable")
    reads(tree, found)


def _command(tree: exp.Command, found: Needs) -> None:
    text = f"{tree.this} {str(tree.expression).strip()}".upper()
    if not re.match(r"SHOW\s+(PARAMETERS|USER\s+FUNCTIONS)\b", text):
        raise NotEmulatedError(first_words(tree))


def _nothing(tree: exp.Expr, found: Needs) -> None:
    """Nothing at all."""


def _unset(tree: exp.Alias, found: Needs) -> None:
    if tree.this.sql().upper() != "UNSET":
        text = tree.this.sql(dialect="snowflake")
        raise sql_error(
            1003, "42000", f"SQL compilation error:\nsyntax error line 1 at position 0 unexpected '{text}'."
        )
    del found


_KINDS: dict[Any, Callable[[Any, Needs], None]] = {
    exp.Insert: _insert,
    exp.Update: _update,
    exp.Delete: _delete,
    exp.Merge: _merge,
    exp.TruncateTable: _truncate,
    exp.Copy: _copy,
    exp.Create: _create,
    exp.Drop: _drop,
    exp.Alter: _alter,
    exp.Comment: _comment,
    exp.Use: _use,
    exp.Show: _show,
    exp.Describe: _describe,
    exp.Put: _put,
    exp.ListStage: _list,
    exp.Set: _set,
    exp.Command: _command,
    exp.Alias: _unset,
    (exp.Transaction, exp.Commit, exp.Rollback): _nothing,
    (exp.Query, exp.Values): _query,
}
