{{ config(meta={'dagster': {'ref': {'name': 'net_revenue_by_country'}}}) }}

-- Every order and every cent of the states is in the countries.
{{ reconcile(ref('net_revenue_by_state'), ref('net_revenue_by_country'), lower_orders='sum(orders)') }}
