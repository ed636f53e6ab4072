"""The shop: customers who come back, products with stable prices, places that exist, seasons and promotions.

``shop.toml`` holds every parameter; Faker makes the people. The pools are equal in every invocation, so
that a customer or a product always keeps its id, name, place and price.
"""

from __future__ import annotations

import datetime as dt
import difflib
import functools
import itertools
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from faker import Faker
from faker.config import AVAILABLE_LOCALES
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STATUSES = ("placed", "paid", "shipped", "returned", "cancelled")


class InvalidShopError(ValueError):
    """A parameter of ``shop.toml`` is unknown, missing or impossible; the message names it."""


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
class Promotion:
    """Days of a year, (month, day) both inclusive, on which more, other and cheaper things are bought."""

    name: str
    first: tuple[int, int]
    last: tuple[int, int]
    demand: float
    product_odds: Floats
    discount_odds: Floats


@dataclass(frozen=True)
class Life:
    """What happens to an order after it was placed; see ``[life]`` in shop.toml."""

    cancelled: float
    returned: float
    pace: float
    window: int
    limit: int
    delete: float
    paid_after: int
    shipped_after: int
    returned_after: int

    def status_odds(self, age_days: int) -> Floats:
        """The odds of each of ``STATUSES`` for an order of that age in a generated history."""
        cancelled = self.cancelled if age_days >= self.paid_after else 0.0
        returned = self.returned if age_days >= self.returned_after else 0.0
        reached = (age_days >= self.paid_after) + (age_days >= self.shipped_after)
        odds = np.zeros(len(STATUSES))
        odds[reached] = 1 - cancelled - returned
        odds[STATUSES.index("returned")], odds[STATUSES.index("cancelled")] = returned, cancelled
        return odds


@dataclass(frozen=True)
class Shop:
    """Pools and distributions. Money is in cents, every ``*_odds`` adds up to 1."""

    customers: tuple[Customer, ...]
    customer_odds: Floats
    products: tuple[Product, ...]
    product_odds: Floats
    discount_percent: tuple[int, ...]
    discount_odds: Floats
    quantity_odds: Floats  # of 1, 2, 3, … units
    country_shipping: tuple[int, ...]
    shipping_per_unit: int
    free_shipping_from: int
    booking_odds: Floats  # of 0, 1, … days between checkout and booking
    schedule_minutes: int
    hour_odds: Floats
    weekday_demand: tuple[float, ...]  # 1 on average, as are months
    month_demand: tuple[float, ...]
    promotions: tuple[Promotion, ...]
    life: Life

    def promotion_on(self, day: dt.date) -> Promotion | None:
        """The promotion of that day; the first in shop.toml where several meet."""
        return next((p for p in self.promotions if p.first <= (day.month, day.day) <= p.last), None)

    def demand_on(self, day: dt.date) -> float:
        """How many orders that day sees, relative to an average day without promotion."""
        promotion = self.promotion_on(day)
        season = self.weekday_demand[day.weekday()] * self.month_demand[day.month - 1]
        return season * (promotion.demand if promotion else 1.0)

    def demand_at(self, moment: dt.datetime) -> float:
        """How many orders a minute sees, relative to an average minute of a day without promotion."""
        return self.demand_on(moment.date()) * float(self.hour_odds[moment.hour]) * len(self.hour_odds)


class _Section:
    """One table of shop.toml: every value is checked when read, and what nobody read is unknown."""

    def __init__(self, name: str, values: object, known: Iterable[str]) -> None:
        if not isinstance(values, Mapping):
            raise InvalidShopError(f"shop.toml: {name} is missing or is not a table")
        known = list(known)
        if unknown := sorted(set(values) - set(known)):
            raise InvalidShopError(f"shop.toml: {name}.{unknown[0]} is unknown; known are {', '.join(known)}")
        self.name, self.values = name, values

    def get(self, key: str) -> Any:
        if key not in self.values:
            raise InvalidShopError(f"shop.toml: {self.name}.{key} is missing")
        return self.values[key]

    def number(self, key: str, low: float, high: float) -> float:
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise InvalidShopError(
                f"shop.toml: {self.name}.{key} must be a number from {low} to {high}, got {value!r}"
            )
        checked: float = value
        return checked

    def whole(self, key: str, low: int, high: int) -> int:
        value = self.number(key, low, high)
        if not isinstance(value, int):
            raise InvalidShopError(f"shop.toml: {self.name}.{key} must be a whole number, got {value!r}")
        return value

    def cents(self, key: str) -> int:
        return round(self.number(key, 0, 1_000_000) * 100)

    def text(self, key: str) -> str:
        value = self.get(key)
        if not _is_text(value):
            raise InvalidShopError(f"shop.toml: {self.name}.{key} must be a text, got {value!r}")
        return str(value)

    def weights(self, key: str, length: int | None = None) -> list[float]:
        values = self.get(key)
        if not isinstance(values, list) or not values or len(values) != (length or len(values)):
            count = "at least one weight" if length is None else f"{length} weights"
            raise InvalidShopError(f"shop.toml: {self.name}.{key} must be a list of {count}")
        each = _Section(
            f"{self.name}.{key}", {str(i): v for i, v in enumerate(values)}, map(str, range(len(values)))
        )
        weights = [each.number(str(i), 0, 1e9) for i in range(len(values))]
        if not any(weights):
            raise InvalidShopError(f"shop.toml: {self.name}.{key} must not be all zero")
        return weights

    def odds(self, key: str, length: int | None = None) -> Floats:
        return _odds(self.weights(key, length))

    def sections(self, key: str, known: Iterable[str]) -> list[_Section]:
        values = self.get(key)
        if not isinstance(values, list):
            raise InvalidShopError(f"shop.toml: {self.name}.{key} must be a list of tables")
        known = list(known)
        return [_Section(f"{key}[{number}]", value, known) for number, value in enumerate(values, start=1)]


