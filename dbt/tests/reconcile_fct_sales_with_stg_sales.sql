{{ config(meta={'dagster': {'ref': {'name': 'fct_sales'}}}) }}

-- Nothing is lost, doubled or mispriced between staging and the fact table, in what was loaded lately. Both are read as of
-- the load that fct_sales was built from: a sync may load more while the tests run.
{% set lately = loaded_lately(ref('fct_sales')) %}

{% set staged %}
(
    select
        quantity * unit_price as total_revenue,
        quantity * unit_discount as total_discount,
        quantity * (unit_price - unit_discount) as net_revenue,
        case
            when order_status in ('returned', 'cancelled') then quantity * (unit_price - unit_discount) else 0
        end as refund
    from {{ ref('stg_sales') }}
    where {{ as_built(ref('fct_sales')) }} and {{ lately }}
) as staged
{% endset %}

{% set facts %}
(
    select * from {{ ref('fct_sales') }}
    where {{ as_built(ref('fct_sales')) }} and {{ lately }}
) as facts
{% endset %}

{{ reconcile(staged, facts, higher_orders='count(*)') }}
