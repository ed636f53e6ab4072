{#- Temporary relations become plain ones: dbt drops them itself at the end of the model. -#}
{% macro snowflake__create_table_temporary_sql(relation, compiled_code) -%}
    {%- if is_emulated() -%}
        create or replace table {{ relation }} as (
            {{ compiled_code }}
        );
    {%- else -%}
        {{ dbt.snowflake__create_table_temporary_sql(relation, compiled_code) }}
    {%- endif -%}
{%- endmacro %}


{% macro snowflake__create_view_as_with_temp_flag(relation, sql, is_temporary=False) -%}
    {{ dbt.snowflake__create_view_as_with_temp_flag(relation, sql, is_temporary and not is_emulated()) }}
{%- endmacro %}
