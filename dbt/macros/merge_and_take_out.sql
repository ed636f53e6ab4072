{#- The incremental strategy `merge_and_take_out`: a merge adds and changes rows, and what was deleted at the source
    since the last build is taken out before it. What to merge lies ready in a temporary table by then, so rows that
    cannot be transformed fail the model before anything is taken out. As in the merge, the last load is read again
    (>=). The model names its deleted keys, with their `loaded_at`, in `meta.deleted`. -#}
{% macro get_incremental_merge_and_take_out_sql(arguments) %}

{%- set target, key = arguments['target_relation'], arguments['unique_key'] -%}

delete from {{ target }}
where {{ key }} in (
    select {{ key }} from {{ ref(config.get('meta')['deleted']) }}
    where loaded_at >= (select coalesce(max(loaded_at), '1970-01-01') from {{ target }})
);

{{ get_incremental_merge_sql(arguments) }}

{% endmacro %}
