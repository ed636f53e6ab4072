"""One cycle at a time.

Runs of the queue are limited by TAG (dagster.yaml). A run that somebody starts by hand with ``dagster job
execute`` passes the queue by; its steps still wait for POOL, which holds one slot. So two dbt builds never
write the same tables.
"""

TAG = {"retailflow/pipeline": "sales"}
POOL = "sales"
