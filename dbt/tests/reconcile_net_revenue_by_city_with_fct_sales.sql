{{ config(meta={'dagster': {'ref': {'name': 'net_revenue_by_city'}}}) }}

-- Every order and every cent of the fact table is in the cities.
{{ reconcile(ref('fct_sales'), ref('net_revenue_by_city')) }}
