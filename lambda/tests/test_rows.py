"""The rows themselves: properties that hold for every seed, and the statistics of a large sample."""

from __future__ import annotations

import csv
import datetime as dt
import io
import tomllib
from collections import Counter
from decimal import Decimal
from importlib import resources
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailflow_generator.rows import CHUNK_ROWS, COLUMNS, Totals, _line, default_renderer
from retailflow_generator.shop import build_shop, default_shop

DAY = dt.date(2026, 11, 22)
PARAMETERS = tomllib.loads(
    resources.files("retailflow_generator").joinpath("shop.toml").read_text(encoding="utf-8")
)
PLACES = {
    (city, state, country["name"])
    for country in PARAMETERS["countries"]
    for state, cities in country["states"].items()
    for city in cities
}


def generate(rows: int, seed: int, first: int = 1) -> tuple[bytes, Totals]:
    totals = Totals()
    ids = np.arange(first, first + rows)
    return b"".join(default_renderer().chunks(ids, seed, DAY, totals)), totals


def parse(text: bytes) -> list[dict[str, str]]:
    lines = csv.reader(io.StringIO(text.decode()), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [dict(zip(COLUMNS, line, strict=True)) for line in lines]


@given(seed=st.integers(0, 2**63 - 1), rows=st.integers(1, 300), first=st.integers(1, 2**62))
@settings(deadline=None, max_examples=40)
def test_every_row_keeps_the_contract(seed: int, rows: int, first: int) -> None:
    text, totals = generate(rows, seed, first)
    parsed = parse(text)
    assert [int(row["order_id"]) for row in parsed] == list(range(first, first + rows))
    for row in parsed:
        price, discount, shipping = (Decimal(row[name]) for name in ("price", "discount", "shipping_cost"))
        assert 0 <= discount <= price and shipping >= 0 and int(row["quantity"]) >= 1
        assert all(-amount.as_tuple().exponent == 2 for amount in (price, discount, shipping))  # type: ignore[operator]
        assert row["purchased_at"] <= row["order_date_at"] == DAY.isoformat()
        assert (row["city"], row["state"], row["country"]) in PLACES
    revenue = sum(int(row["quantity"]) * Decimal(row["price"]) for row in parsed)
    discounts = sum(int(row["quantity"]) * Decimal(row["discount"]) for row in parsed)
    assert (totals.rows, totals.revenue, totals.discount) == (rows, revenue * 100, discounts * 100)


def test_equal_seeds_give_equal_bytes_and_others_do_not() -> None:
    assert generate(1000, 5) == generate(1000, 5)
    assert generate(1000, 5)[0] != generate(1000, 6)[0]


def test_rows_come_in_chunks_and_none_is_lost_between() -> None:
    text, totals = generate(CHUNK_ROWS * 2 + 1, 1)
    assert totals.rows == CHUNK_ROWS * 2 + 1 == text.count(b"\n")


@pytest.fixture(scope="module")
def sample() -> list[dict[str, str]]:
    return parse(generate(60_000, 2026)[0])


def test_customers_and_products_keep_what_is_theirs(sample: list[dict[str, str]]) -> None:
    customer = {(r["customer_id"], r["cust_name"], r["city"], r["state"], r["country"]) for r in sample}
    product = {(r["product_id"], r["product"], r["product_category"], r["price"]) for r in sample}
    assert len(customer) == len({one[0] for one in customer}), "one name and home a customer"
    assert len(product) == len({one[0] for one in product}) == len(default_shop().products)


def test_a_large_sample_looks_like_the_parameters(sample: list[dict[str, str]]) -> None:
    n = len(sample)
    categories = Counter(row["product_category"] for row in sample)
    weights = {c["name"]: c["weight"] for c in PARAMETERS["categories"]}
    for name, weight in weights.items():
        assert categories[name] / n == pytest.approx(weight / sum(weights.values()), abs=0.01)
    full_price = sum(row["discount"] == "0.00" for row in sample) / n
    assert full_price == pytest.approx(0.62, abs=0.01)
    assert np.mean([int(row["quantity"]) for row in sample]) == pytest.approx(1.8, abs=0.05)
    assert len({row["country"] for row in sample}) == len(PARAMETERS["countries"])
    buyers = Counter(row["customer_id"] for row in sample).most_common()
    assert buyers[0][1] > 20 * buyers[len(buyers) // 2][1], "a few customers buy most"


def test_expensive_lines_ship_for_free(sample: list[dict[str, str]]) -> None:
    for row in sample[:5000]:
        net = int(row["quantity"]) * (Decimal(row["price"]) - Decimal(row["discount"]))
        assert (Decimal(row["shipping_cost"]) == 0) == (net >= 120)


def test_copy_text_is_escaped() -> None:
    assert _line("a\tb", "c\\d", "e\nf") == "a\\tb\tc\\\\d\te\\nf"


@pytest.mark.parametrize(
    ("section", "change", "words"),
    [
        ("discount", {"percent": [0, 120]}, "discount.percent must be whole numbers"),
        ("discount", {"weight": [1]}, "of one length"),
        ("booking", {"weight": [-1, 2]}, "booking.weight must be a list of weights"),
        ("booking", {"weight": []}, "booking.weight must be a list of weights"),
        ("quantity", {"mean": 0.5}, "1 <= mean <= max"),
        ("customers", {"count": 0}, "customers.count must be at least 1"),
        ("shipping", {"per_unit": -1}, "shipping.per_unit must not be negative"),
    ],
)
def test_wrong_parameters_are_named(section: str, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_shop(PARAMETERS | {section: PARAMETERS[section] | change})
