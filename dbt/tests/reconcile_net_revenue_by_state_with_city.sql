{{ config(meta={'dagster': {'ref': {'name': 'net_revenue_by_state'}}}) }}

-- Every order and every cent of the cities is in the states.
{{ reconcile(ref('net_revenue_by_city'), ref('net_revenue_by_state'), lower_orders='sum(orders)') }}
