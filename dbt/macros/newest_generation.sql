{#- Airbyte's generation of the row that was loaded last; -1 where there is none. A refresh of the stream begins another
    generation. It is compared for equality alone: a connection that is made again counts from the beginning. -#}
{% macro newest_generation(relation) -%}
    (select coalesce(max_by(generation_id, loaded_at), -1) from {{ relation }})
{%- endmacro %}
