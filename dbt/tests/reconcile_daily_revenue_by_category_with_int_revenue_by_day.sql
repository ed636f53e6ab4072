{{ config(meta={'dagster': {'ref': {'name': 'daily_revenue_by_category'}}}) }}

-- Every order and every cent of the blocks is in the days.
{{ reconcile(ref('int_revenue_by_day'), ref('daily_revenue_by_category'), lower_orders='sum(orders)') }}
