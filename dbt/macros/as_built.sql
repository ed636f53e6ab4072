{#- Tests that compare the facts with RAW read both as of the load that the facts were built from: RAW may have moved on
    since. This condition leaves out orders that were changed or deleted by a later load, and all of them where the stream
    was refreshed since. -#}
{% macro as_built(facts) -%}
    order_id not in ({{ changed_since(facts) }}) and {{ of_the_same_generation(facts) }}
{%- endmacro %}


{#- Keys of the orders that were loaded, as a change or a deletion, after the facts were built. -#}
{% macro changed_since(facts) -%}
    select order_id from {{ ref('stg_sales') }}
    where loaded_at > (select max(loaded_at) from {{ facts }})
    union all
    select order_id from {{ ref('stg_sales_deleted') }}
    where loaded_at > (select max(loaded_at) from {{ facts }})
{%- endmacro %}


{#- Whether RAW holds the generation that the facts were built from. -#}
{% macro of_the_same_generation(facts) -%}
    {{ newest_generation(ref('stg_sales')) }} = {{ newest_generation(facts) }}
{%- endmacro %}
