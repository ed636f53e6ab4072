{{ config(meta={'dagster': {'ref': {'name': 'net_revenue_by_city'}}}) }}

-- Every order and every cent of the blocks is in the cities.
{{ reconcile(ref('int_revenue_by_place'), ref('net_revenue_by_city'), lower_orders='sum(orders)') }}
