"""Values of VARIANT: what PARSE_JSON reads, how they compare and sort, and which results are an ARRAY or an OBJECT.

https://docs.snowflake.com/en/user-guide/querying-semistructured. DuckDB keeps them as JSON, whose numbers it reads as
64-bit floats: a number that would lose digits is refused.
"""

from __future__ import annotations

import re

import duckdb
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from .errors import sql_error
from .inferred import ARRAYS, OBJECTS
from .kinds import looks_at
from .resolution import PREFIX
from .rules import rule
from .sqltypes import SqlType

# PARSE_JSON keeps a number with decimals as it is written where a NUMBER holds it,
# https://docs.snowflake.com/en/sql-reference/functions/parse_json
_LONG = r"\d{8}\.\d|\d\.\d{8}"  # a number that is worth a look
_NUMBERS = (
    r"""regexp_extract_all(regexp_replace(t, '"(?:[^"\\]|\\.)*"', '', 'g'), '-?\d+\.\d+(?:[eE][+-]?\d+)?')"""
)
_LOST = """len(list_filter(NUMBERS, lambda n: not contains(lower(n), 'e')
    and length(ltrim(replace(rtrim(n, '0'), '.', ''), '-0')) > 15
    and cast(cast(n as double) as varchar) <> rtrim(n, '0'))) > 0""".replace("NUMBERS", _NUMBERS)
REFUSED = "a VARIANT that holds a number with more digits than a FLOAT"
_MACROS = rf"""
create or replace macro CATALOG._sf_lost(t) as case when regexp_matches(t, '{_LONG}') then {_LOST} else false end;
create or replace macro CATALOG._sf_exact(t) as
    case when CATALOG._sf_lost(t) then error('not emulated: {REFUSED}') else t end;
create or replace macro CATALOG._sf_parsed(x) as json(CATALOG._sf_exact(nullif(trim(cast(x as varchar)), '')));
create or replace macro CATALOG._sf_try_parsed(x) as case when json_valid(cast(x as varchar))
    then CATALOG._sf_parsed(x) end;
create or replace macro CATALOG._sf_order(v) as try_cast(case when json_type(v) <> 'VARCHAR' then v ->> '$' end as double);
create or replace macro CATALOG._sf_rank(v) as case when v is not null and json_type(v) <> 'NULL'
    then row(coalesce(CATALOG._sf_order(v), 'inf'::double), v ->> '$') end;
"""
# A VARIANT becomes an ARRAY or an OBJECT where one is wanted, https://docs.snowflake.com/en/sql-reference/functions/to_array
# and to_object; Snowflake's drivers write with INSERT … SELECT PARSE_JSON(?).
_MACROS += """
create or replace macro CATALOG._sf_to_array(v) as case json_type(v) when 'ARRAY' then v when 'NULL' then null
    else case when v is not null then json_array(v) end end;
create or replace macro CATALOG._sf_to_object(v) as case json_type(v) when 'OBJECT' then v when 'NULL' then null
    else case when v is not null then error('Failed to cast variant value ' || cast(v as varchar) || ' to OBJECT') end end;
"""
# What a VARIANT holds, https://docs.snowflake.com/en/sql-reference/functions/is_double-real and is_decimal.
_HELD = {
    "INTEGER": "'UBIGINT', 'BIGINT'",
    "DECIMAL": "'UBIGINT', 'BIGINT', 'DOUBLE'",
    "NUMBER": "'UBIGINT', 'BIGINT', 'DOUBLE'",
    "DOUBLE": "'UBIGINT', 'BIGINT', 'DOUBLE'",
    "REAL": "'UBIGINT', 'BIGINT', 'DOUBLE'",
    "VARCHAR": "'VARCHAR'",
    "CHAR": "'VARCHAR'",
    "BOOLEAN": "'BOOLEAN'",
    "ARRAY": "'ARRAY'",
    "OBJECT": "'OBJECT'",
}
_MACROS += "".join(
    f"create or replace macro CATALOG._sf_is_{name.lower()}(v) as json_type(cast(v as json)) in ({types});\n"
    f"create or replace macro CATALOG._sf_as_{name.lower()}(v) as "
    f"case when json_type(cast(v as json)) in ({types}) then cast(v as json) end;\n"
    for name, types in _HELD.items()
)
_READ_TEXT = (
    exp.Length, exp.Lower, exp.Upper, exp.Initcap, exp.Trim, exp.Substring, exp.Left, exp.Right, exp.Replace, exp.Like, exp.ILike,
    exp.RegexpLike, exp.RegexpReplace, exp.RegexpExtract, exp.RegexpCount, exp.RegexpInstr, exp.SplitPart, exp.Split,
    exp.StartsWith, exp.EndsWith, exp.Contains, exp.Pad, exp.Reverse, exp.StrPosition, exp.Strtok,
)  # fmt: skip
_COMPARE = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)


