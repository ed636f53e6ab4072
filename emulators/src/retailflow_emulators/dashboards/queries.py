"""SQL with variables, in Metabase's syntax: ``{{name}}`` is a value, ``[[…]]`` goes where one of its values is missing."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .warehouse import Value, WarehouseError

Values = dict[str, Value]

# Comments outside of [[ ]] are left alone, strings are not: metabase/metabase, driver/common/parameters/parse.clj.
_TOKEN = re.compile(r"\[\[|\]\]|\{\{(?!\{)|\}\}")
_TOKEN_OR_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|--[^\n]*|" + _TOKEN.pattern, re.DOTALL)


@dataclass(frozen=True)
class Variable:
    """``{{name}}``."""

    name: str


@dataclass(frozen=True)
class Optional:
    """``[[…]]``: text and variables that go together."""

    parts: list[Part]


Part = str | Variable | Optional


def parse(sql: str) -> list[Part]:
    """SQL as text, variables and optional clauses; WarehouseError, in Metabase's words, where it cannot be read."""
    levels: list[list[Part]] = [[]]
    at = 0
    while token := (_TOKEN if len(levels) > 1 else _TOKEN_OR_COMMENT).search(sql, at):
        levels[-1].append(sql[at : token.start()])
        at = token.end()
        if token[0] == "[[":
            levels.append([])
        elif token[0] == "]]" and len(levels) > 1:
            inside = levels.pop()
            if not any(isinstance(part, Variable) for part in inside):
                raise WarehouseError("'[[...]]' clauses must contain at least one '{{...}}' clause.")
            levels[-1].append(Optional(inside))
        elif token[0] == "{{":
            end = sql.find("}}", at)
            if end < 0:
                raise WarehouseError(_UNCLOSED)
            name = sql[at:end].strip()
            if not name:
                raise WarehouseError("'{{...}}' clauses cannot be empty.")
            if _TOKEN.search(name):
                raise WarehouseError("Invalid '{{...}}' clause: expected a param name")
            levels[-1].append(Variable(name))
            at = end + 2
        else:
            levels[-1].append(token[0])
    if len(levels) > 1:
        raise WarehouseError(_UNCLOSED)
    return [*levels[0], sql[at:]]


_UNCLOSED = "Invalid query: found '[[' or '{{' with no matching ']]' or '}}'"


def bind(stage: Mapping[str, Any], given: Values) -> tuple[str, Values]:
    """SQL in which ``%(name)s`` stands for a value, and the values; WarehouseError where a needed one is missing.

    Values never become part of the SQL here: the connector quotes them. Without variables the SQL stays as it is.
    """
    tags = stage.get("template-tags") or {}
    values = {name: _typed(name, tag, given.get(name, tag.get("default"))) for name, tag in tags.items()}
    for name, tag in tags.items():
        if tag.get("required") and values[name] is None:
            title = tag.get("display-name") or name
            raise WarehouseError(
                f"You'll need to pick a value for '{title}' before this query can run.", name
            )
    used: Values = {}

    def known(part: Part) -> bool:
        return not isinstance(part, Variable) or values.get(part.name) is not None

    def text(part: Part) -> str:
        if isinstance(part, str):
            return part.replace("%", "%%")
        if isinstance(part, Optional):
            return "".join(map(text, part.parts)) if all(map(known, part.parts)) else ""
        value = values.get(part.name)
        if value is None:
            raise WarehouseError(
                f'Cannot run the query: missing required parameters: #{{"{part.name}"}}', part.name
            )
        used[part.name] = value
        return f"%({part.name})s"

    bound = "".join(map(text, parse(str(stage["native"]))))
    return (bound, used) if used else (bound.replace("%%", "%"), {})


def _typed(name: str, tag: Mapping[str, Any], value: Any) -> Value:
    """The one value that a widget sends, as the tag's type wants it."""
    if isinstance(value, list):
        if len(value) > 1:
            raise WarehouseError(f"{name} takes one value", name)
        value = value[0] if value else None
    if value is None or value == "":
        return None
    if tag["type"] == "boolean":
        return value if isinstance(value, bool) else str(value).lower() == "true"
    if tag["type"] == "date":
        try:
            return datetime.datetime.fromisoformat(str(value)).date().isoformat()
        except ValueError:
            raise WarehouseError(f"{name} must be a date, such as 2026-01-31", name) from None
    if tag["type"] != "number":
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise WarehouseError(f"{name} must be a number", name)
    return number


def by_target(parameters: list[dict[str, Any]] | None) -> Values:
    """Variable -> value of ``parameters`` as they are sent with a card: each names its variable in ``target``."""
    return {
        name: one.get("value")
        for one in parameters or []
        if (name := variable_of(one.get("target"))) and one.get("value") is not None
    }


def by_mapping(
    parameters: list[dict[str, Any]] | None,
    declared: list[dict[str, Any]],
    mappings: list[dict[str, Any]] | None,
) -> Values:
    """Variable -> value of a dashboard's filters, by what a dashcard maps them onto; a filter's default counts."""
    sent = {str(one.get("id")): one.get("value") for one in parameters or []}
    values = {one["id"]: sent.get(one["id"], one.get("default")) for one in declared}
    return {
        name: values[mapping["parameter_id"]]
        for mapping in mappings or []
        if (name := variable_of(mapping.get("target"))) and values.get(mapping["parameter_id"]) is not None
    }


def variable_of(target: Any) -> str:
    """``country`` of ``["variable", ["template-tag", "country"]]``; empty for any other target."""
    match target:
        case ["variable", ["template-tag", str(name)], *_]:
            return name
    return ""
