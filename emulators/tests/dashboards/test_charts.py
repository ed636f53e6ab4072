"""What is drawn of a result."""

from __future__ import annotations

import datetime
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retailflow_emulators.dashboards.charts import NOTHING, draw, format_value
from retailflow_emulators.dashboards.highlights import colors
from retailflow_emulators.dashboards.plots import Series, plot
from retailflow_emulators.dashboards.warehouse import Column, Result

MONEY = {"number_style": "currency", "currency": "USD", "decimals": 2}


@pytest.mark.parametrize(
    ("value", "options", "text"),
    [
        (1234567.891, {"number_style": "currency", "currency": "EUR"}, "€1,234,567.89"),
        (-0.001, {"number_style": "currency", "currency": "USD"}, "$0.00"),
        (3679.0, {"decimals": 0}, "3,679"),
        (0.256, {"number_style": "percent", "decimals": 1}, "25.6%"),
        (12.5, {"number_style": "currency", "currency": "CHF"}, "CHF 12.50"),
        (None, {}, "–"),
        ("Pune", {}, "Pune"),
    ],
)
def test_numbers_are_written_for_people(value: Any, options: dict[str, Any], text: str) -> None:
    assert format_value(value, Column("X", "type/Decimal"), options) == text


def test_a_line_is_plotted_without_style_or_script_and_told_as_a_table() -> None:
    days = Result(
        [Column("DAY", "type/Text"), Column("NET", "type/Decimal")],
        [["<b>1</b>", 10.5], ["2", None], ["3", 30.0]],
    )
    settings = {"graph.dimensions": ["DAY"], "graph.metrics": ["NET"]}
    drawing = draw({"display": "line", "visualization_settings": settings}, days)
    assert (drawing.kind, [row[1].text for row in drawing.rows]) == ("line", ["10.50", NOTHING, "30.00"])
    assert drawing.series
    drawn = plot(drawing.series, 600, 300)
    assert drawn.startswith("<svg")
    assert "<title>Net by day</title>" in drawn
    for unwanted in ("<style", "<script", "<b>"):
        assert unwanted not in drawn
    fallback = draw({"display": "line", "visualization_settings": {}}, days)
    assert (fallback.kind, fallback.series) == ("table", None)


def test_bars_are_shares_of_the_largest_and_a_missing_column_falls_back_to_a_table() -> None:
    result = Result(
        [Column("C", "type/Text"), Column("V", "type/Float")], [["a", 200.0], ["b", -50.0], ["c", None]]
    )
    settings = {"graph.dimensions": ["C"], "graph.metrics": ["V"]}
    bars = draw({"display": "row", "visualization_settings": settings}, result)
    assert [(row[1].bar, row[1].negative) for row in bars.rows] == [
        (100.0, False),
        (25.0, True),
        (0.0, False),
    ]
    settings = {"graph.dimensions": ["C"], "graph.metrics": ["GONE"]}
    assert draw({"display": "row", "visualization_settings": settings}, result).kind == "table"


def numbers(svg: str, pattern: str) -> list[float]:
    return [float(number) for number in re.findall(pattern, svg)]


def series(names: list[str], values: list[float | None]) -> Series:
    return Series("Net by day", names, values, "{:,.2f}".format, "{:,.0f}".format)


def test_a_missing_day_leaves_its_room_and_the_area_ends_where_the_line_does() -> None:
    days = series(["2026-11-01", "2026-11-02", "2026-11-05"], [10.0, 30.0, 20.0])
    drawn = plot(days, 500, 200)
    line = re.search(r'<path d="M([^"]*)" class="line"', drawn)
    assert line
    points = [[float(one) for one in point.split(",")] for point in line[1].split(" L")]
    gaps = [after[0] - before[0] for before, after in pairwise(points)]
    assert gaps[1] == pytest.approx(3 * gaps[0], rel=0.01)
    area = re.search(r'<path d="M([^"]*) Z" class="area"', drawn)
    assert area
    assert area[1].split(" L")[-1].split(",")[0] == str(points[-1][0])
    top_rule = min(numbers(drawn, r'y1="([\d.]+)"'))
    assert min(point[1] for point in points) >= top_rule
    assert "1 Nov" in drawn


