"""SQL with variables, in Metabase's syntax: ``{{name}}`` is a value, ``[[…]]`` goes where one of its values is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .warehouse import Value, WarehouseError

Values = dict[str, Value]

_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_OPTIONAL = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)


def bind(stage: Mapping[str, Any], given: Values) -> tuple[str, Values]:
    """SQL in which ``%(name)s`` stands for a value, and the values; WarehouseError where a needed one is missing.

    Values never become part of the SQL here: the connector quotes them. Without variables the SQL stays as it is.
    """
    sql, tags = str(stage["native"]), stage.get("template-tags") or {}
    if not tags:
        return sql, {}
    values = {name: _typed(name, tag, given.get(name, tag.get("default"))) for name, tag in tags.items()}
    known = {name: value for name, value in values.items() if value is not None}

    def keep(block: re.Match[str]) -> str:
        return block[1] if set(_VARIABLE.findall(block[1])) <= set(known) else ""

    used: Values = {}

    def place(variable: re.Match[str]) -> str:
        name = variable[1]
        if name not in known:
            raise WarehouseError(f"the query needs a value of {name}", name)
        used[name] = known[name]
        return f"%({name})s"

    bound = _VARIABLE.sub(place, _OPTIONAL.sub(keep, sql).replace("%", "%%"))
    return (bound, used) if used else (bound.replace("%%", "%"), {})


def _typed(name: str, tag: Mapping[str, Any], value: Any) -> Value:
    """The one value that a widget sends, as the tag's type wants it."""
    if isinstance(value, list):
        if len(value) > 1:
            raise WarehouseError(f"{name} takes one value", name)
        value = value[0] if value else None
    if value is None or value == "":
        return None
    if tag["type"] != "number":
        return str(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise WarehouseError(f"{name} must be a number", name) from None


def by_target(parameters: list[dict[str, Any]]) -> Values:
    """Variable -> value of ``parameters`` as they are sent with a card: each names its variable in ``target``."""
    return {
        name: one.get("value")
        for one in parameters
        if (name := variable_of(one.get("target"))) and one.get("value") is not None
    }


def by_mapping(
    parameters: list[dict[str, Any]], declared: list[dict[str, Any]], mappings: list[dict[str, Any]]
) -> Values:
    """Variable -> value of a dashboard's filters, by what a dashcard maps them onto; a filter's default counts."""
    sent = {one["id"]: one.get("value") for one in parameters if "id" in one}
    values = {one["id"]: sent.get(one["id"], one.get("default")) for one in declared}
    return {
        name: values[mapping["parameter_id"]]
        for mapping in mappings
        if (name := variable_of(mapping.get("target"))) and values.get(mapping["parameter_id"]) is not None
    }


def variable_of(target: Any) -> str:
    """``country`` of ``["variable", ["template-tag", "country"]]``; empty for any other target."""
    match target:
        case ["variable", ["template-tag", str(name)], *_]:
            return name
    return ""
