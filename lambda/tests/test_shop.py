"""The file of parameters: the pools that it makes, and what is refused."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import tomllib
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retailflow_generator.shop import InvalidShopError, build_shop, default_shop

PARAMETERS = tomllib.loads(
    resources.files("retailflow_generator").joinpath("shop.toml").read_text(encoding="utf-8")
)
SHOP = default_shop()


def test_the_pools_are_equal_in_every_process() -> None:
    assert build_shop(PARAMETERS).customers == SHOP.customers
    assert len({c.customer_id for c in SHOP.customers}) == len(SHOP.customers) == 5000
    first = SHOP.customers[0]
    assert (first.customer_id, first.name, first.city) == (1, "Richard Phelps", "Tacoma"), (
        "people keep their ids"
    )


def test_places_exist_in_their_country() -> None:
    places = {
        (city, state, country["name"])
        for country in PARAMETERS["countries"]
        for state, cities in country["states"].items()
        for city in cities
    }
    assert {(c.city, c.state, c.country) for c in SHOP.customers} == places, "nobody lives elsewhere"


def test_a_promotion_lasts_from_its_first_to_its_last_day() -> None:
    def name(month: int, day: int) -> str | None:
        promotion = SHOP.promotion_on(dt.date(2026, month, day))
        return promotion.name if promotion else None

    assert [name(11, 19), name(11, 20), name(11, 30), name(12, 1)] == [None, "Black week", "Black week", None]
    ordinary, special = SHOP.demand_on(dt.date(2026, 11, 18)), SHOP.demand_on(dt.date(2026, 11, 25))
    assert special == pytest.approx(ordinary * 2.4)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("discount.percent", [0, 120], "discount.percent must be whole numbers from 0 to 100"),
        ("discount.weight", [1], "discount.weight must be a list of 6 weights"),
        ("discount.wieght", [1], "discount.wieght is unknown; known are percent, weight"),
        ("booking.weight", [-1, 2], "booking.weight.0 must be a number from 0"),
        ("booking.weight", [], "booking.weight must be a list of at least one weight"),
        ("booking.weight", [0, 0], "booking.weight must not be all zero"),
        ("quantity.max", 0, "quantity.max must be a number from 1"),
        ("quantity.max", 2.5, "quantity.max must be a whole number"),
        ("quantity.exponent", "steep", "quantity.exponent must be a number"),
        ("customers.count", 0, "customers.count must be a number from 1"),
        ("customers.count", True, "customers.count must be a number from 1"),
        ("customers.loyalty", float("nan"), "customers.loyalty must be a number"),
        ("customers", None, "customers is missing or is not a table"),
        ("shipping.per_unit", -1, "shipping.per_unit must be a number from 0"),
        ("demand.minutes", 0, "demand.minutes must be a number from 1"),
        ("life.paid_after", -1, "life.paid_after must be a number from 0"),
        ("demand.hour", [1] * 23, "demand.hour must be a list of 24 weights"),
        ("promotions.0.first", "02-30", r"promotions\[1\].first must be month-day"),
        ("promotions.0.first", "12-30", r"promotions\[1\] must end in the year in which it began"),
        ("promotions.0.boost", {"Cars": 2}, r"promotions\[1\].boost.Cars is unknown"),
        ("life.cancelled", 0.95, "must not exceed 1 together"),
        ("life.shipped_after", 0, "paid_after <= shipped_after <= returned_after"),
        ("life.pace", 1.5, "life.pace must be a number from 0 to 1"),
        ("countries.0.states", {"Texas": []}, r"countries\[1\].states must be lists of cities"),
        ("countries.0.name", "", r"countries\[1\].name must be a text"),
        (
            "countries.0.locale",
            "xx_XX",
            r"countries\[1\].locale must be a locale that Faker has, .*got 'xx_XX'",
        ),
        ("countries.0.locale", "en_UK", "such as en_U"),
        ("countries.0.locale", "../../etc", "must be a locale"),
        ("countries.0.locale", "en_US\x00", "must be a text"),
        ("countries.0.locale", ["en_US"], r"countries\[1\].locale must be a text"),
        ("categories.0.products", {}, "Electronics has no products"),
        ("categories.0.products", {"Lamp": {"id": 7, "price": 1}}, "two products have the id 7"),
        ("categories.0.products", {"Lamp": {"id": 1}}, "products.Lamp.price is missing"),
        ("colour", 1, "the file.colour is unknown"),
    ],
)
def test_wrong_parameters_are_named(path: str, value: object, words: str) -> None:
    parameters: Any = copy.deepcopy(PARAMETERS)
    *parents, last = path.split(".")
    place = parameters
    for key in parents:
        place = place[int(key)] if key.isdigit() else place[key]
    place[last] = value
    with pytest.raises(InvalidShopError, match=words):
        build_shop(parameters)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of the file."""
    yield from ([path] if path else [])
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield from places(node[key], (*path, key))


JUNK = st.sampled_from(
    [
        *(None, True, 0, -1, 1.5, 10**400, 10**9, float("nan"), float("inf"), "", " ", "x", "\x00", "en-US"),
        *([], [0], ["x"], [[1]], [None], [float("nan")], [{}], {}, {"x": 1}, {"": ""}, dt.date(2026, 1, 1)),
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(places(PARAMETERS), key=str)), JUNK)
def test_any_value_anywhere_makes_a_shop_or_a_named_error(path: tuple[Any, ...], value: object) -> None:
    parameters: Any = copy.deepcopy(PARAMETERS)
    parameters["customers"]["count"] = 10
    place = parameters
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with contextlib.suppress(InvalidShopError):
        build_shop(parameters)
