{{ config(meta={'dagster': {'ref': {'name': 'int_revenue_by_day'}}}) }}

-- Every order and every cent of the fact table is in its block: of the blocks with orders that were loaded lately.
{% set blocks %}
select distinct {{ order_block() }} from {{ ref('fct_sales') }}
where {{ loaded_lately(ref('fct_sales')) }}
{% endset %}

{% set facts %}
(
    select * from {{ ref('fct_sales') }}
    where {{ order_block() }} in ({{ blocks }})
) as facts
{% endset %}

{% set revenue %}
(
    select * from {{ ref('int_revenue_by_day') }}
    where order_block in ({{ blocks }})
) as revenue
{% endset %}

{{ reconcile(facts, revenue) }}
