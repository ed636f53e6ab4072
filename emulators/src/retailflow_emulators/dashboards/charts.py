"""A query's result as something to draw: numbers formatted, bars measured. No markup here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from retailflow_emulators.dashboards.warehouse import Column, Result, Value

Document = dict[str, Any]
SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """Text of a cell; ``bar`` is 0 to 100, the share of the column's largest value, where a bar is drawn."""

    text: str
    bar: float | None = None
    negative: bool = False


@dataclass(frozen=True)
class Heading:
    """A column's title and whether it holds numbers."""

    title: str
    is_number: bool


@dataclass(frozen=True)
class Drawing:
    """What a template draws: ``kind`` is table, bars or scalar."""

    kind: str
    headings: list[Heading]
    rows: list[list[Cell]]


def draw(card: Document, result: Result) -> Drawing:
    """The card's display of its result; a display that is not known is a table."""
    return _DISPLAYS.get(card["display"], _table)(card["visualization_settings"], result)


def format_value(value: Value, column: Column, options: Document) -> str:
    """A value for people: thousands separated, money with its sign, null as a dash."""
    if value is None:
        return NOTHING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    style = options.get("number_style", "decimal")
    places = options.get("decimals", 2 if style == "currency" or column.base_type != "type/Integer" else 0)
    if style == "percent":
        return f"{100 * value:,.{places}f}%"
    sign, amount = ("-" if round(value, places) < 0 else ""), f"{abs(value):,.{places}f}"
    if style == "currency":
        code = options.get("currency", "USD")
        amount = f"{SYMBOLS[code]}{amount}" if code in SYMBOLS else f"{code} {amount}"
    return sign + amount


def _options(settings: Document, column: Column) -> Document:
    """Settings of a column, which Metabase keys by the JSON of ``["name", column]``."""
    key = json.dumps(["name", column.name], separators=(",", ":"))
    found = settings.get("column_settings", {}).get(key, {})
    return found if isinstance(found, dict) else {}


def _title(column: Column, options: Document) -> str:
    return str(options.get("column_title") or column.name.replace("_", " ").capitalize())


def _number(value: Value) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _columns_of_cells(
    settings: Document, result: Result, bars: Callable[[Column, Document], bool]
) -> list[list[Cell]]:
    columns = []
    for index, column in enumerate(result.columns):
        options = _options(settings, column)
        values = [row[index] for row in result.rows]
        drawn = column.is_number and bars(column, options)
        largest = max((abs(_number(value)) for value in values), default=0) if drawn else 0
        columns.append(
            [
                Cell(
                    format_value(value, column, options),
                    round(100 * abs(_number(value)) / largest, 2) if largest else None,
                    _number(value) < 0,
                )
                for value in values
            ]
        )
    return columns


def _table(settings: Document, result: Result) -> Drawing:
    cells = _columns_of_cells(settings, result, lambda column, options: bool(options.get("show_mini_bar")))
    headings = [
        Heading(_title(column, _options(settings, column)), column.is_number) for column in result.columns
    ]
    return Drawing("table", headings, [list(row) for row in zip(*cells, strict=True)])


def _bars(settings: Document, result: Result) -> Drawing:
    wanted = [*settings.get("graph.dimensions", [])[:1], *settings.get("graph.metrics", [])[:1]]
    names = [column.name for column in result.columns]
    if len(wanted) != 2 or not set(wanted) <= set(names):
        return _table(settings, result)
    picked = [names.index(name) for name in wanted]
    slim = Result([result.columns[i] for i in picked], [[row[i] for i in picked] for row in result.rows])
    cells = _columns_of_cells(settings, slim, lambda column, options: True)
    headings = [
        Heading(_title(column, _options(settings, column)), column.is_number) for column in slim.columns
    ]
    return Drawing("bars", headings, [list(row) for row in zip(*cells, strict=True)])


def _scalar(settings: Document, result: Result) -> Drawing:
    drawing = _table(settings, Result(result.columns[:1], [row[:1] for row in result.rows[:1]]))
    return Drawing("scalar", drawing.headings, drawing.rows)


_DISPLAYS: dict[str, Callable[[Document, Result], Drawing]] = {
    "table": _table,
    "bar": _bars,
    "row": _bars,
    "scalar": _scalar,
}
