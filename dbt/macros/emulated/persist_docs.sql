{#- The emulator keeps the comments of all relations in one table of its own, where models that are built at once run
    into each other ("Conflict on update"). Descriptions are in dbt's docs all the same. -#}
{% macro snowflake__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not is_emulated() -%}
        {{ return(dbt.snowflake__persist_docs(relation, model, for_relation, for_columns)) }}
    {%- endif -%}
{%- endmacro %}
