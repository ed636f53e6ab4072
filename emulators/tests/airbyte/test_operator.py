"""What the operator changes on the platform: nothing that was read before is missing afterwards, or the change is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from .conftest import Client, Postgres, Snowflake
from .pipe import assert_equal
from .shop import STREAM, Shop

PROPERTIES = {
    "order_id": {"type": ["number"], "airbyte_type": "integer"},
    "city": {"type": ["string"]},
    "price": {"type": ["number"]},
}


class Operated:
    """A shop whose connection is changed; where its rows should be."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.prefix, self.schema, self.mode = shop, "", shop.schema, "incremental_deduped_history"
        self.selected: list[dict[str, Any]] = []

    def patch(self, **body: Any) -> None:
        self.shop.client.call("PATCH", f"/connections/{self.shop.connection}", body)

    def streams(self) -> None:
        stream = {**STREAM, "syncMode": self.mode, "selectedFields": self.selected}
        self.patch(configurations={"streams": [stream]})

    def change_prefix(self) -> None:
        self.prefix += "x_"
        self.patch(prefix=self.prefix)

    def change_namespace(self) -> None:
        self.schema = f"{self.shop.schema}_{len(self.prefix)}_OF_PUBLIC"
        self.patch(
            namespaceDefinition="custom_format",
            namespaceFormat=self.schema.replace("PUBLIC", "${SOURCE_NAMESPACE}"),
        )

    def change_destination(self) -> None:
        destination = self.shop.client.call("GET", f"/connections/{self.shop.connection}")["destinationId"]
        self.schema = f"{self.shop.schema}_OTHER"
        self.patch(namespaceDefinition="destination")
        body = {"configuration": {"schema": self.schema}}
        self.shop.client.call("PATCH", f"/destinations/{destination}", body)

    @property
    def table(self) -> str:
        return f'RAW."{self.schema}"."{self.prefix}SALES"'.upper()

    def drop_table(self) -> None:
        self.shop.warehouse.query(f"drop table {self.table}")

    def empty_table(self) -> None:
        self.shop.warehouse.query(f"truncate table {self.table}")

    def append_and_back(self) -> None:
        self.mode = "incremental_append"
        self.streams()
        self.shop.sync()
        self.shop.postgres.execute("update sales set city = 'appended' where order_id % 3 = 0")
        self.shop.sync()
        self.mode = "incremental_deduped_history"
        self.streams()

    def select_less_and_more(self) -> None:
        self.selected = [{"fieldPath": ["order_id"]}, {"fieldPath": ["price"]}]
        self.streams()
        self.shop.sync()
        self.selected = []
        self.streams()

    def make_again(self) -> None:
        client, connection = self.shop.client, self.shop.connection
        old = client.call("GET", f"/connections/{connection}")
        client.call("DELETE", f"/connections/{connection}", status=204)
        kept = ("name", "sourceId", "destinationId", "configurations", "prefix", "namespaceDefinition")
        more = {
            name: old[name]
            for name in (*kept, "namespaceFormat", "nonBreakingSchemaUpdatesBehavior")
            if name in old
        }
        self.shop.connection = client.call("POST", "/connections", more)["connectionId"]


CHANGES: dict[str, Callable[[Operated], None]] = {
    name: getattr(Operated, name)
    for name in (
        "change_prefix", "change_namespace", "change_destination", "drop_table", "empty_table", "append_and_back",
        "select_less_and_more", "make_again",
    )
}  # fmt: skip


