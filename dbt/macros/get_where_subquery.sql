{#- Data tests of a cycle look at what was loaded lately, so that they cost the same whatever the history holds: where
    a test says `__loaded_lately__`, it sees rows that Airbyte read within a day of the newest one. A full refresh, or
    `--vars 'whole_history: true'`, looks at everything. `__this__` is the tested relation. -#}
{% macro snowflake__get_where_subquery(relation) -%}
    {%- set where = config.get('where') -%}
    {%- if where -%}
        {%- set rows = where | replace('__loaded_lately__', loaded_lately(relation)) | replace('__this__', relation) -%}
        {{ return('(select * from ' ~ relation ~ ' where ' ~ rows ~ ') as tested') }}
    {%- endif -%}
    {{ return(relation) }}
{%- endmacro %}


{% macro loaded_lately(relation) -%}
    {%- if var('whole_history', flags.FULL_REFRESH) -%}
        true
    {%- else -%}
        loaded_at >= (select dateadd('day', -1, max(loaded_at)) from {{ relation }})
    {%- endif -%}
{%- endmacro %}
