"""Functions of ARRAY, OBJECT and VARIANT, which DuckDB keeps as JSON.

https://docs.snowflake.com/en/sql-reference/functions-semistructured
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import duckdb
from sqlglot import exp

from .flattening import UNDEFINED, Number, json_text
from .kinds import looks_at
from .resolution import PREFIX

_NEW = f"""coalesce(to_json(v), json('"{UNDEFINED}"'))"""
_LIST = "cast(cast(a as json) as json[])"
_OCCURS = "len(list_filter(list_slice(l, 1, i), lambda y: y = x))"
_IN_OTHER = "len(list_filter(m, lambda y: y = x))"
_MACROS = f"""
create or replace macro {{c}}._sfa_append(a, v) as case when a is not null then to_json(list_append({_LIST}, {_NEW})) end;
create or replace macro {{c}}._sfa_prepend(a, v) as case when a is not null then to_json(list_prepend({_NEW}, {_LIST})) end;
create or replace macro {{c}}._sfa_cat(a, b) as case when a is not null and b is not null then
    to_json(list_concat({_LIST}, cast(cast(b as json) as json[]))) end;
create or replace macro {{c}}._sfa_compact(a) as
    to_json(list_filter({_LIST}, lambda x: coalesce(json_type(x), 'NULL') <> 'NULL' and x <> json('"{UNDEFINED}"')));
create or replace macro {{c}}._sfa_distinct_(l) as to_json(list_filter(l, lambda x, i: list_position(l, x) = i));
create or replace macro {{c}}._sfa_distinct(a) as {{c}}._sfa_distinct_({_LIST});
create or replace macro {{c}}._sfa_position(v, a) as nullif(list_position({_LIST}, to_json(v)), 0) - 1;
create or replace macro {{c}}._sfa_slice_(l, f, t) as to_json(case when t > f then list_slice(l, f + 1, t) else [] end);
create or replace macro {{c}}._sfa_slice(a, f, t) as {{c}}._sfa_slice_({_LIST},
    cast(case when f < 0 then greatest(json_array_length(a) + f, 0) else f end as bigint),
    cast(case when t < 0 then json_array_length(a) + t else t end as bigint));
create or replace macro {{c}}._sfa_insert_(l, p, v) as to_json(list_concat(list_concat(list_slice(l, 1, p), [{_NEW}]),
    list_slice(l, p + 1, len(l))));
create or replace macro {{c}}._sfa_insert(a, p, v) as {{c}}._sfa_insert_({_LIST},
    cast(case when p < 0 then json_array_length(a) + p else p end as bigint), v);
create or replace macro {{c}}._sfa_remove(a, v) as to_json(list_filter({_LIST}, lambda x: x <> to_json(v)));
create or replace macro {{c}}._sfa_remove_at(a, p) as to_json(list_filter({_LIST},
    lambda x, i: i - 1 <> case when p < 0 then json_array_length(a) + p else p end));
create or replace macro {{c}}._sfa_both_(l, m) as to_json(list_filter(l, lambda x, i: {_OCCURS} <= {_IN_OTHER}));
create or replace macro {{c}}._sfa_both(a, b) as {{c}}._sfa_both_({_LIST}, cast(cast(b as json) as json[]));
create or replace macro {{c}}._sfa_except_(l, m) as to_json(list_filter(l, lambda x, i: {_OCCURS} > {_IN_OTHER}));
create or replace macro {{c}}._sfa_except(a, b) as {{c}}._sfa_except_({_LIST}, cast(cast(b as json) as json[]));
create or replace macro {{c}}._sfa_reverse(a) as to_json(list_reverse({_LIST}));
create or replace macro {{c}}._sfa_flatten(a) as to_json(flatten(cast(cast(a as json) as json[][])));
create or replace macro {{c}}._sfa_overlap(a, b) as list_has_any({_LIST}, cast(cast(b as json) as json[]));
create or replace macro {{c}}._sfa_contains(v, a) as list_contains({_LIST}, to_json(v));
create or replace macro {{c}}._sfa_text(a, sep) as
    array_to_string(list_transform({_LIST}, lambda x: coalesce(nullif(x ->> '$', '{UNDEFINED}'), '')), sep);
create or replace macro {{c}}._sfa_sorted(a, up, nulls_first) as
    cast(_sf_array_sorted(cast(cast(a as json) as varchar), up, nulls_first) as json);
create or replace macro {{c}}._sfa_keys(o) as to_json(list_sort(json_keys(o)));
create or replace macro {{c}}._sfa_shown(o) as {{c}}._sf_json_text(cast(o as varchar));
create or replace macro {{c}}._sfa_put(o, k, v, replace_) as
    cast(_sf_object_put(cast(o as varchar), k, cast(to_json(v) as varchar), replace_) as json);
