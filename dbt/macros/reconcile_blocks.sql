{#- `reconcile` of the fact table with a model that adds it up by block: of the blocks with orders that were loaded
    lately. -#}
{% macro reconcile_blocks(model) %}

{%- set blocks %}
select distinct {{ order_block() }} from {{ ref('fct_sales') }}
where {{ loaded_lately(ref('fct_sales')) }}
{% endset -%}

{%- set facts %}
(
    select * from {{ ref('fct_sales') }}
    where {{ order_block() }} in ({{ blocks }})
) as facts
{% endset -%}

{%- set revenue %}
(
    select * from {{ model }}
    where order_block in ({{ blocks }})
) as revenue
{% endset -%}

{{ reconcile(facts, revenue) }}

{% endmacro %}