@pytest.mark.parametrize("highest", [1, 2, 9, 10, 35, 1_000])
def test_the_axis_of_a_count_has_whole_marks_as_they_are_written(highest: int) -> None:
    counts = Result([Column("H", "type/Text"), Column("N", "type/Integer")], [["a", 0], ["b", highest]])
    settings = {"graph.dimensions": ["H"], "graph.metrics": ["N"]}
    drawing = draw({"display": "line", "visualization_settings": settings}, counts)
    assert drawing.series
    drawn = plot(drawing.series, 600, 300)
    marks = [float(text.replace(",", "")) for text in re.findall(r'class="tick y">([^<]*)<', drawn)]
    assert len({round(after - before, 6) for before, after in pairwise(marks)}) == 1
    assert marks[-1] >= highest


def test_a_day_that_is_not_over_is_marked_and_one_point_is_a_dot() -> None:
    days = series(["2026-11-01", "2026-11-02", "2026-11-03"], [10.0, 30.0, 2.0])
    drawn = plot(days, 500, 200, datetime.datetime(2026, 11, 3, 12, tzinfo=datetime.UTC))
    assert 'class="line open"' in drawn
    assert "2026-11-03 so far: 2.00" in drawn
    hours = series(["2026-11-03 11:00", "2026-11-03 12:00"], [10.0, 2.0])
    for minute, hour, is_open in ((59, 12, True), (0, 13, False)):
        now = datetime.datetime(2026, 11, 3, hour, minute, tzinfo=datetime.UTC)
        assert ("2026-11-03 12:00 so far: 2.00" in plot(hours, 500, 200, now)) is is_open
    alone = plot(series(["2026-11-01"], [5.0]), 500, 200)
    assert ('class="dot"' in alone, 'class="area"' in alone) == (True, False)
    gap = plot(series(["a", "b", "c", "d"], [1.0, None, 2.0, 3.0]), 340, 220)
    assert (gap.count('class="dot"'), gap.count('class="line"')) == (1, 1)


@given(
    st.lists(
        st.tuples(st.text(max_size=12), st.floats(allow_nan=False, allow_infinity=False) | st.none()),
        max_size=6,
    ),
    st.integers(1, 2_000),
)
def test_any_series_is_plotted_within_its_frame(rows: list[tuple[str, float | None]], width: int) -> None:
    drawn = plot(series([name for name, _ in rows], [value for _, value in rows]), width, 200)
    assert all(0 <= y <= 200 for y in numbers(drawn, r'cy="(-?[\d.]+)"'))


@pytest.mark.parametrize(
    ("value", "options", "text"),
    [
        (2_733_355.93, MONEY, "$2.73M"),
        (1_109.25, MONEY, "$1,109.25"),
        (27_301.5, MONEY, "$27,302"),
        (-4_200_000_000.0, MONEY, "-$4.20B"),
        (999_999.6, MONEY, "$1.00M"),
        (0.256, {"number_style": "percent", "decimals": 1}, "25.6%"),
        ("Well", {}, "Well"),
    ],
)
def test_a_tile_shows_a_short_figure_and_hints_at_the_exact_one(value: Any, options: Any, text: str) -> None:
    kind = "type/Text" if isinstance(value, str) else "type/Decimal"
    settings = {"column_settings": {'["name","N"]': options}}
    drawn = draw(
        {"display": "scalar", "visualization_settings": settings}, Result([Column("N", kind)], [[value]])
    )
    cell = drawn.rows[0][0]
    assert cell.text == format_value(value, Column("N", kind), options)
    assert (cell.short or cell.text) == text


def trend_of(rows: list[list[Any]], *comparisons: dict[str, Any], **settings: Any) -> Any:
    columns = [
        Column("DAY", "type/Date"),
        Column("NET", "type/Decimal"),
        Column("BEFORE", "type/Decimal"),
    ]
    shown = {"scalar.field": "NET", "scalar.comparisons": list(comparisons), **settings}
    return draw({"display": "smartscalar", "visualization_settings": shown}, Result(columns, rows))


