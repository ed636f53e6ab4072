{#- A temporary table becomes a plain one: dbt drops it itself at the end of the model. -#}
{% macro snowflake__create_table_temporary_sql(relation, compiled_code) -%}
    {%- set stock = dbt.snowflake__create_table_temporary_sql(relation, compiled_code) -%}
    {%- if is_emulated() -%}
        {%- set stock = stock | replace('create or replace temporary table', 'create or replace table') -%}
    {%- endif -%}
    {{ stock }}
{%- endmacro %}