@settings(
    max_examples=1,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(names=st.lists(st.sampled_from(sorted(CHANGES)), min_size=3, max_size=4))
@example(names=list(CHANGES))
def test_whatever_the_operator_changes_no_row_is_missing(shop: Shop, names: list[str]) -> None:
    operated = Operated(shop)
    operated.change_destination()
    execute = shop.postgres.execute
    execute("truncate sales")
    shop.insert(1, 30)
    shop.sync()
    for number, name in enumerate(names):
        CHANGES[name](operated)
        execute(
            f"delete from sales where order_id = {number + 1}; update sales set city = '{name}' where order_id > 28"
        )
        shop.sync()
        target = (operated.schema, f"{operated.prefix}SALES")
        assert_equal(shop.postgres, shop.warehouse, ("public", "sales"), PROPERTIES, target)
    operated.patch(prefix="", namespaceDefinition="destination")


def test_a_deselected_field_never_arrives(shop: Shop) -> None:
    operated = Operated(shop)
    operated.selected = [{"fieldPath": [name]} for name in ("order_id", "price")]
    operated.streams()
    shop.insert(1, 5)
    shop.sync()
    shop.postgres.execute("update sales set price = 2 where order_id = 1")
    shop.sync()
    columns = shop.warehouse.query(
        f"select column_name from raw.information_schema.columns where table_schema = '{shop.schema}' "
        "and table_name = 'SALES'"
    )
    names = {name for (name,) in columns if not name.startswith(("_AIRBYTE_", "_AB_CDC_"))}
    assert names == {"ORDER_ID", "PRICE"}
    assert shop.warehouse.query(f'select count(*), sum("PRICE") from {shop.table}') == [
        (5, 2 + 0.02 + 0.03 + 0.04 + 0.05)
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"mappers": [{"type": "hashing", "mapperConfiguration": {"targetField": "city"}}]},
            "not emulated: mappers",
        ),
        ({"selectedFields": [{"fieldPath": ["city"]}]}, "selectedFields must hold order_id"),
        ({"selectedFields": [{"fieldPath": ["order_id"]}, {"fieldPath": ["none"]}]}, "no field none"),
        ({"selectedFields": [{"fieldPath": ["order_id", "a"]}]}, "nested field order_id.a"),
        ({"includeFiles": True}, "not emulated: includeFiles"),
    ],
)
def test_what_is_not_honoured_is_refused(shop: Shop, change: dict[str, Any], words: str) -> None:
    body = {"configurations": {"streams": [{**STREAM, **change}]}}
    answer = shop.client.call("PATCH", f"/connections/{shop.connection}", body, status=400)
    assert words in answer["detail"]
    (stream,) = shop.client.call("GET", f"/connections/{shop.connection}")["configurations"]["streams"]
    assert (stream["mappers"], stream["selectedFields"]) == ([], [])


@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(name=st.text(st.characters(categories=["L", "N"], max_codepoint=0x24F), min_size=1, max_size=12))
@example(name="user")
@example(name="straße")
def test_two_things_of_one_name_are_refused(
    client: Client, postgres: Postgres, warehouse: Snowflake, name: str
) -> None:
    """By schema, by upper case, and by two connections: before anything is written."""
    execute = postgres.execute
    execute(
        'drop schema if exists north cascade; create schema north; drop schema if exists "South" cascade; create schema "South"'
    )
    other = name.upper() if name.upper() != name else name.lower()
    for schema, table in {("north", name), ('"South"', name), ("north", other)}:
        execute(f'create table {schema}."{table}" (id int primary key)')
    source = client.actor("source", "postgres", {**postgres.configuration, "schemas": ["north", "South"]})
    destination = client.actor("destination", "snowflake", warehouse.configuration("ONE_NAME"))

    def create(*streams: tuple[str, str], status: int = 400, **more: Any) -> Any:
        wanted = [
            {"namespace": schema, "name": table, "syncMode": "full_refresh_overwrite"}
            for schema, table in streams
        ]
        body = {
            "sourceId": source,
            "destinationId": destination,
            "configurations": {"streams": wanted},
            **more,
        }
        return client.call("POST", "/connections", body, status)

    refused = create(("north", name), ("South", name))["detail"]
    assert f"north.{name} and South.{name} would both be written to RAW.ONE_NAME.{name.upper()}" in refused
    made = create(("north", name), ("South", name), status=200, namespaceDefinition="source")["connectionId"]
    answer = client.call("PATCH", f"/connections/{made}", {"namespaceDefinition": "destination"}, 400)
    assert "would both be written" in answer["detail"]
    if other != name:
        assert (
            "would both be written"
            in create(("north", name), ("north", other), namespaceDefinition="source")["detail"]
        )
    again = create(("north", name), namespaceDefinition="source")["detail"]
    assert f"writes RAW.NORTH.{name.upper()} already" in again
    client.call("DELETE", f"/connections/{made}", status=204)


def test_names_that_are_airbytes_own_or_too_long_are_refused(
    client: Client, postgres: Postgres, warehouse: Snowflake
) -> None:
    postgres.execute(
        "create table fit (id int primary key); create table odd (id int primary key, _airbyte_meta text)"
    )
    source = client.actor("source", "postgres", postgres.configuration)
    destination = client.actor("destination", "snowflake", warehouse.configuration("OWN"))
    body: dict[str, Any] = {"sourceId": source, "destinationId": destination}
    for prefix, words in {"_airbyte_tmp_": "Airbyte's own", "p" * 253: "at most 255 characters"}.items():
        answer = client.call("POST", "/connections", {**body, "prefix": prefix}, 400)
        assert words in answer["detail"]
    body["configurations"] = {"streams": [{"name": "odd"}]}
    assert 'column "_airbyte_meta" of public.odd' in client.call("POST", "/connections", body, 400)["detail"]