BEFORE = {"id": "1", "type": "anotherColumn", "column": "BEFORE", "label": "before"}


@pytest.mark.parametrize(
    ("before", "text", "good"),
    [
        (80.0, "↑ 25.0% vs. before: 80.00", True),
        (200.0, "↓ 50.0% vs. before: 200.00", False),
        (100.0, "No change vs. before", None),
        (0.0, "↑ vs. before: 0.00", True),
        (None, "vs. before: (No data)", None),
    ],
)
def test_a_trend_compares_with_the_period_before(before: Any, text: str, good: bool | None) -> None:
    drawn = trend_of([["2026-01-01", 100.0, before]], BEFORE)
    assert drawn.rows[0][0].text == "100.00"
    assert [(one.text, one.good) for one in drawn.trend.changes] == [(text, good)]


def test_a_trend_takes_the_last_row_that_has_a_value() -> None:
    rows = [["2026-01-01", 50.0, 1.0], ["2026-01-02", 100.0, 1.0], ["2026-01-03", None, 1.0]]
    drawn = trend_of(rows, {"id": "1", "type": "previousValue"})
    assert drawn.rows[0][0].text == "100.00"
    assert drawn.trend.changes[0].text == "↑ 100.0% vs. 2026-01-01: 50.00"
    turned = trend_of(rows, {"type": "previousValue"}, **{"scalar.switch_positive_negative": True})
    assert turned.trend.changes[0].good is False
    assert trend_of([]).rows == []


def test_a_trend_says_what_it_cannot_show() -> None:
    row = ["2026-01-01", 100.0, 1.0]
    assert "not emulated" in trend_of([row], {"type": "periodsAgo", "value": 2}).trend.changes[0].text
    assert "N/A: (No data)" in trend_of([row], {**BEFORE, "column": "GONE"}).trend.changes[0].text
    assert "scalar.field" in trend_of([row], **{"scalar.field": ["odd"]}).wrong
    without = Result([Column("NET", "type/Decimal")], [[1.0]])
    drawn = draw({"display": "smartscalar", "visualization_settings": {"scalar.field": "NET"}}, without)
    assert drawn.wrong == "No date column was found."


RED = {"type": "single", "columns": ["V"], "color": "#ED6E6E", "highlight_row": False}


@pytest.mark.parametrize(
    ("operator", "value", "cells"),
    [
        ("<", 3, [1]),
        (">=", 3, [3, 5]),
        ("=", "x", ["x"]),
        ("!=", 3, [1, 5, "x", None]),
        ("is-null", None, [None]),
        ("not-null", None, [1, 3, 5, "x"]),
        ("contains", "x", ["x"]),
        ("is-false", None, [None]),
        ("unheard of", 1, []),
        (["odd"], 1, []),
    ],
)
def test_a_cell_is_coloured_where_its_rule_holds(operator: Any, value: Any, cells: list[Any]) -> None:
    values = [1, 3, 5, "x", None]
    rule = {**RED, "operator": operator, "value": value}
    found = [colors([rule], [Column("V", "type/Text")], [one]) for one in values]
    assert [one for one, (color,) in zip(values, found, strict=True) if color] == cells


def test_the_first_rule_that_holds_wins_and_a_cells_own_comes_before_its_rows() -> None:
    columns = [Column("V", "type/Integer"), Column("W", "type/Integer")]
    of_row = {**RED, "operator": ">", "value": 0, "highlight_row": True}
    of_cell = {**RED, "columns": ["W"], "color": "#84BB4C", "operator": ">", "value": 0}
    assert colors([of_row, of_cell], columns, [1, 1]) == ["#ed6e6ea6", "#84bb4ca6"]
    assert colors([of_row], columns, [1, 1]) == ["#ed6e6ea6", "#ed6e6e33"]
    for odd in (None, [None], [{**of_row, "color": "red;}"}], [{**of_row, "columns": [["V"]]}]):
        assert colors(odd, columns, [1, 1]) == ["", ""]
