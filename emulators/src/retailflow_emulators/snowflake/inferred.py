"""Which results of a query are an ARRAY, an OBJECT or a TIMESTAMP_LTZ.

DuckDB has one type for these, JSON for everything semi-structured and one timestamp with a zone, so what an expression
is follows from its look and from what is known of the columns that it reads (``columntypes.py``). It is asked for only
where a result has such a type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

ARRAY, OBJECT, LOCAL = "ARRAY", "OBJECT", "TIMESTAMP_LTZ"
Kinds = Mapping[str, str]
Look = Callable[
    [exp.Expr], Kinds
]  # what is known of the columns of a table, or of a function that stands for one
_UNTYPED = ""  # of NULL and of written texts and numbers, which take the type of what is beside them

ARRAYS = (
    exp.Array, exp.ArrayAgg, exp.ArrayUniqueAgg, exp.ArrayUnionAgg, exp.ArrayAppend, exp.ArrayPrepend, exp.ArrayCompact,
    exp.ArrayConcat, exp.ArrayDistinct, exp.ArraySlice, exp.ArrayInsert, exp.ArrayExcept, exp.ArrayIntersect, exp.ArrayRemove,
    exp.ArrayRemoveAt, exp.ArrayReverse, exp.ArrayConstructCompact, exp.ArrayFilter, exp.ArraysZip, exp.SortArray, exp.Flatten,
    exp.ToArray, exp.JSONKeys, exp.Split, exp.StrtokToArray, exp.GenerateSeries, exp.RegexpExtractAll, exp.ApproxTopK,
)  # fmt: skip
OBJECTS = (exp.Struct, exp.StarMap, exp.JSONObject, exp.ObjectAgg, exp.ObjectInsert, exp.ParseUrl)
_CALLED = {
    "OBJECT_DELETE": OBJECT, "OBJECT_PICK": OBJECT, "TO_OBJECT": OBJECT, "AS_OBJECT": OBJECT, "ARRAYS_TO_OBJECT": OBJECT,
    "AS_ARRAY": ARRAY,
}  # fmt: skip
_TYPES = {exp.DType.ARRAY: ARRAY, exp.DType.OBJECT: OBJECT, exp.DType.TIMESTAMPLTZ: LOCAL}
# What has the type of its first argument.
_KEEP = (
    exp.Paren, exp.Filter, exp.Window, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls, exp.Distinct, exp.Max, exp.Min,
    exp.AnyValue, exp.FirstValue, exp.LastValue, exp.NthValue, exp.Lag, exp.Lead, exp.Mode, exp.ArgMax, exp.ArgMin, exp.Nullif,
    exp.TimestampTrunc, exp.DateTrunc, exp.DateAdd, exp.TimestampAdd, exp.TimeAdd, exp.DateSub, exp.AddMonths, exp.TimeSlice,
)  # fmt: skip
_BESIDE = (exp.Coalesce, exp.Greatest, exp.Least)


@dataclass
class _Star:
    """What ``*`` stands for: the columns of these sources, in their order."""

    sources: Sequence[Kinds]
    renamed: dict[str, str] = field(default_factory=dict)  # the old name by the new one
    replaced: dict[str, str | None] = field(default_factory=dict)

    def of(self, name: str, nth: int = 0) -> str | None:
        """The kind of the column of this name, the nth of them."""
        if name in self.replaced:
            return self.replaced[name]
        found = [kinds[old] for kinds in self.sources if (old := self.renamed.get(name, name)) in kinds]
        return found[min(nth, len(found) - 1)] if found else None


_Output = tuple[str, str | None] | _Star


def of_type(type_: object) -> str | None:
    """The kind of a type of sqlglot's."""
    return _TYPES.get(type_)  # type: ignore[call-overload,no-any-return]


def name_of(node: exp.Expr | None) -> str:
    """A name as it is stored."""
    if isinstance(node, exp.Identifier) and node.args.get("quoted"):
        return node.name
    return node.name.upper() if isinstance(node, exp.Expr) else ""


def _selected_name(node: exp.Expr) -> str:
    return name_of(
        node.args.get("alias")
        if isinstance(node, exp.Alias)
        else node.this
        if isinstance(node, exp.Column)
        else None
    )


