"""What a statement needs: privileges on which objects, whether a warehouse, and what it makes, drops or renames.

Every statement is one of the kinds below; another one is refused as not emulated, never let through. Which privilege a
statement needs is said under "Access control requirements" on its page of https://docs.snowflake.com/en/sql-reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from ..errors import NotEmulatedError, sql_error
from .model import IN_SCHEMA

Names = tuple[str, ...]
INFORMATION = "INFORMATION_SCHEMA"
VIEWS_OF_INFORMATION = ("TABLES", "VIEWS", "COLUMNS", "SCHEMATA", "DATABASES", "LOAD_HISTORY")
METERING = ("SNOWFLAKE", "ACCOUNT_USAGE", "WAREHOUSE_METERING_HISTORY")
# Functions that DuckDB knows and Snowflake does not, and that tell or do what no grant allows.
_FOREIGN = re.compile(
    r"_sf_.*|_fs_.*|duckdb_.*|pragma_.*|pg_.*|read_.*|(?!result_).*_scan|glob|query|query_table|sniff_csv|getenv|getvariable|nextval"
    r"|currval|current_setting|set_config|in_search_path|current_catalog|txid_current|parquet_.*|which_secret|.*_secrets?"
    r"|has_.*_privilege|sql_auto_complete|summary|repeat_row|unnest|generate_series|range|json_execute_.*|json_serialize_.*"
    r"|from_substrait.*|checkpoint|force_checkpoint|enable_.*|disable_.*|storage_info|test_.*|icu_.*|write_log|parse_log_.*",
    re.IGNORECASE,
)
_TABLE_FUNCTIONS = {
    "INFER_SCHEMA",
    "RESULT_SCAN",
    "GENERATOR",
    "FLATTEN",
    "SPLIT_TO_TABLE",
    "STRTOK_SPLIT_TO_TABLE",
}
_SHOWN = {"TABLES", "VIEWS", "OBJECTS", "COLUMNS", "STAGES", "FILE FORMATS", "SEQUENCES"}
_SHOWN |= {"PRIMARY KEYS", "UNIQUE KEYS", "IMPORTED KEYS"}


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
    raise NotEmulatedError(_first_words(tree))


def _first_words(tree: exp.Expr) -> str:
    if isinstance(tree, exp.Command):
        return f"{tree.this} {str(tree.expression).strip()}".upper()[:60].strip()
    return type(tree).__name__.upper()


# Names


def _name(node: Any) -> str:
    if not isinstance(node, exp.Identifier):
        raise NotEmulatedError(f"the name {node.sql(dialect='snowflake') if node else ''}")
    return str(node.this) if node.args.get("quoted") else str(node.this).upper()


def _table(node: Any) -> exp.Table:
    table = node.this if isinstance(node, exp.Schema) else node
    if not isinstance(table, exp.Table):
        raise NotEmulatedError(f"the name {table}")
    return table


def path(node: Any) -> Names:
    """The names of a table, database or schema, as they are stored."""
    table = _table(node)
    parts = [table.args.get("catalog"), table.args.get("db"), table.args.get("this")]
    return tuple(_name(part) for part in parts if part is not None and part != "")


# What queries read


def reads(tree: exp.Expr, found: Needs, targets: tuple[Any, ...] = ()) -> None:
    """Add what a statement reads, anywhere in it, but not the tables that it writes to."""
    skipped = {id(_table(target)) for target in targets}
    for node in tree.walk():
        if isinstance(node, exp.Table):
            if id(node) not in skipped:
                _source(node, found)
        elif isinstance(node, (exp.From, exp.Join)):
            if not isinstance(
                node.this, (exp.Table, exp.Subquery, exp.TableFromRows, exp.Values, exp.Lateral, exp.Paren)
            ):
                raise NotEmulatedError(f"FROM {node.this.sql(dialect='snowflake')[:60]}")
        elif isinstance(node, exp.TableFromRows):
            _rows(node.this, found)
        elif isinstance(node, exp.Lateral):
            if not isinstance(node.this, exp.Subquery):
                _rows(node.this, found)
        elif isinstance(node, exp.Column):
            _sequence(node, found)
        elif isinstance(node, exp.Anonymous):
            if _FOREIGN.fullmatch(str(node.this)):
                raise sql_error(
                    2140, "42601", f"SQL compilation error:\nUnknown function {str(node.this).upper()}."
                )
        elif isinstance(node, (exp.Into, exp.Pragma, exp.Command)):
            raise NotEmulatedError(_first_words(node))


def _source(table: exp.Table, found: Needs) -> None:
    this = table.this
    if isinstance(this, (exp.Var, exp.Literal)) and str(this.this).startswith("@"):
        _stage(str(this.this), found, "READ", "USAGE")
        found.compute = True
        for value in (table.args.get("format"), table.args.get("file_format")):
            if isinstance(value, exp.Expr):
                _file_format(value, found)
        return
    if isinstance(this, (exp.Anonymous, exp.Func)):
        _rows(this, found)
        return
    names = path(table)
    if len(names) == 1 and _is_cte(table, names[0]):
        return
    found.compute = True
    if names == METERING:
        found.add("DATABASE", ("SNOWFLAKE",), "USAGE")
    elif names[0] == "SNOWFLAKE" and len(names) == 3:
        raise NotEmulatedError(f"{'.'.join(names)}: only {'.'.join(METERING)} is there")
    elif len(names) > 1 and names[-2] == INFORMATION:
        if names[-1] not in VIEWS_OF_INFORMATION:
            raise NotEmulatedError(f"{INFORMATION}.{names[-1]}")
        found.add("DATABASE", names[:-2])
    else:
        found.add("TABLE", names, "SELECT")


def _rows(function: Any, found: Needs) -> None:
    """A function that gives rows."""
    if isinstance(function, (exp.Generator, exp.Explode, exp.Posexplode)):
        return
    name = str(function.this).upper() if isinstance(function, exp.Anonymous) else ""
    if name not in _TABLE_FUNCTIONS:
        shown = function.sql(dialect="snowflake") if isinstance(function, exp.Expr) else str(function)
        raise NotEmulatedError(f"the table function {shown[:60]}")
    if name == "RESULT_SCAN":
        found.results.append(function.expressions[0].sql(dialect="snowflake"))


def _sequence(column: exp.Column, found: Needs) -> None:
    if column.name.upper() == "NEXTVAL" and column.args.get("table"):
        parts = [column.args.get(part) for part in ("catalog", "db", "table")]
        found.add("SEQUENCE", tuple(_name(part) for part in parts if part), "USAGE")


def _is_cte(table: exp.Table, name: str) -> bool:
    """Whether a name is that of a WITH around it, seen from where it stands."""
    node: exp.Expr = table
    while parent := node.parent:
        if isinstance(parent, exp.With):
            before = parent.expressions[: next(i for i, one in enumerate(parent.expressions) if one is node)]
            if any(_cte_name(one) == name for one in before):
                return True
            if parent.args.get("recursive") and _cte_name(node) == name and _is_recursive_part(node, table):
                return True
        else:
            with_ = parent.args.get("with_")
            around = with_.expressions if with_ is not None and node is not with_ else []
            if any(_cte_name(one) == name for one in around):
                return True
        node = parent
    return False


def _cte_name(cte: exp.Expr) -> str:
    return _name(cte.args["alias"].this)


def _is_recursive_part(cte: exp.Expr, table: exp.Table) -> bool:
    """Whether a table stands in the second part of a UNION, where a recursive query may name itself."""
    body = cte.this
    if not isinstance(body, exp.Union):
        return False
    node: exp.Expr | None = table
    while node is not None and node is not body:
        if node is body.expression:
            return True
        node = node.parent
    return False


def _stage(text: str, found: Needs, *privileges: str) -> None:
    found.add("STAGE", (text,), *privileges)


def _file_format(value: exp.Expr, found: Needs) -> None:
    if isinstance(value, exp.Table):
        found.add("FILE FORMAT", path(value), "USAGE")
    elif isinstance(value, exp.Literal) and value.is_string:
        found.add("FILE FORMAT", names_in(value.name), "USAGE")


def names_in(text: str) -> Names:
    """The names that a string holds: ``DB.SCHEMA."name"``."""
    parts = re.findall(r'"((?:[^"]|"")*)"|([^".\s]+)', text)
    return tuple(quoted.replace('""', '"') if quoted else plain.upper() for quoted, plain in parts)


# Statements


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
            _file_format(value, found)
    inside = {id(table) for node in tree.find_all(exp.Property) for table in node.find_all(exp.Table)}
    for source in tree.args.get("files") or []:
        plain = source if isinstance(source, exp.Table) else None
        if plain is not None and isinstance(plain.this, (exp.Var, exp.Literal)):
            text = str(plain.this.this)
            if not text.startswith("@"):
                raise NotEmulatedError("COPY from another place than a stage")
            _stage(text, found, "READ", "USAGE")
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
    if temporary and kind == "VIEW":
        raise NotEmulatedError("temporary views")
    comments = _properties(tree, exp.SchemaCommentProperty)
    made = Made(
        "create",
        kind,
        names,
        source=path((clone or like[0]).this) if clone or like else (),
        replace=bool(tree.args.get("replace")),
        exists=bool(tree.args.get("exists")),
        copy=bool(_properties(tree, exp.CopyGrantsProperty)),
        temporary=temporary and kind == "TABLE",
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
    if temporary and kind == "TABLE":
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
        found.add("TABLE", tuple(_name(part) for part in parts if part), "OWNERSHIP")
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
    _stage(str(tree.args["target"].name), found, "WRITE", "USAGE")


def _list(tree: exp.ListStage, found: Needs) -> None:
    _stage(str(tree.this.name), found, "READ", "USAGE")


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
        raise NotEmulatedError(_first_words(tree))


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
