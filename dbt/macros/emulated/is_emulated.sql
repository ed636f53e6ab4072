{#- Snowflake answers on https only; the emulator on http only. -#}
{% macro is_emulated() -%}
    {{ return(target.get('protocol') == 'http') }}
{%- endmacro %}
