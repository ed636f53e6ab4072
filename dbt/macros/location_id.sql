{#- Key of a place: a hash of its three names, so that facts need no look-up. Expects them as `blank_as_unknown` leaves
    them, never NULL. -#}
{% macro location_id() -%}
    md5(country || '|' || state || '|' || city)
{%- endmacro %}
