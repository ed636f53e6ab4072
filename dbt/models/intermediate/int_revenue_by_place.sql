{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='order_block',
        on_schema_change='append_new_columns',
    )
}}

{{ revenue_by_block(['country', 'state', 'city']) }}