def _is_text(value: object) -> bool:
    """Whether PostgreSQL takes it and a person sees it."""
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _odds(weights: Any) -> Floats:
    values: Floats = np.asarray(weights, dtype=np.float64)
    odds: Floats = values / values.sum()
    return odds


def _relative(weights: list[float]) -> tuple[float, ...]:
    """The weights as multiples of their mean."""
    return tuple(weight * len(weights) / sum(weights) for weight in weights)


def _zipf(count: int, exponent: float) -> Floats:
    return _odds(np.arange(1, count + 1, dtype=np.float64) ** -exponent)


def build_shop(parameters: Mapping[str, Any]) -> Shop:
    """Make the pools and distributions from the parsed ``shop.toml``; InvalidShopError names what is wrong."""
    keys = ("customers", "quantity", "discount", "shipping", "booking", "demand", "promotions", "life")
    top = _Section("the file", parameters, (*keys, "countries", "catalog", "categories"))

    def section(name: str, *known: str) -> _Section:
        return _Section(name, top.get(name), known)

    countries = top.sections("countries", ("name", "locale", "weight", "shipping", "states"))
    people = section("customers", "count", "seed", "loyalty")
    count = people.whole("count", 1, 1_000_000)
    quantity = section("quantity", "exponent", "max")
    discount = section("discount", "percent", "weight")
    percent = discount.get("percent")
    if not isinstance(percent, list) or not all(
        isinstance(step, int) and not isinstance(step, bool) and 0 <= step <= 100 for step in percent
    ):
        raise InvalidShopError("shop.toml: discount.percent must be whole numbers from 0 to 100")
    shipping = section("shipping", "per_unit", "free_above")
    demand = section("demand", "minutes", "hour", "weekday", "month")

    products, category_of, weights = _catalog(top)
    return Shop(
        customer_odds=_zipf(count, people.number("loyalty", 0, 5)),
        products=products,
        product_odds=_odds(weights),
        discount_percent=tuple(percent),
        discount_odds=discount.odds("weight", len(percent)),
        quantity_odds=_zipf(quantity.whole("max", 1, 10_000), quantity.number("exponent", 0, 10)),
        country_shipping=tuple(country.cents("shipping") for country in countries),
        shipping_per_unit=shipping.cents("per_unit"),
        free_shipping_from=shipping.cents("free_above"),
        booking_odds=section("booking", "weight").odds("weight"),
        schedule_minutes=demand.whole("minutes", 1, 1440),
        hour_odds=demand.odds("hour", 24),
        weekday_demand=_relative(demand.weights("weekday", 7)),
        month_demand=_relative(demand.weights("month", 12)),
        promotions=_promotions(top, category_of, weights, len(percent)),
        life=_life(section("life", *Life.__dataclass_fields__)),
        customers=_customers(people, countries),  # last, because Faker takes its time
    )


def _catalog(top: _Section) -> tuple[tuple[Product, ...], list[str], Floats]:
    """The products, the category of each, and the weight of each."""
    catalog = _Section("catalog", top.get("catalog"), ("popularity",))
    popularity = catalog.number("popularity", 0, 5)
    products: list[Product] = []
    weights: list[Floats] = []
    for category in top.sections("categories", ("name", "weight", "products")):
        name, entries = category.text("name"), category.get("products")
        if not isinstance(entries, Mapping) or not entries:
            raise InvalidShopError(f"shop.toml: {name} has no products")
        weights.append(category.number("weight", 0, 1e9) * _zipf(len(entries), popularity))
        for title, values in entries.items():
            if not _is_text(title):
                raise InvalidShopError(f"shop.toml: {name} has a product that is named {title!r}")
            entry = _Section(f"products.{title}", values, ("id", "price"))
            products.append(Product(entry.whole("id", 1, 2**31), title, name, entry.cents("price")))
    ids = [product.product_id for product in products]
    if twice := [number for number in ids if ids.count(number) > 1]:
        raise InvalidShopError(f"shop.toml: two products have the id {twice[0]}")
    if not products or not sum(map(np.sum, weights)):
        raise InvalidShopError("shop.toml: categories must hold a product and a weight above zero")
    return tuple(products), [product.category for product in products], np.concatenate(weights)