def of_result(query: exp.Expr, names: Sequence[str], look: Look) -> list[str | None]:
    """The kinds of a query's columns, of which the names are known."""
    outputs = _outputs(query, look, {})
    spread = len(names) - sum(1 for one in outputs if not isinstance(one, _Star))
    stars = [one for one in outputs if isinstance(one, _Star)]
    if (not stars and spread) or spread < 0:
        return [None] * len(names)
    found: list[str | None] = []
    seen: dict[str, int] = {}
    for one in outputs:
        if not isinstance(one, _Star):
            found.append(one[1])
            continue
        # Of several stars only the names say which column belongs to which one.
        width = spread if len(stars) == 1 or one is stars[0] else 0
        every = _Star(
            [kinds for star in stars for kinds in star.sources],
            {new: old for star in stars for new, old in star.renamed.items()},
            {name: kind for star in stars for name, kind in star.replaced.items()},
        )
        for name in names[len(found) : len(found) + width]:
            found.append(every.of(name, seen.get(name, 0)))
            seen[name] = seen.get(name, 0) + 1
    return found


def of_value(node: exp.Expr, sources: Mapping[str, Kinds]) -> str | None:
    """The kind of an expression that reads these sources."""
    return _kind(node, sources, {}, lambda _: {}, {}) or None


def sources_of(nodes: Sequence[exp.Expr | None], look: Look) -> dict[str, Kinds]:
    """The tables and queries that a statement reads, by alias."""
    return _sources([node for node in nodes if node is not None], look, {})


def _by_name(outputs: Sequence[_Output], names: Sequence[str] = ()) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, one in enumerate(outputs):
        if isinstance(one, _Star):
            old_names = set(one.renamed.values())
            for kinds in reversed(one.sources):
                found |= {name: kind for name, kind in kinds.items() if name not in old_names}
            found |= {new: kind for new in one.renamed if (kind := one.of(new))}
            for name, replaced in one.replaced.items():
                found.pop(name, None)
                found |= {name: replaced} if replaced else {}
        elif one[1]:
            found[names[number] if number < len(names) else one[0]] = one[1]
        else:
            found.pop(one[0], None)
    return found


def _outputs(query: exp.Expr, look: Look, ctes: Mapping[str, Kinds]) -> list[_Output]:
    ctes = dict(ctes)
    with_ = query.args.get("with_")
    for cte in with_.expressions if with_ else []:
        inner = cte.this
        columns = [name_of(one) for one in cte.args["alias"].columns]
        alias = name_of(cte.args["alias"].this)
        if isinstance(inner, exp.SetOperation) and with_ and with_.args.get("recursive"):
            ctes[alias] = _by_name(_outputs(inner.this, look, ctes), columns)
        ctes[alias] = _by_name(_outputs(inner, look, ctes), columns)
    if isinstance(query, (exp.Subquery, exp.Paren)):
        return _outputs(query.this, look, ctes)
    if isinstance(query, exp.SetOperation):
        return _together(_outputs(query.this, look, ctes), _outputs(query.expression, look, ctes))
    if not isinstance(query, exp.Select):
        return []
    from_ = query.args.get("from_")
    read = [*([from_.this] if from_ else []), *(join.this for join in query.args.get("joins") or [])]
    sources = _sources(read, look, ctes)
    aliased: dict[str, str | None] = {}
    found: list[_Output] = []
    for one in query.selects:
        if one.is_star:
            found.append(_star(one, sources, lambda node: _kind(node, sources, aliased, look, ctes)))
            continue
        kind = _kind(one.unalias(), sources, aliased, look, ctes)
        name = _selected_name(one)
        aliased[name] = kind
        found.append((name, kind or None))
    return found


def _together(one: list[_Output], other: list[_Output]) -> list[_Output]:
    """The columns of a UNION: of a kind where both sides are."""
    if len(one) != len(other) or any(isinstance(each, _Star) for each in (*one, *other)):
        names = _by_name(other)
        return [
            _Star([{n: k for n, k in kinds.items() if names.get(n, k) == k} for kinds in each.sources])
            if isinstance(each, _Star)
            else each
            for each in one
        ]
    return [
        (left[0], left[1] if left[1] == right[1] else None)  # type: ignore[index]
        for left, right in zip(one, other, strict=True)
    ]


