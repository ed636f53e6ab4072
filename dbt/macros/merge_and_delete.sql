{#- The incremental strategy `merge_and_delete`: a merge adds and changes rows, and deletions remove what the source no
    longer has.

    Before the merge: the keys that the source marked as deleted since the last build. What to merge is already in a
    temporary table by then, so rows that cannot be transformed fail the model before anything is deleted. As in the
    merge, the last load is read again (>=).

    After the merge, and only where the table holds another generation than the newest of the source: the keys that are
    gone from the source without a mark. A refresh of the stream begins a new generation, and the merge has just brought
    every row of it. A build that breaks off in between does it the next time.

    The model names its deleted keys and its present rows, each with `loaded_at`, in `meta.deleted` and
    `meta.present`. -#}
{% macro get_incremental_merge_and_delete_sql(arguments) %}

{%- set target, key = arguments['target_relation'], arguments['unique_key'] -%}
{%- set deleted, present = ref(config.get('meta')['deleted']), ref(config.get('meta')['present']) -%}
{%- set of_another_generation = 'coalesce(generation_id, -1) <> ' ~ newest_generation(present) -%}
{%- set merge = get_incremental_merge_sql(arguments) | trim -%}

delete from {{ target }}
where {{ key }} in (
    select {{ key }} from {{ deleted }}
    where loaded_at >= (select coalesce(max(loaded_at), '1970-01-01') from {{ target }})
);

{{ merge }}

{%- if execute and run_query('select count(*) from ' ~ target ~ ' where ' ~ of_another_generation)[0][0] > 0 -%}
{{ ';' if not merge.endswith(';') }}

delete from {{ target }}
where {{ of_another_generation }} and {{ key }} not in (select {{ key }} from {{ present }})
{%- endif %}

{% endmacro %}
