"""What is drawn of a result."""

from __future__ import annotations

from typing import Any

import pytest

from retailflow_emulators.dashboards.charts import NOTHING, draw, format_value
from retailflow_emulators.dashboards.warehouse import Column, Result


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
    assert drawing.plot
    assert drawing.plot.startswith("<svg")
    assert "<title>Net by day</title>" in drawing.plot
    for unwanted in ("<style", "<script", "<b>"):
        assert unwanted not in drawing.plot
    fallback = draw({"display": "line", "visualization_settings": {}}, days)
    assert (fallback.kind, fallback.plot) == ("table", None)


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
