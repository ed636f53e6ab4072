"""A query's result as something to draw: numbers formatted, bars measured, lines plotted, cells coloured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from .highlights import colors
from .plots import Series
from .trends import Trend, trend
from .warehouse import Column, Result, Value

Document = dict[str, Any]
SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
NOTHING = "–"
MAX_DECIMALS = 20


@dataclass(frozen=True)
class Cell:
    """Text of a cell; ``bar`` is 0 to 100, the share of the column's largest value, where a bar is drawn; ``color`` is
    ``#rrggbbaa``, behind the text."""

    text: str
    bar: float | None = None
    negative: bool = False
    short: str = ""  # what a tile shows instead, where the text is long
    color: str = ""


@dataclass(frozen=True)
class Heading:
    """A column's title and name, and whether it holds numbers."""

    title: str
    is_number: bool
    name: str = ""


@dataclass(frozen=True)
class Drawing:
    """What a template draws: ``kind`` is table, bars, scalar, which may have a ``trend``, or line with a ``series``;
    ``wrong`` says why the result does not go with the display."""

    kind: str
    headings: list[Heading]
    rows: list[list[Cell]]
    series: Series | None = None
    trend: Trend | None = None
    wrong: str = ""


def sort(result: Result, name: str, descending: bool) -> Result:
    """The rows in the order of a column, what has no value last; as they are where there is no such column."""
    names = [column.name for column in result.columns]
    if name not in names:
        return result
    at, is_number = names.index(name), result.columns[names.index(name)].is_number
    known = [row for row in result.rows if row[at] is not None]
    known.sort(key=lambda row: _number(row[at]) if is_number else str(row[at]), reverse=descending)
    return replace(result, rows=known + [row for row in result.rows if row[at] is None])


def draw(card: Document, result: Result) -> Drawing:
    """The card's display of its result; a display that is not known is a table."""
    return _DISPLAYS.get(card["display"], _table)(_map(card["visualization_settings"]), result)


def format_value(value: Value, column: Column, options: Document) -> str:
    """A value for people: thousands separated, money with its sign, null as a dash. Odd options do not count."""
    if value is None:
        return NOTHING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    style, places = options.get("number_style"), options.get("decimals")
    if not isinstance(places, int) or isinstance(places, bool) or not 0 <= places <= MAX_DECIMALS:
        places = 2 if style == "currency" or column.base_type != "type/Integer" else 0
    if style == "percent":
        return f"{_fixed(Decimal(value) * 100, places)}%"
    text = _fixed(abs(Decimal(value)), places)
    sign = "-" if value < 0 and text.strip("0,.") else ""
    if style == "currency":
        code = options.get("currency")
        code = code if isinstance(code, str) and code else "USD"
        text = f"{SYMBOLS[code]}{text}" if code in SYMBOLS else f"{code} {text}"
    return sign + text


