"""The shop in PostgreSQL, where the lineage begins. The generator writes it; Dagster only shows it."""

import dagster as dg

GROUP = "shop"

generator = dg.AssetSpec(
    key="generator",
    group_name=GROUP,
    kinds={"lambda", "python"},
    description="The Lambda function that sells: every few minutes some orders, and what becomes of old ones.",
)

#: The shop's tables, by name, in the order of Airbyte's streams.
TABLES = {
    "sales": "One row per order line.",
    "customers": "One row per person who ever bought.",
    "products": "One row per article that was ever sold.",
}

shop_tables = [
    dg.AssetSpec(
        key=[GROUP, table],
        deps=[generator],
        group_name=GROUP,
        kinds={"postgres"},
        description=f"{description} Written by the generator.",
    )
    for table, description in TABLES.items()
]
