{{ config(meta={'dagster': {'ref': {'name': 'int_revenue_by_day'}}}) }}

-- Every order and every cent of the fact table is in its block.
{{ reconcile_blocks(ref('int_revenue_by_day')) }}
