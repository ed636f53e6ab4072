"""The shop's pools: customers who come back, products with stable prices, places that exist.

``shop.toml`` holds every parameter; Faker makes the people. The pools are equal in every invocation, so
that a customer or a product keeps its id, name, place and price for ever.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from faker import Faker
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Customer:
    """One person of the pool; ``country_index`` is the position in the shop's countries."""

    customer_id: int
    name: str
    city: str
    state: str
    country: str
    country_index: int


@dataclass(frozen=True)
class Product:
    """One article; ``price`` in cents."""

    product_id: int
    name: str
    category: str
    price: int


@dataclass(frozen=True)
class Shop:
    """Pools and distributions. Money is in cents, every ``*_odds`` adds up to 1."""

    customers: tuple[Customer, ...]
    customer_odds: Floats
    products: tuple[Product, ...]
    product_odds: Floats
    discount_percent: tuple[int, ...]
    discount_odds: Floats
    quantity_mean: float
    quantity_max: int
    country_shipping: tuple[int, ...]
    shipping_per_unit: int
    free_shipping_from: int
    booking_odds: Floats


def _odds(weights: Any, what: str) -> Floats:
    values: Floats = np.asarray(weights, dtype=np.float64)
    if values.ndim != 1 or not len(values) or (values < 0).any() or values.sum() <= 0:
        raise ValueError(f"shop.toml: {what} must be a list of weights, none negative and not all zero")
    odds: Floats = values / values.sum()
    return odds


def _cents(amount: float, what: str) -> int:
    if amount < 0:
        raise ValueError(f"shop.toml: {what} must not be negative")
    return round(amount * 100)


def build_shop(parameters: Mapping[str, Any]) -> Shop:
    """Make the pools from the parsed ``shop.toml``; ValueError names the parameter that is wrong."""
    countries, categories = parameters["countries"], parameters["categories"]
    percent = tuple(parameters["discount"]["percent"])
    if not all(isinstance(step, int) and 0 <= step <= 100 for step in percent):
        raise ValueError("shop.toml: discount.percent must be whole numbers from 0 to 100")
    if len(percent) != len(parameters["discount"]["weight"]):
        raise ValueError("shop.toml: discount.percent and discount.weight must be of one length")
    quantity = parameters["quantity"]
    if not 1 <= quantity["mean"] <= quantity["max"]:
        raise ValueError("shop.toml: quantity needs 1 <= mean <= max")
    if parameters["customers"]["count"] < 1:
        raise ValueError("shop.toml: customers.count must be at least 1")

    products = tuple(
        Product(number, name, category["name"], _cents(price, f"price of {name}"))
        for number, (category, name, price) in enumerate(
            ((c, name, price) for c in categories for name, price in c["products"].items()), start=1
        )
    )
    ranks = np.arange(1, parameters["customers"]["count"] + 1, dtype=np.float64)
    return Shop(
        customers=_customers(parameters["customers"], countries),
        customer_odds=_odds(ranks ** -parameters["customers"]["loyalty"], "customers.loyalty"),
        products=products,
        product_odds=_odds(
            [c["weight"] / len(c["products"]) for c in categories for _ in c["products"]], "categories.weight"
        ),
        discount_percent=percent,
        discount_odds=_odds(parameters["discount"]["weight"], "discount.weight"),
        quantity_mean=quantity["mean"],
        quantity_max=quantity["max"],
        country_shipping=tuple(_cents(c["shipping"], f"shipping of {c['name']}") for c in countries),
        shipping_per_unit=_cents(parameters["shipping"]["per_unit"], "shipping.per_unit"),
        free_shipping_from=_cents(parameters["shipping"]["free_above"], "shipping.free_above"),
        booking_odds=_odds(parameters["booking"]["weight"], "booking.weight"),
    )


def _names(locale: str, seed: int) -> tuple[list[str], list[str]]:
    """First and last names of a locale: a few, because Faker is slow, for many combinations."""
    faker = Faker(locale, providers=["faker.providers.person"])
    faker.seed_instance(seed)
    return [faker.first_name() for _ in range(100)], [faker.last_name() for _ in range(150)]


def _customers(parameters: Mapping[str, Any], countries: list[dict[str, Any]]) -> tuple[Customer, ...]:
    rng, count = np.random.default_rng(parameters["seed"]), parameters["count"]
    weights = _odds([country["weight"] for country in countries], "countries.weight")
    places = [[(city, s) for s, cities in c["states"].items() for city in cities] for c in countries]
    names = [_names(country["locale"], parameters["seed"]) for country in countries]
    homes = rng.choice(len(countries), size=count, p=weights).tolist()
    # Three draws a customer: where in the country, which first and which last name.
    draws = rng.random((count, 3)).tolist()
    people = []
    for number, (home, (place, first, last)) in enumerate(zip(homes, draws, strict=True), start=1):
        city, state = places[home][int(place * len(places[home]))]
        firsts, lasts = names[home]
        name = f"{firsts[int(first * len(firsts))]} {lasts[int(last * len(lasts))]}"
        people.append(Customer(number, name, city, state, countries[home]["name"], home))
    return tuple(people)


@functools.cache
def default_shop() -> Shop:
    """The shop of the packaged ``shop.toml``, made once a process."""
    return build_shop(tomllib.loads(resources.files(__package__).joinpath("shop.toml").read_text("utf-8")))
