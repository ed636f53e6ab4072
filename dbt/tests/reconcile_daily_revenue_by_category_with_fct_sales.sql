{{ config(meta={'dagster': {'ref': {'name': 'daily_revenue_by_category'}}}) }}

-- Every order and every cent of the fact table is in the days.
{{ reconcile(ref('fct_sales'), ref('daily_revenue_by_category')) }}