def _month_day(section: _Section, key: str) -> tuple[int, int]:
    value = section.text(key)
    found = re.fullmatch(r"(\d\d)-(\d\d)", value)
    try:
        day = dt.date(2000, int(found[1]), int(found[2])) if found else None
    except ValueError:
        day = None
    if day is None:
        raise InvalidShopError(
            f"shop.toml: {section.name}.{key} must be month-day as in 11-20, got {value!r}"
        )
    return day.month, day.day


def _promotions(top: _Section, category_of: list[str], weights: Floats, steps: int) -> tuple[Promotion, ...]:
    promotions = []
    for section in top.sections("promotions", ("name", "first", "last", "demand", "discount", "boost")):
        boost = _Section(f"{section.name}.boost", section.get("boost"), dict.fromkeys(category_of))
        factors = [boost.number(name, 0.01, 100) if name in boost.values else 1.0 for name in category_of]
        first, last = _month_day(section, "first"), _month_day(section, "last")
        if first > last:
            raise InvalidShopError(f"shop.toml: {section.name} must end in the year in which it began")
        promotions.append(
            Promotion(
                name=section.text("name"),
                first=first,
                last=last,
                demand=section.number("demand", 0.01, 100),
                product_odds=_odds(weights * np.array(factors)),
                discount_odds=section.odds("discount", steps),
            )
        )
    return tuple(promotions)


def _life(section: _Section) -> Life:
    shares = {key: section.number(key, 0, 1) for key in ("cancelled", "returned", "pace", "delete")}
    days = [section.whole(key, 0, 3650) for key in ("paid_after", "shipped_after", "returned_after")]
    if shares["cancelled"] + shares["returned"] > 1:
        raise InvalidShopError("shop.toml: life.cancelled and life.returned must not exceed 1 together")
    if any(later < earlier for earlier, later in itertools.pairwise(days)):
        raise InvalidShopError("shop.toml: life needs paid_after <= shipped_after <= returned_after")
    return Life(
        **shares,
        window=section.whole("window", 0, 1_000_000),
        limit=section.whole("limit", 0, 1_000_000),
        paid_after=days[0],
        shipped_after=days[1],
        returned_after=days[2],
    )


def _names(country: _Section, seed: int) -> tuple[list[str], list[str]]:
    """First and last names of a country: a few, because Faker is slow, for many combinations."""
    locale = country.text("locale").replace("-", "_")
    if locale not in AVAILABLE_LOCALES:
        known = sorted(AVAILABLE_LOCALES)
        near = difflib.get_close_matches(locale, known, n=3, cutoff=0.5)
        raise InvalidShopError(
            f"shop.toml: {country.name}.locale must be a locale that Faker has, such as {', '.join(near or known)};"
            f" got {locale!r}"
        )
    faker = Faker(locale, providers=["faker.providers.person"])
    faker.seed_instance(seed)
    return [faker.first_name() for _ in range(100)], [faker.last_name() for _ in range(150)]


def _places(country: _Section) -> list[tuple[str, str]]:
    """Every (city, state) of a country."""
    states = country.get("states")
    if not isinstance(states, Mapping) or not all(
        _is_text(state) and isinstance(cities, list) and cities and all(map(_is_text, cities))
        for state, cities in states.items()
    ):
        raise InvalidShopError(f"shop.toml: {country.name}.states must be lists of cities")
    places = [(city, state) for state, cities in states.items() for city in cities]
    if not places:
        raise InvalidShopError(f"shop.toml: {country.name}.states must hold a city")
    return places


def _customers(people: _Section, countries: list[_Section]) -> tuple[Customer, ...]:
    count, seed = people.whole("count", 1, 1_000_000), people.whole("seed", 0, 2**63 - 1)
    rng = np.random.default_rng(seed)
    weights = [country.number("weight", 0, 1e9) for country in countries]
    if not any(weights):
        raise InvalidShopError("shop.toml: countries must hold a country with a weight above zero")
    titles = [country.text("name") for country in countries]
    places = [_places(country) for country in countries]
    names = [_names(country, seed) for country in countries]
    homes = rng.choice(len(countries), size=count, p=_odds(weights)).tolist()
    # Three draws a customer: where in the country, which first and which last name.
    draws = rng.random((count, 3)).tolist()
    customers = []
    for number, (home, (place, first, last)) in enumerate(zip(homes, draws, strict=True), start=1):
        city, state = places[home][int(place * len(places[home]))]
        firsts, lasts = names[home]
        name = f"{firsts[int(first * len(firsts))]} {lasts[int(last * len(lasts))]}"
        customers.append(Customer(number, name, city, state, titles[home], home))
    return tuple(customers)


@functools.cache
def default_shop() -> Shop:
    """The shop of the packaged ``shop.toml``, made once a process."""
    return build_shop(tomllib.loads(resources.files(__package__).joinpath("shop.toml").read_text("utf-8")))
