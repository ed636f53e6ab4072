{#- Key of a place: a hash of its three names, so that facts need no look-up. A bar within a name is escaped, so that no
    two places are glued to the same text. Expects the names as `blank_as_unknown` leaves them, never NULL. -#}
{% macro location_id() -%}
    md5(
    {%- for name in ['country', 'state', 'city'] -%}
        replace(replace({{ name }}, '~', '~~'), '|', '~|'){{ " || '|' || " if not loop.last }}
    {%- endfor -%}
    )
{%- endmacro %}
