"""FLATTEN: the elements of an ARRAY or OBJECT as rows, in their order, with all six columns.

https://docs.snowflake.com/en/sql-reference/functions/flatten. SEQ numbers the rows of the table or query that is read
before it; after another FLATTEN, or among the columns of a star, it is the same number for equal inputs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb
from fakesnow import transforms
from sqlglot import exp

from .errors import sql_error
from .patches import patch

FUNCTION = "_sf_flattened"
_STRUCT = "STRUCT(KEY VARCHAR, PATH VARCHAR, INDEX BIGINT, VALUE VARCHAR, THIS VARCHAR)[]"
_MACRO = f"""
create or replace macro {{catalog}}._flatten_input(input) as case
    when typeof(input) = 'VARCHAR' then error('Invalid argument types for function ''FLATTEN'': (VARCHAR)')
    else cast(cast(input as json) as varchar) end;
create or replace macro {{catalog}}._sf_json_text(t) as
    case when left(t, 1) in ('{{{{', '[') and (contains(t, ',') or contains(t, '{{undefined}}'))
    then _sf_shown_json(t) else t end;
create or replace macro {{catalog}}._flatten_seq(input) as cast(hash(cast(input as json)) >> 1 as bigint);
create or replace macro {{catalog}}._flatten_rows(input, number, at_, outer_, deep, mode) as table
    select case when PATH is not null then "SEQ" end as "SEQ", KEY as "KEY", PATH as "PATH", INDEX as "INDEX",
        cast(VALUE as json) as "VALUE", cast(THIS as json) as "THIS"
    from (
        select number as "SEQ",
            unnest({FUNCTION}({{catalog}}._flatten_input(input), at_, outer_, deep, mode), recursive := true)
    );