create or replace macro {{c}}._sfa_without(o, keys) as
    cast(_sf_object_without(cast(o as varchar), cast(keys as varchar)) as json);
create or replace macro {{c}}._sfa_only(o, keys) as cast(_sf_object_only(cast(o as varchar), cast(keys as varchar)) as json);
"""


def create(connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """Make what the statements call."""
    functions: dict[Callable[..., Any], list[Any]] = {
        array_sorted: ["VARCHAR", "BOOLEAN", "BOOLEAN"],
        object_put: ["VARCHAR", "VARCHAR", "VARCHAR", "BOOLEAN"],
        object_without: ["VARCHAR", "VARCHAR"],
        object_only: ["VARCHAR", "VARCHAR"],
    }
    for function, kinds in functions.items():
        name = f"_sf_{function.__name__}"
        connection.create_function(name, function, kinds, "VARCHAR", null_handling="special")  # type: ignore[call-overload]
    connection.execute(_MACROS.format(c=catalog))


def _read(text: str) -> Any:
    return json.loads(text, parse_float=Number, parse_int=Number)


def array_sorted(text: str | None, up: bool, nulls_first: bool) -> str | None:
    """https://docs.snowflake.com/en/sql-reference/functions/array_sort"""
    if text is None:
        return None
    values = _read(text)
    nulls = [one for one in values if one is None or one == UNDEFINED]
    rest = [one for one in values if one is not None and one != UNDEFINED]
    rest.sort(
        key=lambda one: (isinstance(one, Number), float(one) if isinstance(one, Number) else json_text(one))
    )
    rest = rest if up else rest[::-1]
    return json_text(nulls + rest if nulls_first else rest + nulls)


def object_put(text: str | None, key: str | None, value: str | None, replace: bool | None) -> str | None:
    """https://docs.snowflake.com/en/sql-reference/functions/object_insert"""
    if text is None or key is None:
        return text
    found = _read(text)
    if key in found and not replace:
        raise ValueError(f"Duplicate field key '{key}'")
    if value is None:
        found.pop(key, None)
    else:
        found[key] = _read(value)
    return json_text(found)


def _keys(text: str) -> list[str]:
    """Keys that were given one by one, or as an array."""
    return [key for one in _read(text) for key in (one if isinstance(one, list) else [one])]


def object_without(text: str | None, keys: str | None) -> str | None:
    """https://docs.snowflake.com/en/sql-reference/functions/object_delete"""
    if text is None or keys is None:
        return None
    left_out = _keys(keys)
    return json_text({key: one for key, one in _read(text).items() if key not in left_out})


def object_only(text: str | None, keys: str | None) -> str | None:
    """https://docs.snowflake.com/en/sql-reference/functions/object_pick"""
    if text is None or keys is None:
        return None
    wanted, found = _keys(keys), _read(text)
    return json_text({key: found[key] for key in wanted if key in found})


_PLAIN: dict[type[exp.Expr], tuple[str, tuple[str, ...]]] = {
    exp.ArrayAppend: ("_sfa_append", ("this", "expression")),
    exp.ArrayPrepend: ("_sfa_prepend", ("this", "expression")),
    exp.ArrayCompact: ("_sfa_compact", ("this",)),
    exp.ArrayDistinct: ("_sfa_distinct", ("this",)),
    exp.ArrayPosition: ("_sfa_position", ("expression", "this")),
    exp.ArraySlice: ("_sfa_slice", ("this", "start", "end")),
    exp.ArrayInsert: ("_sfa_insert", ("this", "position", "expression")),
    exp.ArrayExcept: ("_sfa_except", ("this", "expression")),
    exp.ArrayRemove: ("_sfa_remove", ("this", "expression")),
    exp.ArrayRemoveAt: ("_sfa_remove_at", ("this", "position")),
    exp.ArrayReverse: ("_sfa_reverse", ("this",)),
    exp.ArrayOverlaps: ("_sfa_overlap", ("this", "expression")),
    exp.ArrayContains: ("_sfa_contains", ("expression", "this")),
    exp.ArrayToString: ("_sfa_text", ("this", "expression")),
    exp.Flatten: ("_sfa_flatten", ("this",)),
    exp.JSONKeys: ("_sfa_keys", ("this",)),
}


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    copies = [one.copy() for one in arguments]
    return exp.Dot(
        this=exp.to_identifier("_fs_global"), expression=exp.Anonymous(this=name, expressions=copies)
    )


