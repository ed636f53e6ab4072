{#- A sum that stays exact. The cast states the type, and is needed as well: the emulated Snowflake adds bare columns up
    as DOUBLE, which loses cents. -#}
{% macro exact_sum(column_name, scale=0) -%}
    sum(cast({{ column_name }} as number(38, {{ scale }})))
{%- endmacro %}
