"""A line over time or over places in a row, as SVG for one width. Styled by the page; no script."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from markupsafe import Markup

TOP, BOTTOM, RIGHT = 12, 30, 14  # pixels around the plot
CHARACTER = 7.2  # pixels, at the font size of the style sheet
LABEL_GAP = 14  # pixels between two labels of the x axis
MOST_POINTS_WITH_HINT = 400


@dataclass(frozen=True)
class Series:
    """What is plotted: ``names`` of the points, ``values`` with None for gaps, and how both are written."""

    title: str
    names: Sequence[str]
    values: Sequence[float | None]
    write: Callable[[float], str]
    write_short: Callable[[float], str]
    is_whole: bool = False  # whether the values are counts, between which the axis has no mark


def plot(series: Series, width: int, height: int, now: datetime.datetime | None = None) -> Markup:
    """The drawing; a last point that is the day, or the hour, of ``now`` is marked as not over."""
    numbers = [value for value in series.values if value is not None]
    ticks = _ticks(min(numbers, default=0.0), max(numbers, default=0.0), series.is_whole)
    left = round(max(len(series.write_short(tick)) for tick in ticks) * CHARACTER) + 12
    inner_width, inner_height = max(width - left - RIGHT, 1), max(height - TOP - BOTTOM, 1)
    low, high = ticks[0], ticks[-1]
    moments = _moments(series.names)
    open_moment = _open(series.names, moments, now)
    places = _places(moments, len(series.names))

    def x(index: int) -> float:
        return round(left + places[index] * inner_width, 1)

    def y(value: float) -> float:
        return round(TOP + inner_height * (1 - (value / 2 - low / 2) / (high / 2 - low / 2)), 1)

    svg = ElementTree.Element("svg", {"viewBox": f"0 0 {width} {height}", "class": "plot", "role": "img"})
    ElementTree.SubElement(svg, "title").text = series.title
    for tick in ticks:
        line = {"x1": str(left), "x2": str(width - RIGHT), "y1": str(y(tick)), "y2": str(y(tick))}
        ElementTree.SubElement(svg, "line", {**line, "class": "rule"})
        label = {"x": str(left - 8), "y": str(y(tick) + 4), "class": "tick y"}
        ElementTree.SubElement(svg, "text", label).text = series.write_short(tick)
    for index, text, anchor in _labels(series.names, moments, places, inner_width):
        label = {"x": str(x(index)), "y": str(height - 8), "class": "tick", "text-anchor": anchor}
        ElementTree.SubElement(svg, "text", label).text = text
    floor = y(min(max(0.0, low), high))
    for run in _runs(series.values):
        points = [f"{x(index)},{y(value)}" for index, value in run]
        if len(run) > 1:
            area = f"M{x(run[0][0])},{floor} L{' L'.join(points)} L{x(run[-1][0])},{floor} Z"
            ElementTree.SubElement(svg, "path", {"d": area, "class": "area"})
        is_open = run[-1][0] == len(series.names) - 1 and moments[-1:] == [open_moment]
        whole = points[:-1] if is_open else points
        if len(whole) > 1:
            ElementTree.SubElement(svg, "path", {"d": "M" + " L".join(whole), "class": "line"})
        if is_open and len(points) > 1:
            ElementTree.SubElement(svg, "path", {"d": f"M{points[-2]} L{points[-1]}", "class": "line open"})
        if len(run) == 1:
            at = {"cx": str(x(run[0][0])), "cy": str(y(run[0][1])), "r": "4", "class": "dot"}
            ElementTree.SubElement(svg, "circle", at)
    for index, value in enumerate(series.values):
        if value is not None and len(numbers) <= MOST_POINTS_WITH_HINT:
            at = {"cx": str(x(index)), "cy": str(y(value)), "r": "7", "class": "hint"}
            hint = ElementTree.SubElement(ElementTree.SubElement(svg, "circle", at), "title")
            so_far = " so far" if moments and moments[index] == open_moment else ""
            hint.text = f"{series.names[index]}{so_far}: {series.write(value)}"
    return Markup(ElementTree.tostring(svg, encoding="unicode"))  # escaped by ElementTree


def _ticks(lowest: float, highest: float, is_whole: bool) -> list[float]:
    """Round numbers from at most the lowest value, or 0, to at least the highest."""
    low, high = min(lowest, 0.0), max(highest, 0.0)
    span = high / 4 - low / 4  # a quarter: the difference of two floats may be too large for one
    if span <= 0 or not math.isfinite(span):
        return [0.0, 1.0] if span <= 0 else [low, high]
    power = 10.0 ** math.floor(math.log10(span))
    steps = (1, 2, 5) if power == 1 else (1, 2, 2.5, 5)  # labels from 10 on have no decimals
    step = next((one * power for one in steps if one * power >= span), 10 * power)
    step = max(step, 1.0) if is_whole else step
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = [number * step for number in range(first, last + 1)]
    return ticks if len(set(ticks)) > 1 and all(map(math.isfinite, ticks)) else [low, high]


def _moments(names: Sequence[str]) -> list[datetime.datetime]:
    """The names as moments in order, empty where one of them is none."""
    try:
        moments = [datetime.datetime.fromisoformat(name).replace(tzinfo=None) for name in names]
    except ValueError:
        return []
    return moments if moments == sorted(moments) else []


def _open(
    names: Sequence[str], moments: list[datetime.datetime], now: datetime.datetime | None
) -> datetime.datetime | None:
    """The day or hour that is not over, where the points are days or whole hours."""
    if now is None or not moments:
        return None
    if all(len(name) == len("2026-01-01") for name in names):
        return datetime.datetime.combine(now.date(), datetime.time())
    if all(one.minute == one.second == 0 for one in moments):
        return now.replace(minute=0, second=0, microsecond=0, tzinfo=None)
    return None


def _places(moments: list[datetime.datetime], count: int) -> list[float]:
    """0 to 1 for each point: by time where the names are moments, so that a missing day leaves its room."""
    if count < 2:
        return [0.5] * count
    if moments and moments[-1] > moments[0]:
        whole = (moments[-1] - moments[0]).total_seconds()
        return [(moment - moments[0]).total_seconds() / whole for moment in moments]
    return [index / (count - 1) for index in range(count)]


def _labels(
    names: Sequence[str], moments: list[datetime.datetime], places: list[float], width: float
) -> list[tuple[int, str, str]]:
    """Index, text and anchor of the points that the x axis names, with room between them."""
    chosen: list[tuple[int, str, str]] = []
    end = -math.inf
    for index, name in enumerate(names):
        text = _short(moments, index) if moments else name[:14]
        room, place = len(text) * CHARACTER, places[index] * width
        anchor = "start" if place < room / 2 else "end" if place > width - room / 2 else "middle"
        begin = place - {"start": 0.0, "middle": room / 2, "end": room}[anchor]
        if begin - end >= LABEL_GAP:
            chosen.append((index, text, anchor))
            end = begin + room
    return chosen


def _short(moments: list[datetime.datetime], index: int) -> str:
    moment = moments[index]
    if all(one.time() == datetime.time() for one in moments):
        years = moments[0].year != moments[-1].year
        return f"{moment.day} {moment:%b %Y}" if years else f"{moment.day} {moment:%b}"
    days = moments[0].date() != moments[-1].date()
    return f"{moment.day} {moment:%b %H:%M}" if days else f"{moment:%H:%M}"


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Index and value of points without a gap between them."""
    runs: list[list[tuple[int, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((index, value))
    return [run for run in runs if run]
