{#- dbt's own test, and one that reads both relations as of one load. With `staged`, the staging model of `to`: a key that
    `to` lacks and `staged` has was loaded after `to` was built, and comes with the next build. With `deleted`, from the
    facts to RAW: see as_built.sql. -#}
{% test relationships(model, column_name, to, field, staged=none, deleted=none) %}

with

child as (

    select {{ column_name }} as from_field
    from {{ model }}
    where
        {{ column_name }} is not null
        {%- if deleted %}
        and {{ as_built(model) }}
        {%- endif %}

),

parent as (

    select {{ field }} as to_field
    from {{ to }}

)

select child.from_field
from child
left join parent on child.from_field = parent.to_field
where
    parent.to_field is null
    {%- if staged %}
    and child.from_field not in (select {{ field }} from {{ staged }} where {{ field }} is not null)
    {%- endif %}

{% endtest %}
