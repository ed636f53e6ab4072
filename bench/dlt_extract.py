"""Extract a table with dlt and print how many rows that were: `dlt_extract.py URL SCHEMA TABLE FOLDER`.

Runs in an environment that has dlt; see `others`.
"""

from __future__ import annotations

import sys

import dlt
from dlt.sources.sql_database import sql_table


def main(url: str, schema: str, table: str, folder: str) -> None:
    pipeline = dlt.pipeline("bench", pipelines_dir=folder, destination="filesystem")
    address = url.replace("postgresql:", "postgresql+psycopg2:", 1)
    resource = sql_table(address, table, schema, backend="pyarrow", chunk_size=100_000)
    found = pipeline.extract(resource)
    steps = [metrics["resource_metrics"] for load in found.metrics.values() for metrics in load]
    print(sum(metrics[table].items_count for metrics in steps if table in metrics))


if __name__ == "__main__":
    main(*sys.argv[1:])
