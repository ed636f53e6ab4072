{#- A merge adds and changes rows; what was deleted at the source since the last build is taken out before it. As in the
    merge, the last load is read again (>=). `deleted` has the key and `loaded_at`. -#}
{% macro take_out(deleted, key='order_id') %}
{%- if is_incremental() -%}
delete from {{ this }}
where {{ key }} in (
    select {{ key }} from {{ deleted }}
    where loaded_at >= (select coalesce(max(loaded_at), '1970-01-01') from {{ this }})
)
{%- endif -%}
{% endmacro %}
