"""What a person reads in a browser, compared with what PostgreSQL holds."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable

import pytest

import pages

from .conftest import PREFIX
from .site import ended, launch

ATTEMPTS = 4  # a cycle may rebuild the marts between two cards of one page


def tiles(document: str) -> dict[str, list[str]]:
    """Name of a card -> the texts of its cells."""
    found = {}
    for section in document.split('<section class="card"')[1:]:
        name = re.findall(r"<h2>(.*?)</h2>", section)[0]
        cells = re.findall(r'<(?:td|div class="scalar[^"]*")[^>]*>(.*?)</(?:td|div)>', section, re.DOTALL)
        found[html.unescape(name)] = [html.unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in cells]
    return found


def in_postgresql(sql: Callable[[str], str], orders: int, country: str = "") -> dict[str, list[str]]:
    """The same figures, of the first so many orders, or of the first so many of a country."""
    money = "to_char(sum(quantity * {}), 'FM$999,999,999,990.00')"
    where = f"where country = $${country}$$" if country else ""
    shown = f"(select * from sales {where} order by order_id limit {orders}) as shown"
    totals = {"Net revenue": "(price - discount)", "Revenue": "price", "Discount": "discount"}
    by_country = (
        f"select country, {money.format('(price - discount)')} from {shown} group by country"
        " order by sum(quantity * (price - discount)) desc, country"
    )
    return {
        **{name: [sql(f"select {money.format(what)} from {shown}")] for name, what in totals.items()},
        "Orders": [f"{orders:,}"],
        "Net revenue by country": re.split(r"[|\n]", sql(by_country)),
    }


@pytest.mark.parametrize("filtered", [False, True])
def test_the_figures_in_the_page_are_those_of_postgresql(sql: Callable[[str], str], filtered: bool) -> None:
    country = sql("select country from sales order by order_id limit 1") if filtered else ""
    for _ in range(ATTEMPTS):
        found = tiles(pages.dom("Net revenue", {"country": country} if country else {}))
        expected = in_postgresql(sql, int(found["Orders"][0].replace(",", "")), country)
        # A bar has no text, so a row of the chart is country, nothing, money.
        shown = {name: [text for text in found[name] if text] for name in expected}
        if shown == expected:
            break
        ended(launch("sales_job"))  # an order that was deleted since the last cycle is in the marts still
    assert shown == expected
    assert int(found["Orders"][0].replace(",", "")) > 0


def test_the_pipeline_page_shows_when_rows_last_came() -> None:
    found = tiles(pages.dom("Pipeline health"))
    assert int(found["Minutes since the last load"][0].replace(",", "")) >= 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", found["Newest order"][0])
    assert found["Orders by hour"]
    assert found["Role of the cards"] == [f"{PREFIX}REPORTER"]


def test_the_marts_agree_with_each_other_in_the_page() -> None:
    for _ in range(ATTEMPTS):
        cells = [text for text in tiles(pages.dom("Pipeline health"))["Failed checks"] if text]
        checks = dict(zip(cells[::2], cells[1::2], strict=True))
        if set(checks.values()) == {"0"}:
            break
        time.sleep(15)  # a build is under way
    assert set(checks.values()) == {"0"}, checks
    assert len(checks) >= 7
