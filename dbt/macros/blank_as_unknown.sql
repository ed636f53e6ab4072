{#- Groups need a name: a NULL or blank place is shown as Unknown, and its revenue is not lost. -#}
{% macro blank_as_unknown(column_name) -%}
    coalesce(nullif(trim({{ column_name }}), ''), 'Unknown')
{%- endmacro %}
