{#- Returns a row when two levels do not hold the same orders and the same money. `lower_orders` and `higher_orders`
    say how each counts orders. Two empty levels agree. -#}
{% macro reconcile(lower, higher, lower_orders='count(*)', higher_orders='sum(orders)') %}

{%- set money = ['total_revenue', 'total_discount', 'net_revenue', 'refund'] -%}

with

lower_level as (

    select
        coalesce({{ lower_orders }}, 0) as orders
        {%- for measure in money %},
        coalesce(sum({{ measure }}), 0) as {{ measure }}
        {%- endfor %}
    from {{ lower }}

),

higher_level as (

    select
        coalesce({{ higher_orders }}, 0) as orders
        {%- for measure in money %},
        coalesce(sum({{ measure }}), 0) as {{ measure }}
        {%- endfor %}
    from {{ higher }}

)

select
    {%- for measure in ['orders'] + money %}
    lower_level.{{ measure }} as lower_{{ measure }},
    higher_level.{{ measure }} as higher_{{ measure }}{{ ',' if not loop.last }}
    {%- endfor %}
from lower_level
cross join higher_level
where
    {%- for measure in ['orders'] + money %}
    {{ 'or ' if not loop.first }}lower_level.{{ measure }} != higher_level.{{ measure }}
    {%- endfor %}

{% endmacro %}
