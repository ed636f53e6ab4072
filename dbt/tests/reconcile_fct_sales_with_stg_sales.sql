{{ config(meta={'dagster': {'ref': {'name': 'fct_sales'}}}) }}

-- Nothing is lost, doubled or mispriced between staging and the fact table. Read up to the mark that fct_sales was
-- built to: a sync may load more while the tests run.
{% set staged %}
(
    select
        quantity * unit_price as total_revenue,
        quantity * unit_discount as total_discount,
        quantity * (unit_price - unit_discount) as net_revenue
    from {{ ref('stg_sales') }}
    where loaded_at <= (select max(loaded_at) from {{ ref('fct_sales') }})
) as staged
{% endset %}

{{ reconcile(staged, ref('fct_sales'), higher_orders='count(*)') }}
