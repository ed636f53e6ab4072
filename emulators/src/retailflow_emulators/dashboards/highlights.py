"""Colours of cells by Metabase's ``table.column_formatting``: rules of type ``single``, in the order of the list.

By metabase/metabase, frontend/src/metabase/visualizations/lib/table_format.ts: a cell takes the first rule of its own
column that holds, at an opacity of 0.65, else the first rule with ``highlight_row`` that holds in its row, at 0.2.
Rules of type ``range`` are not emulated: their cells have no colour.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .warehouse import Column, Value

_CELL, _ROW = "a6", "33"  # the opacities, as the last two digits of a colour
_COLOR = re.compile(r"#[0-9a-f]{6}")


def _numbers(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda cell, value: _is_number(cell) and _is_number(value) and compare(cell, value)


def _texts(compare: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    return lambda cell, value: _is_text(cell) and _is_text(value) and compare(cell, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": _numbers(lambda cell, value: cell < value),
    "<=": _numbers(lambda cell, value: cell <= value),
    ">": _numbers(lambda cell, value: cell > value),
    ">=": _numbers(lambda cell, value: cell >= value),
    "=": lambda cell, value: bool(cell == value),
    "!=": lambda cell, value: value != "" and cell != value,
    "is-null": lambda cell, value: cell is None,
    "not-null": lambda cell, value: cell is not None,
    "contains": _texts(lambda cell, value: value in cell),
    "does-not-contain": _texts(lambda cell, value: value not in cell),
    "starts-with": _texts(lambda cell, value: cell.startswith(value)),
    "ends-with": _texts(lambda cell, value: cell.endswith(value)),
    "is-true": lambda cell, value: bool(cell),
    "is-false": lambda cell, value: not cell,
}


def colors(rules: Any, columns: list[Column], row: list[Value]) -> list[str]:
    """Of each cell of a row ``#rrggbbaa``, empty where it has no colour. Odd rules do not count."""
    cells = dict(zip((column.name for column in columns), row, strict=True))
    of_cells: dict[str, str] = {}
    of_row = ""
    for rule in filter(_is_rule, rules if isinstance(rules, list) else []):
        for name in rule["columns"]:
            if name in cells and _OPERATORS[rule["operator"]](cells[name], rule.get("value")):
                color = rule["color"].lower()
                of_cells.setdefault(name, color + _CELL)
                if rule.get("highlight_row") is True:
                    of_row = of_row or color + _ROW
    return [of_cells.get(column.name, of_row) for column in columns]


def _is_rule(rule: Any) -> bool:
    return (
        isinstance(rule, dict)
        and rule.get("type") == "single"
        and isinstance(rule.get("operator"), str)
        and rule["operator"] in _OPERATORS
        and isinstance(rule.get("color"), str)
        and bool(_COLOR.fullmatch(rule["color"].lower()))
        and isinstance(rule.get("columns"), list)
        and all(isinstance(name, str) for name in rule["columns"])
    )
