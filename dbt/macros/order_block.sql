{#- Ten thousand orders with neighbouring keys: the intermediate models add a block up again when one of its orders changes.
    An order never leaves its block, wherever a late change moves it. Another size needs a full refresh. -#}
{% macro order_block(order_id='order_id') -%}
    cast(floor({{ order_id }} / 10000) as number(38, 0))
{%- endmacro %}