def _element(value: exp.Expr) -> exp.Expr:
    """A value in an ARRAY, where a NULL is not the null of JSON."""
    undefined = exp.Cast(this=exp.Literal.string(f'"{UNDEFINED}"'), to=exp.DataType(this=exp.DType.JSON))
    if isinstance(value, exp.Null):
        return undefined
    element = exp.Anonymous(this="TO_JSON", expressions=[value.copy()])
    plain = isinstance(value, (exp.Literal, exp.Boolean, exp.Array, exp.Struct))
    return element if plain else exp.Coalesce(this=element, expressions=[undefined])


def _array(*values: exp.Expr) -> exp.Expr:
    elements = [_element(one) for one in values]
    return exp.Anonymous(this="json_array", expressions=elements)


def _object_constant(node: exp.Struct) -> exp.Expr:
    """`{'a': 1}` and `{*}`; the keys are texts, which sqlglot takes for names.

    https://docs.snowflake.com/en/sql-reference/data-types-semistructured#object-constants
    """
    if len(node.expressions) == 1 and isinstance(node.expressions[0], (exp.Star, exp.Column)):
        return exp.StarMap(this=node.expressions[0].copy())
    for pair in node.expressions:
        if isinstance(pair, exp.PropertyEQ) and isinstance(pair.this, exp.Identifier):
            pair.this.replace(exp.Literal.string(pair.this.name))
    return node


@looks_at(
    *_PLAIN,
    exp.Array,
    exp.Struct,
    exp.ObjectAgg,
    exp.ArrayConstructCompact,
    exp.ArrayConcat,
    exp.ArrayIntersect,
    exp.SortArray,
    exp.ArrayMin,
    exp.ArrayMax,
    exp.GenerateSeries,
    exp.ObjectInsert,
    exp.Anonymous,
    exp.StrtokToArray,
    exp.ToArray,
    exp.JSONFormat,
)
def functions(node: exp.Expr) -> exp.Expr:
    """Functions of arrays and objects."""
    if known := _PLAIN.get(type(node)):
        name, parts = known
        return _call(name, *(node.args.get(part) or exp.null() for part in parts))
    if isinstance(node, exp.JSONFormat):
        return _call("_sfa_shown", exp.Anonymous(this="TO_JSON", expressions=[node.this.copy()]))
    if isinstance(node, exp.ToArray):
        return exp.Anonymous(this=f"{PREFIX}ARRAY", expressions=[node.this.copy()])
    if isinstance(node, exp.Array):
        return _array(*node.expressions)
    if isinstance(node, exp.Struct):
        return _object_constant(node)
    if isinstance(node, exp.ObjectAgg):
        node.expression.replace(exp.Anonymous(this="TO_JSON", expressions=[node.expression.copy()]))
        return node
    if isinstance(node, exp.ArrayConstructCompact):
        return _call("_sfa_compact", _array(*node.expressions))
    if isinstance(node, exp.ArrayConcat):
        found: exp.Expr = node.this
        for other in node.expressions:
            found = _call("_sfa_cat", found, other)
        return found
    if isinstance(node, exp.ArrayIntersect):
        return _call("_sfa_both", *node.expressions)
    if isinstance(node, exp.SortArray):
        up = node.args.get("asc") or exp.true()
        first = node.args.get("nulls_first") or (exp.Not(this=up.copy()))
        return _call("_sfa_sorted", node.this, up, first)
    if isinstance(node, (exp.ArrayMin, exp.ArrayMax)):
        up = exp.true() if isinstance(node, exp.ArrayMin) else exp.false()
        ordered = _call("_sfa_sorted", node.this, up, exp.false())
        return exp.Anonymous(this="json_extract", expressions=[ordered, exp.Literal.string("$[0]")])
    if isinstance(node, exp.GenerateSeries) and node.args.get("is_end_exclusive"):
        parts_ = [node.args.get(name) for name in ("start", "end", "step")]
        whole = [
            exp.Anonymous(this=f"{PREFIX}INT", expressions=[one.copy()]) for one in parts_ if one is not None
        ]
        return exp.Anonymous(this="to_json", expressions=[exp.Anonymous(this="range", expressions=whole)])
    if isinstance(node, exp.ObjectInsert):
        flag = node.args.get("update_flag") or exp.false()
        return _call("_sfa_put", node.this, node.args["key"], node.args["value"], flag)
    name = str(node.this).upper() if isinstance(node, exp.Anonymous) else ""
    if name in ("OBJECT_DELETE", "OBJECT_PICK") and len(node.expressions) > 1:
        whole_name = "_sfa_without" if name == "OBJECT_DELETE" else "_sfa_only"
        return _call(whole_name, node.expressions[0], _array(*node.expressions[1:]))
    if isinstance(node, exp.StrtokToArray):
        return exp.Anonymous(this="to_json", expressions=[node.copy()])
    return node