"""
_STEP = re.compile(
    r"""\[(?P<index>\d+)\]|\[(?P<q>['"])(?P<key>.*?)(?P=q)\]|\.?"(?P<quoted>[^"]*)"|\.?(?P<name>[^.\[\]"]+)"""
)
_PLAIN = re.compile(r"[A-Za-z_]\w*")
_MODES = {"BOTH": (dict, list), "OBJECT": (dict,), "ARRAY": (list,)}


# What stands for a NULL in an ARRAY, which Snowflake shows as undefined and not as the null of JSON:
# https://docs.snowflake.com/en/sql-reference/functions/array_construct#examples
UNDEFINED = "\uf8fbundefined"


class Number(str):
    """A number as it is written."""


def create(connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """Make what the statement of a FLATTEN calls."""
    kinds: list[Any] = ["VARCHAR", "VARCHAR", "BOOLEAN", "BOOLEAN", "VARCHAR"]
    connection.create_function(FUNCTION, flattened, kinds, _STRUCT, null_handling="special")  # type: ignore[call-overload]
    connection.create_function("_sf_shown_json", shown, ["VARCHAR"], "VARCHAR")
    connection.execute(_MACRO.format(catalog=catalog, undefined=UNDEFINED))


def flattened(text: str | None, path: str, outer: bool | None, deep: bool, mode: str) -> list[dict[str, Any]]:
    """The rows of a FLATTEN of a JSON text; without a value for ``outer``, those of a LEFT JOIN with it."""
    whole = None if text is None else json.loads(text, parse_float=Number, parse_int=Number)
    found = _at(whole, path)
    rows = list(_rows(found, path, deep, _MODES[mode.upper()]))
    if rows or outer is False:
        return rows
    if outer is None:
        return [dict.fromkeys(("KEY", "PATH", "INDEX", "VALUE", "THIS"))]
    return [{"KEY": None, "PATH": path, "INDEX": None, "VALUE": None, "THIS": _text(found)}]


def _rows(value: Any, path: str, deep: bool, kinds: tuple[type, ...]) -> Iterator[dict[str, Any]]:
    if not isinstance(value, kinds):
        return
    this = _text(value)
    steps: list[tuple[str | None, int | None, Any]]
    if isinstance(value, dict):
        steps = [(name, None, one) for name, one in sorted(value.items())]
    else:
        steps = [(None, place_, one) for place_, one in enumerate(value)]  # type: ignore[arg-type, var-annotated]
    for key, index, one in steps:
        if key is None:
            place = f"{path}[{index}]"
        elif _PLAIN.fullmatch(key):
            place = f"{path}.{key}" if path else key
        else:
            place = f"{path}['{key}']"
        yield {"KEY": key, "PATH": place, "INDEX": index, "VALUE": _text(one, null="null"), "THIS": this}
        if deep:
            yield from _rows(one, place, deep, kinds)


def _at(value: Any, path: str) -> Any:
    """What is found at a path below a value; None where there is nothing."""
    for step in _STEP.finditer(path):
        if step["index"]:
            place = int(step["index"])
            value = value[place] if isinstance(value, list) and place < len(value) else None
        else:
            key = next(one for one in (step["key"], step["quoted"], step["name"]) if one is not None)
            value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: Any, null: str | None = None) -> str | None:
    """A value as JSON; ``null`` for a null."""
    return None if value == UNDEFINED else null if value is None else json_text(value)


def json_text(value: Any) -> str:
    """A value as JSON, its numbers as they were written, and the keys of objects in order as Snowflake has them.

    https://docs.snowflake.com/en/user-guide/querying-semistructured: the rows of car_sales.
    """
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(f"{json_text(str(key))}:{json_text(one)}" for key, one in sorted(value.items()))
            + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(json_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def ordered(text: str) -> str:
    """An ARRAY or OBJECT with the keys of objects in order."""
    return json_text(json.loads(text, parse_float=Number, parse_int=Number))


def shown(text: str) -> str:
    """An ARRAY or OBJECT as a text."""
    text = ordered(text) if "{" in text and "," in text else text
    return text.replace(f'"{UNDEFINED}"', "undefined")


def in_order(statement: exp.Expr) -> exp.Expr:
    """The statement, in which DuckDB reads each FLATTEN without a join, which would turn the order of elements round.

    It does for what a query reads from tables; so WITH is read where it is used, and written rows are no constants.
    """
    if not statement.find(exp.Explode):
        return statement
    for select in list(statement.find_all(exp.Select)):
        _inline(select)
    never_constant = exp.GTE(this=exp.Anonymous(this="random"), expression=exp.Literal.number(0))
    for select in statement.find_all(exp.Select):
        parent = select.parent
        read = isinstance(parent, exp.Subquery) and isinstance(parent.parent, (exp.From, exp.Join))
        if read and not select.args.get("from_"):
            select.where(never_constant.copy(), copy=False)
    for values in list(statement.find_all(exp.Values)):
        if isinstance(values.parent, (exp.From, exp.Join)):
            alias, place = values.args.get("alias"), exp.Placeholder()
            values.replace(place)
            values.set("alias", None)
            inner = exp.select("*").from_(values).where(never_constant.copy())
            place.replace(exp.Subquery(this=inner, alias=alias))
    for join in statement.find_all(exp.Join):
        flat = isinstance(join.this, exp.Lateral) and isinstance(join.this.this, exp.Explode)
        if join.side == "LEFT" and flat and join.args.get("on") in (None, exp.true()):
            for name in ("side", "kind", "on"):
                join.set(name, None)
            join.this.args["left_joined"] = True
    if any(column.name.upper() == "SEQ" for column in statement.find_all(exp.Column)):
        for flat_ in list(statement.find_all(exp.Lateral, exp.TableFromRows)):
            if isinstance(flat_.this, exp.Explode):
                _number(flat_)
    return statement


def _number(flat: exp.Expr) -> None:
    """Number the rows that a FLATTEN reads, for its SEQ."""
    select = flat.find_ancestor(exp.Select)
    columns = list(flat.this.find_all(exp.Column))
    if select is None or not columns:
        return
    joined = [join.this for join in select.args.get("joins") or []]
    read = [one for one in [select.args["from_"].this, *joined] if isinstance(one, (exp.Table, exp.Subquery))]
    names = {column.table.upper() for column in columns}
    sources = [one for one in read if one.alias_or_name.upper() in names] if names != {""} else read
    if len(sources) != 1 or len(names) != 1:
        return
    source, row = sources[0], exp.to_identifier("_SF_ROW", quoted=True)
    if f'"{row.name}"' not in source.sql():
        alias = source.args.get("alias") or exp.TableAlias(this=source.this.copy())
        inner = source.copy()
        for name in ("alias", "joins"):
            inner.set(name, None)
        if isinstance(inner, exp.Subquery):
            inner.set("alias", exp.TableAlias(this=exp.to_identifier("_SF_READ", quoted=True)))
        number = exp.alias_(exp.Window(this=exp.RowNumber()), row.copy())
        numbered = exp.select("*", number).from_(inner)
        source.replace(exp.Subquery(this=numbered, alias=alias.copy(), joins=source.args.get("joins")))
        for star in select.expressions:
            star = star.this if isinstance(star, exp.Column) else star
            if isinstance(star, exp.Star):
                star.set("except_", [*(star.args.get("except_") or []), row.copy()])
        name_ = alias.this
    else:
        name_ = source.args["alias"].this
    flat.args["number"] = exp.Column(this=row.copy(), table=name_.copy())


def _inline(select: exp.Select) -> None:
    """Put the queries of a WITH in the places where they are read."""
    with_ = select.args.get("with_")
    if not with_ or with_.recursive or with_.find(exp.Placeholder):
        return
    queries = list(with_.expressions)
    select.set("with_", None)
    for number, query in enumerate(queries):
        name = _stored(query.args["alias"].this)
        for reader in [*(later.this for later in queries[number + 1 :]), select]:
            for table in list(reader.find_all(exp.Table)):
                if (
                    table.args.get("db")
                    or not isinstance(table.this, exp.Identifier)
                    or _stored(table.this) != name
                ):
                    continue
                alias = table.args.get("alias") or exp.TableAlias(this=table.this.copy())
                columns = alias.args.get("columns") or query.args["alias"].args.get("columns")
                alias = exp.TableAlias(this=alias.this.copy(), columns=[one.copy() for one in columns or []])
                table.replace(
                    exp.Subquery(this=query.this.copy(), alias=alias, joins=table.args.get("joins"))
                )


def _stored(name: exp.Identifier) -> str:
    return name.name if name.args.get("quoted") else name.name.upper()


@patch(transforms, "flatten", "FLATTEN keeps the order of elements and knows OUTER, RECURSIVE, MODE and PATH")
def flatten(expression: exp.Expr) -> exp.Expr:
    """A FLATTEN as a table function of ours."""
    if not isinstance(expression, (exp.Lateral, exp.TableFromRows)) or not isinstance(
        expression.this, exp.Explode
    ):
        return expression
    given: dict[str, exp.Expr] = {}
    for number, argument in enumerate([expression.this.this, *expression.this.expressions]):
        if isinstance(argument, exp.Kwarg):
            given[argument.this.name.upper()] = argument.expression
        elif not number:
            given["INPUT"] = argument
        else:
            raise _invalid("the arguments after the first one are named, for example OUTER => TRUE")
    if unknown := set(given) - {"INPUT", "PATH", "OUTER", "RECURSIVE", "MODE"}:
        raise _invalid(f"invalid argument name '{min(unknown)}'")
    if "INPUT" not in given:
        raise _invalid("missing argument INPUT")
    path, mode = given.get("PATH", exp.Literal.string("")), given.get("MODE", exp.Literal.string("BOTH"))
    if (
        not isinstance(path, exp.Literal)
        or not isinstance(mode, exp.Literal)
        or mode.name.upper() not in _MODES
    ):
        raise _invalid("PATH and MODE are constants, MODE is 'OBJECT', 'ARRAY' or 'BOTH'")
    input_ = given["INPUT"]
    alone = not input_.find(exp.Column)
    number_ = expression.args.get("number") or (
        exp.Literal.number(1)
        if alone
        else exp.Anonymous(this="_fs_global._flatten_seq", expressions=[input_.copy()])
    )
    flags = [given.get(name, exp.false()).copy() for name in ("OUTER", "RECURSIVE")]
    if expression.args.get("left_joined") and flags[0] == exp.false():
        flags[0] = exp.null()
    call = exp.Anonymous(
        this="_fs_global._flatten_rows", expressions=[input_.copy(), number_, path, *flags, mode]
    )
    return exp.Table(this=call, alias=expression.args.get("alias"))


def _invalid(what: str) -> Exception:
    return sql_error(
        1015, "22023", f"SQL compilation error:\ninvalid argument for function [FLATTEN]: {what}"
    )
