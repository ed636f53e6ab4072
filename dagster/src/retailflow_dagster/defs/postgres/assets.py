"""The shop's table in PostgreSQL, where the lineage begins. The generator writes it; Dagster shows it."""

import dagster as dg

shop_sales = dg.AssetSpec(
    key=["shop", "sales"],
    group_name="shop",
    kinds={"postgres"},
    description="One row an order line, written by the generator every few minutes.",
)
