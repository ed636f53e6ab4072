{#- Whether an incremental model may leave out what it has read before: not where its table lacks a column that the
    model has by now. Then the whole history is read once more, and the merge fills the column. -#}
{% macro reads_changes_only() -%}
    {%- if not is_incremental() -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set known = adapter.get_columns_in_relation(this) | map(attribute='name') | map('lower') | list -%}
    {{ return(model.columns.keys() | map('lower') | reject('in', known) | list | length == 0) }}
{%- endmacro %}