def compact(value: Value, column: Column, options: Document) -> str:
    """A number short enough for a tile or an axis: ``$2.73M``; from 10,000 on without decimals, below as it is."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or options.get("number_style") == "percent"
    ):
        return format_value(value, column, options)
    size = abs(value)
    for letter, unit in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
        if size >= unit * 0.999995:
            digits = 2 if size < 100 * unit else 0
            return format_value(value / unit, column, {**options, "decimals": digits}) + letter
    if size >= 10_000 or (value == int(value) and column.base_type == "type/Integer"):
        return format_value(value, column, {**options, "decimals": 0})
    return format_value(value, column, options)


def _fixed(value: Decimal, places: int) -> str:
    """``1,234.50``; halves as the float rounds them."""
    return f"{value:,.{places}f}"


def _map(value: Any) -> Document:
    return value if isinstance(value, dict) else {}


def _options(settings: Document, column: Column) -> Document:
    """Settings of a column, which Metabase keys by the JSON of ``["name", column]``."""
    key = json.dumps(["name", column.name], separators=(",", ":"), ensure_ascii=False)
    return _map(_map(settings.get("column_settings")).get(key))


def _title(column: Column, options: Document) -> str:
    title = options.get("column_title")
    return title if isinstance(title, str) and title else column.name.replace("_", " ").capitalize()


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
    rows = [
        [replace(cell, color=color) for cell, color in zip(row, colors_of_row, strict=True)]
        for row, colors_of_row in zip(
            zip(*cells, strict=True),
            (colors(settings.get("table.column_formatting"), result.columns, row) for row in result.rows),
            strict=True,
        )
    ]
    return Drawing("table", _headings(settings, result), rows)


def _headings(settings: Document, result: Result) -> list[Heading]:
    return [
        Heading(_title(column, _options(settings, column)), column.is_number, column.name)
        for column in result.columns
    ]


def _graph_columns(settings: Document, result: Result) -> Result | None:
    """The dimension and the metric of a graph; None where the result does not have both."""
    lists = [settings.get("graph.dimensions"), settings.get("graph.metrics")]
    wanted = [one[0] for one in lists if isinstance(one, list) and one]
    names = [column.name for column in result.columns]
    if len(wanted) != 2 or any(name not in names for name in wanted):
        return None
    picked = [names.index(name) for name in wanted]
    return Result([result.columns[i] for i in picked], [[row[i] for i in picked] for row in result.rows])


def _bars(settings: Document, result: Result) -> Drawing:
    slim = _graph_columns(settings, result)
    if slim is None:
        return _table(settings, result)
    cells = _columns_of_cells(settings, slim, lambda column, options: True)
    return Drawing("bars", _headings(settings, slim), [list(row) for row in zip(*cells, strict=True)])


def _line(settings: Document, result: Result) -> Drawing:
    """The points in the order of the rows, as a plot and, for those who do not see it, as a table."""
    slim = _graph_columns(settings, result)
    if slim is None:
        return _table(settings, result)
    drawing = _table(settings, slim)
    dimension, metric = drawing.headings
    options = _options(settings, slim.columns[1])
    large = max((abs(_number(row[1])) for row in slim.rows), default=0) >= 10
    of_the_axis = {**options, "decimals": 0} if large else options
    series = Series(
        f"{metric.title} by {dimension.title.lower()}",
        [format_value(row[0], slim.columns[0], {}) for row in slim.rows],
        [None if row[1] is None else _number(row[1]) for row in slim.rows],
        lambda value: format_value(value, slim.columns[1], options),
        lambda value: compact(value, slim.columns[1], of_the_axis),
        slim.columns[1].base_type == "type/Integer",
    )
    return Drawing("line", drawing.headings, drawing.rows, series)


def _scalar(settings: Document, result: Result) -> Drawing:
    """The first cell of the first row; of a large number also a short form."""
    drawing = _table(settings, Result(result.columns[:1], [row[:1] for row in result.rows[:1]]))
    if not drawing.rows or not drawing.rows[0]:
        return Drawing("scalar", drawing.headings, [])
    return Drawing("scalar", drawing.headings, [[_tile(settings, result.columns[0], result.rows[0][0])]])


def _tile(settings: Document, column: Column, value: Value) -> Cell:
    text = format_value(value, column, _options(settings, column))
    short = compact(value, column, _options(settings, column)) if column.is_number else text
    return Cell(text, short=short if short != text else "")


def _trend(settings: Document, result: Result) -> Drawing:
    """The newest value as a tile, and what it is compared with."""

    def write(value: Value, column: Column) -> str:
        return compact(value, column, _options(settings, column))

    found = trend(settings, result, write)
    if isinstance(found, str):
        return Drawing("scalar", [], [], wrong=found)
    if found is None:
        return Drawing("scalar", [], [])
    return Drawing("scalar", [], [[_tile(settings, found.column, found.value)]], trend=found)


_DISPLAYS: dict[str, Callable[[Document, Result], Drawing]] = {
    "table": _table,
    "bar": _bars,
    "row": _bars,
    "line": _line,
    "scalar": _scalar,
    "smartscalar": _trend,
}