def _star(node: exp.Expr, sources: dict[str, Kinds], kind: Callable[[exp.Expr], str | None]) -> _Star:
    star = node.this if isinstance(node, exp.Column) else node
    table = name_of(node.args.get("table")) if isinstance(node, exp.Column) else ""
    chosen = [sources.get(table, {})] if table else list(sources.values())
    renamed = {
        name_of(one.args["alias"]): name_of(one.this.this if isinstance(one.this, exp.Column) else one.this)
        for one in star.args.get("rename") or []
    }
    replaced = {name_of(one.args["alias"]): kind(one.this) for one in star.args.get("replace") or []}
    return _Star(chosen, renamed, replaced)


def _sources(nodes: list[exp.Expr], look: Look, ctes: Mapping[str, Kinds]) -> dict[str, Kinds]:
    """What is read, by alias."""
    found: dict[str, Kinds] = {}
    while nodes:
        node = nodes.pop(0)
        nodes = [join.this for join in node.args.get("joins") or []] + nodes
        if isinstance(node, exp.Paren):
            nodes.insert(0, node.this)
            continue
        alias = node.args.get("alias")
        name = name_of(alias.this) if isinstance(alias, exp.TableAlias) and alias.this else ""
        columns = [name_of(one) for one in alias.columns] if isinstance(alias, exp.TableAlias) else []
        if isinstance(node, exp.Subquery):
            kinds: Kinds = _by_name(_outputs(node, look, ctes), columns)
        elif isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            own = name_of(node.this)
            name = name or own
            kinds = ctes[own] if not node.args.get("db") and own in ctes else look(node)
        else:
            kinds = look(node)
        found[name or f" {len(found)}"] = kinds
    return found


def _kind(
    node: exp.Expr | None,
    sources: Mapping[str, Kinds],
    aliased: Mapping[str, str | None],
    look: Look,
    ctes: Mapping[str, Kinds],
) -> str | None:
    def kind(inner: exp.Expr | None) -> str | None:
        return _kind(inner, sources, aliased, look, ctes)

    def beside(nodes: Sequence[exp.Expr | None]) -> str | None:
        found = {kind(one) for one in nodes if one is not None} - {_UNTYPED}
        return found.pop() if len(found) == 1 else None if found else _UNTYPED

    if isinstance(node, (exp.Null, exp.Literal)):
        return _UNTYPED
    if isinstance(node, exp.Column):
        return _column(node, sources, aliased)
    if isinstance(node, (exp.Cast, exp.TryCast)):
        return _TYPES.get(node.to.this)
    if isinstance(node, exp.Subquery):
        outputs = _outputs(node, look, {**ctes})
        return outputs[0][1] if len(outputs) == 1 and not isinstance(outputs[0], _Star) else None
    if isinstance(node, (exp.ArgMax, exp.ArgMin)) and node.args.get("count"):
        return ARRAY
    if isinstance(node, exp.CurrentTimestamp):
        return None if node.args.get("sysdate") else LOCAL
    if isinstance(node, (exp.Localtimestamp, exp.TimestampLtzFromParts)):
        return LOCAL
    if isinstance(node, _KEEP):
        return kind(node.expressions[0] if isinstance(node, exp.Distinct) else node.this)
    if isinstance(node, (exp.Add, exp.Sub)):
        return LOCAL if LOCAL in (kind(node.this), kind(node.expression)) else None
    if isinstance(node, _BESIDE):
        return beside([node.this, *node.expressions])
    if isinstance(node, exp.If):
        return beside([node.args.get("true"), node.args.get("false")])
    if isinstance(node, exp.Nvl2):
        return beside([node.args.get("true"), node.args.get("false")])
    if isinstance(node, exp.Case):
        return beside([*(one.args.get("true") for one in node.args["ifs"]), node.args.get("default")])
    if isinstance(node, exp.DecodeCase):
        given = node.expressions[1:]
        return beside([*given[1::2], *given[-1:]] if len(given) % 2 else given[1::2])
    if isinstance(node, exp.Anonymous):
        return _CALLED.get(str(node.this).upper())
    return ARRAY if isinstance(node, ARRAYS) else OBJECT if isinstance(node, OBJECTS) else None


def _column(node: exp.Column, sources: Mapping[str, Kinds], aliased: Mapping[str, str | None]) -> str | None:
    name = name_of(node.this)
    if table := name_of(node.args.get("table")):
        return sources.get(table, {}).get(name)
    for kinds in sources.values():
        if name in kinds:
            return kinds[name]
    return aliased.get(name)