def create(connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """Make what the statements call."""
    connection.execute(_MACROS.replace("CATALOG", catalog))


def _global(name: str, *arguments: exp.Expr) -> exp.Expr:
    copies = [one.copy() for one in arguments]
    return exp.Dot(
        this=exp.to_identifier("_fs_global"), expression=exp.Anonymous(this=name, expressions=copies)
    )


def note_values(statement: exp.Expr) -> None:
    """Note which columns are the VALUE or THIS of a FLATTEN: these are VARIANT, which no type says before they are bound."""
    flat = [
        one for one in statement.find_all(exp.Lateral, exp.TableFromRows) if isinstance(one.this, exp.Explode)
    ]
    aliases = {one.alias.upper() for one in flat}
    if not flat:
        return
    for column in statement.find_all(exp.Column):
        if column.name.upper() in ("VALUE", "THIS") and (not column.table or column.table.upper() in aliases):
            column.meta["variant"] = True


def is_variant(node: exp.Expr | None) -> bool:
    """Whether an expression is a VARIANT by its look."""
    if isinstance(node, exp.Paren):
        return is_variant(node.this)
    return isinstance(node, (exp.JSONExtract, exp.GetExtract)) or (
        isinstance(node, exp.Column) and "variant" in node.meta
    )


def _text(node: exp.Expr) -> exp.Expr:
    return exp.cast(node.copy(), exp.DType.VARCHAR)


def _is_text(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and node.is_string


_JSON = re.compile(r'-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|null|".*"', re.DOTALL)


def _may_be_variant(one: exp.Expr, other: exp.Expr) -> bool:
    """Whether a column is compared with a text that DuckDB would read as JSON if the column is a VARIANT."""
    return isinstance(one, exp.Column) and _is_text(other) and bool(_JSON.fullmatch(other.name))


def _is_assignment(node: exp.Expr) -> bool:
    return node.arg_key == "expressions" and isinstance(node.parent, exp.Update)


def _like(one: exp.Expr, other: exp.Expr) -> exp.Expr:
    """A VARIANT that is compared with something else."""
    return (
        _text(one)
        if _is_text(other)
        else exp.Anonymous(this=f"{PREFIX}LIKE", expressions=[one.copy(), other.copy()])
    )


@looks_at(*_READ_TEXT, exp.DPipe, exp.Concat, exp.ConcatWs, exp.In, exp.Between, *_COMPARE)
def texts(node: exp.Expr) -> exp.Expr:
    """A text in a VARIANT is read as one where a text is wanted, or where it is compared with one."""
    if isinstance(node, _READ_TEXT) and is_variant(node.this):
        node.this.replace(_text(node.this))
    elif isinstance(node, (exp.DPipe, exp.Concat, exp.ConcatWs)):
        parts = [node.this, node.expression] if isinstance(node, exp.DPipe) else list(node.expressions)
        for part in parts:
            if is_variant(part):
                part.replace(_text(part))
    elif isinstance(node, exp.In) and is_variant(node.this) and any(map(_is_text, node.expressions)):
        node.this.replace(_text(node.this))
    elif isinstance(node, exp.In) and node.expressions and _may_be_variant(node.this, node.expressions[0]):
        node.this.replace(
            exp.Anonymous(this=f"{PREFIX}LIKE", expressions=[node.this.copy(), node.expressions[0].copy()])
        )
    elif isinstance(node, exp.Between) and is_variant(node.this):
        node.this.replace(_like(node.this, node.args["low"]))
    elif isinstance(node, _COMPARE):
        for one, other in ((node.this, node.expression), (node.expression, node.this)):
            if is_variant(one) and not is_variant(other):
                one.replace(_like(one, other))
            elif _may_be_variant(one, other) and not _is_assignment(node):
                one.replace(exp.Anonymous(this=f"{PREFIX}LIKE", expressions=[one.copy(), other.copy()]))
    return node


@looks_at(exp.ParseJSON, exp.Ordered, exp.Max, exp.Min)
def values(node: exp.Expr) -> exp.Expr:
    """What PARSE_JSON reads; numbers in a VARIANT are less and greater as numbers."""
    if isinstance(node, exp.ParseJSON) and not node.find_ancestor(exp.Copy):
        return _global("_sf_try_parsed" if node.args.get("safe") else "_sf_parsed", node.this)
    if isinstance(node, exp.Ordered) and is_variant(node.this) and isinstance(node.parent, exp.Order):
        first = node.copy()
        first.this.replace(_global("_sf_order", node.this))
        place = node.parent.expressions.index(node)
        node.parent.expressions.insert(place, first)
        first.parent = node.parent
    if isinstance(node, (exp.Max, exp.Min)) and is_variant(node.this):
        name = "arg_max" if isinstance(node, exp.Max) else "arg_min"
        return exp.Anonymous(this=name, expressions=[node.this.copy(), _global("_sf_rank", node.this)])
    return node


@looks_at(exp.IsArray, exp.Anonymous)
def held(node: exp.Expr) -> exp.Expr:
    """AS_… and IS_… of a VARIANT, https://docs.snowflake.com/en/sql-reference/functions/as"""
    if isinstance(node, exp.IsArray):
        return _global("_sf_is_array", node.this)
    if not isinstance(node, exp.Anonymous) or not node.expressions:
        return node
    does, _, type_ = str(node.this).upper().partition("_")
    if (does, type_) == ("TO", "OBJECT"):
        return exp.Anonymous(this=f"{PREFIX}OBJECT", expressions=[node.expressions[0].copy()])
    if (
        does not in ("AS", "IS")
        or type_ not in _HELD
        or (len(node.expressions) > 1 and type_ not in ("DECIMAL", "NUMBER"))
    ):
        return node
    found = _global(f"_sf_{does.lower()}_{type_.lower()}", node.expressions[0])
    if does == "IS" or type_ in ("ARRAY", "OBJECT"):
        return found
    if type_ in ("VARCHAR", "CHAR"):
        return exp.JSONExtractScalar(this=found, expression=exp.JSONPath(expressions=[exp.JSONPathRoot()]))
    digits = [one.name for one in node.expressions[1:]] + ["38", "0"][len(node.expressions) - 1 :]
    number = f"DECIMAL({digits[0]}, {digits[1]})"
    types = {"BOOLEAN": "BOOLEAN", "INTEGER": "DECIMAL(38, 0)", "DECIMAL": number, "NUMBER": number}
    return exp.Cast(this=found, to=exp.DataType.build(types.get(type_, "DOUBLE")))


def compared(statement: exp.Expr) -> exp.Expr | None:
    """A translated statement in which what is compared with a text is looked at: it may be a column of VARIANT.

    DuckDB reads such a text as JSON, and fails; only then is it worth the time. None where nothing is compared with a text.
    """
    changed: exp.Expr = statement.copy()
    found = []
    for node in changed.find_all(*_COMPARE, exp.In, exp.Between, exp.Case):
        if isinstance(node, exp.In):
            pairs = [(node.this, node.expressions[0])] if node.expressions else []
        elif isinstance(node, exp.Between):
            pairs = [(node.this, node.args["low"])]
        elif isinstance(node, exp.Case):
            pairs = [(node.this, node.args["ifs"][0].this)] if node.this else []
        elif _is_assignment(node):
            continue
        else:
            pairs = [(node.this, node.expression), (node.expression, node.this)]
        found += [(one, other) for one, other in pairs if _is_text(other) and not _is_text(one)]
    for one, other in found:
        one.replace(exp.Anonymous(this=f"{PREFIX}LIKE", expressions=[one.copy(), other.copy()]))
    return changed if found else None


HOLDERS = ("VARIANT", "ARRAY", "OBJECT")


def is_held(node: exp.Expr, type_: str) -> bool:
    """Whether a value is by its look one that DuckDB writes into a VARIANT, ARRAY or OBJECT as it is."""
    if type_ != "VARIANT":
        return isinstance(node, (exp.Null, *(ARRAYS if type_ == "ARRAY" else OBJECTS)))
    if isinstance(node, exp.Literal):
        return not node.is_string
    made = isinstance(node, (exp.Null, exp.Boolean, exp.ParseJSON, exp.ToVariant, *ARRAYS, *OBJECTS))
    return made or is_variant(node)


def to_be_held(node: exp.Expr, type_: str, column: str, kind: str | None, bound: object) -> exp.Expr:
    """A value that is written into a VARIANT, ARRAY or OBJECT; ``kind`` and ``bound`` say what is known of it."""
    text = node.name if isinstance(node, exp.Literal) and node.is_string else bound
    if isinstance(text, str):
        raise _mismatch(type_, f"VARCHAR({max(1, len(text))})", column)
    if isinstance(node, exp.Placeholder) and type_ == "VARIANT":
        return exp.Anonymous(this="TO_JSON", expressions=[node.copy()])
    about = (exp.Literal.string(one) for one in (type_, column, kind or ""))
    return exp.Anonymous(this=f"{PREFIX}HELD", expressions=[node.copy(), *about])


def _mismatch(wanted: str, found: str, column: str) -> ProgrammingError:
    said = f"Expression type does not match column data type, expecting {wanted} but got {found} for column {column}"
    return sql_error(2023, "22000", f"SQL compilation error:\n{said}")


@rule("HELD")
def _held_value(operands: list[str], types: list[SqlType]) -> str:
    """A value as a column of VARIANT, ARRAY or OBJECT takes it: it keeps its type."""
    value, *about = operands
    wanted, column, kind = (one[1:-1].replace("''", "'") for one in about)
    found = kind if types[0].kind == "variant" else types[0].shown
    if types[0].kind == "null":
        return value
    if types[0].kind == "text" or (wanted != "VARIANT" and found not in ("", wanted)):
        raise _mismatch(wanted, found, column)
    if types[0].kind != "variant":
        return f"_fs_global._sf_json({value})"
    return value if wanted in ("VARIANT", kind) else f"_fs_global._sf_to_{wanted.lower()}({value})"


@rule("ARRAY")
def _to_array(operands: list[str], types: list[SqlType]) -> str:
    """https://docs.snowflake.com/en/sql-reference/functions/to_array"""
    if types[0].kind in ("variant", "null"):
        return f"_fs_global._sf_to_array(CAST({operands[0]} AS JSON))"
    return f"_fs_global._sf_to_array(json_array(_fs_global._sf_json({operands[0]})))"


@rule("OBJECT")
def _to_object(operands: list[str], types: list[SqlType]) -> str:
    """https://docs.snowflake.com/en/sql-reference/functions/to_object"""
    if types[0].kind in ("variant", "null"):
        return f"_fs_global._sf_to_object(CAST({operands[0]} AS JSON))"
    said = f"invalid type [CAST({operands[0]} AS OBJECT)] for parameter 'TO_OBJECT'"
    raise sql_error(1007, "22023", f"SQL compilation error:\n{said}")


@rule("LIKE")
def _compared(operands: list[str], types: list[SqlType]) -> str:
    """A VARIANT that is compared with something: as a text or as a number where that is one."""
    if types[0].kind != "variant":
        return operands[0]
    if types[1].kind == "number" and types[1].scale:
        return f"CAST({operands[0]} AS DOUBLE)"
    return f"({operands[0]} ->> '$')" if types[1].kind == "text" else operands[0]
