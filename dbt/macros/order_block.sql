{#- Ten thousand orders with neighbouring keys: what the intermediate models add up again when one order of it changes.
    An order never leaves its block, wherever a late change moves it. Another size needs a full refresh. -#}
{% macro order_block(order_id='order_id') -%}
    cast(floor({{ order_id }} / 10000) as number(38, 0))
{%- endmacro %}
